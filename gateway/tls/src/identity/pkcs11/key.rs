//! rustls's signing key over a token: ECDSA on P-256 and P-384, RSA with PSS and PKCS #1.
//!
//! Hashes are made here; the token gets the hash alone (`CKM_ECDSA`, `CKM_RSA_PKCS_PSS`,
//! `CKM_RSA_PKCS`), which every token understands. A token's ECDSA signature is r and s side by
//! side (PKCS#11 v2.40 section 2.3.1), TLS wants them in DER (RFC 3279 section 2.2.3).

use std::sync::Arc;

use aws_lc_rs::digest;
use cryptoki::mechanism::rsa::{PkcsMgfType, PkcsPssParams};
use cryptoki::mechanism::{Mechanism, MechanismType};
use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer};
use rustls::sign::{Signer, SigningKey};
use rustls::{Error, OtherError, SignatureAlgorithm, SignatureScheme};

use super::super::certificate::KeyKind;
use super::error::TokenError;
use super::token::Token;
use crate::identity::provider::provider;

/// A key in a token whose certificate is known.
#[derive(Debug)]
pub(crate) struct TokenKey {
    token: Arc<Token>,
    algorithm: SignatureAlgorithm,
    /// What the token can do, best first.
    schemes: Vec<SignatureScheme>,
    public_key: SubjectPublicKeyInfoDer<'static>,
}

impl TokenKey {
    /// Lets the key sign once, and the certificate verify that: so it is known at the start that
    /// they belong together and that token and PIN work.
    pub(crate) fn new(
        token: Arc<Token>,
        certificate: &CertificateDer<'_>,
        kind: KeyKind,
    ) -> Result<Self, TokenError> {
        let (algorithm, known) = match kind {
            KeyKind::P256 => (SignatureAlgorithm::ECDSA, P256),
            KeyKind::P384 => (SignatureAlgorithm::ECDSA, P384),
            KeyKind::Rsa(_) => (SignatureAlgorithm::RSA, RSA),
            KeyKind::P521 | KeyKind::Ed25519 | KeyKind::Other => {
                let uri = token.uri().to_string();
                return Err(TokenError::Kind { uri, kind: kind.to_string() });
            }
        };
        let can = |scheme: &SignatureScheme| {
            Recipe::of(*scheme).is_some_and(|recipe| token.knows(recipe.mechanism.needs()))
        };
        let schemes: Vec<_> = known.iter().copied().filter(can).collect();
        let Some(first) = schemes.first().copied() else {
            let uri = token.uri().to_string();
            return Err(TokenError::Mechanisms { uri, kind: kind.to_string() });
        };
        let mismatch = || TokenError::Mismatch { uri: token.uri().to_string() };
        let parsed = webpki::EndEntityCert::try_from(certificate).map_err(|_| mismatch())?;
        let signature = sign(&token, first, TRIAL)?;
        let verifiers = provider().signature_verification_algorithms;
        let mut mapping = verifiers.mapping.iter().filter(|(scheme, _)| *scheme == first);
        let verifies = mapping.any(|(_, algorithms)| {
            let by = |algorithm: &&dyn rustls::pki_types::SignatureVerificationAlgorithm| {
                parsed.verify_signature(*algorithm, TRIAL, &signature).is_ok()
            };
            algorithms.iter().any(by)
        });
        if !verifies {
            return Err(mismatch());
        }
        let public_key = parsed.subject_public_key_info();
        Ok(Self { token, algorithm, schemes, public_key })
    }
}

impl SigningKey for TokenKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let scheme = *self.schemes.iter().find(|scheme| offered.contains(scheme))?;
        Some(Box::new(TokenSigner { token: Arc::clone(&self.token), scheme }))
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        Some(self.public_key.clone())
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.algorithm
    }
}

/// One signature to come.
#[derive(Debug)]
struct TokenSigner {
    token: Arc<Token>,
    scheme: SignatureScheme,
}

impl Signer for TokenSigner {
    /// Blocks for as long as the token likes.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        sign(&self.token, self.scheme, message)
            .map_err(|error| Error::Other(OtherError(Arc::new(error))))
    }

    fn scheme(&self) -> SignatureScheme {
        self.scheme
    }
}

fn sign(token: &Token, scheme: SignatureScheme, message: &[u8]) -> Result<Vec<u8>, TokenError> {
    let Some(recipe) = Recipe::of(scheme) else {
        let uri = token.uri().to_string();
        return Err(TokenError::Mechanisms { uri, kind: format!("{scheme:?}") });
    };
    let hash = digest::digest(recipe.hash.algorithm(), message);
    match recipe.mechanism {
        How::Ecdsa => {
            let signature = token.sign(&Mechanism::Ecdsa, hash.as_ref())?;
            in_der(&signature).ok_or_else(|| TokenError::Mismatch { uri: token.uri().to_string() })
        }
        How::Pss => token.sign(&Mechanism::RsaPkcsPss(recipe.hash.pss_parameters()), hash.as_ref()),
        How::Pkcs1 => {
            let mut named = recipe.hash.prefix().to_vec();
            named.extend(hash.as_ref());
            token.sign(&Mechanism::RsaPkcs, &named)
        }
    }
}

/// What a scheme is made of.
struct Recipe {
    mechanism: How,
    hash: Hash,
}

#[derive(Clone, Copy)]
enum How {
    Ecdsa,
    Pss,
    Pkcs1,
}

impl How {
    fn needs(self) -> MechanismType {
        match self {
            Self::Ecdsa => MechanismType::ECDSA,
            Self::Pss => MechanismType::RSA_PKCS_PSS,
            Self::Pkcs1 => MechanismType::RSA_PKCS,
        }
    }
}

#[derive(Clone, Copy)]
enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

impl Hash {
    fn algorithm(self) -> &'static digest::Algorithm {
        match self {
            Self::Sha256 => &digest::SHA256,
            Self::Sha384 => &digest::SHA384,
            Self::Sha512 => &digest::SHA512,
        }
    }

    /// RFC 8446 section 4.2.3: mask and hash are alike, the salt is as long as the hash.
    fn pss_parameters(self) -> PkcsPssParams {
        let (hash_alg, mgf, length) = match self {
            Self::Sha256 => (MechanismType::SHA256, PkcsMgfType::MGF1_SHA256, 32u64),
            Self::Sha384 => (MechanismType::SHA384, PkcsMgfType::MGF1_SHA384, 48),
            Self::Sha512 => (MechanismType::SHA512, PkcsMgfType::MGF1_SHA512, 64),
        };
        PkcsPssParams { hash_alg, mgf, s_len: length.into() }
    }

    /// RFC 8017 section 9.2, note 1: the DER that comes before the hash.
    fn prefix(self) -> [u8; 19] {
        let (number, length) = match self {
            Self::Sha256 => (1, 32),
            Self::Sha384 => (2, 48),
            Self::Sha512 => (3, 64),
        };
        [
            0x30,
            length + 17,
            0x30,
            13,
            0x06,
            9,
            0x60,
            0x86,
            0x48,
            1,
            0x65,
            3,
            4,
            2,
            number,
            5,
            0,
            4,
            length,
        ]
    }
}

impl Recipe {
    fn of(scheme: SignatureScheme) -> Option<Self> {
        let (mechanism, hash) = match scheme {
            SignatureScheme::ECDSA_NISTP256_SHA256 => (How::Ecdsa, Hash::Sha256),
            SignatureScheme::ECDSA_NISTP384_SHA384 => (How::Ecdsa, Hash::Sha384),
            SignatureScheme::RSA_PSS_SHA256 => (How::Pss, Hash::Sha256),
            SignatureScheme::RSA_PSS_SHA384 => (How::Pss, Hash::Sha384),
            SignatureScheme::RSA_PSS_SHA512 => (How::Pss, Hash::Sha512),
            SignatureScheme::RSA_PKCS1_SHA256 => (How::Pkcs1, Hash::Sha256),
            SignatureScheme::RSA_PKCS1_SHA384 => (How::Pkcs1, Hash::Sha384),
            SignatureScheme::RSA_PKCS1_SHA512 => (How::Pkcs1, Hash::Sha512),
            _ => return None,
        };
        Some(Self { mechanism, hash })
    }
}

/// r and s side by side become a sequence of two integers.
fn in_der(signature: &[u8]) -> Option<Vec<u8>> {
    let is_whole = !signature.is_empty() && signature.len().is_multiple_of(2);
    // Of P-384 at most, so that one byte holds every length.
    if !is_whole || signature.len() > 96 {
        return None;
    }
    let (r, s) = signature.split_at(signature.len() / 2);
    let mut integers = integer(r);
    integers.extend(integer(s));
    let mut der = vec![0x30, integers.len() as u8];
    der.extend(integers);
    Some(der)
}

/// Without leading zeros, and with one where it would be negative otherwise (X.690 section 8.3).
fn integer(bytes: &[u8]) -> Vec<u8> {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    let digits = &bytes[zeros.min(bytes.len() - 1)..];
    let sign = digits[0] >= 0x80;
    let mut der = vec![0x02, digits.len() as u8 + u8::from(sign)];
    der.extend(sign.then_some(0));
    der.extend(digits);
    der
}

const P256: &[SignatureScheme] = &[SignatureScheme::ECDSA_NISTP256_SHA256];
const P384: &[SignatureScheme] = &[SignatureScheme::ECDSA_NISTP384_SHA384];

/// SHA-256 first, which every token has.
const RSA: &[SignatureScheme] = &[
    SignatureScheme::RSA_PSS_SHA256,
    SignatureScheme::RSA_PSS_SHA384,
    SignatureScheme::RSA_PSS_SHA512,
    SignatureScheme::RSA_PKCS1_SHA256,
    SignatureScheme::RSA_PKCS1_SHA384,
    SignatureScheme::RSA_PKCS1_SHA512,
];

/// No message of TLS begins like this (RFC 8446 section 4.4.3 begins with 64 spaces).
const TRIAL: &[u8] = b"postern: does this key belong to its certificate?";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r_and_s_are_integers_without_needless_zeros_and_never_negative() {
        assert_eq!(in_der(&[0, 1, 0x80, 2]).unwrap(), [0x30, 8, 2, 1, 1, 2, 3, 0, 0x80, 2]);
        assert_eq!(in_der(&[0, 0, 0, 0]).unwrap(), [0x30, 6, 2, 1, 0, 2, 1, 0]);
        assert_eq!(in_der(&[0xff; 96]).unwrap().len(), 2 + 2 * (2 + 1 + 48));
        for wrong in [&[][..], &[1], &[1; 97], &[1; 98]] {
            assert_eq!(in_der(wrong), None);
        }
    }
}
