//! Does a certificate fit what signalling said of it (RFC 8122 section 5)?

use aws_lc_rs::digest;
use ng::sdp::{Fingerprint, HashFunction};
use subtle::{Choice, ConstantTimeEq as _};

/// The fingerprint of a certificate's DER.
pub(crate) fn of(certificate: &[u8], hash: HashFunction) -> Option<Fingerprint> {
    Fingerprint::new(hash, digest::digest(algorithm(hash), certificate).as_ref())
}

/// The fingerprints of the strongest hash function among those given: one of these must fit, and
/// the others say nothing (RFC 8122 section 5).
pub(crate) fn strongest(given: &[Fingerprint]) -> Vec<Fingerprint> {
    let best = given.iter().map(Fingerprint::hash).max();
    given.iter().filter(|one| Some(one.hash()) == best).cloned().collect()
}

/// True where one of `fingerprints` is the certificate's. How long it takes does not tell which
/// one, nor how much of one, fitted.
pub(crate) fn fits_any(certificate: &[u8], fingerprints: &[Fingerprint]) -> bool {
    let fits = |one: &Fingerprint| {
        digest::digest(algorithm(one.hash()), certificate).as_ref().ct_eq(one.digest())
    };
    fingerprints.iter().fold(Choice::from(0), |any, one| any | fits(one)).into()
}

fn algorithm(hash: HashFunction) -> &'static digest::Algorithm {
    match hash {
        HashFunction::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
        HashFunction::Sha224 => &digest::SHA224,
        HashFunction::Sha256 => &digest::SHA256,
        HashFunction::Sha384 => &digest::SHA384,
        HashFunction::Sha512 => &digest::SHA512,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fingerprint(hash: HashFunction, of: &[u8]) -> Fingerprint {
        super::of(of, hash).unwrap()
    }

    #[test]
    fn a_certificate_fits_one_of_several_fingerprints() {
        let ours = fingerprint(HashFunction::Sha256, b"certificate");
        let other = fingerprint(HashFunction::Sha256, b"another");
        assert!(fits_any(b"certificate", &[other.clone(), ours.clone()]));
        assert!(fits_any(b"certificate", &[ours]));
        assert!(!fits_any(b"certificate", &[other]));
        assert!(!fits_any(b"certificate", &[]));
    }

    #[test]
    fn each_hash_function_is_the_one_of_its_name() {
        // The digests of "abc": RFC 6234 section 8.5 and FIPS 180-4's examples.
        let starts = [
            (HashFunction::Sha1, "sha-1 A9:99:3E:36:47"),
            (HashFunction::Sha224, "sha-224 23:09:7D:22:34"),
            (HashFunction::Sha256, "sha-256 BA:78:16:BF:8F"),
            (HashFunction::Sha384, "sha-384 CB:00:75:3F:45"),
            (HashFunction::Sha512, "sha-512 DD:AF:35:A1:93"),
        ];
        for (hash, start) in starts {
            let written = fingerprint(hash, b"abc").to_string();
            assert!(written.starts_with(start), "{written}");
        }
    }

    #[test]
    fn only_the_strongest_hash_function_given_counts() {
        let weak = fingerprint(HashFunction::Sha1, b"certificate");
        let strong = fingerprint(HashFunction::Sha256, b"another");
        assert_eq!(strongest(&[weak.clone(), strong.clone()]), [strong]);
        assert_eq!(strongest(std::slice::from_ref(&weak)), [weak]);
    }
}
