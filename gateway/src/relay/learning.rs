//! Where a party really receives: endpoint learning that a hijacker on the media port can't win.
//!
//! Signalling says where a party is; NAT makes that wrong. The relay therefore looks at where
//! packets come from, and anybody can send packets. What decides is who vouches for a source:
//!
//! 1. On an SRTP leg only a packet whose tag verified moves or confirms anything
//!    (CVE-2025-53399: an unauthenticated packet moved the leg, and media bled to its sender).
//! 2. The signalled address, or another port of the same host, takes effect at once and, after
//!    the window, for good.
//! 3. Any other source of a plain leg is heard, alone, but is sent nothing until the window has
//!    passed without a better one, unless the signalled address cannot be reached from where
//!    the source is (a private address, a public source: the party is behind NAT). It holds
//!    the leg only until a vouched source shows up.
//! 4. What is settled stays until signalling speaks again. Where that repeats the address, who
//!    was sent to before is still preferred to whoever shows up first.
//!
//! Pure functions of the state here and the packet's source; no clock is read.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use ng::request::EndpointLearning;

/// How long better sources are waited for after the first packet: the incumbent's three seconds.
pub(super) const WINDOW: Duration = Duration::from_secs(3);

/// What is known about who sent a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// An SRTP packet not opened yet: authentication will tell.
    Pending,
    /// Its SRTP tag verified.
    Authenticated,
    /// Plain RTP: nothing to verify.
    None,
}

/// What happens to packets that come from elsewhere than what was learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Elsewhere {
    /// They are dropped.
    Refused,
    /// They are relayed, and teach nothing.
    Relayed,
}

/// How well a source matches signalling; later is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Match {
    Foreign,
    SamePort,
    /// Sent to before signalling last spoke, though nobody vouched for it.
    Known,
    SameHost,
    Exact,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing heard since signalling.
    Waiting,
    /// One source is heard; a better one may replace it before `until`.
    Window { until: Instant, heard: SocketAddr, rank: Match, proof: Proof },
    /// Held by `heard`, but a vouched source would take over.
    Tentative { heard: SocketAddr },
    /// Held until signalling speaks again.
    Settled { heard: SocketAddr },
}

/// What a packet does to the endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// From elsewhere: drop it.
    Refuse,
    /// Relay it; nothing changes but what time already did.
    Relay(State),
    /// Relay it, send to its source from now on.
    Move(State),
}

/// One component's learning; where to send is beside it in the stream's hot part.
#[derive(Clone, Copy, Debug)]
pub(super) struct Learner {
    mode: EndpointLearning,
    elsewhere: Elsewhere,
    signalled: Option<SocketAddr>,
    /// Learned and vouched for before the latest signalling, which did not contradict it.
    retained: Option<SocketAddr>,
    /// The same, but not vouched for: a party behind NAT.
    known: Option<SocketAddr>,
    state: State,
}

/// Where packets for one component go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// The destination; `None` while there is none (old-style hold).
    pub(super) address: Option<SocketAddr>,
    /// Packets from `address` need no further thought.
    pub(super) confirmed: bool,
}

impl Learner {
    /// A component about which signalling has said nothing yet.
    pub(super) const fn new() -> Self {
        Self {
            mode: EndpointLearning::Heuristic,
            elsewhere: Elsewhere::Refused,
            signalled: None,
            retained: None,
            known: None,
            state: State::Waiting,
        }
    }

    /// Takes the policy of a plan; what was learned stays.
    pub(super) fn policy(&mut self, mode: EndpointLearning, elsewhere: Elsewhere) {
        self.mode = mode;
        self.elsewhere = elsewhere;
    }

    /// Signalling spoke: learning begins again. An unchanged address keeps what was learned as
    /// the destination, and as a vouched source where it had been vouched for.
    pub(super) fn signal(&mut self, endpoint: &mut Endpoint, signalled: Option<SocketAddr>) {
        let unchanged = self.signalled == signalled && signalled.is_some();
        (self.retained, self.known) = match self.state {
            _ if !unchanged => (None, None),
            State::Settled { heard } => (Some(heard), None),
            State::Window { heard, .. } | State::Tentative { heard }
                if endpoint.address == Some(heard) =>
            {
                (self.retained, Some(heard))
            }
            _ => (self.retained, self.known),
        };
        if !unchanged || self.mode == EndpointLearning::Off {
            endpoint.address = signalled;
        }
        self.signalled = signalled;
        self.state = State::Waiting;
        endpoint.confirmed = false;
    }

    /// What signalling said last.
    pub(super) fn signalled(&self) -> Option<SocketAddr> {
        self.signalled
    }

    /// Forgets all but what signalling said: others have ruled meanwhile.
    pub(super) fn begin_again(&mut self, endpoint: &mut Endpoint) {
        (self.retained, self.known) = (None, None);
        self.state = State::Waiting;
        *endpoint = Endpoint { address: self.signalled, confirmed: false };
    }

    /// May a packet from `source` go on? Asked before it is opened, so on an SRTP leg only a
    /// settled endpoint refuses; the tag decides about the rest.
    pub(super) fn admits(&self, source: SocketAddr, proof: Proof, now: Instant) -> bool {
        self.step(source, proof, now) != Step::Refuse
    }

    /// Learns from a packet that was admitted and, on an SRTP leg, authenticated.
    pub(super) fn learn(
        &mut self,
        endpoint: &mut Endpoint,
        source: SocketAddr,
        proof: Proof,
        now: Instant,
    ) {
        match self.step(source, proof, now) {
            Step::Refuse => return,
            Step::Relay(state) => self.state = state,
            Step::Move(state) => {
                self.state = state;
                endpoint.address = Some(source);
            }
        }
        if let State::Settled { heard } | State::Tentative { heard } = self.state {
            // Signalled as not receiving (zero address, old-style hold): heard, never sent to.
            if self.signalled.is_some() && self.mode != EndpointLearning::Off {
                endpoint.address = Some(heard);
            }
            endpoint.confirmed = endpoint.address == Some(heard);
        }
    }

    /// Signalling or a tag says that `source` is the party.
    pub(super) fn vouches_for(&self, source: SocketAddr) -> bool {
        match self.state {
            State::Waiting | State::Tentative { .. } => false,
            State::Window { heard, rank, proof, .. } => {
                heard == source && self.vouched(rank, proof)
            }
            State::Settled { heard } => heard == source,
        }
    }

    fn step(&self, source: SocketAddr, proof: Proof, now: Instant) -> Step {
        if self.mode == EndpointLearning::Off {
            return match (self.signalled, self.elsewhere) {
                (Some(signalled), Elsewhere::Refused) if signalled != source => Step::Refuse,
                (Some(signalled), Elsewhere::Relayed) if signalled != source => {
                    Step::Relay(self.state)
                }
                _ => Step::Relay(State::Settled { heard: source }),
            };
        }
        let state = self.at(now);
        match state {
            State::Waiting => self.first(source, proof, now),
            State::Window { heard, .. } if heard == source => match self.mode {
                EndpointLearning::Heuristic => self.heard_again(state, proof),
                _ => Step::Relay(state),
            },
            State::Window { until, rank, .. } => match self.mode {
                EndpointLearning::Heuristic if self.rank(source) > rank => {
                    self.hear(source, proof, until)
                }
                EndpointLearning::Heuristic => self.elsewhere_step(state, proof),
                _ => Step::Relay(state),
            },
            State::Tentative { heard } | State::Settled { heard } if heard == source => {
                Step::Relay(state)
            }
            State::Tentative { .. } if self.vouched(self.rank(source), proof) => {
                self.settle(source)
            }
            State::Tentative { .. } if self.known == Some(source) => {
                Step::Move(State::Tentative { heard: source })
            }
            State::Tentative { .. } | State::Settled { .. } => self.elsewhere_step(state, proof),
        }
    }

    /// The state once the time of `now` has done its part.
    fn at(&self, now: Instant) -> State {
        match self.state {
            State::Window { until, .. }
                if now >= until && self.mode == EndpointLearning::Delayed =>
            {
                State::Waiting
            }
            State::Window { until, heard, rank, proof } if now >= until => {
                if self.vouched(rank, proof) {
                    State::Settled { heard }
                } else {
                    State::Tentative { heard }
                }
            }
            state => state,
        }
    }

    fn first(&self, source: SocketAddr, proof: Proof, now: Instant) -> Step {
        match (self.mode, self.state) {
            // The window of a delayed endpoint has passed: this is the packet that counts.
            (EndpointLearning::Delayed, State::Window { .. }) => self.settle(source),
            (EndpointLearning::Delayed, _) => Step::Relay(State::Window {
                until: now + WINDOW,
                heard: source,
                rank: Match::Foreign,
                proof: Proof::None,
            }),
            (EndpointLearning::Immediate, _) => self.settle(source),
            _ => self.hear(source, proof, now + WINDOW),
        }
    }

    /// `source` becomes the one heard; whether it is also sent to depends on who vouches.
    fn hear(&self, source: SocketAddr, proof: Proof, until: Instant) -> Step {
        let rank = self.rank(source);
        if rank == Match::Exact {
            return self.settle(source);
        }
        let state = State::Window { until, heard: source, rank, proof };
        if self.signalled.is_some() && (self.vouched(rank, proof) || self.behind_nat(source)) {
            Step::Move(state)
        } else {
            Step::Relay(state)
        }
    }

    /// A key may have been set since the source was first heard: proof improves in place.
    fn heard_again(&self, state: State, proof: Proof) -> Step {
        match state {
            State::Window { until, heard, rank, proof: Proof::None | Proof::Pending }
                if proof == Proof::Authenticated =>
            {
                Step::Move(State::Window { until, heard, rank, proof })
            }
            _ => Step::Relay(state),
        }
    }

    fn settle(&self, source: SocketAddr) -> Step {
        let state = State::Settled { heard: source };
        if self.signalled.is_some() { Step::Move(state) } else { Step::Relay(state) }
    }

    fn elsewhere_step(&self, state: State, proof: Proof) -> Step {
        let settled = matches!(state, State::Settled { .. });
        match (self.elsewhere, proof) {
            // Not settled, and the tag will tell whether this is the party: let it be opened.
            (_, Proof::Pending | Proof::Authenticated) if !settled => Step::Relay(state),
            (Elsewhere::Refused, _) => Step::Refuse,
            (Elsewhere::Relayed, _) => Step::Relay(state),
        }
    }

    fn vouched(&self, rank: Match, proof: Proof) -> bool {
        proof == Proof::Authenticated || rank >= Match::SameHost
    }

    fn rank(&self, source: SocketAddr) -> Match {
        if self.retained == Some(source) {
            return Match::Exact;
        }
        match self.signalled {
            Some(signalled) if signalled == source => Match::Exact,
            Some(signalled) if signalled.ip() == source.ip() => Match::SameHost,
            _ if self.known == Some(source) => Match::Known,
            // Behind NAT the port means nothing, and a hijacker may choose his own.
            Some(signalled) if signalled.port() == source.port() && !self.behind_nat(source) => {
                Match::SamePort
            }
            _ => Match::Foreign,
        }
    }

    /// Signalling gave an address that only means something on the party's own network. Not
    /// believed where an earlier endpoint is still there to be heard from.
    fn behind_nat(&self, source: SocketAddr) -> bool {
        self.retained.is_none()
            && self.known.is_none()
            && self.signalled.is_some_and(|signalled| is_local(signalled.ip()))
            && !is_local(source.ip())
    }
}

/// Addresses that no other network can route to: RFC 1918, RFC 6598, RFC 3927, RFC 4193.
fn is_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            v4.is_private()
                || v4.is_link_local()
                || v4.is_loopback()
                || (a == 100 && b & 0xc0 == 64)
        }
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_unicast_link_local() || v6.is_loopback(),
    }
}

#[cfg(test)]
mod tests;
