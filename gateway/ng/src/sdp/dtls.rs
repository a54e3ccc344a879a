//! What SDP says of a DTLS association: certificate fingerprints (RFC 8122) and who begins
//! (`a=setup`, RFC 4145, RFC 5763). No cryptography: whether a certificate fits is the DTLS agent's.
//!
//! Lines that can't be read are as if they weren't there, with the first reason kept for whoever
//! asks why the leg came to nothing.

use std::fmt;

use bytes::Bytes;

use super::line::{LineKind, fields};
use super::{Line, Sdp};

/// What a section, or the session part, says of its DTLS association (RFC 8842 section 5).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DtlsDescription {
    /// `a=setup`: who begins.
    pub setup: Option<Setup>,
    /// Each `a=fingerprint` that we could read, in order, at most [`Sdp::MAX_FINGERPRINTS`]: the
    /// certificate must fit one of them (RFC 8122 section 5).
    pub fingerprints: Vec<Fingerprint>,
    /// `a=tls-id` (RFC 8842 section 4): another value is another association.
    pub tls_id: Option<Bytes>,
    /// Why the first of the lines that we could not take was not taken.
    pub refused: Option<&'static str>,
}

impl DtlsDescription {
    /// Takes one line of a section or of the session part.
    pub(super) fn read(&mut self, line: &Line) {
        match line.kind() {
            LineKind::Setup => match Setup::from_name(line.value()) {
                Some(setup) => self.setup = Some(setup),
                None => self.refuse("a=setup is not active, passive, actpass or holdconn"),
            },
            LineKind::Fingerprint if self.fingerprints.len() == Sdp::MAX_FINGERPRINTS => {
                self.refuse("more a=fingerprint lines than 16");
            }
            LineKind::Fingerprint => match Fingerprint::parse(line.value()) {
                Ok(fingerprint) => self.fingerprints.push(fingerprint),
                Err(reason) => self.refuse(reason),
            },
            LineKind::TlsId => match line.value() {
                [] => self.refuse("a=tls-id without a value"),
                value if value.len() > TLS_ID_MAX => self.refuse("a=tls-id of more than 255 bytes"),
                _ => self.tls_id = Some(line.value_bytes()),
            },
            _ => {}
        }
    }

    /// Takes from the session part what the section doesn't say itself (RFC 8122 section 5, RFC
    /// 4145 section 4). Fingerprints are one set: a section's own replace all of the session's.
    pub(super) fn inherit(&mut self, session: &Self) {
        self.setup = self.setup.or(session.setup);
        if self.fingerprints.is_empty() {
            self.fingerprints.clone_from(&session.fingerprints);
        }
        if self.tls_id.is_none() {
            self.tls_id.clone_from(&session.tls_id);
        }
        self.refused = self.refused.or(session.refused);
    }

    fn refuse(&mut self, reason: &'static str) {
        self.refused.get_or_insert(reason);
    }
}

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

    /// The hash function of this name, in either case; `None` for one that we don't know (MD2, MD5).
    pub fn from_name(name: &[u8]) -> Option<Self> {
        let all = [Self::Sha1, Self::Sha224, Self::Sha256, Self::Sha384, Self::Sha512];
        all.into_iter().find(|hash| hash.name().as_bytes().eq_ignore_ascii_case(name))
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

    /// Reads `<hash> <XX:XX:…>` (RFC 8122 section 5); the digits come in either case.
    fn parse(value: &[u8]) -> Result<Self, &'static str> {
        let mut fields = fields(value);
        let (Some(hash), Some(digest), None) = (fields.next(), fields.next(), fields.next()) else {
            return Err("a=fingerprint is not a hash function and a digest");
        };
        let hash = HashFunction::from_name(hash)
            .ok_or("a=fingerprint under a hash function that we do not know")?;
        let mut bytes = [0; LONGEST_DIGEST];
        let bytes = &mut bytes[..hash.digest_len()];
        let unfit = "a=fingerprint whose digest does not fit its hash function";
        if digest.len() != 3 * bytes.len() - 1 {
            return Err(unfit);
        }
        for (byte, text) in bytes.iter_mut().zip(digest.chunks(3)) {
            let (&[high, low], rest) = text.split_first_chunk().ok_or(unfit)?;
            if !matches!(rest, [] | [b':']) {
                return Err(unfit);
            }
            *byte = hex(high).ok_or(unfit)? << 4 | hex(low).ok_or(unfit)?;
        }
        Ok(Self { hash, digest: (&*bytes).into() })
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

impl Setup {
    /// As `a=setup` names it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Passive => "passive",
            Self::ActPass => "actpass",
            Self::HoldConn => "holdconn",
        }
    }

    fn from_name(name: &[u8]) -> Option<Self> {
        let all = [Self::Active, Self::Passive, Self::ActPass, Self::HoldConn];
        let name = fields(name).next()?;
        all.into_iter().find(|setup| setup.name().as_bytes().eq_ignore_ascii_case(name))
    }
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// SHA-512's.
const LONGEST_DIGEST: usize = 64;

/// RFC 8842 section 4: 20 to 255 characters. The incumbent takes shorter ones, and so do we: the
/// value is only ever compared.
const TLS_ID_MAX: usize = 255;
