//! What a request had that we did not use, for the caller to warn about.
//!
//! Never an error: the incumbent ignores what it does not know, and controllers rely on it.

use std::fmt;

use bytes::Bytes;

/// Keys, flags and values that had no effect, in the order they came; the first few only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unknown(Vec<Ignored>);

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ignored {
    /// Key or flag, as sent. A peer's bytes: print it through [`fmt::Display`], which escapes.
    pub name: Bytes,
    /// The value, where that is what had no effect; of a list one element.
    pub value: Option<Bytes>,
    /// Why it had no effect.
    pub reason: Reason,
}

/// Why a key or flag had no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// No such key.
    UnknownKey,
    /// No such flag.
    UnknownFlag,
    /// The incumbent knows it, we do not do it.
    Unsupported,
    /// The key is known, its value (or one of several) is not one that it takes.
    BadValue {
        /// What it takes.
        expected: &'static str,
    },
}

impl Unknown {
    /// Those collected.
    pub fn iter(&self) -> std::slice::Iter<'_, Ignored> {
        self.0.iter()
    }

    /// Whether everything was used.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn push(&mut self, name: &Bytes, reason: Reason) {
        self.push_value(name, None, reason);
    }

    pub(super) fn push_value(&mut self, name: &Bytes, value: Option<Bytes>, reason: Reason) {
        if self.0.len() < MAX_IGNORED {
            self.0.push(Ignored { name: name.clone(), value, reason });
        }
    }
}

impl<'a> IntoIterator for &'a Unknown {
    type Item = &'a Ignored;
    type IntoIter = std::slice::Iter<'a, Ignored>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Ignored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |bytes: &Bytes| bytes[..bytes.len().min(MAX_SHOWN)].escape_ascii().to_string();
        let name = shown(&self.name);
        let value = self.value.as_ref().map(shown);
        match (self.reason, value) {
            (Reason::UnknownKey, _) => write!(f, "unknown key \"{name}\""),
            (Reason::UnknownFlag, _) => write!(f, "unknown flag \"{name}\""),
            (Reason::Unsupported, Some(value)) => write!(f, "\"{name}={value}\" is not supported"),
            (Reason::Unsupported, None) => write!(f, "\"{name}\" is not supported"),
            (Reason::BadValue { expected }, Some(value)) => {
                write!(f, "\"{name}\" does not take \"{value}\": expected {expected}")
            }
            (Reason::BadValue { expected }, None) => {
                write!(f, "\"{name}\" has a value that it does not take: expected {expected}")
            }
        }
    }
}

/// Enough to see what a peer's configuration gets wrong; the rest shows after it is mended.
const MAX_IGNORED: usize = 16;

/// Bytes of a name or value worth printing.
const MAX_SHOWN: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_first_few() {
        let mut unknown = Unknown::default();
        for n in 0..1000 {
            unknown.push(&Bytes::from(n.to_string()), Reason::UnknownFlag);
        }
        assert_eq!(unknown.iter().count(), MAX_IGNORED);
    }

    #[test]
    fn prints_hostile_names_escaped_and_cut() {
        let name = Bytes::from(b"\x1b[31m\n".repeat(100));
        let text = Ignored { name, value: None, reason: Reason::UnknownKey }.to_string();
        assert!(text.starts_with("unknown key \"\\x1b[31m\\n"));
        assert!(text.len() < 300);
    }
}
