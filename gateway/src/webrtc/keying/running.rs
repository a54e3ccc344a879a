//! A handshake under way, as far as it is not libssl's: its place among others, which ClientHello it
//! answers, and alerts that may not be the party's.

use std::time::{Duration, Instant};

use super::record::{Random, hello_random, split_at_alert};
use crate::webrtc::effect::Place;

/// See the module's documentation.
#[derive(Clone, Copy)]
pub(super) struct Running {
    since: Instant,
    hold: Hold,
    /// Of the ClientHello that a server answers, once its beginning was there.
    hello: Option<Random>,
    /// In the clear from the party's address, and until when the party may go on all the same.
    alert: Option<(u8, Instant)>,
}

/// How a handshake stands to its place.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hold {
    /// The party has not answered, and so it needs none.
    Unanswered,
    /// It has one, until then.
    Held(Instant),
    /// It had one for long enough.
    GivenBack,
}

impl Running {
    pub(super) fn new(now: Instant) -> Self {
        Self { since: now, hold: Hold::Unanswered, hello: None, alert: None }
    }

    pub(super) fn since(&self) -> Instant {
        self.since
    }

    pub(super) fn place(&self) -> Place {
        match self.hold {
            Hold::Held(_) => Place::Held,
            Hold::Unanswered | Hold::GivenBack => Place::None,
        }
    }

    /// The party has not said anything but a ClientHello.
    pub(super) fn is_unanswered(&self) -> bool {
        self.hold == Hold::Unanswered
    }

    pub(super) fn take_place(&mut self, now: Instant) {
        self.hold = Hold::Held(now + PLACE_TIME);
    }

    /// Takes the place of `before`, which ends.
    pub(super) fn take_over(&mut self, before: &mut Self) {
        self.hold = std::mem::replace(&mut before.hold, Hold::GivenBack);
    }

    /// Whether its time in its place is over, as of now.
    pub(super) fn gives_place_back(&mut self, now: Instant) -> bool {
        let over = matches!(self.hold, Hold::Held(end) if end <= now);
        if over {
            self.hold = Hold::GivenBack;
        }
        over
    }

    /// Whether `datagram` begins with another ClientHello than the one that a server answers.
    pub(super) fn has_another_hello(&self, datagram: &[u8]) -> bool {
        let other = |ours: Random| hello_random(datagram).is_some_and(|random| random != ours);
        self.hello.is_some_and(other)
    }

    /// Takes note of a datagram; what of it is libssl's.
    pub(super) fn hear<'a>(&mut self, datagram: &'a [u8], now: Instant) -> &'a [u8] {
        let (rest, alert) = split_at_alert(datagram);
        if !rest.is_empty() {
            self.alert = None;
            self.hello = self.hello.or_else(|| hello_random(rest));
        }
        let alert = alert.map(|alert| (alert, now + ALERT_PATIENCE));
        self.alert = self.alert.or(alert);
        rest
    }

    /// An alert that the party has said nothing after.
    pub(super) fn alert_that_counts(&self, now: Instant) -> Option<u8> {
        self.alert.filter(|(_, end)| *end <= now).map(|(alert, _)| alert)
    }

    /// When to look at it again, but for libssl's timer.
    pub(super) fn ends(&self) -> Option<Instant> {
        let alert = self.alert.map(|(_, end)| end);
        match self.hold {
            Hold::Held(end) => alert.into_iter().chain([end]).min(),
            Hold::Unanswered | Hold::GivenBack => alert,
        }
    }
}

/// Beyond any handshake that loses no datagram twice. Whoever answers once and then falls silent
/// keeps the others out for no longer.
const PLACE_TIME: Duration = Duration::from_secs(5);

/// A party that goes on repeats itself after a second at most, as its timer is new.
const ALERT_PATIENCE: Duration = Duration::from_secs(2);
