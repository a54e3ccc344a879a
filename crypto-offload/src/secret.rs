//! Key material that cannot be printed, cloned or left behind.

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Key material: zeroized on drop, `[redacted]` in `Debug`, compared in constant time.
///
/// It is deliberately not `Clone`: a key has one owner, which copies it once into its engine.
pub struct SecretKey(Zeroizing<Box<[u8]>>);

impl SecretKey {
    /// Takes a copy of `bytes`; the caller wipes its own.
    pub fn copy_from(bytes: &[u8]) -> Self {
        Self(Zeroizing::new(Box::from(bytes)))
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True when there are no bytes at all (the salt of an unsalted transform).
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The bytes themselves, to hand to an engine or to a peer over a protected channel.
    pub fn dangerous_bytes(&self) -> &[u8] {
        &self.0
    }

    /// A second owner for the same key, where a protocol really needs two.
    pub fn dangerous_duplicate(&self) -> Self {
        Self::copy_from(&self.0)
    }
}

impl PartialEq for SecretKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for SecretKey {}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_never_shows_the_key() {
        let key = SecretKey::copy_from(b"very secret bytes");
        assert_eq!(format!("{key:?}"), "[redacted]");
    }

    #[test]
    fn keys_of_different_length_are_not_equal() {
        assert_ne!(SecretKey::copy_from(b"ab"), SecretKey::copy_from(b"abc"));
        assert_eq!(SecretKey::copy_from(b"ab"), SecretKey::copy_from(b"ab"));
    }
}
