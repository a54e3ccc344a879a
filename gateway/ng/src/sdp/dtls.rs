//! What SDP says of a DTLS association: certificate fingerprints (RFC 8122) and who begins
//! (`a=setup`, RFC 4145, RFC 5763). No cryptography: whether a certificate fits is the DTLS agent's.

use std::fmt;

/// The hash functions of `a=fingerprint` that we know (RFC 8122 section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each is the hash function of the same name")]
pub enum HashFunction {
    Sha1,
    Sha224,
    Sha256,
    Sha384,
    Sha512,
}

impl HashFunction {
    /// Digest length in bytes.
    pub const fn digest_len(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha224 => 28,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    /// As `a=fingerprint` names it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "sha-1",
            Self::Sha224 => "sha-224",
            Self::Sha256 => "sha-256",
            Self::Sha384 => "sha-384",
            Self::Sha512 => "sha-512",
        }
    }
}

/// One `a=fingerprint`: the digest of a certificate's DER under a hash function. Written as
/// `sha-256 AB:CD:…`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Fingerprint {
    hash: HashFunction,
    digest: Box<[u8]>,
}

impl Fingerprint {
    /// A digest under `hash`; `None` where its length is not the hash function's.
    pub fn new(hash: HashFunction, digest: &[u8]) -> Option<Self> {
        (digest.len() == hash.digest_len()).then(|| Self { hash, digest: digest.into() })
    }

    /// The hash function.
    pub fn hash(&self) -> HashFunction {
        self.hash
    }

    /// The digest.
    pub fn digest(&self) -> &[u8] {
        &self.digest
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.hash.name())?;
        for (index, byte) in self.digest.iter().enumerate() {
            let separator = if index == 0 { ' ' } else { ':' };
            write!(formatter, "{separator}{byte:02X}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// `a=setup`: who sends the ClientHello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setup {
    /// The sender of this SDP does.
    Active,
    /// The receiver of this SDP does.
    Passive,
    /// The answerer decides.
    ActPass,
    /// Nobody, for now.
    HoldConn,
}
