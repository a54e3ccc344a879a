//! One run: set up, send and receive, tear down, report.

use std::io::IsTerminal;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::cli;
use crate::control::Control;
use crate::media::{self, Progress, Schedule};
use crate::report::{self, print_table, write_hgrm, write_json};
use crate::setup::CallSetup;

/// 20 ms packets: what G.711 trunks use.
const PTIME: Duration = Duration::from_millis(20);
/// Time between set-up and the first packet, so that both threads are ready.
const LEAD: Duration = Duration::from_millis(100);

/// What a finished run says of the relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Everything came through, undamaged.
    Lossless,
    /// Something was lost or damaged.
    Lossy,
    /// The generator was the bottleneck.
    Invalid,
}

/// `loadgen run`.
pub fn run(options: &cli::Run) -> Result<Verdict> {
    let control = Control::connect(options.ng)?;
    let run = measure(control, None, &options.load, &options.output)?;
    Ok(if run.invalid_because().is_empty() { loss(&run) } else { Verdict::Invalid })
}

/// Runs `load` through the relay behind `control` and reports it.
pub(crate) fn measure(
    mut control: Control,
    relay_details: Option<String>,
    load: &cli::Load,
    output: &cli::Output,
) -> Result<report::Run> {
    control.ping()?;
    let bar = progress_bar(load, output);
    let mut setup = CallSetup::new(&mut control, load)?;
    let made = (0..load.calls).try_for_each(|_| {
        bar.set_message("setting up");
        setup.add_call()
    });
    let (calls, mut established) = setup.finish();
    let measured = made.and_then(|()| {
        let flows = 2 * load.calls;
        let schedule = Schedule::starting_in(LEAD, flows, PTIME, load.duration);
        media::run(calls, &schedule, |progress| show(&bar, &schedule, progress))
    });
    bar.finish_and_clear();
    // Calls are ended also when something failed: a shared relay must not keep them.
    let ended = established.end(&mut control);
    let run = report::Run {
        relay: control.address().to_string(),
        relay_details,
        calls: load.calls as usize,
        seconds: load.duration.as_secs_f64(),
        ptime_ms: PTIME.as_millis() as u64,
        profile: load.profile.to_string(),
        setup_ns: established.setup_ns,
        measured: measured?,
    };
    ended.context("ending the calls")?;
    publish(&run, output)?;
    Ok(run)
}

/// What came through, whoever was the bottleneck.
pub(crate) fn loss(run: &report::Run) -> Verdict {
    if run.is_lossless() { Verdict::Lossless } else { Verdict::Lossy }
}

fn publish(run: &report::Run, output: &cli::Output) -> Result<()> {
    if !output.quiet {
        print_table(run);
    }
    if let Some(path) = &output.json {
        write_json(run, path)?;
    }
    if let Some(prefix) = &output.hgrm {
        for path in write_hgrm(run, prefix)? {
            eprintln!("wrote {}", path.display());
        }
    }
    Ok(())
}

/// Per mille of the schedule: finer than a terminal is wide.
const BAR_STEPS: u64 = 1000;

fn progress_bar(load: &cli::Load, output: &cli::Output) -> ProgressBar {
    let bar = ProgressBar::new(BAR_STEPS);
    if output.quiet || !std::io::stderr().is_terminal() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
        if !output.quiet {
            eprintln!("{} calls, {:.0} s …", load.calls, load.duration.as_secs_f64());
        }
    }
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {percent:>3} %  {msg}") {
        bar.set_style(style);
    }
    bar
}

fn show(bar: &ProgressBar, schedule: &Schedule, progress: &Progress) {
    bar.set_position((schedule.fraction() * BAR_STEPS as f64) as u64);
    bar.set_message(format!(
        "sent {}  received {}  of {}",
        progress.sent.load(Ordering::Relaxed),
        progress.received.load(Ordering::Relaxed),
        schedule.total()
    ));
}
