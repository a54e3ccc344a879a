//! ICE of a leg as signalling has it (RFC 8445, RFC 8839): credentials, what each side is, who
//! controls, and the candidates that we write.
//!
//! No checks here: the agents do those, and tell what came of them. An [`IceLeg`] belongs to its
//! stream; what was offered and is not in force yet ([`OwnIce`]) to the offer.
//!
//! A leg has one socket a component, so we have one host candidate for each. The other party's
//! candidates are never passed on, `optional` and `force-relay` included: media that went past us
//! would be media that nobody encrypts.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, SocketAddr};

use ng::request::IceLite;
use ng::sdp::{
    self, Candidate, CandidateKind, IceCredentials, IceDescription, IceOptions, RemoteCandidate,
};
use ring::rand::SystemRandom;

use crate::webrtc::plan::{IceAgent, IceGeneration, IcePlan, IceRole};

use super::dtls::{Connectivity, Offerer};
use super::mux::Settled;
use super::ports::LocalPorts;
use super::{Refused, token};

/// What a party said of its ICE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PeerIce {
    /// Its credentials.
    pub(super) credentials: IceCredentials,
    /// What it is.
    agent: IceAgent,
    /// Whether more candidates may come (RFC 8838), and whether it goes by RFC 8445.
    pub(super) options: IceOptions,
    /// All that it named under these credentials.
    candidates: Vec<Candidate>,
    /// It will name no more.
    complete: bool,
}

/// What a party is shown of our side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OwnIce {
    /// Ours.
    pub(super) credentials: IceCredentials,
    /// What we are towards this party.
    pub(super) agent: IceAgent,
    /// What our candidates pass for.
    pub(super) kind: OwnKind,
    /// `a=ice-options`.
    pub(super) options: IceOptions,
}

/// What our side is to be.
#[derive(Clone, Copy)]
pub(super) struct Wish {
    pub(super) agent: IceAgent,
    pub(super) kind: OwnKind,
    pub(super) options: IceOptions,
}

/// What our candidates are called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OwnKind {
    Host,
    /// `force-relay`: a party that prefers direct paths takes every other one first.
    Relay,
}

/// A leg's ICE.
#[derive(Clone, Debug)]
pub(super) struct IceLeg {
    /// What the party was shown.
    pub(super) own: OwnIce,
    /// What the party said, once it has.
    pub(super) peer: Option<PeerIce>,
    /// Whether we nominate, as far as signalling says.
    role: IceRole,
}

/// The pair that ICE chose: of the RTP component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Selected {
    /// Ours.
    pub(super) local: SocketAddr,
    /// The party's.
    pub(super) remote: SocketAddr,
}

impl PeerIce {
    /// A party's words, where it speaks ICE and saw no mismatch (RFC 8839 section 5.3).
    pub(super) fn of(said: &IceDescription) -> Option<Self> {
        let credentials = said.credentials().filter(|_| !said.mismatch)?;
        Some(Self {
            credentials,
            agent: if said.lite { IceAgent::Lite } else { IceAgent::Full },
            options: said.options,
            candidates: said.candidates.clone(),
            // Who does not trickle has said all.
            complete: said.end_of_candidates || !said.options.trickle,
        })
    }

    /// What a party says with these words after `before`: candidates named under the same
    /// credentials stay, trickled ones among them.
    pub(super) fn after(mut self, before: Option<&Self>) -> Self {
        let Some(before) = before.filter(|before| before.credentials == self.credentials) else {
            return self;
        };
        let said = std::mem::replace(&mut self.candidates, before.candidates.clone());
        self.complete |= before.complete;
        self.add(said);
        self
    }

    /// Takes trickled candidates; `false`: they are of another generation (RFC 8838 section 8),
    /// late, or ahead of its offer.
    #[must_use]
    pub(super) fn trickle(&mut self, said: &IceDescription) -> bool {
        if said.credentials().is_some_and(|credentials| credentials != self.credentials) {
            return false;
        }
        self.add(said.candidates.iter().cloned());
        self.complete |= said.end_of_candidates;
        true
    }

    fn add(&mut self, said: impl IntoIterator<Item = Candidate>) {
        for candidate in said {
            let same = |known: &Candidate| {
                (known.component, known.address) == (candidate.component, candidate.address)
            };
            let is_new = !self.candidates.iter().any(same);
            if is_new && self.candidates.len() < CANDIDATES_MAX {
                self.candidates.push(candidate);
            }
        }
    }
}

impl IceLeg {
    /// A leg whose party has been offered ICE and has said nothing yet. Were it lite, the answer
    /// would say so.
    pub(super) fn offered(own: OwnIce) -> Self {
        let role = role(own.agent, IceAgent::Full, Offerer::Us);
        Self { own, peer: None, role }
    }

    /// A leg after the party has spoken. RFC 8445 section 9: a restart keeps the roles, unless
    /// what a side is has changed.
    pub(super) fn agreed(
        own: OwnIce,
        peer: PeerIce,
        offerer: Offerer,
        before: Option<&Self>,
    ) -> Self {
        let same_sides = |before: &&Self| {
            let peers = before.peer.as_ref().map(|peer| peer.agent);
            before.own.agent == own.agent && peers == Some(peer.agent)
        };
        let role = match before.filter(same_sides) {
            Some(before) => before.role,
            None => role(own.agent, peer.agent, offerer),
        };
        Self { own, peer: Some(peer), role }
    }

    /// Whether the party's words restart ICE (RFC 8445 section 9).
    pub(super) fn connectivity(before: Option<&Self>, now: Option<&PeerIce>) -> Connectivity {
        let before = before.and_then(|leg| leg.peer.as_ref());
        match (before, now) {
            (Some(before), Some(now)) if before.credentials != now.credentials => {
                Connectivity::Restarted
            }
            _ => Connectivity::Kept,
        }
    }

    /// Where the party said that it is.
    pub(super) fn named(&self) -> impl Iterator<Item = SocketAddr> {
        let candidates = self.peer.iter().flat_map(|peer| &peer.candidates);
        candidates.map(|candidate| candidate.address)
    }

    /// Whether we nominate.
    pub(super) fn role(&self) -> IceRole {
        self.role
    }

    /// What the party is, once it has said.
    pub(super) fn peer_agent(&self) -> Option<IceAgent> {
        self.peer.as_ref().map(|peer| peer.agent)
    }

    /// What the agents are to make of it.
    pub(super) fn plan(&self, generation: IceGeneration) -> IcePlan {
        let peer = self.peer.as_ref();
        IcePlan {
            generation,
            local: self.own.credentials.clone(),
            remote: peer.map(|peer| peer.credentials.clone()),
            agent: self.own.agent,
            peer: peer.map_or(IceAgent::Full, |peer| peer.agent),
            role: self.role,
            candidates: peer.map(|peer| peer.candidates.clone()).unwrap_or_default(),
            complete: peer.is_some_and(|peer| peer.complete),
        }
    }

    /// The party's addresses of the pair chosen, for our offer: who controls says them, so that the
    /// answerer knows which pair is meant (RFC 8839 section 4.4.1.2.2). Only where one component
    /// is all: of RTCP's pair we are not told.
    pub(super) fn remote_candidates(
        &self,
        selected: Option<Selected>,
        mux: Settled,
    ) -> Vec<RemoteCandidate> {
        let known = self.role == IceRole::Controlling && mux == Settled::OnePort;
        let selected = selected.filter(|_| known);
        selected
            .map(|pair| RemoteCandidate { component: RTP, address: pair.remote })
            .into_iter()
            .collect()
    }
}

impl OwnIce {
    /// What to show next: what the party has seen, else new credentials. RFC 8445 section 9: what
    /// an agent is changes with a restart only.
    pub(super) fn next(
        seen: Option<&Self>,
        Wish { agent, kind, options }: Wish,
        random: &SystemRandom,
    ) -> Result<Self, Refused> {
        let credentials = match seen.filter(|own| own.agent == agent) {
            Some(own) => own.credentials.clone(),
            None => token::ice_credentials(random)?,
        };
        Ok(Self { credentials, agent, kind, options })
    }

    /// As it is written for a leg with these ports.
    pub(super) fn written(&self, ports: &LocalPorts, mux: Settled) -> sdp::LocalIce {
        let mut candidates = vec![self.candidate(RTP, ports.rtp())];
        if mux == Settled::TwoPorts {
            candidates.push(self.candidate(RTCP, ports.rtcp()));
        }
        sdp::LocalIce {
            credentials: self.credentials.clone(),
            options: self.options,
            candidates,
            remote_candidates: Vec::new(),
            // We have no more than these; who trickles wants to be told (RFC 8838 section 13).
            end_of_candidates: self.options.trickle,
        }
    }

    fn candidate(&self, component: u8, address: SocketAddr) -> Candidate {
        let (kind, preference, related) = match self.kind {
            OwnKind::Host => (CandidateKind::Host, HOST_PREFERENCE, None),
            OwnKind::Relay => (CandidateKind::Relayed, RELAY_PREFERENCE, Some(address)),
        };
        Candidate {
            foundation: foundation(kind, address.ip()),
            component,
            // RFC 8445 section 5.1.2.1, with one address the highest local preference.
            priority: preference << 24 | 0xffff << 8 | (256 - u32::from(component)),
            address,
            kind,
            related,
        }
    }
}

/// What `ICE-lite` of an offer makes us towards the answerer, where it says.
pub(super) fn towards_answerer(lite: Option<IceLite>) -> Option<IceAgent> {
    match lite? {
        IceLite::Forward | IceLite::Both => Some(IceAgent::Lite),
        IceLite::Backward => None,
        IceLite::Off => Some(IceAgent::Full),
    }
}

/// What `ICE-lite` of an offer makes us towards the offerer, where it says.
pub(super) fn towards_offerer(lite: Option<IceLite>) -> Option<IceAgent> {
    match lite? {
        IceLite::Backward | IceLite::Both => Some(IceAgent::Lite),
        IceLite::Forward => None,
        IceLite::Off => Some(IceAgent::Full),
    }
}

/// RFC 8445 section 6.1.1: the full one controls; of two alike, who offered.
fn role(own: IceAgent, peer: IceAgent, offerer: Offerer) -> IceRole {
    match (own, peer, offerer) {
        (IceAgent::Full, IceAgent::Lite, _) => IceRole::Controlling,
        (IceAgent::Lite, IceAgent::Full, _) => IceRole::Controlled,
        (_, _, Offerer::Us) => IceRole::Controlling,
        (_, _, Offerer::Party) => IceRole::Controlled,
    }
}

/// The same for the same kind and address (RFC 8445 section 5.1.1.3): 16 digits, as the incumbent's.
fn foundation(kind: CandidateKind, address: IpAddr) -> Box<str> {
    let mut hasher = DefaultHasher::new();
    (kind == CandidateKind::Host, address).hash(&mut hasher);
    format!("{:016x}", hasher.finish()).into()
}

const RTP: u8 = 1;
const RTCP: u8 = 2;

/// RFC 8445 section 5.1.2.2.
const HOST_PREFERENCE: u32 = 126;
const RELAY_PREFERENCE: u32 = 0;

/// Most candidates of a party that are remembered, trickled ones included: far more than any
/// host's interfaces.
const CANDIDATES_MAX: usize = 64;
