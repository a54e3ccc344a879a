//! How a leg is protected, and the keys where they are ours to know.
//!
//! A leg that wants SRTP is [`Protection::Unsettled`] until it is agreed how, and nothing is relayed
//! over it. [`Protection::Dtls`] is settled at once: its keys go from the agents to the worker, which
//! drops what needs them until they come. It is never clear.

use srtp::{Lifetimes, Profile, Weaknesses};

use crate::relay::key_plan::{SendPlan, Terms};

use super::crypto::{LocalCrypto, PeerCrypto};
use super::dtls::Association;
use super::keying::Keying;
use super::terms;

/// How a leg is protected.
#[derive(Debug)]
pub(super) enum Protection {
    /// SRTP was asked for and no key is agreed.
    Unsettled,
    /// Plain RTP.
    Clear,
    /// SDES.
    Srtp(Box<SdesKeys>),
    /// SRTP under keys that the parties share, passed as it is; `local` is the other party's.
    Shared(Box<SdesKeys>),
    /// DTLS-SRTP.
    Dtls(Box<Association>),
}

/// Both directions' keys of an SRTP leg.
#[derive(Debug)]
pub(super) struct SdesKeys {
    /// The keys the party protects with.
    pub(super) peer: PeerCrypto,
    /// Our own.
    pub(super) local: LocalCrypto,
}

impl Protection {
    /// Whether packets may be relayed from and to the party: its protection is agreed.
    pub(super) fn is_settled(&self) -> bool {
        match self {
            Self::Unsettled => false,
            Self::Clear | Self::Srtp(_) | Self::Shared(_) => true,
            // Held before it ever began: there is nothing to bring keys.
            Self::Dtls(association) => association.role().is_some(),
        }
    }

    /// How it is keyed, where it is.
    pub(super) fn keying(&self) -> Option<Keying> {
        match self {
            Self::Srtp(_) | Self::Shared(_) => Some(Keying::Sdes),
            Self::Dtls(_) => Some(Keying::Dtls),
            Self::Clear | Self::Unsettled => None,
        }
    }

    /// SDES keys of our own, where they are in force.
    pub(super) fn sdes(&self) -> Option<&SdesKeys> {
        match self {
            Self::Srtp(keys) => Some(keys),
            Self::Clear | Self::Unsettled | Self::Shared(_) | Self::Dtls(_) => None,
        }
    }

    /// The DTLS association, where that keys the leg.
    pub(super) fn association(&self) -> Option<&Association> {
        match self {
            Self::Dtls(association) => Some(association),
            Self::Clear | Self::Unsettled | Self::Srtp(_) | Self::Shared(_) => None,
        }
    }

    /// The key agreed towards the party by SDES: ours, or the other party's where they share.
    pub(super) fn local_crypto(&self) -> Option<&LocalCrypto> {
        match self {
            Self::Srtp(keys) | Self::Shared(keys) => Some(&keys.local),
            Self::Clear | Self::Unsettled | Self::Dtls(_) => None,
        }
    }

    /// The suite the party protects with, where SDES agreed on one.
    pub(super) fn suite(&self) -> Option<Profile> {
        match self {
            Self::Srtp(keys) | Self::Shared(keys) => Some(keys.peer.profile()),
            Self::Unsettled | Self::Clear | Self::Dtls(_) => None,
        }
    }

    /// What it lacks.
    pub(super) fn weaknesses(&self) -> Weaknesses {
        match self {
            Self::Srtp(keys) | Self::Shared(keys) => keys.weaknesses(),
            Self::Unsettled | Self::Clear | Self::Dtls(_) => Weaknesses::NONE,
        }
    }

    /// Whether packets may go from a leg of this protection to one of the other: either both open
    /// and seal, or each holds exactly the other's key. The worker takes a shared leg for plain
    /// RTP, so joined to anything else it would let clear media through to an SRTP party.
    pub(super) fn mirrors(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Shared(here), Self::Shared(there)) => {
                there.peer.unnamed() == Some(&here.local.key)
                    && here.peer.unnamed() == Some(&there.local.key)
            }
            (Self::Shared(_), _) | (_, Self::Shared(_)) => false,
            _ => true,
        }
    }
}

impl SdesKeys {
    /// Our keys for the worker.
    pub(super) fn send_plan(&self) -> SendPlan {
        SendPlan::Set(Box::new(self.local.keys(Lifetimes::MAX)), self.terms())
    }

    /// What was agreed to be left out was held against the operator's policy when it was read.
    pub(super) fn terms(&self) -> Terms {
        Terms { session: self.local.session, accepted: self.weaknesses() }
    }

    fn weaknesses(&self) -> Weaknesses {
        terms::weaknesses(self.local.key.profile(), self.local.session)
    }
}
