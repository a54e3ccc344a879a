//! Starting an offload agent where none answers: as root, before we give our capabilities up.
//!
//! The agent gets a session of its own and supervises itself: it outlives us, and with it our SAs.
//! Under systemd both are services, and nothing is started here.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr, Socket, Type};

use crate::sys;

/// Why there is no agent, where we were to start one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SpawnError {
    /// Nowhere.
    #[error(
        "ipsec.agent: {PROGRAM} is neither beside gateway nor on PATH; install it, or set ipsec.spawn = false"
    )]
    NotFound,
    /// The kernel says no.
    #[error("ipsec.agent: cannot start {}: {source}", program.display())]
    Start {
        /// What.
        program: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It ended, and has said why on stderr.
    #[error("ipsec.agent: {} ended at once, {status}; its own message is above", program.display())]
    Ended {
        /// What.
        program: PathBuf,
        /// How.
        status: std::process::ExitStatus,
    },
    /// It runs and does not answer.
    #[error("ipsec.agent: {} does not answer at {} within {} s", program.display(), socket.display(), PATIENCE.as_secs())]
    Silent {
        /// What.
        program: PathBuf,
        /// Where.
        socket: PathBuf,
    },
}

/// An agent that we started, or none: one is there, or we may not.
pub(crate) fn ensure(socket: &Path) -> Result<Option<Child>, SpawnError> {
    if answers(socket) || !is_root() {
        return Ok(None);
    }
    let program = find().ok_or(SpawnError::NotFound)?;
    let mut child = start(&program, socket)?;
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if answers(socket) {
            tracing::info!(program = %program.display(), pid = child.id(), "offload agent started");
            return Ok(Some(child));
        }
        if let Ok(Some(status)) = child.try_wait() {
            return Err(SpawnError::Ended { program, status });
        }
        std::thread::sleep(PAUSE);
    }
    Err(SpawnError::Silent { program, socket: socket.to_owned() })
}

fn start(program: &Path, socket: &Path) -> Result<Child, SpawnError> {
    let mut command = Command::new(program);
    command.args(["run", "--supervise", "--socket"]).arg(socket);
    // Its log goes where ours goes.
    command.stdin(Stdio::null()).stdout(Stdio::null());
    sys::in_its_own_session(&mut command)
        .spawn()
        .map_err(|source| SpawnError::Start { program: program.to_owned(), source })
}

/// Waits for its end on a thread, so that it leaves no zombie while we run.
pub(crate) fn reap(mut child: Child) {
    let wait = move || match child.wait() {
        Ok(status) => tracing::warn!(%status, "the offload agent that we started has ended"),
        Err(error) => tracing::debug!(%error, "cannot wait for the offload agent"),
    };
    if let Err(error) = std::thread::Builder::new().name("agent-reaper".to_owned()).spawn(wait) {
        tracing::debug!(%error, "nobody waits for the offload agent's end");
    }
}

fn answers(socket: &Path) -> bool {
    let connect = || {
        let socket_type = Type::SEQPACKET.cloexec();
        Socket::new(Domain::UNIX, socket_type, None)?.connect(&SockAddr::unix(socket)?)
    };
    connect().is_ok()
}

/// Beside our own program, else on PATH.
fn find() -> Option<PathBuf> {
    let beside = std::env::current_exe().ok().and_then(|own| Some(own.parent()?.to_owned()));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = beside.into_iter().chain(std::env::split_paths(&path));
    directories.map(|directory| directory.join(PROGRAM)).find(|program| program.is_file())
}

fn is_root() -> bool {
    // A process's directory in /proc belongs to its effective user, or to root where it may not
    // be dumped; `status` tells.
    std::fs::read_to_string("/proc/self/status").is_ok_and(|status| {
        let line = status.lines().find_map(|line| line.strip_prefix("Uid:"));
        line.and_then(|ids| ids.split_whitespace().nth(1)) == Some("0")
    })
}

const PROGRAM: &str = "offload-agent";

/// It probes its engines before it listens.
const PATIENCE: Duration = Duration::from_secs(10);

const PAUSE: Duration = Duration::from_millis(20);
