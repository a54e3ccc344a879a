//! The crypto of TLS listeners: aws-lc-rs, named explicitly, with a list of our own.
//!
//! The admin API is on ring; both are compiled in, so nothing may depend on a default of the
//! process. Cipher suites: AES-GCM and ChaCha20-Poly1305 behind an ephemeral key exchange, nothing
//! else (RFC 9325 section 4.2). Groups: the hybrid of X25519 and ML-KEM-768 first, as what is
//! recorded today may be broken later; whoever does not know it gets X25519 in the same flight.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider, kx_group};
use rustls::{CipherSuite, SupportedCipherSuite};

/// All that listeners speak.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        cipher_suites: SUITES.to_vec(),
        kx_groups: vec![
            kx_group::X25519MLKEM768,
            kx_group::X25519,
            kx_group::SECP256R1,
            kx_group::SECP384R1,
        ],
        ..default_provider()
    })
}

/// Only some suites: those that a device takes.
pub(crate) fn limited_to(suites: &[CipherSuite]) -> Arc<CryptoProvider> {
    let mut provider = CryptoProvider::clone(&provider());
    provider.cipher_suites.retain(|supported| suites.contains(&supported.suite()));
    Arc::new(provider)
}

/// The client's order decides, since only it knows what its CPU is good at; towards upstreams it
/// is this one.
pub(crate) const SUITES: &[SupportedCipherSuite] = &[
    cipher_suite::TLS13_AES_256_GCM_SHA384,
    cipher_suite::TLS13_AES_128_GCM_SHA256,
    cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
];

#[cfg(test)]
mod tests {
    use rustls::NamedGroup;

    use super::*;

    #[test]
    fn the_hybrid_group_is_first() {
        let groups: Vec<_> = provider().kx_groups.iter().map(|group| group.name()).collect();
        assert_eq!(groups[0], NamedGroup::X25519MLKEM768);
        assert!(groups.contains(&NamedGroup::X25519));
    }

    #[test]
    fn every_suite_has_an_aead_and_an_ephemeral_exchange() {
        for suite in SUITES {
            let name = format!("{:?}", suite.suite());
            assert!(name.contains("_GCM_") || name.contains("_CHACHA20_POLY1305_"), "{name}");
            assert!(suite.tls13().is_some() || name.contains("_ECDHE_"), "{name}");
        }
    }

    #[test]
    fn a_limit_leaves_only_what_was_asked_for() {
        let one = CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256;
        let provider = limited_to(&[one]);
        assert_eq!(provider.cipher_suites.len(), 1);
        assert_eq!(provider.cipher_suites[0].suite(), one);
    }
}
