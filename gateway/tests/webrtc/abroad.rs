//! The other side of the wire: a second network namespace, joined to the scene's own by a veth
//! pair. Sockets made and programs started there are the peers'. It has no name and no file, and
//! is gone with the thread that holds it and with what that thread started.

use std::fs;
use std::process::Command;
use std::sync::mpsc::{Sender, channel};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result, anyhow, ensure};

use crate::isolation;
use crate::scene::wait_for;

/// The relay's and the far ends' address on the wire, where nothing else is said.
pub(crate) const HERE: &str = Family::V4.here();
/// The peers' address on the wire, where nothing else is said.
pub(crate) const THERE: &str = Family::V4.there();

/// What addresses a wire has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    /// Unique local ones (RFC 4193), and no others.
    V6,
}

impl Family {
    /// The relay's and the far ends' address.
    pub(crate) const fn here(self) -> &'static str {
        match self {
            Self::V4 => "192.0.2.1",
            Self::V6 => "fd9a:1c5e:7d02:1::1",
        }
    }

    /// The peers' address.
    pub(crate) const fn there(self) -> &'static str {
        match self {
            Self::V4 => "192.0.2.2",
            Self::V6 => "fd9a:1c5e:7d02:1::2",
        }
    }

    /// What `ip` has to do for one end.
    fn end(self, own: &str) -> String {
        match self {
            Self::V4 => format!("address add {own}/24 dev wire\nlink set wire up\n"),
            // Nobody else is there to have the address, and a second is not waited for that.
            Self::V6 => format!("link set wire up\n-6 address add {own}/64 dev wire nodad\n"),
        }
    }

    /// The way to all else, which is the other end.
    fn route(self, other: &str) -> String {
        let option = if self == Self::V4 { "-4" } else { "-6" };
        format!("{option} route add default via {other} dev wire\n")
    }
}

type Job = Box<dyn FnOnce() + Send>;

/// A thread that lives in the second namespace and does what it is asked there.
pub(crate) struct Abroad {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    _machine: Machine,
}

/// The machine, as a scene has it: for as long as its wire is up.
#[expect(dead_code, reason = "they are held, not looked at")]
enum Machine {
    /// Beside others.
    Shared(RwLockReadGuard<'static, ()>),
    /// Alone: a flood takes from others the time that they need to lose nothing, and they from it.
    Own(RwLockWriteGuard<'static, ()>),
}

static MACHINE: RwLock<()> = RwLock::new(());

impl Abroad {
    /// Makes the namespace and the wire between it and this thread's own.
    pub(crate) fn new() -> Result<Self> {
        Self::over(Family::V4)
    }

    /// The same, with addresses of this family.
    pub(crate) fn over(family: Family) -> Result<Self> {
        let shared = MACHINE.read().unwrap_or_else(PoisonError::into_inner);
        Self::make(family, Machine::Shared(shared))
    }

    /// The same, once every other scene is over, and before the next.
    pub(crate) fn alone() -> Result<Self> {
        let own = MACHINE.write().unwrap_or_else(PoisonError::into_inner);
        Self::make(Family::V4, Machine::Own(own))
    }

    fn make(family: Family, machine: Machine) -> Result<Self> {
        let (jobs, asked) = channel::<Job>();
        let (tell, told) = channel();
        let thread = thread::spawn(move || {
            let lived = isolation::in_own_namespace(move || {
                tell.send(rustix::thread::gettid().as_raw_nonzero())?;
                asked.iter().for_each(|job| job());
                Ok(())
            });
            // Whoever waits for the thread's id learns of a failure by the closed channel.
            drop(lived);
        });
        // Above those that relays take for media: a port in their range is theirs.
        fs::write("/proc/sys/net/ipv4/ip_local_port_range", "40000 60999")?;
        let id = told.recv().context("a second network namespace")?;
        let abroad = Self { jobs: Some(jobs), thread: Some(thread), _machine: machine };
        ip_all(&format!("link add wire type veth peer name wire netns {id}\n"))?;
        ip_all(&family.end(family.here()))?;
        abroad.run(move || ip_all(&family.end(family.there())))?;
        // The kernel says so up to a second later, and Janus takes no address before.
        wait_for("wire that is up", || Ok(abroad.run(is_up)?.then_some(())))?;
        ip_all(&family.route(family.there()))?;
        abroad.run(move || ip_all(&family.route(family.here())))?;
        Ok(abroad)
    }

    /// Does `work` there and waits for what comes of it. Threads and processes that it starts stay.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (tell, told) = channel();
        let job: Job = Box::new(move || {
            // Nobody listens any more only where the asker panicked.
            let _ = tell.send(work());
        });
        let jobs = self.jobs.as_ref().context("the namespace is gone")?;
        jobs.send(job).map_err(|_| anyhow!("the namespace's thread is gone"))?;
        told.recv().context("the namespace's thread panicked")?
    }
}

impl Drop for Abroad {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            // It panicked only where a job did, which its asker was told.
            let _ = thread.join();
        }
    }
}

fn is_up() -> Result<bool> {
    let output = Command::new("ip").args(["link", "show", "wire"]).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).contains("state UP"))
}

/// Runs `ip` once for all of the lines.
pub(crate) fn ip_all(lines: &str) -> Result<()> {
    for line in lines.lines() {
        let output = Command::new("ip").args(line.split(' ')).output()?;
        ensure!(output.status.success(), "ip {line}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}
