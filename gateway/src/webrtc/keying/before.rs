//! The association of an earlier epoch: until the next one is there, and for good where the party goes
//! on with it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use srtp::Profile;
use webrtc::dtls::{Association, Output};

use super::{CLOSED, Keying, Stage, send};
use crate::webrtc::effect::Effect;
use crate::webrtc::plan::DtlsRole;

/// An association of an earlier epoch.
pub(super) struct Before {
    pub(super) association: Box<Association>,
    pub(super) profile: Profile,
    pub(super) standing: Standing,
}

/// What an association of an earlier epoch is to the leg.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It serves until the next one is secured, or failed.
    Outgoing,
    /// The party may go on with it.
    Lasting,
}

impl Keying {
    /// It is there only to answer what belongs to it.
    pub(super) fn drain_before(&mut self, to: Option<SocketAddr>, out: &mut Vec<Effect>) {
        let Some(before) = &mut self.before else { return };
        loop {
            match before.association.poll() {
                Output::Transmit(bytes) => send(bytes, to, out),
                Output::Timeout(_) => return,
                Output::Failed(_) | Output::Closed => break,
                Output::Secured { .. } | Output::Sign(_) => {}
            }
        }
        let was_lasting = self.is_lasting();
        self.before = None;
        // A client's own handshake will tell what became of the leg; a server may wait for ever.
        if was_lasting && matches!(self.stage, Stage::Idle) && self.plan.role == DtlsRole::Server {
            self.over(CLOSED.to_owned(), out);
        }
    }

    /// The party did not begin anew. As a client it still may.
    pub(super) fn go_on_as_before(&mut self) {
        self.deadline = None;
        self.stage = match (self.plan.role, self.before.take()) {
            (DtlsRole::Client, Some(before)) => Stage::Secured(before.association, before.profile),
            (_, before) => {
                self.before = before;
                Stage::Idle
            }
        };
    }

    /// Whether the leg's party may go on with the association before.
    pub(super) fn is_lasting(&self) -> bool {
        self.before.as_ref().is_some_and(|before| before.standing == Standing::Lasting)
    }

    /// Until when the party may answer, where it is doubtful that it will.
    pub(super) fn patience(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Running(_, running) if self.is_lasting() && running.is_unanswered() => {
                Some(running.since() + RENEWAL_PATIENCE)
            }
            _ => None,
        }
    }
}

/// Five ClientHellos, at the intervals of [`DtlsSettings`](webrtc::dtls::DtlsSettings).
const RENEWAL_PATIENCE: Duration = Duration::from_secs(8);
