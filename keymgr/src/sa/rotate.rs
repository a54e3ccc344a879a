//! `keymgr sa rotate`, and how far an operation is.
//!
//! The gateway does the work: if this program ends, the rotation goes on.

use std::{collections::HashMap, io::IsTerminal};

use gateway_control::{
    Operation, OperationStarted, OperationState, PairProgress, PairSelection, RotationPlan,
    RotationRequest, path,
};
use indicatif::{ProgressBar, ProgressStyle};

use crate::{
    Failure, cli,
    gateway::Gateway,
    output,
    table::{print, table},
};

pub(super) async fn rotate(gateway: &Gateway, rotate: &cli::Rotate) -> Result<(), Failure> {
    let pairs = match (&rotate.name, &rotate.group) {
        (Some(name), _) => PairSelection::Name(name.clone()),
        (None, Some(group)) => PairSelection::Group(group.clone()),
        (None, None) => PairSelection::All,
    };
    let requested_by = std::env::var("SUDO_USER").or_else(|_| std::env::var("USER")).ok();
    let request = RotationRequest { pairs, dry_run: rotate.dry_run, requested_by };
    if rotate.dry_run {
        let plan: RotationPlan = gateway.post(path::ROTATIONS, &request).await?;
        return show_plan(gateway, &plan);
    }
    let started: OperationStarted = gateway.post(path::ROTATIONS, &request).await?;
    follow(gateway, &started.operation).await
}

fn show_plan(gateway: &Gateway, plan: &RotationPlan) -> Result<(), Failure> {
    if gateway.json() {
        return crate::print_json(plan);
    }
    for pair in &plan.pairs {
        let from = pair.from.map_or_else(|| "none".to_owned(), |epoch| epoch.to_string());
        output::line(format_args!("{}: epoch {from} → {}", pair.name, pair.to))?;
        let mut lines = table(["", "STEP", "DOES", "UNDONE BY"]);
        for (at, step) in pair.steps.iter().enumerate() {
            lines.add_row([
                (at + 1).to_string(),
                step.step.clone(),
                step.does.clone(),
                step.undo.clone(),
            ]);
        }
        print(&lines)?;
    }
    output::line(format_args!("{} pairs; nothing was changed", plan.pairs.len()))
}

/// Shows an operation until it ends.
pub(super) async fn follow(gateway: &Gateway, id: &str) -> Result<(), Failure> {
    let progress = Progress::new(gateway);
    let mut revision = 0;
    loop {
        let operation = gateway.operation(id, revision).await?;
        revision = operation.revision;
        progress.show(&operation);
        if operation.state != OperationState::Running {
            progress.end();
            return end(gateway, &operation);
        }
    }
}

fn end(gateway: &Gateway, operation: &Operation) -> Result<(), Failure> {
    if gateway.json() {
        crate::print_json(operation)?;
    } else {
        print_end(operation)?;
    }
    let failed = operation.pairs.iter().filter(|pair| pair.state == OperationState::Failed).count();
    match failed {
        0 => Ok(()),
        failed => {
            Err(Failure::undone(format!("{failed} of {} rotations failed", operation.pairs.len())))
        }
    }
}

fn print_end(operation: &Operation) -> Result<(), Failure> {
    for pair in &operation.pairs {
        match (&pair.record, &pair.detail) {
            (_, Some(detail)) if pair.state == OperationState::Failed => {
                output::line(format_args!("{}: failed: {detail}", pair.name))?;
            }
            (Some(record), _) if operation.pairs.len() <= FEW => {
                let lost =
                    record.lost.map_or_else(|| "unknown".to_owned(), |lost| lost.to_string());
                let (inbound, outbound) = record.new_spis;
                output::line(format_args!(
                    "{}: epoch {}, SPIs {inbound} in, {outbound} out, {:.2} s, packets lost: {lost}",
                    pair.name, record.to, record.seconds
                ))?;
            }
            _ => {}
        }
    }
    let done = operation.pairs.iter().filter(|pair| pair.state == OperationState::Done);
    let records = done.filter_map(|pair| pair.record.as_ref());
    let (mut count, mut lost, mut unknown) = (0, 0, 0);
    for record in records {
        count += 1;
        lost += record.lost.unwrap_or_default();
        unknown += usize::from(record.lost.is_none());
    }
    output::line(format_args!(
        "{count} of {} pairs have new keys after {:.1} s; packets lost: {lost}{}",
        operation.pairs.len(),
        operation.seconds,
        match unknown {
            0 => String::new(),
            unknown => format!(" (not known of {unknown})"),
        }
    ))
}

/// A bar on a terminal, a line for each step elsewhere, nothing with JSON.
enum Progress {
    Bar(ProgressBar),
    Lines(std::cell::RefCell<HashMap<String, String>>),
    Silent,
}

impl Progress {
    fn new(gateway: &Gateway) -> Self {
        match (gateway.json(), std::io::stderr().is_terminal()) {
            (true, _) => Self::Silent,
            (false, true) => Self::Bar(bar()),
            (false, false) => Self::Lines(std::cell::RefCell::default()),
        }
    }

    fn show(&self, operation: &Operation) {
        match self {
            Self::Silent => {}
            Self::Bar(bar) => {
                let running = |pair: &&PairProgress| pair.state == OperationState::Running;
                let ended = operation.pairs.len() - operation.pairs.iter().filter(running).count();
                bar.set_length(operation.pairs.len() as u64);
                bar.set_position(ended as u64);
                let at = operation
                    .pairs
                    .iter()
                    .find(|pair| pair.state == OperationState::Running && pair.step != WAITING);
                let at = at.map(|pair| format!("{}: {}", pair.name, pair.step));
                bar.set_message(at.unwrap_or_default());
            }
            Self::Lines(shown) if operation.pairs.len() <= FEW => {
                let mut shown = shown.borrow_mut();
                for pair in &operation.pairs {
                    let before = shown.insert(pair.name.to_string(), pair.step.clone());
                    if before.as_ref() != Some(&pair.step) {
                        eprintln!("{}: {}", pair.name, pair.step);
                    }
                }
            }
            Self::Lines(_) => {}
        }
    }

    fn end(&self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::new(0);
    // A template that does not parse would show the default bar, which is as well.
    if let Ok(style) =
        ProgressStyle::with_template("{bar:30} {pos}/{len} pairs {elapsed} {wide_msg}")
    {
        bar.set_style(style);
    }
    bar
}

/// Pairs that are shown one by one.
const FEW: usize = 20;
/// The step of a pair whose turn has not come.
const WAITING: &str = "waiting";
