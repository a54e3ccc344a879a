//! Certificates that both an `Identity` and another library's side can use.

use std::time::Duration;

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rsa;
use rcgen::{CertificateParams, KeyPair};
use webrtc::identity::Identity;

/// Kinds of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Ecdsa,
    Rsa,
}

/// A self-signed certificate and its key.
pub(crate) struct Certificate {
    pub(crate) key: KeyPair,
    pub(crate) certificate: rcgen::Certificate,
}

impl Certificate {
    pub(crate) fn new(kind: Kind) -> Self {
        let key = match kind {
            Kind::Ecdsa => KeyPair::generate().unwrap(),
            Kind::Rsa => {
                let key = rsa::KeyPair::generate(rsa::KeySize::Rsa2048).unwrap();
                let der: Pkcs8V1Der<'_> = key.as_der().unwrap();
                KeyPair::try_from(der.as_ref()).unwrap()
            }
        };
        let mut parameters = CertificateParams::default();
        // OpenSSL, unlike DTLS-SRTP, minds the dates; rcgen's default begins in 1975.
        parameters.not_after = (std::time::SystemTime::now() + Duration::from_hours(24)).into();
        let certificate = parameters.self_signed(&key).unwrap();
        Self { key, certificate }
    }

    pub(crate) fn identity(&self) -> Identity {
        Identity::from_der(&[self.certificate.der()], &self.key.serialize_der()).unwrap()
    }
}
