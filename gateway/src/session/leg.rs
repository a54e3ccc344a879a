//! What a stream has of ICE and DTLS beside its protection: the plan that its agents were last
//! told, and what they have told since.
//!
//! News of the agents (`LegNews`) are kept for `query` and for later SDP, and change nothing else:
//! a leg that fails fails alone. A plan goes out only where it differs from the last.

use srtp::Profile;

use crate::webrtc::plan::{DtlsRole, Epoch, IceAgent, IceGeneration, LegNewsKind, LegPlan};

use super::ice::{IceLeg, Selected};

/// A stream's ICE, and its agents' news.
#[derive(Debug, Default)]
pub(super) struct Leg {
    /// ICE, where the leg has it or offered it.
    pub(super) ice: Option<IceLeg>,
    /// Of that ICE, or of the next where there is none: a path of an ICE that was given up must not
    /// pass for one of the next.
    pub(super) generation: IceGeneration,
    /// The party was offered ICE and answered without: it is not asked again (until `reset`).
    pub(super) declined_ice: bool,
    /// What `ICE-lite` made us, where it said.
    pub(super) agent: Option<IceAgent>,
    /// What `DTLS` would have us be, where it said.
    pub(super) preference: Option<DtlsRole>,
    /// The last association; stays over a while of SDES, so that none is ever meant twice.
    pub(super) epoch: Epoch,
    /// The pair that ICE chose.
    pub(super) selected: Option<Selected>,
    /// Why ICE came to nothing.
    ice_failed: Option<&'static str>,
    /// What became of the handshake last heard of.
    handshake: Option<(Epoch, Handshake)>,
    told: Option<Box<LegPlan>>,
}

/// What became of a handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Handshake {
    /// It agreed on this profile; or the association before goes on, which is under it.
    Secured(Profile),
    /// It failed, or the party closed the association.
    Failed(String),
}

impl Leg {
    /// What the agents are to be told where it is news: `Some(None)` that there is nothing for
    /// them any more.
    pub(super) fn news(&mut self, plan: Option<LegPlan>) -> Option<Option<LegPlan>> {
        if self.told.as_deref() == plan.as_ref() {
            return None;
        }
        self.forget_before(plan.as_ref());
        let has_ice = |plan: Option<&LegPlan>| plan.is_some_and(|plan| plan.ice.is_some());
        if has_ice(self.told.as_deref()) && !has_ice(plan.as_ref()) {
            self.generation.0 += 1;
        }
        self.told = plan.clone().map(Box::new);
        Some(plan)
    }

    /// Takes what the agents say.
    pub(super) fn hear(&mut self, kind: LegNewsKind) {
        match kind {
            LegNewsKind::Connected { local, remote } => {
                self.selected = Some(Selected { local, remote });
                self.ice_failed = None;
            }
            LegNewsKind::Disconnected { reason } => {
                self.selected = None;
                self.ice_failed = Some(reason);
            }
            LegNewsKind::Secured { epoch, profile } | LegNewsKind::Continued { epoch, profile } => {
                self.handshake = Some((epoch, Handshake::Secured(profile)));
            }
            LegNewsKind::Unsecured { epoch, reason } => {
                self.handshake = Some((epoch, Handshake::Failed(reason)));
            }
        }
    }

    /// Why ICE came to nothing, where it did.
    pub(super) fn ice_failed(&self) -> Option<&'static str> {
        self.ice_failed.filter(|_| self.ice.is_some())
    }

    /// What became of the handshake of this epoch, once heard.
    pub(super) fn handshake(&self, epoch: Epoch) -> Option<&Handshake> {
        self.handshake.as_ref().filter(|(of, _)| *of == epoch).map(|(_, handshake)| handshake)
    }

    /// The profile of the handshake of this epoch, where it is done.
    pub(super) fn agreed(&self, epoch: Epoch) -> Option<Profile> {
        match self.handshake(epoch)? {
            Handshake::Secured(profile) => Some(*profile),
            Handshake::Failed(_) => None,
        }
    }

    /// Of ICE that begins anew nothing is known yet.
    fn forget_before(&mut self, plan: Option<&LegPlan>) {
        let local = |plan: Option<&LegPlan>| Some(plan?.ice.as_ref()?.local.clone());
        if local(plan) != local(self.told.as_deref()) {
            self.selected = None;
            self.ice_failed = None;
        }
    }
}
