//! A stream: one party's one media section while it has sockets of ours. It remembers what the
//! worker was last told, so that the next plan says only what changed.
//!
//! Until both legs' protection is settled nothing is relayed: a leg that wants SRTP has no key
//! before the answer, and sending it anything in clear would be worse than silence.

use ng::request::EndpointLearning;
use srtp::{Profile, Weaknesses};

use crate::relay::command::{PortPair, Remote, StreamIndex, StreamPlan};
use crate::relay::key_plan::{ReceivePlan, SendPlan, SrtpKey, Terms, Transition};

use super::crypto::{LocalCrypto, PeerCrypto};
use super::mux::Settled;
use super::ports::LocalPorts;
use super::terms;

/// One party's one media section, with its sockets.
#[derive(Debug)]
pub(super) struct Stream {
    /// Where its sockets are.
    pub(super) ports: LocalPorts,
    /// The stream its packets go to.
    pub(super) peer: Option<StreamIndex>,
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
    /// What the operator was told that the protection lacks.
    told: Weaknesses,
    ended: bool,
    news: News,
}

/// How a leg is protected.
#[derive(Debug)]
enum Protection {
    /// SRTP was asked for and no key is agreed.
    Unsettled,
    /// Plain RTP.
    Clear,
    /// SDES.
    Srtp(Box<SdesKeys>),
    /// SRTP under keys that the parties share, passed as it is; `local` is the other party's.
    Shared(Box<SdesKeys>),
}

/// Both directions' keys of an SRTP leg.
#[derive(Debug)]
pub(super) struct SdesKeys {
    /// The keys the party protects with.
    pub(super) peer: PeerCrypto,
    /// Our own.
    pub(super) local: LocalCrypto,
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
            peer: None,
            learning: EndpointLearning::Heuristic,
            strict_source: true,
            mux: Settled::TwoPorts,
            remote: None,
            answered: false,
            protection: Protection::Unsettled,
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
        self.peer = None;
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
        }
    }

    /// Whether packets may go from this leg to the other: either both open and seal, or each
    /// holds exactly the other's key. The worker takes a shared leg for plain RTP, so joined to
    /// anything else it would let clear media through to an SRTP party.
    pub(super) fn mirrors(&self, other: &Self) -> bool {
        match (&self.protection, &other.protection) {
            (Protection::Shared(here), Protection::Shared(there)) => {
                there.peer.unnamed() == Some(&here.local.key)
                    && here.peer.unnamed() == Some(&there.local.key)
            }
            (Protection::Shared(_), _) | (_, Protection::Shared(_)) => false,
            _ => true,
        }
    }

    /// Makes the leg SRTP under these keys. What stays the same keeps its index and replay state at
    /// the worker.
    pub(super) fn protect(&mut self, keys: SdesKeys) {
        let old = match &self.protection {
            Protection::Srtp(old) => Some(old),
            Protection::Clear | Protection::Unsettled | Protection::Shared(_) => None,
        };
        let old = old.filter(|old| old.local.session == keys.local.session);
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
        }
        self.protection = Protection::Srtp(Box::new(keys));
    }

    /// The key agreed towards the party: ours, or the other party's where they share.
    pub(super) fn local_crypto(&self) -> Option<&LocalCrypto> {
        match &self.protection {
            Protection::Srtp(keys) | Protection::Shared(keys) => Some(&keys.local),
            Protection::Clear | Protection::Unsettled => None,
        }
    }

    /// Our own key towards the party, where one is in force.
    pub(super) fn own_crypto(&self) -> Option<&LocalCrypto> {
        self.local_crypto().filter(|local| !local.shared)
    }

    /// The suite the party protects with, where it is SRTP.
    pub(super) fn suite(&self) -> Option<Profile> {
        match &self.protection {
            Protection::Srtp(keys) | Protection::Shared(keys) => Some(keys.peer.profile()),
            Protection::Unsettled | Protection::Clear => None,
        }
    }

    /// What the leg's protection lacks.
    pub(super) fn weaknesses(&self) -> Weaknesses {
        match &self.protection {
            Protection::Srtp(keys) | Protection::Shared(keys) => keys.weaknesses(),
            Protection::Unsettled | Protection::Clear => Weaknesses::NONE,
        }
    }

    /// The same where it is news, once.
    pub(super) fn weakened(&mut self) -> Option<Weaknesses> {
        let weaknesses = self.weaknesses();
        let before = std::mem::replace(&mut self.told, weaknesses);
        (weaknesses != before && weaknesses != Weaknesses::NONE).then_some(weaknesses)
    }

    /// Whether packets may be relayed from and to the party: its protection is agreed.
    pub(super) fn settled(&self) -> bool {
        !matches!(self.protection, Protection::Unsettled)
    }

    /// What the worker is to make of it; tells each piece of news once.
    pub(super) fn plan(&mut self) -> StreamPlan {
        let news = std::mem::take(&mut self.news);
        let open = !self.ended && self.settled();
        StreamPlan {
            sockets: news.sockets,
            peer: self.peer,
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
            agent: None,
        }
    }
}

impl SdesKeys {
    fn send_plan(&self) -> SendPlan {
        let key = SrtpKey::unnamed(self.local.key.dangerous_duplicate());
        SendPlan::Set(Box::new(key), self.terms())
    }

    /// What was agreed to be left out was held against the operator's policy when it was read.
    fn terms(&self) -> Terms {
        Terms { session: self.local.session, accepted: self.weaknesses() }
    }

    fn weaknesses(&self) -> Weaknesses {
        terms::weaknesses(self.local.key.profile(), self.local.session)
    }
}
