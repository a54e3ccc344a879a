//! What a datagram would cost: by that its thread decides when its turn is, if ever.

use super::record::{is_answer, is_client_hello};
use super::{Keying, Stage};
use crate::webrtc::effect::Place;
use crate::webrtc::plan::DtlsRole;

/// What a datagram would cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::webrtc) enum Cost {
    /// Next to nothing: of an association that is secured.
    Little,
    /// A step of a handshake under way.
    Step,
    /// The party's first answer: from now on the handshake needs a place.
    Answer,
    /// A new handshake's first flight.
    Handshake,
    /// It is of no use.
    Useless,
}

impl Keying {
    /// What `datagram` would cost.
    pub(in crate::webrtc) fn cost(&self, datagram: &[u8]) -> Cost {
        match (&self.stage, self.plan.role) {
            (Stage::Running(_, running), DtlsRole::Server)
                if running.has_another_hello(datagram) =>
            {
                if self.chances > 0 {
                    Cost::Handshake
                } else {
                    Cost::Useless
                }
            }
            (Stage::Running(_, running), role)
                if running.place() == Place::None && is_answer(datagram, role) =>
            {
                Cost::Answer
            }
            (Stage::Running(..), _) => Cost::Step,
            (Stage::Secured(..), _) => Cost::Little,
            (Stage::Idle | Stage::Over, DtlsRole::Server)
                if self.chances > 0 && is_client_hello(datagram) =>
            {
                Cost::Handshake
            }
            (Stage::Idle | Stage::Over, _) if self.before.is_some() => Cost::Little,
            (Stage::Idle | Stage::Over, _) => Cost::Useless,
        }
    }
}
