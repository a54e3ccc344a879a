//! A program that is talked to: lines go to its stdin when the scenario says so, and what it prints
//! (stdout and stderr together) is watched in a file.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

use crate::scene::{Scene, wait_for};

/// A started program; dropping it ends it.
pub(crate) struct Dialogue {
    child: Child,
    input: Option<ChildStdin>,
    log: PathBuf,
}

impl Dialogue {
    /// Starts `command`; its output goes to `NAME.log` of the scene.
    pub(crate) fn start(scene: &Scene, name: &str, command: &mut Command) -> Result<Self> {
        let log = scene.path(&format!("{name}.log"));
        let output = File::create(&log)?;
        let mut child = command
            .current_dir(&scene.folder)
            .stdin(Stdio::piped())
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(0)
            .spawn()
            .with_context(|| format!("{command:?}"))?;
        let input = child.stdin.take();
        Ok(Self { child, input, log })
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), signal)?)
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Writes to its stdin, in one piece.
    pub(crate) fn say(&mut self, text: impl AsRef<[u8]>) -> Result<()> {
        let input = self.input.as_mut().context("its stdin is closed")?;
        input.write_all(text.as_ref()).and_then(|()| input.flush()).with_context(|| self.said())
    }

    /// Ends its stdin.
    pub(crate) fn hush(&mut self) {
        self.input = None;
    }

    /// What it printed so far.
    pub(crate) fn said(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// How often it printed this so far.
    pub(crate) fn count(&self, text: &str) -> usize {
        self.said().matches(text).count()
    }

    /// Waits until it has printed this.
    pub(crate) fn wait_for(&self, text: &str) -> Result<()> {
        self.wait_for_times(text, 1)
    }

    /// Waits until it has printed this so many times.
    pub(crate) fn wait_for_times(&self, text: &str, times: usize) -> Result<()> {
        wait_for(&format!("\"{text}\""), || Ok((self.count(text) >= times).then_some(())))
            .with_context(|| self.said())
    }

    /// Waits until it ends by itself.
    pub(crate) fn wait(&mut self) -> Result<ExitStatus> {
        wait_for("end of the program", || Ok(self.child.try_wait()?)).with_context(|| self.said())
    }
}

impl Drop for Dialogue {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
