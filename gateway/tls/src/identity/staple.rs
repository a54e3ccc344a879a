//! OCSP answers to staple (RFC 6960, RFC 6066 section 8), from a file in DER.
//!
//! An answer is stapled while it is of use: it says "good" about this very certificate and is not
//! over. Any other is refused with the reason, and the certificate is shown without: a client that
//! got a wrong one would break off, and one that got none asks elsewhere or goes on. An answer that
//! ends while it is stapled is left out from then on. Its signature is for clients to verify.

use std::path::Path;

use aws_lc_rs::digest;

use super::certificate::Facts;
use super::der::{BadDer, Reader, tag};
use super::time::Seconds;

/// An answer that may be stapled.
#[derive(Clone, Debug)]
pub(crate) struct Staple {
    pub(crate) der: Vec<u8>,
    /// From then on it is not.
    pub(crate) until: Seconds,
}

/// Why an answer is not stapled.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BadStaple {
    #[error(transparent)]
    File(#[from] key_files::FileError),
    #[error("{0}; it must be an OCSP response in DER")]
    Der(#[from] BadDer),
    #[error("it is the responder's refusal (status {0}); ask it again")]
    Refusal(u8),
    #[error("it is of a kind that TLS does not know; ask for a basic response")]
    Kind,
    #[error("it is about another certificate; ask for this one's")]
    OtherCertificate,
    #[error("it says that the certificate was REVOKED; have a new one made")]
    Revoked,
    #[error("its responder does not know the certificate; ask the issuer's own")]
    Unknown,
    #[error("it holds only from {0} on; is this machine's clock right?")]
    TooEarly(Seconds),
    #[error("it was over at {0}; fetch a new one")]
    TooOld(Seconds),
}

/// Reads the answer about a certificate whose issuer's certificate may be known.
pub(crate) fn load(
    path: &Path,
    certificate: &Facts,
    issuer: Option<&Facts>,
    now: Seconds,
) -> Result<Staple, BadStaple> {
    let (_, der) = key_files::contents(path)?;
    let until = judge(&der, certificate, issuer, now)?;
    Ok(Staple { der, until })
}

/// Until when the answer may be stapled.
fn judge(
    der: &[u8],
    certificate: &Facts,
    issuer: Option<&Facts>,
    now: Seconds,
) -> Result<Seconds, BadStaple> {
    let mut answers = answers(der)?;
    while !answers.is_empty() {
        let mut answer = answers.within(tag::SEQUENCE)?;
        if !is_about(answer.within(tag::SEQUENCE)?, certificate, issuer)? {
            continue;
        }
        match answer.value()?.tag {
            GOOD => {}
            REVOKED => return Err(BadStaple::Revoked),
            _ => return Err(BadStaple::Unknown),
        }
        return times(answer, now);
    }
    Err(BadStaple::OtherCertificate)
}

/// RFC 6960 section 4.2.1: down to the list of single responses.
fn answers(der: &[u8]) -> Result<Reader<'_>, BadStaple> {
    let mut response = Reader::new(Reader::only(der, tag::SEQUENCE)?);
    match response.contents(tag::ENUMERATED)? {
        [0] => {}
        [status] => return Err(BadStaple::Refusal(*status)),
        _ => return Err(BadDer.into()),
    }
    let mut bytes = response.within(tag::explicit(0))?.within(tag::SEQUENCE)?;
    if bytes.contents(tag::OID)? != BASIC {
        return Err(BadStaple::Kind);
    }
    let basic = bytes.contents(tag::OCTET_STRING)?;
    let mut signed = Reader::new(Reader::only(basic, tag::SEQUENCE)?);
    let mut data = signed.within(tag::SEQUENCE)?;
    data.optional(tag::explicit(0))?; // version
    data.value()?; // who answers
    data.value()?; // when it was made
    Ok(data.within(tag::SEQUENCE)?)
}

/// RFC 6960 section 4.1.1: a certificate is named by its number and hashes of its issuer.
fn is_about(
    mut id: Reader<'_>,
    certificate: &Facts,
    issuer: Option<&Facts>,
) -> Result<bool, BadDer> {
    let algorithm = match id.within(tag::SEQUENCE)?.contents(tag::OID)? {
        SHA1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
        SHA256 => &digest::SHA256,
        _ => return Ok(false),
    };
    let (name, key) = (id.contents(tag::OCTET_STRING)?, id.contents(tag::OCTET_STRING)?);
    let is_hash = |hash: &[u8], of: &[u8]| hash == digest::digest(algorithm, of).as_ref();
    Ok(id.contents(tag::INTEGER)? == certificate.serial
        && is_hash(name, certificate.issuer.as_der())
        && issuer.is_none_or(|issuer| is_hash(key, &issuer.key_bits)))
}

/// RFC 6960 section 4.2.2.1, with the clocks of both sides a little apart.
fn times(mut answer: Reader<'_>, now: Seconds) -> Result<Seconds, BadStaple> {
    let begins = Seconds::from_der(answer.value()?)?;
    let ends = match answer.optional(tag::explicit(0))? {
        Some(next) => Seconds::from_der(Reader::new(next).value()?)?,
        // Without an end there may be a newer one at any time.
        None => Seconds(begins.0 + Seconds::days(WITHOUT_END)),
    };
    if begins.0 > now.0 + CLOCKS_APART {
        return Err(BadStaple::TooEarly(begins));
    }
    if ends <= now {
        return Err(BadStaple::TooOld(ends));
    }
    Ok(ends)
}

const GOOD: u8 = tag::implicit(0);
const REVOKED: u8 = tag::explicit(1);

/// `id-pkix-ocsp-basic`.
const BASIC: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 48, 1, 1];
const SHA1: &[u8] = &[0x2b, 14, 3, 2, 26];
const SHA256: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1];

/// Seconds.
const CLOCKS_APART: u64 = 300;

/// Days: what public authorities give their answers at most (CA/Browser Forum BR 4.9.10: ten).
const WITHOUT_END: u64 = 7;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::identity::test_files::{Authority, Folder};

    fn wrap(tag: u8, contents: &[&[u8]]) -> Vec<u8> {
        let contents = contents.concat();
        let mut der = vec![tag];
        match contents.len() {
            short @ 0..=0x7f => der.push(short as u8),
            short @ 0x80..=0xff => der.extend([0x81, short as u8]),
            long => der.extend([0x82, (long >> 8) as u8, long as u8]),
        }
        der.extend(contents);
        der
    }

    fn time(seconds: Seconds) -> Vec<u8> {
        let digits: String =
            seconds.to_string().chars().filter(char::is_ascii_digit).chain(['Z']).collect();
        wrap(tag::GENERALIZED_TIME, &[digits.as_bytes()])
    }

    /// An answer as a responder gives it; its signature is none.
    pub(crate) fn answer(
        certificate: &Facts,
        issuer: &Facts,
        status: &[u8],
        begins: Seconds,
        ends: Option<Seconds>,
    ) -> Vec<u8> {
        let hash = |of: &[u8]| {
            let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, of);
            wrap(tag::OCTET_STRING, &[hash.as_ref()])
        };
        let sha1 = wrap(tag::SEQUENCE, &[&wrap(tag::OID, &[SHA1])]);
        let serial = wrap(tag::INTEGER, &[&certificate.serial]);
        let name = hash(certificate.issuer.as_der());
        let id = wrap(tag::SEQUENCE, &[&sha1, &name, &hash(&issuer.key_bits), &serial]);
        let ends = ends.map(|ends| wrap(tag::explicit(0), &[&time(ends)])).unwrap_or_default();
        let single = wrap(tag::SEQUENCE, &[&id, status, &time(begins), &ends]);
        let responder = wrap(tag::explicit(1), &[certificate.issuer.as_der()]);
        let list = wrap(tag::SEQUENCE, &[&single]);
        let data = wrap(tag::SEQUENCE, &[&responder, &time(begins), &list]);
        let signature = wrap(tag::BIT_STRING, &[&[0, 0]]);
        let basic = wrap(tag::SEQUENCE, &[&data, &sha1, &signature]);
        let bytes =
            wrap(tag::SEQUENCE, &[&wrap(tag::OID, &[BASIC]), &wrap(tag::OCTET_STRING, &[&basic])]);
        wrap(tag::SEQUENCE, &[&[tag::ENUMERATED, 1, 0], &wrap(tag::explicit(0), &[&bytes])])
    }

    pub(crate) const SAYS_GOOD: &[u8] = &[GOOD, 0];
    const NOW: Seconds = Seconds(1_800_000_000);

    fn ends() -> Option<Seconds> {
        Some(Seconds(NOW.0 + 1000))
    }

    #[test]
    fn a_good_answer_about_this_certificate_holds_until_its_end() {
        let authority = Authority::new("CA");
        let (ours, issuer) = (authority.facts_of_leaf("a.example"), authority.facts());
        let judged = |der: &[u8], issuer: Option<&Facts>| {
            judge(der, &ours, issuer, NOW).map_err(|e| e.to_string())
        };
        let good = answer(&ours, &issuer, SAYS_GOOD, NOW, ends());
        assert_eq!(judged(&good, Some(&issuer)), Ok(Seconds(NOW.0 + 1000)));
        assert_eq!(judged(&good, None), Ok(Seconds(NOW.0 + 1000)));
        let endless = answer(&ours, &issuer, SAYS_GOOD, NOW, None);
        assert_eq!(judged(&endless, None), Ok(Seconds(NOW.0 + Seconds::days(7))));
    }

    #[test]
    fn other_answers_are_refused_with_the_reason() {
        let authority = Authority::new("CA");
        let (ours, issuer) = (authority.facts_of_leaf("a.example"), authority.facts());
        let other = authority.facts_of_leaf("b.example");
        let (before, after) = (Seconds(NOW.0 - 1000), Seconds(NOW.0 + 1000));
        let revoked = [wrap(REVOKED, &[&time(before)])].concat();
        let says = |der: &[u8]| judge(der, &ours, Some(&issuer), NOW).unwrap_err().to_string();
        for (der, reason) in [
            (answer(&other, &issuer, SAYS_GOOD, NOW, ends()), "another certificate"),
            (answer(&ours, &other, SAYS_GOOD, NOW, ends()), "another certificate"),
            (answer(&ours, &issuer, &revoked, NOW, ends()), "REVOKED"),
            (answer(&ours, &issuer, &[tag::implicit(2), 0], NOW, ends()), "does not know"),
            (answer(&ours, &issuer, SAYS_GOOD, before, Some(NOW)), "fetch a new one"),
            (answer(&ours, &issuer, SAYS_GOOD, after, ends()), "clock"),
            (vec![0x30, 3, 0x0a, 1, 6], "status 6"),
            (b"-----BEGIN".to_vec(), "in DER"),
            (Vec::new(), "in DER"),
        ] {
            let said = says(&der);
            assert!(said.contains(reason), "{reason}: {said}");
        }
    }

    #[test]
    fn a_broken_answer_is_refused_wherever_it_was_cut() {
        let authority = Authority::new("CA");
        let (ours, issuer) = (authority.facts_of_leaf("a.example"), authority.facts());
        let good = answer(&ours, &issuer, SAYS_GOOD, NOW, ends());
        for end in 0..good.len() {
            assert!(judge(&good[..end], &ours, Some(&issuer), NOW).is_err(), "{end}");
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let folder = Folder::new("staple");
        let authority = Authority::new("CA");
        let ours = authority.facts_of_leaf("a.example");
        let error = load(&folder.path("none.ocsp"), &ours, None, NOW).unwrap_err();
        assert!(error.to_string().contains("none.ocsp"), "{error}");
    }
}
