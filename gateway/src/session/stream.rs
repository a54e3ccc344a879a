//! A stream: one party's one media section, or all of a bundle, while it has sockets of ours. It
//! remembers what the worker was last told, so that the next plan says only what changed.
//!
//! Until both legs' protection is settled nothing is relayed: a leg that wants SRTP has no key
//! before the answer, and sending it anything in clear would be worse than silence.

use std::net::SocketAddr;
use std::time::Instant;

use ng::request::EndpointLearning;
use ng::sdp::IceDescription;
use srtp::{Profile, Weaknesses};

use crate::relay::command::{AgentTap, PortPair, Remote, StreamPlan};
use crate::relay::key_plan::{ReceivePlan, SendPlan, Transition};
use crate::webrtc::plan::{LegNewsKind, LegPlan};

use super::crypto::LocalCrypto;
use super::dtls::Association;
use super::keying::Keying;
use super::leg::Leg;
use super::mux::Settled;
use super::ports::LocalPorts;
use super::protection::{Protection, SdesKeys};
use super::rekey::Renewal;

/// One party's one media section, or several that it bundles, with its sockets.
#[derive(Debug)]
pub(super) struct Stream {
    /// Where its sockets are.
    pub(super) ports: LocalPorts,
    /// How the real address is found.
    pub(super) learning: EndpointLearning,
    /// Drop packets from elsewhere once learned.
    pub(super) strict_source: bool,
    /// Where RTCP is.
    pub(super) mux: Settled,
    /// What the party signalled last, as far as the worker knows.
    pub(super) remote: Option<Remote>,
    /// An answer has been seen: what was signalled holds.
    pub(super) answered: bool,
    /// The leg's protection.
    protection: Protection,
    /// Its ICE and its agents, where it has or had any: most legs of a trunk never do.
    leg: Option<Box<Leg>>,
    /// Since when its keys are in force, and whether others are due.
    pub(super) renewal: Renewal,
    /// What the operator was told that the protection lacks.
    told: Weaknesses,
    ended: bool,
    news: News,
}

/// What the worker has not been told yet.
#[derive(Debug, Default)]
struct News {
    sockets: Option<PortPair>,
    remote: Option<Remote>,
    receive_key: Option<ReceivePlan>,
    send_key: Option<SendPlan>,
    tos: Option<u8>,
}

impl Stream {
    /// A stream over sockets just opened, relaying nothing yet.
    pub(super) fn new(ports: LocalPorts, sockets: PortPair) -> Self {
        Self {
            ports,
            learning: EndpointLearning::Heuristic,
            strict_source: true,
            mux: Settled::TwoPorts,
            remote: None,
            answered: false,
            protection: Protection::Unsettled,
            leg: None,
            renewal: Renewal::default(),
            told: Weaknesses::NONE,
            ended: false,
            news: News { sockets: Some(sockets), ..News::default() },
        }
    }

    /// Whether its sockets are closed or about to be.
    pub(super) fn ended(&self) -> bool {
        self.ended
    }

    /// Ends it: the next plan closes its sockets. Returns the ports to release, once.
    pub(super) fn end(&mut self) -> Option<LocalPorts> {
        if self.ended {
            return None;
        }
        self.ended = true;
        self.protection = Protection::Unsettled;
        self.news = News::default();
        Some(self.ports)
    }

    /// Takes the address the party signalled. The same address again is no news, so what was
    /// learned since stays.
    pub(super) fn point_to(&mut self, remote: Remote) {
        if self.remote != Some(remote) {
            self.remote = Some(remote);
            self.news.remote = Some(remote);
        }
    }

    /// Passes the address on again even if it is the same, so that learning begins anew. What was
    /// learned stays the destination until the party is heard from elsewhere (`relay::learning`).
    pub(super) fn relearn(&mut self) {
        self.news.remote = self.remote;
    }

    /// What to put into the TOS byte from now on.
    pub(super) fn mark(&mut self, tos: Option<u8>) {
        if tos.is_some() {
            self.news.tos = tos;
        }
    }

    /// Stops relaying until keys are agreed.
    pub(super) fn unsettle(&mut self) {
        self.protection = Protection::Unsettled;
    }

    /// For a party that sends from elsewhere than it receives: what it signalled is all there is.
    pub(super) fn learn_nothing(&mut self) {
        self.learning = EndpointLearning::Off;
        self.strict_source = false;
    }

    /// Makes the leg plain RTP.
    pub(super) fn clear(&mut self) {
        self.pass_as_is();
        self.protection = Protection::Clear;
    }

    /// Makes the leg SRTP that passes untouched: the party holds the other party's key. It is
    /// only ever joined to its mirror image ([`Self::mirrors`]).
    pub(super) fn share(&mut self, keys: SdesKeys) {
        self.pass_as_is();
        self.protection = Protection::Shared(Box::new(keys));
    }

    fn pass_as_is(&mut self) {
        if !matches!(self.protection, Protection::Clear | Protection::Shared(_)) {
            self.news.receive_key = Some(ReceivePlan::Clear);
            self.news.send_key = Some(SendPlan::Clear);
            self.renewal.done();
        }
    }

    /// Whether packets may go from this leg to the other.
    pub(super) fn mirrors(&self, other: &Self) -> bool {
        self.protection.mirrors(&other.protection)
    }

    /// Makes the leg DTLS-SRTP. Keys that it has go on until the handshake brings others; where it
    /// was plain nothing passes until then. So their age and mark stay, too ([`Self::hear`]).
    pub(super) fn associate(&mut self, association: Association) {
        self.leg_mut().epoch = association.epoch;
        if self.protection.association().is_none() {
            self.news.receive_key = Some(ReceivePlan::Await);
            self.news.send_key = Some(SendPlan::Await);
        }
        self.protection = Protection::Dtls(Box::new(association));
    }

    /// Makes the leg SRTP under these keys. What stays the same keeps its index and replay state at
    /// the worker.
    pub(super) fn protect(&mut self, keys: SdesKeys) {
        let old = self.protection.sdes().filter(|old| old.local.session == keys.local.session);
        let transition = match (&self.news.receive_key, old) {
            (None, Some(old)) => old.peer.keys.transition(&keys.peer.keys),
            // There are none, under these terms or at all, or the worker does not know them yet.
            (Some(_), _) | (_, None) => Transition::Replaced,
        };
        match transition {
            Transition::Same => {}
            Transition::Changed(change) => {
                self.news.receive_key = Some(ReceivePlan::Change(Box::new(change)));
            }
            Transition::Replaced => {
                let (terms, keys) = (keys.terms(), keys.peer.keys.dangerous_duplicate());
                self.news.receive_key = Some(ReceivePlan::Set(Box::new(keys), terms));
            }
        }
        if old.is_none_or(|old| old.local.key != keys.local.key) {
            self.news.send_key = Some(keys.send_plan());
            self.renewal.done();
        }
        self.protection = Protection::Srtp(Box::new(keys));
    }

    /// The key agreed towards the party by SDES: ours, or the other party's where they share.
    pub(super) fn local_crypto(&self) -> Option<&LocalCrypto> {
        self.protection.local_crypto()
    }

    /// Our own key towards the party, where one is in force.
    pub(super) fn own_crypto(&self) -> Option<&LocalCrypto> {
        self.local_crypto().filter(|local| !local.shared)
    }

    /// The DTLS association in force.
    pub(super) fn association(&self) -> Option<&Association> {
        self.protection.association()
    }

    /// How the leg is keyed, where it is.
    pub(super) fn keying(&self) -> Option<Keying> {
        self.protection.keying()
    }

    /// The suite the party protects with: what SDES agreed on, or the handshake.
    pub(super) fn suite(&self) -> Option<Profile> {
        self.protection.suite().or_else(|| self.leg()?.agreed(self.association()?.epoch))
    }

    /// What the leg's protection lacks.
    pub(super) fn weaknesses(&self) -> Weaknesses {
        self.protection.weaknesses()
    }

    /// The same where it is news, once.
    pub(super) fn weakened(&mut self) -> Option<Weaknesses> {
        let weaknesses = self.weaknesses();
        let before = std::mem::replace(&mut self.told, weaknesses);
        (weaknesses != before && weaknesses != Weaknesses::NONE).then_some(weaknesses)
    }

    /// Its ICE and its agents, where it has or had any.
    pub(super) fn leg(&self) -> Option<&Leg> {
        self.leg.as_deref()
    }

    /// The same, from now on.
    pub(super) fn leg_mut(&mut self) -> &mut Leg {
        self.leg.get_or_insert_default()
    }

    /// Takes trickled candidates of the party. What is not of the ICE in force waits in what the
    /// party said.
    pub(super) fn trickle(&mut self, said: &IceDescription) {
        let ice = self.leg.as_mut().and_then(|leg| leg.ice.as_mut());
        if let Some(peer) = ice.and_then(|ice| ice.peer.as_mut()) {
            let _ = peer.trickle(said);
        }
    }

    /// Takes what the agents say of the leg. What a handshake of the association in force brought
    /// are its keys from now on.
    pub(super) fn hear(&mut self, news: LegNewsKind, now: Instant) {
        if let LegNewsKind::Secured { epoch, .. } = news
            && self.association().is_some_and(|association| association.epoch == epoch)
        {
            self.renewal.secured(now);
        }
        if let Some(leg) = &mut self.leg {
            leg.hear(news);
        }
    }

    /// What the agents are to be told, where it is news.
    pub(super) fn leg_news(&mut self) -> Option<Option<LegPlan>> {
        let plan = self.leg_plan();
        self.leg.as_mut()?.news(plan)
    }

    fn leg_plan(&self) -> Option<LegPlan> {
        if self.ended {
            return None;
        }
        let leg = self.leg()?;
        let ice = leg.ice.as_ref().map(|ice| ice.plan(leg.generation));
        let dtls = self.association().and_then(|association| association.plan());
        (ice.is_some() || dtls.is_some()).then(|| LegPlan {
            ice,
            dtls,
            rtcp_mux: self.mux == Settled::OnePort,
            signalled: self.remote.map_or([None; 2], |remote| [remote.rtp, remote.rtcp]),
            socket: self.ports.bound,
        })
    }

    /// What goes up to the agents, on this uplink.
    fn tap(&self, uplink: u16) -> Option<AgentTap> {
        let leg = self.leg()?;
        let ice = leg.ice.as_ref();
        let family = |address: &SocketAddr| address.is_ipv4() == self.ports.bound.is_ipv4();
        let named = ice.map(|ice| ice.named().filter(family).collect()).unwrap_or_default();
        let ice = ice.is_some().then_some(leg.generation);
        let dtls = self.association().filter(|association| association.role().is_some());
        let dtls = dtls.map(|association| association.epoch);
        (!self.ended && (ice.is_some() || dtls.is_some())).then_some(AgentTap {
            uplink,
            ice,
            dtls,
            named,
        })
    }

    /// What the worker is to make of it, but for where its packets go ([`Call::plan`]); tells each
    /// piece of news once.
    ///
    /// [`Call::plan`]: super::call::Call::plan
    pub(super) fn plan(&mut self, uplink: u16) -> StreamPlan {
        let news = std::mem::take(&mut self.news);
        let open = !self.ended && self.protection.is_settled();
        StreamPlan {
            sockets: news.sockets,
            peer: None,
            routes: Vec::new(),
            remote: news.remote,
            learning: self.learning,
            strict_source: self.strict_source,
            receive_key: news.receive_key.unwrap_or(ReceivePlan::Keep),
            send_key: news.send_key.unwrap_or(SendPlan::Keep),
            rtcp_mux: self.mux == Settled::OnePort,
            // Like the incumbent we relay whatever a party sends, held or not: directions are a
            // matter between the parties, and music on hold is sent where they say otherwise.
            receive: open,
            send: open,
            tos: news.tos,
            closed: self.ended,
            agent: self.tap(uplink),
        }
    }
}
