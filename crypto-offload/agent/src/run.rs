//! `offload-agent run`: engines, state and socket put together, until a signal.

use std::{
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use anyhow::Context;
use offload_agent::{EventLog, Pairs, Server, State};
use rustix::process::Signal;

use crate::{
    alone,
    cli::{Failure, RunArguments},
    log, notify, opening,
    privileges::{self, Keep},
    sys::Signals,
};

pub(crate) fn run(arguments: &RunArguments) -> Result<ExitCode, Failure> {
    log::start(&arguments.log)?;
    if arguments.supervised {
        end_with_supervisor()?;
    }
    privileges::keep_private().context("keep keys from others")?;
    privileges::allow_locking();
    let signals = Signals::catch(&[libc::SIGTERM, libc::SIGINT]).context("catch signals")?;
    privileges::lock_memory();
    // The state's lock comes first: who has it may replace the socket and the device of one who
    // died.
    let state = State::open(&arguments.places())?;
    let mut server = Server::bind(&arguments.socket, arguments.allowed())?;
    privileges::restrict(Keep::OwnNeeds).context("give up privileges")?;
    alone::claim()?;
    let engines = opening::open(&arguments.engines, &state.reservations())?;
    let events = Arc::new(EventLog::default());
    let mut pairs = Pairs::start(engines, state, Arc::clone(&events))?;
    server.accept(events)?;
    tracing::info!(socket = %arguments.socket.display(), "ready");
    notify::tell("READY=1\n");
    let stopped = stop_on(signals, server.waker())?;
    server.serve(&mut pairs, || stopped.load(Ordering::Acquire));
    notify::tell("STOPPING=1\n");
    end(&mut pairs, arguments);
    Ok(ExitCode::SUCCESS)
}

fn end(pairs: &mut Pairs, arguments: &RunArguments) {
    if arguments.flush_on_exit {
        let left = pairs.flush();
        tracing::info!(left, "ended; our SAs and policies are removed");
        return;
    }
    tracing::info!(
        "ended; SAs and policies in the kernel stay and go on working: \
         start again to look after them, with --flush-on-exit to remove them at its end"
    );
}

fn stop_on(signals: Signals, wake: impl Fn() + Send + 'static) -> Result<Arc<AtomicBool>, Failure> {
    let stopped = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stopped);
    let wait = move || {
        if let Err(error) = signals.next() {
            tracing::error!(%error, "cannot wait for signals");
        }
        flag.store(true, Ordering::Release);
        wake();
    };
    thread::Builder::new().name("signals".to_owned()).spawn(wait).context("start a thread")?;
    Ok(stopped)
}

/// A supervisor that was killed leaves nobody to restart us: its own supervisor starts anew, and
/// must not find the state taken.
fn end_with_supervisor() -> Result<(), Failure> {
    rustix::process::set_parent_process_death_signal(Some(Signal::TERM))
        .context("tie the agent to its supervisor")?;
    if rustix::process::getppid().is_none_or(|parent| parent.as_raw_nonzero().get() == 1) {
        return Err(anyhow::anyhow!("the supervisor is gone already").into());
    }
    Ok(())
}
