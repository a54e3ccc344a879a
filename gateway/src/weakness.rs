//! What an agreement on SRTP may lack, by the names that operators read and write: in the
//! configuration, events, metrics and the admin API alike.

use srtp::{Weakness, Weaknesses};

/// Every one.
pub(crate) const ALL: [Weakness; 5] = [
    Weakness::NullCipher,
    Weakness::F8,
    Weakness::UnencryptedRtp,
    Weakness::UnencryptedRtcp,
    Weakness::UnauthenticatedRtp,
];

/// All of them together: what the incumbent accepts.
pub(crate) fn every() -> Weaknesses {
    ALL.into_iter().fold(Weaknesses::NONE, Weaknesses::with)
}

/// Those in a set.
pub(crate) fn of(set: Weaknesses) -> impl Iterator<Item = Weakness> {
    ALL.into_iter().filter(move |weakness| set.contains(*weakness))
}

/// Its name.
pub(crate) const fn name(weakness: Weakness) -> &'static str {
    match weakness {
        Weakness::NullCipher => "null-cipher",
        Weakness::F8 => "f8",
        Weakness::UnencryptedRtp => "unencrypted-rtp",
        Weakness::UnencryptedRtcp => "unencrypted-rtcp",
        Weakness::UnauthenticatedRtp => "unauthenticated-rtp",
    }
}

/// The one of this name.
pub(crate) fn named(name: &str) -> Option<Weakness> {
    ALL.into_iter().find(|weakness| self::name(*weakness) == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_weakness_has_a_name_of_its_own_and_a_place() {
        for (at, weakness) in ALL.into_iter().enumerate() {
            assert_eq!(named(name(weakness)), Some(weakness));
            assert_eq!(weakness as usize, at);
        }
        assert_eq!(of(every()).count(), ALL.len());
    }
}
