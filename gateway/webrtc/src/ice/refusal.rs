//! Why a datagram changed nothing, and how often.

/// Why [`Agent::receive`](super::Agent::receive) took no notice of a datagram. None of them is
/// answered but [`Refusal::UnknownAttribute`], which is authentic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[repr(u8)]
pub enum Refusal {
    /// Not a Binding message of STUN, or one that does not parse.
    #[error("not a well-formed Binding message")]
    Malformed,
    /// FINGERPRINT is missing or wrong.
    #[error("FINGERPRINT is missing or wrong")]
    Fingerprint,
    /// For another agent, or from another than the answer named: stale credentials too.
    #[error("the username is not of this session")]
    UnknownUfrag,
    /// MESSAGE-INTEGRITY is missing or wrong.
    #[error("MESSAGE-INTEGRITY is missing or wrong")]
    WrongPassword,
    /// An authentic message with an attribute that must be understood and is not.
    #[error("an attribute is not understood")]
    UnknownAttribute,
    /// An answer to nothing we asked.
    #[error("answers nothing that was asked")]
    UnknownTransaction,
    /// An authentic answer that came another way than its question went (RFC 8445 section 7.2.5.2.1).
    #[error("the answer came from elsewhere")]
    Asymmetric,
    /// It came to an address that is no candidate of ours.
    #[error("came to no candidate of ours")]
    UnknownLocal,
    /// More candidates, pairs or early checks than we keep.
    #[error("over a bound")]
    TooMany,
    /// On a pair that lost consent: its credentials must not be used there again (RFC 7675
    /// section 5.1).
    #[error("consent was lost on this path")]
    Revoked,
    /// The session has failed.
    #[error("the session has failed")]
    Stopped,
    /// To a lite agent: a nomination that has come before, from another address.
    #[error("a nomination repeated from elsewhere")]
    Replayed,
}

impl Refusal {
    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();

    /// All of them, in the order of [`Counters::refused`].
    pub const ALL: [Self; 12] = [
        Self::Malformed,
        Self::Fingerprint,
        Self::UnknownUfrag,
        Self::WrongPassword,
        Self::UnknownAttribute,
        Self::UnknownTransaction,
        Self::Asymmetric,
        Self::UnknownLocal,
        Self::TooMany,
        Self::Revoked,
        Self::Stopped,
        Self::Replayed,
    ];

    /// As metrics label it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Fingerprint => "fingerprint",
            Self::UnknownUfrag => "unknown_ufrag",
            Self::WrongPassword => "wrong_password",
            Self::UnknownAttribute => "unknown_attribute",
            Self::UnknownTransaction => "unknown_transaction",
            Self::Asymmetric => "asymmetric",
            Self::UnknownLocal => "unknown_local",
            Self::TooMany => "too_many",
            Self::Revoked => "revoked",
            Self::Stopped => "stopped",
            Self::Replayed => "replayed",
        }
    }
}

/// What an agent did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Checks sent, with retransmissions and those for consent.
    pub checks_sent: u64,
    /// The party's checks answered with success.
    pub checks_answered: u64,
    /// Authentic answers to our checks.
    pub answers: u64,
    /// Role conflicts seen (RFC 8445 section 7.3.1.1).
    pub role_conflicts: u64,
    /// Datagrams refused, by [`Refusal`].
    pub refused: [u32; Refusal::COUNT],
}

impl Counters {
    /// How often that was the reason.
    pub fn refused(&self, refusal: Refusal) -> u32 {
        self.refused[refusal as usize]
    }

    pub(super) fn refuse(&mut self, refusal: Refusal) {
        self.refused[refusal as usize] = self.refused[refusal as usize].saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_has_its_own_counter_and_name() {
        let mut names = std::collections::BTreeSet::new();
        for (index, refusal) in Refusal::ALL.into_iter().enumerate() {
            assert_eq!(refusal as usize, index);
            assert!(names.insert(refusal.name()));
        }
    }
}
