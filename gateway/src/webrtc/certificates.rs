//! What the gateway shows of itself in DTLS: a certificate of its own making, renewed from time to
//! time, or the operator's from files or a token.
//!
//! Each has a serial, and legs keep the one whose fingerprint their party was told until their next
//! handshake. So threads keep some of the last ones on a [`Shelf`]; control tells of the newest.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use ng::sdp::{Fingerprint, HashFunction};
use rustls::SignatureScheme;
use rustls::sign::SigningKey;
use tls_relay::KeySource;
use tls_relay::identity::{IdentityFault, KeyMaterial, Material};
use webrtc::dtls::SignRequest;
use webrtc::identity::{Identity, IdentityError, SignatureAlgorithm};

use super::plan::CertificateSerial;
use crate::config::WebRtc as Config;
use crate::session::Certificate;

/// Why there is nothing to show.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CertificateError {
    #[error("webrtc.certificate: {0}")]
    Files(#[from] Box<IdentityFault>),
    #[error("webrtc.certificate: {}: {source}", chain.display())]
    Unusable { chain: PathBuf, source: IdentityError },
    #[error("webrtc: {0}")]
    Generate(IdentityError),
    #[error("webrtc.certificate: a file or a token does not answer, and is waited for")]
    Silent,
}

/// A certificate and the use of its key.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    pub(super) serial: CertificateSerial,
    pub(super) identity: Identity,
    /// Where the key is not here.
    pub(super) signer: Option<Signer>,
    generated: bool,
}

/// A key in a token.
#[derive(Clone, Debug)]
pub(super) struct Signer(Arc<dyn SigningKey>);

impl Signer {
    /// Blocks for as long as the token likes.
    pub(super) fn sign(&self, request: &SignRequest) -> Option<Vec<u8>> {
        let scheme = SignatureScheme::from(request.algorithm.scheme());
        let signer = self.0.choose_scheme(&[scheme])?;
        match signer.sign(&request.message) {
            Ok(signature) => Some(signature),
            Err(error) => {
                tracing::warn!(%error, "webrtc.certificate: the token did not sign");
                None
            }
        }
    }
}

impl Shown {
    /// What the configuration names, or one of our own making. Blocks for as long as files and
    /// tokens do.
    pub(crate) fn load(
        config: &Config,
        serial: CertificateSerial,
    ) -> Result<Self, CertificateError> {
        let Some(named) = &config.certificate else {
            let lifetime = config.renew_after.0 * LIFETIME;
            let identity = Identity::generate(SystemTime::now(), lifetime)
                .map_err(CertificateError::Generate)?;
            return Ok(Self { serial, identity, signer: None, generated: true });
        };
        let key = match named.key.starts_with(PKCS11) {
            true => KeySource::Pkcs11(named.key.clone()),
            false => KeySource::File(PathBuf::from(&named.key)),
        };
        let material = Material::load(&named.chain, &key).map_err(Box::new)?;
        Self::of(&named.chain, material, serial)
    }

    fn of(
        chain: &Path,
        material: Material,
        serial: CertificateSerial,
    ) -> Result<Self, CertificateError> {
        let unusable = |source| CertificateError::Unusable { chain: chain.to_owned(), source };
        match material.key {
            KeyMaterial::Here(key) => {
                let identity = Identity::from_der(&material.chain, key.secret_der());
                Ok(Self {
                    serial,
                    identity: identity.map_err(unusable)?,
                    signer: None,
                    generated: false,
                })
            }
            KeyMaterial::Token(key) => {
                let can = |algorithm: &SignatureAlgorithm| {
                    let scheme = SignatureScheme::from(algorithm.scheme());
                    key.choose_scheme(&[scheme]).is_some()
                };
                let algorithms: Vec<_> = ALGORITHMS.into_iter().filter(can).collect();
                let identity = Identity::outside(&material.chain, &algorithms);
                let signer = Some(Signer(key));
                Ok(Self { serial, identity: identity.map_err(unusable)?, signer, generated: false })
            }
        }
    }

    /// As signalling tells of it.
    pub(crate) fn told(&self) -> Certificate {
        let fingerprints = HASHES.map(|hash| self.fingerprint(hash));
        Certificate { serial: self.serial, fingerprints: fingerprints.to_vec() }
    }

    /// The fingerprint under this hash function.
    pub(super) fn fingerprint(&self, hash: HashFunction) -> Fingerprint {
        self.identity.fingerprint(hash)
    }

    /// Its name in plans.
    pub(super) fn serial(&self) -> CertificateSerial {
        self.serial
    }

    /// Whether it is of our own making.
    pub(super) fn is_generated(&self) -> bool {
        self.generated
    }

    /// Whether it is the same certificate.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.identity.leaf() == other.identity.leaf()
    }
}

/// The last certificates.
#[derive(Debug, Default)]
pub(super) struct Shelf(VecDeque<Shown>);

impl Shelf {
    /// One more; the oldest of too many goes.
    pub(super) fn put(&mut self, shown: Shown) {
        self.0.push_back(shown);
        if self.0.len() > KEPT {
            self.0.pop_front();
        }
    }

    /// The one of this serial.
    pub(super) fn shown(&self, serial: CertificateSerial) -> Option<&Shown> {
        self.0.iter().rev().find(|shown| shown.serial == serial)
    }
}

/// As in `[tls]`.
const PKCS11: &str = "pkcs11:";

/// A certificate of our own is valid for so many times `renew_after`: legs that were told of it may
/// shake hands again long after it was renewed.
const LIFETIME: u32 = 4;

/// More than are made during a call.
const KEPT: usize = 32;

/// All that `a=fingerprint` may be asked for.
const HASHES: [HashFunction; 5] = [
    HashFunction::Sha256,
    HashFunction::Sha384,
    HashFunction::Sha512,
    HashFunction::Sha224,
    HashFunction::Sha1,
];

const ALGORITHMS: [SignatureAlgorithm; 4] = [
    SignatureAlgorithm::EcdsaSha256,
    SignatureAlgorithm::EcdsaSha384,
    SignatureAlgorithm::RsaPssSha256,
    SignatureAlgorithm::RsaPkcs1Sha256,
];
