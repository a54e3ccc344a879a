//! What control is told of a key's limits: each one once, while it lasts.
//!
//! The packet path only notes that a limit was met; the worker's scan tells control, and looks
//! whether the party has gone on to a fresh key, whose limits would be news again.

use srtp::KeyState;

use super::command::KeyLimit;
use super::drop_reason::DropReason;

/// The limit of a direction's key that was met last, and whether control knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Notice {
    /// None.
    Below,
    /// This one; the next scan tells.
    Met(KeyLimit),
    /// This one, as control knows.
    Told(KeyLimit),
}

impl Notice {
    /// A packet was opened or protected, or refused.
    pub(super) fn note(&mut self, outcome: &Result<(usize, KeyState), DropReason>) {
        *self = match (outcome, *self) {
            (Ok((_, KeyState::SoftLimit)), Self::Below) => Self::Met(KeyLimit::Soft),
            (Err(DropReason::KeyExhausted), Self::Below | Self::Told(KeyLimit::Soft)) => {
                Self::Met(KeyLimit::Hard)
            }
            _ => return,
        };
    }

    /// What to tell, if anything.
    pub(super) fn news(self) -> Option<KeyLimit> {
        match self {
            Self::Met(limit) => Some(limit),
            Self::Below | Self::Told(_) => None,
        }
    }

    /// Control knows.
    pub(super) fn told(&mut self) {
        if let Self::Met(limit) = *self {
            *self = Self::Told(limit);
        }
    }

    /// The key in use now is in this state.
    pub(super) fn look_again(&mut self, state: KeyState) {
        if matches!((*self, state), (Self::Told(_), KeyState::Fresh)) {
            *self = Self::Below;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_is_news_once_until_a_fresh_key_is_in_use() {
        let (soft, hard) = (Ok((0, KeyState::SoftLimit)), Err(DropReason::KeyExhausted));
        let mut notice = Notice::Below;
        for (outcome, expected) in [(&soft, KeyLimit::Soft), (&hard, KeyLimit::Hard)] {
            notice.note(&Ok((0, KeyState::Fresh)));
            notice.note(outcome);
            assert_eq!(notice.news(), Some(expected));
            notice.told();
            notice.note(outcome);
            notice.note(&soft);
            notice.look_again(KeyState::SoftLimit);
            assert_eq!(notice, Notice::Told(expected));
        }
        notice.look_again(KeyState::Fresh);
        notice.note(&soft);
        assert_eq!(notice.news(), Some(KeyLimit::Soft));
    }
}
