//! Things worth saying once: a bounded set of what has been said.
//!
//! A controller sends the same unknown flag with every call; the log should have it once. When
//! the set is full nothing new is said any more, because whoever fills it may be an attacker.

use std::collections::HashSet;

use crate::request::{Ignored, Reason};

/// What has been warned about.
#[derive(Debug, Default)]
pub struct Once {
    said: HashSet<Said>,
}

/// The reason, and how name and value begin.
type Said = (Reason, Box<[u8]>, Box<[u8]>);

/// The answer of [`Once::first`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Say {
    /// Warn: it is new.
    It,
    /// Warn that further ones stay unsaid: this one filled the set.
    ItAndNoMore,
    /// Keep silent.
    Nothing,
}

impl Once {
    /// Whether to warn about this now.
    pub fn first(&mut self, ignored: &Ignored) -> Say {
        if self.said.len() >= MAX_ENTRIES {
            return Say::Nothing;
        }
        let start = |bytes: &[u8]| Box::from(&bytes[..bytes.len().min(MAX_NAME)]);
        let value = ignored.value.as_deref().unwrap_or_default();
        if !self.said.insert((ignored.reason, start(&ignored.name), start(value))) {
            return Say::Nothing;
        }
        if self.said.len() == MAX_ENTRIES { Say::ItAndNoMore } else { Say::It }
    }
}

/// Many times what a site's scripts can get wrong.
const MAX_ENTRIES: usize = 256;

/// Names and values that agree in so many bytes count as one.
const MAX_NAME: usize = 64;

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn flag(name: impl Into<Bytes>) -> Ignored {
        Ignored { name: name.into(), value: None, reason: Reason::UnknownFlag }
    }

    #[test]
    fn says_each_thing_once() {
        let mut once = Once::default();
        assert_eq!(once.first(&flag("a")), Say::It);
        assert_eq!(once.first(&flag("a")), Say::Nothing);
        assert_eq!(once.first(&flag("b")), Say::It);
        let key = Ignored { name: Bytes::from("a"), value: None, reason: Reason::UnknownKey };
        assert_eq!(once.first(&key), Say::It);
    }

    #[test]
    fn says_each_value_of_a_key_once() {
        let mut once = Once::default();
        let ice = |value| Ignored { value: Some(Bytes::from_static(value)), ..flag("ICE") };
        assert_eq!(once.first(&ice(b"lite")), Say::It);
        assert_eq!(once.first(&ice(b"trickle")), Say::It);
        assert_eq!(once.first(&ice(b"lite")), Say::Nothing);
    }

    #[test]
    fn falls_silent_when_full() {
        let mut once = Once::default();
        let said = (0..10_000).filter(|n| once.first(&flag(n.to_string())) != Say::Nothing).count();
        assert_eq!(said, MAX_ENTRIES);
        assert_eq!(once.first(&flag("new")), Say::Nothing);
    }
}
