//! Consent to send (RFC 7675): every five seconds or so a check of its own on each nominated pair,
//! never retransmitted; 30 seconds without an answer end it for good.
//!
//! A lite agent asks nothing. It takes the party's checks for consent: that is all it ever hears.

use std::time::Instant;

use super::limits::{CONSENT_INTERVAL, CONSENT_LIFE};
use super::pair::{Nomination, PairState, Purpose};
use super::random::Random;
use super::session::{Context, Session};
use super::stun::Nominate;

/// How long a pair may be sent on, and when to ask again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Consent {
    expires: Instant,
    /// `None`: we are lite.
    next: Option<Instant>,
}

impl Consent {
    /// As given now by an answered check.
    pub(super) fn asked(now: Instant, random: &mut Random) -> Self {
        Self { expires: now + CONSENT_LIFE, next: Some(now + random.around(CONSENT_INTERVAL)) }
    }

    /// As given now by a check of the party's.
    pub(super) fn heard(now: Instant) -> Self {
        Self { expires: now + CONSENT_LIFE, next: None }
    }

    pub(super) fn renew(&mut self, now: Instant) {
        self.expires = now + CONSENT_LIFE;
    }

    pub(super) fn deadline(&self) -> Instant {
        self.next.map_or(self.expires, |next| next.min(self.expires))
    }
}

impl Session {
    /// Ends what has run out and asks where it is time.
    pub(super) fn keep_consent(&mut self, context: &mut Context<'_>) {
        let now = context.now;
        for index in 0..self.pairs.len() {
            let pair = &mut self.pairs[index];
            let Some(consent) = &mut pair.consent else { continue };
            if now >= consent.expires {
                pair.state = PairState::Revoked;
                pair.nomination = Nomination::None;
                pair.timer = None;
                pair.consent = None;
            } else if consent.next.is_some_and(|next| now >= next) {
                consent.next = Some(now + context.random.around(CONSENT_INTERVAL));
                self.ask(index, Nominate::No, Purpose::Consent, context);
            }
        }
    }
}
