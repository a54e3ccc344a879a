//! What this kernel, with its limits and filters, can do for media sockets: tried, not guessed.
//!
//! A version number says little where seccomp profiles and sysctls take things away, so each
//! capability is used once, on loopback, and what came of it is the evidence.

use std::error::Error;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use io_uring::IoUring;

use crate::clock;
use crate::config::{Config, TaskRun};
use crate::driver::{Driver, Token, Verdict};
use crate::epoll::Epoll;
use crate::readiness::wait_readable;
use crate::socket::{SocketOptions, open_media_socket};
use crate::uring::{SetupError, Uring};

/// One thing tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capability {
    /// What.
    pub name: &'static str,
    /// It worked.
    pub available: bool,
    /// What was seen, or the step that failed and its errno.
    pub evidence: String,
}

type Tried = Result<String, Box<dyn Error>>;
type Check = (&'static str, fn() -> Tried);

/// Tries everything the drivers build on. Takes a millisecond or so.
pub fn probe() -> Vec<Capability> {
    let checks: [Check; 6] = [
        ("io_uring", ring),
        ("io_uring deferred task run", deferred),
        ("io_uring buffer ring", buffer_ring),
        ("io_uring multishot recvmsg", multishot),
        ("epoll with recvmmsg", recvmmsg),
        ("SO_TIMESTAMPNS", timestamps),
    ];
    checks.map(|(name, check)| capability(name, check())).into()
}

fn capability(name: &'static str, tried: Tried) -> Capability {
    let available = tried.is_ok();
    let evidence = tried.unwrap_or_else(|error| error.to_string());
    Capability { name, available, evidence }
}

fn ring() -> Tried {
    let ring = IoUring::new(4).map_err(|error| SetupError::Ring(TaskRun::Cooperative, error));
    ring.map(|_| "io_uring_setup succeeded".to_owned()).map_err(Into::into)
}

fn deferred() -> Tried {
    match small_uring(TaskRun::Deferred) {
        Ok(_) => Ok("io_uring_setup took DEFER_TASKRUN, and its work wakes at once".to_owned()),
        // Steps of other lines, that come after this one's.
        Err(SetupError::Buffers(..) | SetupError::Multishot(_)) => {
            Ok("io_uring_setup took DEFER_TASKRUN".to_owned())
        }
        Err(error) => Err(error.into()),
    }
}

fn buffer_ring() -> Tried {
    match small_uring(TaskRun::Cooperative) {
        Ok(_) | Err(SetupError::Multishot(_)) => Ok("registered".to_owned()),
        Err(error) => Err(error.into()),
    }
}

fn multishot() -> Tried {
    let (_, late) = loopback(small_uring(TaskRun::Cooperative)?)?;
    Ok(format!("a packet to ourselves came through the ring after {late:?}"))
}

fn recvmmsg() -> Tried {
    let (_, late) = loopback(Epoll::new(&Config::default())?)?;
    Ok(format!("a packet to ourselves came through recvmmsg after {late:?}"))
}

fn timestamps() -> Tried {
    let (stamp, _) = loopback(Epoll::new(&Config::default())?)?;
    if stamp == 0 {
        return Err("a packet to ourselves came without a receive time".into());
    }
    Ok(format!("a packet to ourselves was stamped {stamp} ns"))
}

/// As little of a ring as shows that it works; the oldest kernels have but the cooperative mode.
fn small_uring(task_run: TaskRun) -> Result<Uring, SetupError> {
    let small = Config { buffers: 8, submissions: 8, completions: 16, ..Config::default() };
    Uring::new(&Config { task_run, ..small })
}

/// Sends a packet to ourselves: its receive timestamp, and how long it took to be read.
fn loopback(mut driver: impl Driver) -> io::Result<(u64, Duration)> {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let socket = open_media_socket(any, SocketOptions::default())?;
    let (own, sender) = (socket.local_addr()?, socket.try_clone()?);
    driver.add(Token(0), socket)?;
    driver.flush()?;
    let start = clock::monotonic();
    sender.send_to(b"probe", own)?;
    while start.elapsed() < PATIENCE {
        let mut stamp = None;
        driver.turn(1, |packet| {
            stamp = Some(packet.timestamp_ns);
            Verdict::Drop
        })?;
        if let Some(stamp) = stamp {
            return Ok((stamp, start.elapsed()));
        }
        wait_readable(driver.readiness(), PATIENCE)?;
    }
    let message = format!("a packet to ourselves did not come through within {PATIENCE:?}");
    Err(io::Error::new(io::ErrorKind::TimedOut, message))
}

/// Loopback delivers within microseconds; this is for a machine that is busy otherwise.
const PATIENCE: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_capability_comes_with_evidence_and_plain_linux_has_the_last_two() {
        let found = probe();
        assert!(found.iter().all(|capability| !capability.evidence.is_empty()));
        assert!(found[4..].iter().all(|capability| capability.available), "{found:?}");
    }

    #[test]
    fn what_fails_is_told_with_its_errno() {
        let error = SetupError::Ring(TaskRun::Deferred, io::Error::from_raw_os_error(libc::EPERM));
        let told = capability("io_uring", Err(error.into()));
        assert!(!told.available && told.evidence.contains("(os error 1)"), "{told:?}");
    }
}
