//! The other side of the wire: a second network namespace, joined to the scene's own by a veth
//! pair. Sockets made and programs started there are the peers'. It has no name and no file, and
//! is gone with the thread that holds it and with what that thread started.

use std::fs;
use std::process::Command;
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result, anyhow, ensure};

use crate::isolation;
use crate::scene::wait_for;

/// The relay's and the far ends' address on the wire.
pub(crate) const HERE: &str = "192.0.2.1";
/// The peers' address on the wire.
pub(crate) const THERE: &str = "192.0.2.2";

type Job = Box<dyn FnOnce() + Send>;

/// A thread that lives in the second namespace and does what it is asked there.
pub(crate) struct Abroad {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Abroad {
    /// Makes the namespace and the wire between it and this thread's own.
    pub(crate) fn new() -> Result<Self> {
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
        let abroad = Self { jobs: Some(jobs), thread: Some(thread) };
        let ours = format!(
            "link add wire type veth peer name wire netns {id}\n\
             address add {HERE}/24 dev wire\nlink set wire up\nroute add default via {THERE}\n"
        );
        ip_all(&ours)?;
        abroad.run(|| {
            ip_all(&format!(
                "address add {THERE}/24 dev wire\nlink set wire up\nroute add default via {HERE}\n"
            ))
        })?;
        // The kernel says so up to a second later, and Janus takes no address before.
        wait_for("wire that is up", || Ok(abroad.run(is_up)?.then_some(())))?;
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
