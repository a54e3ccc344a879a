//! What a certificate says (RFC 5280 section 4.1): whom it is for, who issued it, when it holds, and
//! what kind of key it has.
//!
//! Nothing is verified here: that a chain leads to an authority is `rustls-webpki`'s to say. Of
//! extensions only those are read that tell whether a certificate is of any use to a listener.

use std::fmt;

use aws_lc_rs::digest;
use rustls::pki_types::CertificateDer;

use super::der::{BadDer, Reader, tag};
use super::distinguished_name::DistinguishedName;
use super::time::Seconds;

/// What is said in one certificate.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    /// DER of the subject, to compare with others' issuers.
    pub(crate) subject: DistinguishedName,
    /// DER of the issuer.
    pub(crate) issuer: DistinguishedName,
    /// The serial number's bytes.
    pub(crate) serial: Vec<u8>,
    pub(crate) not_before: Seconds,
    pub(crate) not_after: Seconds,
    pub(crate) key: KeyKind,
    /// The bits of the public key: what OCSP and key identifiers are hashes of.
    pub(crate) key_bits: Vec<u8>,
    /// Names that it is for, in lower case: DNS names, wildcards too, and domains of `sip:` URIs
    /// (RFC 5922 section 7.1). Where it has no alternative names at all, its common name.
    pub(crate) names: Vec<String>,
    pub(crate) names_from: NamesFrom,
    /// RFC 5280 section 4.2.1.12: whether servers and clients may show it.
    pub(crate) purpose: Purpose,
    /// RFC 7633: it asks that an OCSP answer be stapled.
    pub(crate) must_staple: bool,
    /// SHA-256 of all of it.
    pub(crate) fingerprint: Fingerprint,
}

/// Which field names came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NamesFrom {
    AlternativeNames,
    /// Most clients ignore it (RFC 6125 section 6.4.4, RFC 9525 section 2).
    CommonName,
}

/// Who may show a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Purpose {
    pub(crate) server: bool,
    pub(crate) client: bool,
}

impl Purpose {
    const ANY: Self = Self { server: true, client: true };
}

/// What kind of key a certificate has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// RSA, with the length of its modulus in bits.
    Rsa(usize),
    /// ECDSA on P-256.
    P256,
    /// ECDSA on P-384.
    P384,
    /// ECDSA on P-521.
    P521,
    /// Ed25519.
    Ed25519,
    /// None of those.
    Other,
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rsa(bits) => write!(f, "RSA {bits}"),
            Self::P256 => f.write_str("ECDSA P-256"),
            Self::P384 => f.write_str("ECDSA P-384"),
            Self::P521 => f.write_str("ECDSA P-521"),
            Self::Ed25519 => f.write_str("Ed25519"),
            Self::Other => f.write_str("of a kind that is not known here"),
        }
    }
}

/// SHA-256 of a certificate.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    /// Of these bytes.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
        Self(fingerprint)
    }
}

/// Lower-case hexadecimal digits.
impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Facts {
    /// Reads a certificate.
    ///
    /// # Errors
    /// It is not one.
    pub(crate) fn read(certificate: &CertificateDer<'_>) -> Result<Self, BadDer> {
        let mut signed = Reader::new(Reader::only(certificate, tag::SEQUENCE)?);
        let mut body = signed.within(tag::SEQUENCE)?;
        body.optional(tag::explicit(0))?; // version
        let serial = body.contents(tag::INTEGER)?.to_vec();
        body.contents(tag::SEQUENCE)?; // signature algorithm
        let issuer = DistinguishedName::from_der(body.tagged(tag::SEQUENCE)?.whole);
        let mut validity = body.within(tag::SEQUENCE)?;
        let not_before = Seconds::from_der(validity.value()?)?;
        let not_after = Seconds::from_der(validity.value()?)?;
        let subject = DistinguishedName::from_der(body.tagged(tag::SEQUENCE)?.whole);
        let (key, key_bits) = public_key(body.within(tag::SEQUENCE)?)?;
        body.optional(tag::implicit(1))?; // issuerUniqueID
        body.optional(tag::implicit(2))?; // subjectUniqueID
        let extensions = Extensions::read(body.optional(tag::explicit(3))?)?;
        let (names, names_from) = match extensions.names {
            Some(names) => (names, NamesFrom::AlternativeNames),
            None => (
                subject.common_name().map(|name| name.to_lowercase()).into_iter().collect(),
                NamesFrom::CommonName,
            ),
        };
        Ok(Self {
            subject,
            issuer,
            serial,
            not_before,
            not_after,
            key,
            key_bits: key_bits.to_vec(),
            names,
            names_from,
            purpose: extensions.purpose,
            must_staple: extensions.must_staple,
            fingerprint: Fingerprint::of(certificate),
        })
    }
}

/// The common name of a certificate's subject, as PROXY protocol's `PP2_SUBTYPE_SSL_CN` has it.
/// `None` where there is none or the certificate cannot be read.
pub fn common_name(certificate: &CertificateDer<'_>) -> Option<String> {
    Facts::read(certificate).ok()?.subject.common_name()
}

/// RFC 3279 section 2.3, RFC 5480 section 2, RFC 8410 section 3.
fn public_key(mut info: Reader<'_>) -> Result<(KeyKind, &[u8]), BadDer> {
    let mut algorithm = info.within(tag::SEQUENCE)?;
    let kind = algorithm.contents(tag::OID)?;
    let bits = info.contents(tag::BIT_STRING)?.split_first().ok_or(BadDer)?.1;
    let kind = match kind {
        oid::RSA => KeyKind::Rsa(modulus_bits(bits)?),
        oid::EC_PUBLIC_KEY => match algorithm.optional(tag::OID)? {
            Some(oid::P256) => KeyKind::P256,
            Some(oid::P384) => KeyKind::P384,
            Some(oid::P521) => KeyKind::P521,
            _ => KeyKind::Other,
        },
        oid::ED25519 => KeyKind::Ed25519,
        _ => KeyKind::Other,
    };
    Ok((kind, bits))
}

fn modulus_bits(key: &[u8]) -> Result<usize, BadDer> {
    let mut key = Reader::new(Reader::only(key, tag::SEQUENCE)?);
    let modulus = key.contents(tag::INTEGER)?;
    let first = modulus.iter().position(|byte| *byte != 0).ok_or(BadDer)?;
    Ok((modulus.len() - first) * 8 - modulus[first].leading_zeros() as usize)
}

/// What is read of the extensions.
struct Extensions {
    names: Option<Vec<String>>,
    purpose: Purpose,
    must_staple: bool,
}

impl Extensions {
    fn read(list: Option<&[u8]>) -> Result<Self, BadDer> {
        let mut read = Self { names: None, purpose: Purpose::ANY, must_staple: false };
        let Some(list) = list else { return Ok(read) };
        let mut list = Reader::new(Reader::only(list, tag::SEQUENCE)?);
        while !list.is_empty() {
            let mut extension = list.within(tag::SEQUENCE)?;
            let id = extension.contents(tag::OID)?;
            extension.optional(tag::BOOLEAN)?; // critical
            let value = extension.contents(tag::OCTET_STRING)?;
            match id {
                oid::ALTERNATIVE_NAME => read.names = Some(alternative_names(value)?),
                oid::EXTENDED_KEY_USAGE => read.purpose = purpose(value)?,
                oid::TLS_FEATURE => read.must_staple = asks_for_stapling(value)?,
                _ => {}
            }
        }
        Ok(read)
    }
}

/// RFC 5280 section 4.2.1.6: DNS names are `[2]`, URIs `[6]`.
fn alternative_names(value: &[u8]) -> Result<Vec<String>, BadDer> {
    let mut list = Reader::new(Reader::only(value, tag::SEQUENCE)?);
    let mut names = Vec::new();
    while !list.is_empty() {
        let name = list.value()?;
        let text = str::from_utf8(name.contents).unwrap_or_default().to_lowercase();
        let named = match name.tag {
            DNS_NAME => Some(text),
            URI => text.strip_prefix("sip:").filter(|domain| is_domain(domain)).map(str::to_owned),
            _ => None,
        };
        names.extend(named.filter(|name| !name.is_empty() && !names.contains(name)));
    }
    Ok(names)
}

const DNS_NAME: u8 = tag::implicit(2);
const URI: u8 = tag::implicit(6);

/// RFC 5922 section 7.1: a URI with a user, a port or parameters names no domain.
fn is_domain(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte))
}

fn purpose(value: &[u8]) -> Result<Purpose, BadDer> {
    let mut list = Reader::new(Reader::only(value, tag::SEQUENCE)?);
    let mut purpose = Purpose { server: false, client: false };
    while !list.is_empty() {
        match list.contents(tag::OID)? {
            oid::SERVER_AUTH => purpose.server = true,
            oid::CLIENT_AUTH => purpose.client = true,
            oid::ANY_PURPOSE => return Ok(Purpose::ANY),
            _ => {}
        }
    }
    Ok(purpose)
}

/// RFC 7633 section 4: a list of TLS extensions, 5 is `status_request`.
fn asks_for_stapling(value: &[u8]) -> Result<bool, BadDer> {
    let mut list = Reader::new(Reader::only(value, tag::SEQUENCE)?);
    let mut asks = false;
    while !list.is_empty() {
        asks |= list.contents(tag::INTEGER)? == [5];
    }
    Ok(asks)
}

/// Object identifiers, encoded (RFC 5280, RFC 5480, RFC 8410, RFC 7633).
mod oid {
    pub(super) const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
    pub(super) const EC_PUBLIC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
    pub(super) const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
    pub(super) const P384: &[u8] = &[0x2b, 0x81, 0x04, 0, 34];
    pub(super) const P521: &[u8] = &[0x2b, 0x81, 0x04, 0, 35];
    pub(super) const ED25519: &[u8] = &[0x2b, 0x65, 112];
    pub(super) const ALTERNATIVE_NAME: &[u8] = &[0x55, 0x1d, 17];
    pub(super) const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 37];
    pub(super) const ANY_PURPOSE: &[u8] = &[0x55, 0x1d, 37, 0];
    pub(super) const SERVER_AUTH: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 1];
    pub(super) const CLIENT_AUTH: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 2];
    pub(super) const TLS_FEATURE: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 1, 24];
}

#[cfg(test)]
mod tests {
    use rcgen::{
        CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, KeyPair, SanType,
    };

    use super::*;

    fn certificate(change: impl FnOnce(&mut CertificateParams)) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        change(&mut params);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    #[test]
    fn names_are_dns_names_and_domains_of_sip_uris() {
        let names = |uri: &str| {
            let certificate = certificate(|params| {
                params.subject_alt_names = vec![
                    SanType::DnsName("SIP.example.com".try_into().unwrap()),
                    SanType::DnsName("*.example.com".try_into().unwrap()),
                    SanType::URI(uri.try_into().unwrap()),
                ];
            });
            Facts::read(&certificate).unwrap().names
        };
        assert_eq!(names("sip:example.net"), ["sip.example.com", "*.example.com", "example.net"]);
        for uri in ["sip:alice@example.net", "sip:example.net:5061", "https://example.net"] {
            assert_eq!(names(uri), ["sip.example.com", "*.example.com"], "{uri}");
        }
    }

    #[test]
    fn a_common_name_counts_only_where_there_are_no_alternative_names() {
        let named = certificate(|params| {
            params.distinguished_name.push(DnType::CommonName, "Old.example.com");
        });
        let facts = Facts::read(&named).unwrap();
        assert_eq!(facts.names, ["old.example.com"]);
        assert_eq!(facts.names_from, NamesFrom::CommonName);
        assert_eq!(common_name(&named).as_deref(), Some("Old.example.com"));
        let both = certificate(|params| {
            params.distinguished_name.push(DnType::CommonName, "old.example.com");
            params.subject_alt_names =
                vec![SanType::DnsName("new.example.com".try_into().unwrap())];
        });
        assert_eq!(Facts::read(&both).unwrap().names, ["new.example.com"]);
    }

    #[test]
    fn kinds_of_keys_are_told_apart() {
        for (algorithm, kind) in [
            (&rcgen::PKCS_ECDSA_P256_SHA256, KeyKind::P256),
            (&rcgen::PKCS_ECDSA_P384_SHA384, KeyKind::P384),
            (&rcgen::PKCS_ED25519, KeyKind::Ed25519),
        ] {
            let key = KeyPair::generate_for(algorithm).unwrap();
            let certificate =
                CertificateParams::new(Vec::new()).unwrap().self_signed(&key).unwrap();
            assert_eq!(Facts::read(certificate.der()).unwrap().key, kind);
        }
    }

    #[test]
    fn times_purposes_and_the_wish_for_stapling_are_read() {
        let certificate = certificate(|params| {
            params.not_before = rcgen::date_time_ymd(2024, 1, 1);
            params.not_after = rcgen::date_time_ymd(2051, 1, 1);
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            let status_request = vec![0x30, 3, 2, 1, 5];
            params.custom_extensions = vec![CustomExtension::from_oid_content(
                &[1, 3, 6, 1, 5, 5, 7, 1, 24],
                status_request,
            )];
        });
        let facts = Facts::read(&certificate).unwrap();
        assert_eq!(facts.not_before.to_string(), "2024-01-01T00:00:00Z");
        assert_eq!(facts.not_after.to_string(), "2051-01-01T00:00:00Z");
        assert_eq!(facts.purpose, Purpose { server: false, client: true });
        assert!(facts.must_staple);
        assert_eq!(facts.fingerprint.to_string().len(), 64);
    }

    #[test]
    fn what_is_no_certificate_is_refused() {
        let good = certificate(|_| {});
        for end in 0..good.len() {
            assert!(Facts::read(&CertificateDer::from(&good[..end])).is_err(), "{end}");
        }
    }
}
