//! `--supervise`: a parent that does nothing but start the agent again when it is killed.
//!
//! It is there so that the gateway, which has dropped its privileges, need not: a killed agent is
//! back within milliseconds. One that ends by itself has said why, and is not started again; one
//! that dies again and again is started ever later.

use std::{
    env,
    os::unix::process::{CommandExt, ExitStatusExt},
    process::{Child, Command, ExitCode, ExitStatus},
    thread,
    time::{Duration, Instant},
};

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};

use crate::{
    cli::{Failure, RunArguments},
    log,
    privileges::{self, Keep},
    sys::Signals,
};

pub(crate) fn run(arguments: &RunArguments) -> Result<ExitCode, Failure> {
    log::start(&arguments.log)?;
    let signals = Signals::catch(&[libc::SIGTERM, libc::SIGINT, libc::SIGCHLD]);
    let signals = signals.context("catch signals")?;
    privileges::keep_private().context("keep keys from others")?;
    privileges::allow_locking();
    privileges::restrict(Keep::ChildsNeeds).context("give up privileges")?;
    let mut pause = FIRST_PAUSE;
    loop {
        let started = Instant::now();
        let mut child = start().context("start the agent")?;
        let (status, told) = wait(&mut child, &signals).context("wait for the agent")?;
        if told == Told::ToEnd || status.signal().is_none() {
            return Ok(exit_code(status));
        }
        if started.elapsed() >= LIVED {
            pause = FIRST_PAUSE;
        }
        tracing::warn!(%status, ?pause, "the agent died and is started again");
        thread::sleep(pause);
        pause = (pause * 4).min(LONGEST_PAUSE);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Nothing,
    ToEnd,
}

/// Ourselves, with the same arguments, as a child that knows it is one.
fn start() -> std::io::Result<Child> {
    let arguments = env::args_os().skip(1).filter(|argument| argument != "--supervise");
    // By the link, so that a package upgrade under a running agent changes nothing.
    Command::new("/proc/self/exe").arg0("offload-agent").args(arguments).arg("--supervised").spawn()
}

/// Hands on what we are told until the child is gone.
fn wait(child: &mut Child, signals: &Signals) -> std::io::Result<(ExitStatus, Told)> {
    let mut told = Told::Nothing;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok((status, told));
        }
        let signal = signals.next()?;
        if signal == libc::SIGCHLD {
            continue;
        }
        told = Told::ToEnd;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            kill_process(pid, Signal::TERM)?;
        }
    }
}

fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    // 128 and the signal, as shells say it.
    let killed = status.signal().and_then(|signal| u8::try_from(128 + signal).ok());
    ExitCode::from(code.or(killed).unwrap_or(1))
}

/// A killed agent is back before its peers notice.
const FIRST_PAUSE: Duration = Duration::from_millis(1);

/// One that cannot live does not fill the log.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Whoever lived this long did not die of its start, which takes some tens of milliseconds.
const LIVED: Duration = Duration::from_millis(250);
