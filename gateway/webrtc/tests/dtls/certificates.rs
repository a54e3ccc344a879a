//! Identities of the kinds that operators have.

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rsa;
use rcgen::{CertificateParams, KeyPair, SanType};
use webrtc::identity::Identity;

/// A self-signed RSA certificate of 2,048 bits.
pub(crate) fn rsa() -> Identity {
    let key = rsa::KeyPair::generate(rsa::KeySize::Rsa2048).unwrap();
    let der: Pkcs8V1Der<'_> = key.as_der().unwrap();
    let key = KeyPair::try_from(der.as_ref()).unwrap();
    self_signed(&key, &CertificateParams::default())
}

/// ECDSA on P-384.
pub(crate) fn p384() -> Identity {
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    self_signed(&key, &CertificateParams::default())
}

/// A certificate of about `bytes`.
pub(crate) fn of_size(bytes: usize) -> Identity {
    let mut parameters = CertificateParams::default();
    let name = |at: usize| SanType::DnsName(format!("{at:026}").try_into().unwrap());
    parameters.subject_alt_names = (0..bytes / 28).map(name).collect();
    self_signed(&KeyPair::generate().unwrap(), &parameters)
}

fn self_signed(key: &KeyPair, parameters: &CertificateParams) -> Identity {
    let certificate = parameters.clone().self_signed(key).unwrap();
    Identity::from_der(&[certificate.der()], &key.serialize_der()).unwrap()
}
