//! Who we are towards DTLS peers: a certificate chain and its private key.
//!
//! Peers know a certificate by the fingerprint that signalling carries (RFC 8122), so nobody has to
//! vouch for it: a self-signed one, made at start, is usual. The key can also be elsewhere (a
//! PKCS#11 token): then an [`Association`](crate::dtls::Association) asks for each signature by
//! [`Output::Sign`](crate::dtls::Output::Sign). Reading files and deciding about renewal are the
//! caller's. An `Identity` is cheap to clone; associations keep the one they began with.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ng::sdp::{Fingerprint, HashFunction};
use zeroize::Zeroizing;

use crate::dtls::fingerprint;
use crate::dtls::sys::{Configuration, Context, PrivateKey};

/// A certificate chain and the use of its private key.
#[derive(Clone)]
pub struct Identity(Arc<Inner>);

struct Inner {
    context: Context,
    chain: Vec<Box<[u8]>>,
}

/// Why a certificate or key is of no use.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// There is no certificate.
    #[error("the chain has no certificate")]
    NoCertificate,
    /// The key cannot be read.
    #[error("the private key is not DER of a kind that is known")]
    Key,
    /// The key is not the leaf certificate's, or the certificate's kind of key is not supported.
    #[error("certificate and private key do not work together for DTLS")]
    Pair,
    /// No certificate could be made.
    #[error("cannot generate a certificate: {0}")]
    Generate(String),
    /// libssl gave up, for want of memory.
    #[error("cannot set up DTLS")]
    Library,
}

/// How a key that is elsewhere can sign (RFC 8446 section 4.2.3 numbers and describes these; in
/// DTLS 1.2 the hash function of ECDSA is not tied to the curve).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureAlgorithm {
    /// ecdsa_secp256r1_sha256: the signature in DER.
    EcdsaSha256,
    /// ecdsa_secp384r1_sha384: the signature in DER.
    EcdsaSha384,
    /// rsa_pss_rsae_sha256.
    RsaPssSha256,
    /// rsa_pkcs1_sha256.
    RsaPkcs1Sha256,
}

impl SignatureAlgorithm {
    /// Best first.
    const ALL: [Self; 4] =
        [Self::EcdsaSha256, Self::EcdsaSha384, Self::RsaPssSha256, Self::RsaPkcs1Sha256];

    /// The `SignatureScheme` of TLS.
    pub const fn scheme(self) -> u16 {
        match self {
            Self::EcdsaSha256 => 0x0403,
            Self::EcdsaSha384 => 0x0503,
            Self::RsaPssSha256 => 0x0804,
            Self::RsaPkcs1Sha256 => 0x0401,
        }
    }

    pub(crate) fn from_scheme(scheme: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.scheme() == scheme)
    }
}

impl Identity {
    /// A fresh ECDSA P-256 key and a self-signed certificate for it, valid for `lifetime` around
    /// `now`. Its names say nothing of who or where we are (RFC 8827 section 6.5).
    pub fn generate(now: SystemTime, lifetime: Duration) -> Result<Self, IdentityError> {
        let failed = |error: rcgen::Error| IdentityError::Generate(error.to_string());
        // Its encoding is wiped; what ring keeps of it is ring's.
        let key = Zeroizing::new(rcgen::KeyPair::generate().map_err(failed)?);
        let mut parameters = rcgen::CertificateParams::default();
        // A peer's clock may be behind ours.
        parameters.not_before = now.checked_sub(CLOCK_SKEW).unwrap_or(now).into();
        parameters.not_after = now.checked_add(lifetime).unwrap_or(now).into();
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        parameters.distinguished_name.push(rcgen::DnType::CommonName, "WebRTC");
        let certificate = parameters.self_signed(&*key).map_err(failed)?;
        let key = Zeroizing::new(key.serialize_der());
        Self::from_der(&[certificate.der()], &key)
    }

    /// A chain, leaf first, and the leaf's key: DER each; the key as PKCS #8, RFC 5915 or PKCS #1.
    /// ECDSA on P-256 and P-384, and RSA.
    pub fn from_der(chain: &[impl AsRef<[u8]>], key: &[u8]) -> Result<Self, IdentityError> {
        let key = PrivateKey::from_der(key).ok_or(IdentityError::Key)?;
        Self::new(chain, Some(&key), &SignatureAlgorithm::ALL)
    }

    /// A chain whose leaf's key is elsewhere and signs in these ways, best first. Each handshake
    /// asks for its signature by [`Output::Sign`](crate::dtls::Output::Sign).
    pub fn outside(
        chain: &[impl AsRef<[u8]>],
        algorithms: &[SignatureAlgorithm],
    ) -> Result<Self, IdentityError> {
        Self::new(chain, None, algorithms)
    }

    fn new(
        chain: &[impl AsRef<[u8]>],
        key: Option<&PrivateKey>,
        algorithms: &[SignatureAlgorithm],
    ) -> Result<Self, IdentityError> {
        let chain: Vec<Box<[u8]>> = chain.iter().map(|der| der.as_ref().into()).collect();
        if chain.is_empty() {
            return Err(IdentityError::NoCertificate);
        }
        let sign: Vec<_> = algorithms.iter().map(|algorithm| algorithm.scheme()).collect();
        let configuration = Configuration {
            ciphers: CIPHERS,
            groups: c"X25519:P-256:P-384",
            verify: &VERIFY,
            sign: &sign,
            max_certificates: MAX_CERTIFICATES,
        };
        let mut context = Context::new(&configuration).ok_or(IdentityError::Library)?;
        let borrowed: Vec<&[u8]> = chain.iter().map(|der| &**der).collect();
        context.certify(&borrowed, key).ok_or(IdentityError::Pair)?;
        Ok(Self(Arc::new(Inner { context, chain })))
    }

    /// The leaf's fingerprint, for `a=fingerprint`.
    #[expect(clippy::missing_panics_doc, reason = "a digest is as long as its hash function's")]
    pub fn fingerprint(&self, hash: HashFunction) -> Fingerprint {
        #[expect(clippy::expect_used, reason = "as above")]
        fingerprint::of(self.leaf(), hash).expect("a digest of its hash function's length")
    }

    /// The leaf's DER.
    pub fn leaf(&self) -> &[u8] {
        self.0.chain.first().map_or(&[], |leaf| leaf)
    }

    pub(crate) fn context(&self) -> &Context {
        &self.0.context
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Identity({})", self.fingerprint(HashFunction::Sha256))
    }
}

/// How far a peer's clock may be behind ours.
const CLOCK_SKEW: Duration = Duration::from_hours(24);

/// Bytes of a peer's certificate message. libssl takes 16 KiB of any handshake message; more than
/// that only for certificates, and there is no reason to.
const MAX_CERTIFICATES: usize = 16_384;

/// Forward secrecy always. TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 is what RFC 8827 section 6.5
/// wants everyone to have; CBC is for older peers: only Finished and alerts are ever protected.
const CIPHERS: &std::ffi::CStr = c"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:\
ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:\
ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:\
ECDHE-ECDSA-AES128-SHA:ECDHE-RSA-AES128-SHA:ECDHE-ECDSA-AES256-SHA:ECDHE-RSA-AES256-SHA";

/// How a peer may sign: ECDSA with the three SHA-2, RSA-PSS and PKCS #1 with them, Ed25519. No
/// SHA-1: what is signed holds both randoms, and collisions are made for the price of a machine.
const VERIFY: [u16; 10] =
    [0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0603, 0x0806, 0x0601, 0x0807];

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
    }

    #[test]
    fn a_generated_certificate_has_a_fingerprint_of_its_own() {
        let one = Identity::generate(now(), Duration::from_hours(24)).unwrap();
        let other = Identity::generate(now(), Duration::from_hours(24)).unwrap();
        let hash = HashFunction::Sha256;
        assert_eq!(one.fingerprint(hash), one.clone().fingerprint(hash));
        assert_ne!(one.fingerprint(hash), other.fingerprint(hash));
    }

    #[test]
    fn the_key_of_another_certificate_is_refused() {
        let certificate = rcgen::generate_simple_self_signed([]).unwrap();
        let other = rcgen::KeyPair::generate().unwrap();
        let chain = [certificate.cert.der()];
        let refused = Identity::from_der(&chain, &other.serialize_der());
        assert!(matches!(refused, Err(IdentityError::Pair)), "{refused:?}");
        let own = Identity::from_der(&chain, &certificate.signing_key.serialize_der());
        assert!(own.is_ok(), "{own:?}");
    }

    #[test]
    fn rubbish_is_refused() {
        let none: [&[u8]; 0] = [];
        let key = rcgen::KeyPair::generate().unwrap().serialize_der();
        assert!(matches!(Identity::from_der(&none, &key), Err(IdentityError::NoCertificate)));
        assert!(matches!(Identity::from_der(&[b"x"], b"no key"), Err(IdentityError::Key)));
        assert!(matches!(Identity::from_der(&[b"x"], &key), Err(IdentityError::Pair)));
        let outside = Identity::outside(&[b"x"], &[SignatureAlgorithm::EcdsaSha256]);
        assert!(matches!(outside, Err(IdentityError::Pair)));
    }
}
