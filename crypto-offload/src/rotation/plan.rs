//! What a rotation would do, in words.

/// One step, for `--dry-run`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepPlan {
    /// As in progress reports.
    pub step: &'static str,
    /// What it does.
    pub does: &'static str,
    /// How it is undone.
    pub undo: &'static str,
}

/// The steps of a rotation in order; `first` keys have nothing to retire.
pub fn steps(first: FirstKeys) -> impl Iterator<Item = StepPlan> {
    let retires = |step: &&StepPlan| RETIRING.contains(&step.step);
    STEPS.iter().filter(move |step| first == FirstKeys::No || !retires(step)).copied()
}

/// Whether the pair has had keys before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstKeys {
    /// It has none.
    Yes,
    /// It has.
    No,
}

const STEPS: [StepPlan; 9] = [
    StepPlan {
        step: "prepare",
        does: "our agent chooses an SPI and a key and installs the new inbound SA",
        undo: "remove it",
    },
    StepPlan {
        step: "offer",
        does: "the peer gets SPI and key, installs both of its new SAs and answers with its own",
        undo: "the peer removes them",
    },
    StepPlan {
        step: "install outbound",
        does: "our agent installs the new outbound SA, still unused",
        undo: "remove it",
    },
    StepPlan {
        step: "switch",
        does: "our outbound traffic goes to the new SA, in one step",
        undo: "switch back to the old SA",
    },
    StepPlan { step: "peer switches", does: "so does the peer's", undo: "the peer switches back" },
    StepPlan {
        step: "observe",
        does: "wait for a packet under the new key, or for silence that means an idle pair",
        undo: "nothing to undo",
    },
    StepPlan {
        step: "retire outbound",
        does: "our agent removes the old outbound SA",
        undo: "none: from here on only forward",
    },
    StepPlan {
        step: "peer retires",
        does: "so does the peer, and both compare what was sealed with what was opened",
        undo: "none",
    },
    StepPlan {
        step: "retire inbound",
        does: "after the overlap, both remove the old inbound SA",
        undo: "none",
    },
];

const RETIRING: [&str; 2] = ["retire outbound", "retire inbound"];
