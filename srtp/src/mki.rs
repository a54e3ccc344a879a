//! Master key identifiers.

use crate::Unsuitable;

/// A master key identifier (RFC 3711 section 3.1): 1 to 128 bytes in every packet that say under
/// which of a direction's keys it is protected. Not authenticated, and none by default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Mki(Box<[u8]>);

impl Mki {
    /// The longest MKI that SDES can signal (RFC 4568 section 6.1).
    pub const MAX_LEN: usize = 128;

    /// No MKI in the packets.
    pub fn none() -> Self {
        Self::default()
    }

    /// An MKI of these bytes, at most [`Self::MAX_LEN`]; of no bytes, [`Self::none`].
    pub fn new(bytes: &[u8]) -> Result<Self, Unsuitable> {
        if bytes.len() > Self::MAX_LEN {
            return Err(Unsuitable::MkiLength { got: bytes.len() });
        }
        Ok(Self(bytes.into()))
    }

    /// Its bytes, as they stand in the packet.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Its length in bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_at_most_128_bytes() {
        assert_eq!(Mki::new(&[7; 128]).map(|mki| mki.len()), Ok(128));
        assert_eq!(Mki::new(&[7; 129]), Err(Unsuitable::MkiLength { got: 129 }));
    }
}
