//! What an agents' thread did, for metrics and the admin API: its own numbers, and a copy of them
//! for whoever asks.

use std::collections::BTreeMap;
use std::time::Instant;

use hdrhistogram::Histogram;

use super::effect::{FailureClass, HandshakeEnd, HandshakeResult};
use super::keying::KeyingState;
use super::leg::{IceState, Leg};
use super::plan::DtlsRole;

/// One thread's numbers since its start.
#[derive(Clone, Debug)]
pub(crate) struct Figures {
    /// Legs now, by where their ICE stands.
    pub(crate) ice: BTreeMap<&'static str, u64>,
    /// Legs now, by where their DTLS stands.
    pub(crate) dtls: BTreeMap<&'static str, u64>,
    /// Handshakes that ended, by how, profile and our role.
    pub(crate) handshakes: BTreeMap<Outcome, u64>,
    /// How long those took that brought keys, microseconds.
    pub(crate) handshake_time: Histogram<u64>,
    /// Under way now, with a place: the party has answered.
    pub(crate) handshaking: u64,
    /// Datagrams and clients that wait for time or a place.
    pub(crate) waiting: u64,
    /// How often handshakes had to wait for time or a place.
    pub(crate) waits: u64,
    /// Seconds during which some did.
    pub(crate) wait_seconds: f64,
    /// Seconds that handshakes took.
    pub(crate) handshake_seconds: f64,
    /// Datagrams from workers that went no further, by reason.
    pub(crate) drops: [u64; AgentDrop::COUNT],
    /// Datagrams sent.
    pub(crate) sent: u64,
    /// Of all legs that there were: checks sent, checks answered, answers, role conflicts.
    pub(crate) checks: CheckCounts,
    /// STUN messages that changed nothing, by reason.
    pub(crate) refused: BTreeMap<&'static str, u64>,
}

/// How a handshake ended, as labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Outcome {
    pub(crate) result: &'static str,
    /// Empty where there is none.
    pub(crate) profile: &'static str,
    pub(crate) role: &'static str,
}

/// What ICE agents did.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CheckCounts {
    pub(crate) sent: u64,
    pub(crate) answered: u64,
    pub(crate) answers: u64,
    pub(crate) role_conflicts: u64,
}

/// Why a datagram went no further on an agents' thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AgentDrop {
    /// From a worker, for a leg that is not here (any more).
    NoLeg,
    /// DTLS that no association waits for.
    Unexpected,
    /// Handshakes wait already, and this one would be one too many.
    Busy,
    /// To a party, without a socket to send from.
    NoSocket,
    /// The socket's buffer is full.
    WouldBlock,
    /// The kernel refused to send it.
    SendFailed,
}

impl AgentDrop {
    /// How many there are.
    pub(crate) const COUNT: usize = Self::ALL.len();

    /// All of them, in declaration order.
    pub(crate) const ALL: [Self; 6] = [
        Self::NoLeg,
        Self::Unexpected,
        Self::Busy,
        Self::NoSocket,
        Self::WouldBlock,
        Self::SendFailed,
    ];

    /// The metric label.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::NoLeg => "no_leg",
            Self::Unexpected => "unexpected",
            Self::Busy => "busy",
            Self::NoSocket => "no_socket",
            Self::WouldBlock => "would_block",
            Self::SendFailed => "send_failed",
        }
    }
}

/// Counts; see [`Figures`].
#[derive(Debug)]
pub(super) struct Tally {
    figures: Figures,
    waiting_since: Option<Instant>,
}

impl Tally {
    /// Nothing yet.
    pub(super) fn new() -> Self {
        Self { figures: Figures::default(), waiting_since: None }
    }

    pub(super) fn drop(&mut self, reason: AgentDrop) {
        self.figures.drops[reason as usize] += 1;
    }

    pub(super) fn sent(&mut self) {
        self.figures.sent += 1;
    }

    pub(super) fn handshake(&mut self, end: HandshakeEnd) {
        if matches!(end.result, HandshakeResult::Secured(_)) {
            self.figures.handshake_time.saturating_record(end.took.as_micros() as u64);
        }
        *self.figures.handshakes.entry(end.into()).or_default() += 1;
    }

    pub(super) fn step(&mut self, seconds: f64) {
        self.figures.handshake_seconds += seconds;
    }

    /// So many wait from now on.
    pub(super) fn waiting(&mut self, count: usize, now: Instant) {
        self.figures.waiting = count as u64;
        match (self.waiting_since, count) {
            (None, 1..) => {
                self.waiting_since = Some(now);
                self.figures.waits += 1;
            }
            (Some(since), _) => {
                self.figures.wait_seconds += now.saturating_duration_since(since).as_secs_f64();
                self.waiting_since = (count > 0).then_some(now);
            }
            (None, 0) => {}
        }
    }

    /// What its agents counted, before a leg goes.
    pub(super) fn settle(&mut self, leg: &Leg) {
        self.figures.add(leg);
    }

    /// A copy, with the legs that there are.
    pub(super) fn figures<'a>(
        &self,
        handshaking: usize,
        legs: impl Iterator<Item = &'a Leg>,
    ) -> Figures {
        let mut figures = self.figures.clone();
        figures.handshaking = handshaking as u64;
        figures.ice = ICE_STATES.into_iter().map(|state| (ice_name(state), 0)).collect();
        figures.dtls = KEYING_STATES.into_iter().map(|state| (dtls_name(state), 0)).collect();
        for leg in legs {
            figures.add(leg);
            if let Some(state) = leg.ice_state() {
                *figures.ice.entry(ice_name(state)).or_default() += 1;
            }
            if let Some(state) = leg.keying_state() {
                *figures.dtls.entry(dtls_name(state)).or_default() += 1;
            }
        }
        figures
    }
}

impl Figures {
    fn add(&mut self, leg: &Leg) {
        let Some(counters) = leg.ice_counters() else { return };
        self.checks.sent += counters.checks_sent;
        self.checks.answered += counters.checks_answered;
        self.checks.answers += counters.answers;
        self.checks.role_conflicts += counters.role_conflicts;
        for refusal in webrtc::ice::Refusal::ALL {
            *self.refused.entry(refusal.name()).or_default() +=
                u64::from(counters.refused(refusal));
        }
    }
}

impl Default for Figures {
    fn default() -> Self {
        #[expect(clippy::expect_used, reason = "bounds and precision are constants")]
        let handshake_time =
            Histogram::new_with_bounds(1, LONGEST_HANDSHAKE, 2).expect("valid bounds");
        Self {
            ice: BTreeMap::new(),
            dtls: BTreeMap::new(),
            handshakes: BTreeMap::new(),
            handshake_time,
            handshaking: 0,
            waiting: 0,
            waits: 0,
            wait_seconds: 0.0,
            handshake_seconds: 0.0,
            drops: [0; AgentDrop::COUNT],
            sent: 0,
            checks: CheckCounts::default(),
            refused: BTreeMap::new(),
        }
    }
}

impl From<HandshakeEnd> for Outcome {
    fn from(end: HandshakeEnd) -> Self {
        let role = match end.role {
            DtlsRole::Client => "client",
            DtlsRole::Server => "server",
        };
        let (result, profile) = match end.result {
            HandshakeResult::Secured(profile) => ("secured", profile.name()),
            HandshakeResult::Failed(class) => (FailureClass::name(class), ""),
            HandshakeResult::Abandoned => ("abandoned", ""),
        };
        Self { result, profile, role }
    }
}

fn ice_name(state: IceState) -> &'static str {
    match state {
        IceState::New => "new",
        IceState::Checking => "checking",
        IceState::Connected => "connected",
        IceState::Lost => "lost",
        IceState::Failed => "failed",
    }
}

fn dtls_name(state: KeyingState) -> &'static str {
    match state {
        KeyingState::Waiting => "waiting",
        KeyingState::Handshaking => "handshaking",
        KeyingState::Secured => "secured",
        KeyingState::Failed => "failed",
    }
}

const ICE_STATES: [IceState; 5] =
    [IceState::New, IceState::Checking, IceState::Connected, IceState::Lost, IceState::Failed];

const KEYING_STATES: [KeyingState; 4] =
    [KeyingState::Waiting, KeyingState::Handshaking, KeyingState::Secured, KeyingState::Failed];

/// Microseconds; the longest `webrtc.handshake_timeout`.
const LONGEST_HANDSHAKE: u64 = 300_000_000;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::webrtc::effect::Place;

    #[test]
    fn each_drop_has_its_own_place_and_name() {
        let mut names = std::collections::BTreeSet::new();
        for (index, reason) in AgentDrop::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
            assert!(names.insert(reason.name()));
        }
    }

    #[test]
    fn waiting_is_counted_once_and_measured_whole() {
        let start = Instant::now();
        let mut tally = Tally::new();
        let after = |seconds| start + Duration::from_secs(seconds);
        for (count, seconds) in [(0, 0), (3, 1), (5, 2), (0, 4), (1, 10), (0, 11)] {
            tally.waiting(count, after(seconds));
        }
        let figures = tally.figures(0, std::iter::empty());
        assert_eq!((figures.waits, figures.waiting), (2, 0));
        assert!((figures.wait_seconds - 4.0).abs() < 1e-9);
    }

    #[test]
    fn only_handshakes_that_brought_keys_have_a_time() {
        let mut tally = Tally::new();
        let end = |result| HandshakeEnd {
            result,
            role: DtlsRole::Server,
            took: Duration::from_millis(5),
            place: Place::Held,
        };
        tally.handshake(end(HandshakeResult::Secured(srtp::Profile::AeadAes256Gcm)));
        tally.handshake(end(HandshakeResult::Failed(FailureClass::TimedOut)));
        let figures = tally.figures(0, std::iter::empty());
        assert_eq!(figures.handshake_time.len(), 1);
        let results: Vec<_> = figures.handshakes.keys().map(|one| one.result).collect();
        assert_eq!(results, ["secured", "timed_out"]);
    }
}
