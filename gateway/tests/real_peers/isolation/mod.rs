//! What keeps one run apart from every other: a network namespace of its own, so that ports never
//! clash and nothing else on the machine is reached, and processes that end with the run.
//!
//! The namespace belongs to a thread. It has no name and no file, so nothing is left behind when
//! the thread, its threads and its processes are gone.

mod sys;

use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// A started program with its output in a file. Dropping it ends its whole process group.
pub(crate) struct Peer {
    name: String,
    log: PathBuf,
    child: Child,
}

/// Runs `work` on a thread that has a network namespace of its own with only loopback in it.
pub(crate) fn in_own_namespace<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| {
        let run = scope.spawn(|| {
            sys::unshare_network().context("a network namespace of our own")?;
            let status = Command::new("ip").args(["link", "set", "lo", "up"]).status()?;
            if !status.success() {
                bail!("`ip link set lo up` failed: {status}");
            }
            work()
        });
        run.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Why a run in a namespace cannot be had on this machine, if so.
pub(crate) fn unavailable() -> Option<String> {
    thread::spawn(sys::unshare_network).join().ok()?.err().map(|error| {
        format!("a network namespace needs root (CAP_SYS_ADMIN); unshare says: {error}")
    })
}

/// The UDP ports of this thread's namespace that some socket is bound to, lowest first.
pub(crate) fn bound_udp_ports() -> Result<Vec<u16>> {
    // thread-self: /proc/net is the namespace of the process's first thread.
    let mut ports = Vec::new();
    for table in ["/proc/thread-self/net/udp", "/proc/thread-self/net/udp6"] {
        let text = fs::read_to_string(table).with_context(|| table.to_owned())?;
        for line in text.lines().skip(1) {
            let local = line.split_whitespace().nth(1).unwrap_or_default();
            let port = local.rsplit(':').next().unwrap_or_default();
            ports.push(u16::from_str_radix(port, 16).with_context(|| line.to_owned())?);
        }
    }
    ports.sort_unstable();
    Ok(ports)
}

impl Peer {
    /// Starts `command`; what it prints goes to `folder`/`name`.log.
    pub(crate) fn start(name: &str, command: &mut Command, folder: &Path) -> Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let output = File::create(&log).with_context(|| log.display().to_string())?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(0)
            .spawn()
            .with_context(|| format!("starting {name}: {command:?}"))?;
        Ok(Self { name: name.to_owned(), log, child })
    }

    /// Waits until `ready`; fails when the program ends or ten seconds pass before that.
    pub(crate) fn wait_until(&mut self, mut ready: impl FnMut() -> Result<bool>) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !ready()? {
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended too early, {status}; it said:\n{}", self.name, self.last_words());
            }
            if Instant::now() > deadline {
                bail!("{} was not ready after 10 s; it said:\n{}", self.name, self.last_words());
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// The end of its log.
    pub(crate) fn last_words(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text[text.len().saturating_sub(2000)..]).into_owned();
        format!("{text}\n(all of it: {})", self.log.display())
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // Politely first: Kamailio ends its children itself. It may be gone already.
        for signal in [libc::SIGTERM, libc::SIGKILL] {
            if sys::signal_group(self.child.id(), signal).is_err() {
                break;
            }
            let deadline = Instant::now() + Duration::from_secs(2);
            while Instant::now() < deadline {
                if matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)) {
                    return;
                }
                thread::sleep(Duration::from_millis(10));
            }
        }
        // Reaped either way; a failure here has no one left to tell.
        let _ = self.child.wait();
    }
}
