//! The rotation of one pair's keys, as a state machine: time and what happened go in, what to do
//! next comes out. No I/O, no clock, no keys: whoever drives it carries offers between agent and
//! peer, and may be killed at any point.
//!
//! The order is make before break, seen from the gateway that initiates:
//!
//! 1. [`Prepare`](Action::Prepare): our agent chooses SPI and key and installs the inbound SA
//! 2. [`Offer`](Action::Offer): the peer does the same, installs its outbound SA (unused) from our
//!    offer, and answers with its own: from here on both can open what the other will seal
//! 3. [`InstallOutbound`](Action::InstallOutbound), unused
//! 4. [`Switch`](Action::Switch): what we send goes under the new key
//! 5. [`AskSwitch`](Action::AskSwitch): what the peer sends does
//! 6. [`Observe`](Action::Observe), once what was in flight is out: a packet came under the new key,
//!    or the pair is idle
//! 7. [`RetireOutbound`](Action::RetireOutbound), and [`AskRetire`](Action::AskRetire)
//! 8. after the overlap, [`RetireInbound`](Action::RetireInbound)
//!
//! Until 7 everything is undone in reverse order when a step fails for good; from 7 on there is
//! only forward. Every action may be repeated, so that after a restart [`Rotation::resume`] begins
//! at 1 with the epoch that was under way, and what has been done is done again without effect.
//!
//! The other side answers with [`answer_offer`] and [`answer()`], and [`Responder`] remembers when to
//! do what is left. Where both initiate, [`settle`] says whose rotation it is. What either needs to
//! know is the [`Standing`] that its agent lists.
//!
//! Where people carry the offers, [`Rotation::manual`] ends after 1 with an offer to export, and
//! [`Rotation::imported`] goes on at 3 with the peer's.

mod answer;
mod initiator;
mod plan;
mod responder;
mod standing;
#[cfg(test)]
mod tests;

pub use answer::{Ask, Disagreement, answer, answer_offer};
pub use initiator::{Rotation, Start};
pub use plan::{FirstKeys, StepPlan, steps};
pub use responder::{Contest, Due, OfferVerdict, Presence, Responder, settle, weigh_offer};
pub use standing::{Sas, Standing};

use std::time::Instant;

use crate::Epoch;

/// What to do now. Answer each with [`Rotation::done`] or [`Rotation::failed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Agent: choose SPI and key, install the inbound SA.
    Prepare(Epoch),
    /// Peer: take our offer, answer with its own.
    Offer(Epoch),
    /// Agent: install the outbound SA from the peer's offer.
    InstallOutbound(Epoch),
    /// Agent: send under this epoch from now on.
    Switch(Epoch),
    /// Peer: the same.
    AskSwitch(Epoch),
    /// Agent: how many packets has the inbound SA opened? See [`Rotation::observed`].
    Observe(Epoch),
    /// Agent: remove the outbound SA.
    RetireOutbound(Epoch),
    /// Peer: retire everything older than this epoch.
    AskRetire(Epoch),
    /// Agent: remove the inbound SA.
    RetireInbound(Epoch),
    /// Peer: go back to what was before this epoch, and forget it.
    AskAbort(Epoch),
    /// Agent: remove what there is of it.
    Discard(Epoch),
    /// Nothing, until then.
    Wait(Instant),
    /// It is over.
    End(Outcome),
}

impl Action {
    /// The step's name in progress reports.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Prepare(_) => "prepare",
            Self::Offer(_) => "offer",
            Self::InstallOutbound(_) => "install outbound",
            Self::Switch(_) => "switch",
            Self::AskSwitch(_) => "peer switches",
            Self::Observe(_) => "observe",
            Self::RetireOutbound(_) => "retire outbound",
            Self::AskRetire(_) => "peer retires",
            Self::RetireInbound(_) => "retire inbound",
            Self::AskAbort(_) => "peer undoes",
            Self::Discard(_) => "discard",
            Self::Wait(_) => "wait",
            Self::End(_) => "end",
        }
    }
}

/// How a rotation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The new epoch is the only one.
    Rotated {
        /// The new one.
        epoch: Epoch,
    },
    /// The old epoch is in use at both sides, and nothing of the new one is left.
    Undone {
        /// What was in use before and is; `None`: the pair had no keys, and has none.
        stands: Option<Epoch>,
    },
    /// Something could neither be finished nor undone, and is to be tried again: the pair's old
    /// and new SAs are installed, so that nothing is lost meanwhile.
    Halfway {
        /// The new epoch.
        epoch: Epoch,
    },
    /// Our offer is ready to be carried to the peer by hand. Nothing is undone: it waits for
    /// [`Rotation::imported`], or for the agent to be told to discard it.
    Exported {
        /// The new epoch.
        epoch: Epoch,
    },
    /// The peer initiates too and has the lower id: its rotation is the one that counts, and it
    /// will offer this epoch or a higher one. What we prepared is used for that. Keep a
    /// [`Responder`] for it, in case that the peer falls silent.
    Yielded,
    /// The peer has had higher epochs, or has undone this one: begin again above, with
    /// [`Standing::renewed`]. Nothing may be discarded because of this: an offer that came late
    /// is stale too, and the peer may be sending under the very epoch. What is left goes with the
    /// next rotation.
    Stale {
        /// The peer's highest.
        highest: Epoch,
    },
}

/// Whether trying again may help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No answer, or busy: the action is repeated until its step's time is up.
    Transient,
    /// Repeating it would be answered the same.
    Final,
}

/// What the peer answered to an offer, when it was not its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Objection {
    /// It initiates itself and goes first.
    Mine,
    /// It has had higher epochs.
    Stale {
        /// Its highest.
        highest: Epoch,
    },
}
