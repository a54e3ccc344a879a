//! Whom a listener believes: authorities and revocation lists from files, and nothing of the system's.
//!
//! With a revocation list every certificate of a peer's chain must be known to one: what no list
//! says anything about is refused, since an attacker would rather be unknown than revoked. A list
//! past its `nextUpdate` stays in force, with a warning: what it revokes stays revoked, and a
//! download that failed over night must not lock every peer out. A list older than the one in
//! force is refused, and so is one that none of the authorities signed: it revokes nothing, but would
//! have every peer of the issuer that it names refused, since `rustls-webpki` verifies lists, too,
//! whenever it uses them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest;
use key_files::FileError;
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateRevocationListDer, TrustAnchor};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;

use super::certificate::Facts;
use super::der::{BadDer, Reader, tag};
use super::distinguished_name::DistinguishedName;
use super::fault::{IdentityFault, Warning, WarningKind};
use super::provider::provider;
use super::time::Seconds;
use crate::settings::{ClientAuthentication, IdentitySettings};

/// Authorities and revocation lists, read and checked.
#[derive(Debug)]
pub(crate) struct Trust {
    roots: Arc<RootCertStore>,
    /// DER of the authorities, for the digest.
    authorities: Vec<Vec<u8>>,
    lists: Vec<RevocationList>,
}

/// One revocation list (RFC 5280 section 5.1).
#[derive(Debug)]
pub(crate) struct RevocationList {
    pub(crate) path: PathBuf,
    pub(crate) issuer: DistinguishedName,
    pub(crate) this_update: Seconds,
    pub(crate) next_update: Option<Seconds>,
    der: CertificateRevocationListDer<'static>,
}

impl Trust {
    /// Reads what the settings name; `None` where they name no authority.
    pub(crate) fn load(
        settings: &IdentitySettings,
        previous: Option<&Self>,
    ) -> Result<Option<Self>, IdentityFault> {
        let Some(path) = &settings.authority else { return Ok(None) };
        let mut roots = RootCertStore::empty();
        let certificates = key_files::certificates(path)?;
        let wrong = |reason| IdentityFault::Authority { path: path.clone(), reason };
        for certificate in &certificates {
            roots.add(certificate.clone()).map_err(|error| wrong(error.to_string()))?;
        }
        let mut lists = Vec::new();
        for path in &settings.revocation_lists {
            lists.extend(revocation_lists(path)?);
        }
        lists.iter().try_for_each(|list| list.verify(&roots))?;
        if let Some(older) = previous.and_then(|previous| previous.older(&lists)) {
            return Err(older);
        }
        let authorities = certificates.into_iter().map(|der| der.to_vec()).collect();
        Ok(Some(Self { roots: Arc::new(roots), authorities, lists }))
    }

    /// Verifies clients, where they are asked at all.
    pub(crate) fn client_verifier(
        &self,
        authentication: ClientAuthentication,
        provider: Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ClientCertVerifier>, IdentityFault> {
        let builder =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&self.roots), provider)
                .with_crls(self.crls());
        let builder = match authentication {
            ClientAuthentication::None => return Ok(WebPkiClientVerifier::no_client_auth()),
            ClientAuthentication::Optional => builder.allow_unauthenticated(),
            ClientAuthentication::Required => builder,
        };
        // What was read is known to be good, so this is about the whole.
        builder.build().map_err(|error| rustls::Error::General(error.to_string()).into())
    }

    /// Verifies upstreams.
    pub(crate) fn server_verifier(
        &self,
        provider: Arc<CryptoProvider>,
    ) -> Result<Arc<WebPkiServerVerifier>, IdentityFault> {
        WebPkiServerVerifier::builder_with_provider(Arc::clone(&self.roots), provider)
            .with_crls(self.crls())
            .build()
            .map_err(|error| rustls::Error::General(error.to_string()).into())
    }

    /// The lists.
    pub(crate) fn lists(&self) -> &[RevocationList] {
        &self.lists
    }

    /// What deserves a word at this time.
    pub(crate) fn warnings(&self, now: Seconds) -> Vec<Warning> {
        let mut warnings: Vec<_> = self.lists.iter().filter_map(|list| list.warning(now)).collect();
        for authority in &self.authorities {
            let Ok(facts) = Facts::read(&authority.as_slice().into()) else { continue };
            if facts.not_after < now {
                warnings.push(WarningKind::Time.says(format!(
                    "the authority {} expired at {}: peers that look refuse what it issued",
                    facts.subject, facts.not_after
                )));
            }
            let listed = self.lists.iter().any(|list| list.issuer == facts.subject);
            if !self.lists.is_empty() && !listed {
                warnings.push(WarningKind::Advice.says(format!(
                    "there is no revocation list of the authority {}: whatever it issued is \
                     refused; add its list to `crl`",
                    facts.subject
                )));
            }
        }
        warnings
    }

    /// Whether both believe the same.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let digest = |trust: &Self| {
            let mut context = digest::Context::new(&digest::SHA256);
            trust.digest_into(&mut context);
            context.finish()
        };
        digest(self).as_ref() == digest(other).as_ref()
    }

    /// What tickets are bound to besides the listener: SHA-256 over all that decides whom it
    /// believes.
    pub(crate) fn digest_into(&self, context: &mut digest::Context) {
        let mut parts: Vec<&[u8]> = self.authorities.iter().map(Vec::as_slice).collect();
        parts.sort_unstable();
        let mut lists: Vec<&[u8]> = self.lists.iter().map(|list| list.der.as_ref()).collect();
        lists.sort_unstable();
        for (kind, parts) in [(b'a', parts), (b'r', lists)] {
            for part in parts {
                context.update(&[kind]);
                context.update(&(part.len() as u64).to_be_bytes());
                context.update(part);
            }
        }
    }

    fn crls(&self) -> Vec<CertificateRevocationListDer<'static>> {
        self.lists.iter().map(|list| list.der.clone()).collect()
    }

    fn older(&self, lists: &[RevocationList]) -> Option<IdentityFault> {
        let mut newest: HashMap<&DistinguishedName, Seconds> = HashMap::new();
        for list in &self.lists {
            let newest = newest.entry(&list.issuer).or_insert(list.this_update);
            *newest = list.this_update.max(*newest);
        }
        // Several lists of one issuer may stand side by side: the newest of them counts.
        let replaced = |list: &&RevocationList| {
            let same = lists.iter().filter(|other| other.issuer == list.issuer);
            let new = same.map(|other| other.this_update).max();
            new < newest.get(&list.issuer).copied()
        };
        lists.iter().find(replaced).map(|list| IdentityFault::OlderRevocationList {
            path: list.path.clone(),
            this_update: list.this_update,
        })
    }
}

impl RevocationList {
    fn read(
        path: &Path,
        der: CertificateRevocationListDer<'static>,
    ) -> Result<Self, IdentityFault> {
        let wrong =
            |reason: String| IdentityFault::RevocationList { path: path.to_owned(), reason };
        // What cannot be used later is refused now: lists of deltas, of version 1, and the like.
        webpki::BorrowedCertRevocationList::from_der(&der)
            .map_err(|error| wrong(format!("no revocation list that can be used: {error}")))?;
        let (issuer, this_update, next_update) =
            head(&der).map_err(|error| wrong(error.to_string()))?;
        Ok(Self { path: path.to_owned(), issuer, this_update, next_update, der })
    }

    /// RFC 5280 section 6.3.3 (f), (g): its issuer signed it. Of several authorities of that name, as
    /// when one has changed its key, any may have.
    fn verify(&self, authorities: &RootCertStore) -> Result<(), IdentityFault> {
        let wrong =
            |reason: String| IdentityFault::RevocationList { path: self.path.clone(), reason };
        let signed = Signed::read(&self.der).map_err(|error| wrong(error.to_string()))?;
        let algorithms = provider().signature_verification_algorithms.all;
        if !algorithms.iter().any(|known| known.signature_alg_id().as_ref() == signed.algorithm) {
            return Err(wrong("it is signed with an algorithm that is not accepted".to_owned()));
        }
        let own_name = |authority: &&TrustAnchor<'_>| {
            Reader::only(self.issuer.as_der(), tag::SEQUENCE) == Ok(authority.subject.as_ref())
        };
        if authorities.roots.iter().filter(own_name).any(|authority| signed.is_by(authority)) {
            return Ok(());
        }
        Err(IdentityFault::ForeignRevocationList {
            path: self.path.clone(),
            issuer: self.issuer.to_string(),
        })
    }

    fn warning(&self, now: Seconds) -> Option<Warning> {
        let next = self.next_update.filter(|next| *next < now)?;
        Some(WarningKind::Time.says(format!(
            "{}: the revocation list of {} should have been replaced at {next}; it stays in force, \
             and what was revoked since is not known",
            self.path.display(),
            self.issuer
        )))
    }
}

/// A list's parts (RFC 5280 section 5.1.1).
struct Signed<'a> {
    message: &'a [u8],
    /// Within its `SEQUENCE`.
    algorithm: &'a [u8],
    signature: &'a [u8],
}

impl<'a> Signed<'a> {
    fn read(der: &'a [u8]) -> Result<Self, BadDer> {
        let mut list = Reader::new(Reader::only(der, tag::SEQUENCE)?);
        Ok(Self {
            message: list.tagged(tag::SEQUENCE)?.whole,
            algorithm: list.contents(tag::SEQUENCE)?,
            signature: whole_bytes(list.contents(tag::BIT_STRING)?)?,
        })
    }

    fn is_by(&self, authority: &TrustAnchor<'_>) -> bool {
        let Ok((kind, key)) = key_of(authority) else { return false };
        provider().signature_verification_algorithms.all.iter().any(|algorithm| {
            algorithm.signature_alg_id().as_ref() == self.algorithm
                && algorithm.public_key_alg_id().as_ref() == kind
                && algorithm.verify_signature(key, self.message, self.signature).is_ok()
        })
    }
}

/// Algorithm and bits of an authority's key (RFC 5280 section 4.1.2.7).
fn key_of<'a>(authority: &'a TrustAnchor<'_>) -> Result<(&'a [u8], &'a [u8]), BadDer> {
    let mut info = Reader::new(authority.subject_public_key_info.as_ref());
    Ok((info.contents(tag::SEQUENCE)?, whole_bytes(info.contents(tag::BIT_STRING)?)?))
}

/// A bit string of which every bit of the last byte counts, as keys and signatures are.
fn whole_bytes(bits: &[u8]) -> Result<&[u8], BadDer> {
    bits.strip_prefix(&[0]).ok_or(BadDer)
}

/// A file's lists: PEM, one or more, or DER.
fn revocation_lists(path: &Path) -> Result<Vec<RevocationList>, IdentityFault> {
    let (path, bytes) = key_files::contents(path)?;
    let from_pem: Result<Vec<_>, _> =
        CertificateRevocationListDer::pem_slice_iter(&bytes).collect();
    let lists = match from_pem {
        Ok(lists) if !lists.is_empty() => lists,
        Ok(_) if bytes.first() == Some(&tag::SEQUENCE) => vec![bytes.into()],
        Ok(_) => return Err(not_a_list(path, "there is none in it")),
        Err(error) => return Err(not_a_list(path, &error.to_string())),
    };
    lists.into_iter().map(|list| RevocationList::read(&path, list)).collect()
}

fn not_a_list(path: PathBuf, reason: &str) -> IdentityFault {
    FileError::Content { path, expected: "revocation list", reason: reason.to_owned() }.into()
}

/// Issuer, `thisUpdate` and `nextUpdate`.
fn head(der: &[u8]) -> Result<(DistinguishedName, Seconds, Option<Seconds>), BadDer> {
    let mut signed = Reader::new(Reader::only(der, tag::SEQUENCE)?);
    let mut body = signed.within(tag::SEQUENCE)?;
    body.optional(tag::INTEGER)?; // version
    body.contents(tag::SEQUENCE)?; // signature algorithm
    let issuer = DistinguishedName::from_der(body.tagged(tag::SEQUENCE)?.whole);
    let this_update = Seconds::from_der(body.value()?)?;
    let next_update = match body.value() {
        Ok(value) if matches!(value.tag, tag::UTC_TIME | tag::GENERALIZED_TIME) => {
            Some(Seconds::from_der(value)?)
        }
        _ => None,
    };
    Ok((issuer, this_update, next_update))
}
