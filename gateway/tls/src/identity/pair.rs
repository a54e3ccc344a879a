//! One certificate with its key: read, matched and checked.
//!
//! What makes it useless is a fault: not PEM, a key that others can read or that belongs elsewhere,
//! a chain out of order, a weak key, a configured name that it is not for. Time is judged by what
//! would be lost: see [`Occasion`]. What only some peers mind is a warning.

use std::path::PathBuf;
use std::sync::Arc;

use key_files::Readers;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::sign::{CertifiedKey, SigningKey};
use rustls::{Error, InconsistentKeys};

use super::certificate::{Facts, Fingerprint, KeyKind, NamesFrom};
use super::fault::{IdentityFault, Warning, WarningKind};
use super::names::{canonical, covers};
use super::pkcs11;
use super::staple::{self, Staple};
use super::time::Seconds;
use crate::settings::{ExpiredCertificate, KeySource, ListenerSettings, Mode};

/// Which files make a pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PairFiles {
    /// What people know it by, and what is the same after a change.
    pub(crate) source: PathBuf,
    /// The names it is to serve; none: those it carries.
    pub(crate) names: Vec<String>,
    pub(crate) chain: PathBuf,
    pub(crate) key: KeySource,
    pub(crate) ocsp: Option<PathBuf>,
    /// Who may read the key's file.
    pub(crate) readers: Readers,
}

/// When a pair is read, which decides about certificates that do not hold now.
///
/// * One that is over is refused where it is new. One that is in service stays through every
///   reload: peers that look at the time refuse it by themselves, others go on, and what was to be
///   reloaded may be something else. So nobody loses a running listener at midnight.
/// * One that is not valid yet is refused where it would take the place of another. At the start it
///   is taken: a machine without a battery for its clock believes for a while that it is 1970.
pub(crate) struct Occasion<'a> {
    pub(crate) now: Seconds,
    pub(crate) mode: Mode,
    pub(crate) expired: ExpiredCertificate,
    /// Certificates in service; `None` at the start.
    pub(crate) in_service: Option<&'a [Fingerprint]>,
    pub(crate) provider: &'a Arc<CryptoProvider>,
}

impl<'a> Occasion<'a> {
    pub(crate) fn of(
        listener: &ListenerSettings,
        now: Seconds,
        in_service: Option<&'a [Fingerprint]>,
        provider: &'a Arc<CryptoProvider>,
    ) -> Self {
        let expired = listener.identity.expired;
        Self { now, mode: listener.mode, expired, in_service, provider }
    }
}

/// Where a private key signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signing {
    /// In this process, in microseconds.
    Inline,
    /// In a token: the handshake's step must run on a blocking thread.
    Blocking,
}

/// A certificate and its key, fit to be shown.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    pub(crate) files: PairFiles,
    /// In lower case; those it is chosen for.
    pub(crate) names: Vec<String>,
    pub(crate) facts: Facts,
    /// Of the certificates behind the first.
    issuers: Vec<Facts>,
    /// Without an OCSP answer.
    pub(crate) certified: Arc<CertifiedKey>,
    pub(crate) staple: Option<Staple>,
    pub(crate) signing: Signing,
    /// About the certificate, whatever the time is.
    advice: Vec<Warning>,
    /// About its OCSP answer.
    staple_warning: Option<Warning>,
}

impl Pair {
    /// Reads and checks one.
    pub(crate) fn load(files: PairFiles, occasion: &Occasion<'_>) -> Result<Self, IdentityFault> {
        let ReadPair { certified, facts, signing } = ReadPair::load(&files, occasion.provider)?;
        let leaf = facts.first().cloned().ok_or(IdentityFault::NoCertificate)?;
        in_time(&files, &leaf, occasion)?;
        let mut advice = Vec::new();
        advice.extend(purpose(&files, &leaf, occasion.mode));
        let names = names(&files, &leaf, occasion.mode, &mut advice)?;
        let pair = Self {
            files,
            names,
            facts: leaf,
            issuers: facts.into_iter().skip(1).collect(),
            certified: Arc::new(certified),
            staple: None,
            signing,
            advice,
            staple_warning: None,
        };
        Ok(pair.stapled(occasion.now))
    }

    /// The same with its OCSP answer read again. A bad one is a warning: without it the certificate
    /// is as good as others that never had one.
    pub(crate) fn stapled(mut self, now: Seconds) -> Self {
        let (staple, warning) = match &self.files.ocsp {
            Some(path) => match staple::load(path, &self.facts, self.issuers.first(), now) {
                Ok(staple) => (Some(staple), None),
                Err(reason) => (None, Some(format!("{} is not stapled: {reason}", path.display()))),
            },
            None if self.facts.must_staple => (None, Some(self.unstapled())),
            None => (None, None),
        };
        self.staple = staple;
        self.staple_warning = warning.map(|text| WarningKind::Refused.says(text));
        self
    }

    /// What deserves a word at this time.
    pub(crate) fn warnings(&self, now: Seconds) -> Vec<Warning> {
        let chain = std::iter::once(&self.facts).chain(&self.issuers).enumerate();
        let file = self.files.source.display();
        let mut warnings: Vec<_> = chain
            .filter_map(|(place, facts)| {
                let (begins, ends) = (facts.not_before, facts.not_after);
                let place = place + 1;
                let text = if ends < now {
                    format!("{file}: certificate {place} in it expired at {ends}; renew it")
                } else if now < begins {
                    format!(
                        "{file}: certificate {place} in it holds only from {begins} on; is this \
                         machine's clock right?"
                    )
                } else {
                    let left = match milestone(facts, now)? {
                        1 => "a day".to_owned(),
                        days => format!("{days} days"),
                    };
                    format!(
                        "{file}: certificate {place} in it has less than {left} left, until {ends}; \
                         renew it"
                    )
                };
                Some(WarningKind::Time.says(text))
            })
            .collect();
        let over = self.staple.as_ref().filter(|staple| staple.until <= now);
        warnings.extend(over.map(|staple| {
            let until = staple.until;
            WarningKind::Time.says(format!("{file}: its OCSP answer was over at {until}"))
        }));
        warnings.extend(self.advice.iter().chain(&self.staple_warning).cloned());
        warnings
    }

    /// Why its OCSP answer is not stapled.
    pub(crate) fn staple_warning(&self) -> Option<&Warning> {
        self.staple_warning.as_ref()
    }

    fn unstapled(&self) -> String {
        let file = self.files.source.display();
        format!("{file}: the certificate demands a stapled OCSP response; set `ocsp`")
    }
}

/// A certificate and its key, of which it is known that they belong together.
pub(super) struct ReadPair {
    pub(super) certified: CertifiedKey,
    /// Of each certificate of the chain, at least one.
    facts: Vec<Facts>,
    signing: Signing,
}

impl ReadPair {
    /// Reads both, and refuses what nobody could use.
    pub(super) fn load(
        files: &PairFiles,
        provider: &CryptoProvider,
    ) -> Result<Self, IdentityFault> {
        let chain = key_files::certificates(&files.chain)?;
        let facts = chain_facts(files, &chain)?;
        let leaf = facts.first().ok_or(IdentityFault::NoCertificate)?;
        if matches!(leaf.key, KeyKind::Rsa(bits) if bits < SHORTEST_RSA) {
            let (chain, kind) = (files.source.clone(), leaf.key);
            return Err(IdentityFault::WeakKey { chain, kind });
        }
        let (key, signing) = load_key(files, &chain, leaf, provider)?;
        let certified = matched(files, chain, key)?;
        in_order(files, &facts)?;
        Ok(Self { certified, facts, signing })
    }
}

fn chain_facts(
    files: &PairFiles,
    chain: &[CertificateDer<'_>],
) -> Result<Vec<Facts>, IdentityFault> {
    let read = |(place, certificate)| {
        Facts::read(certificate).map_err(|fault| IdentityFault::Certificate {
            path: files.source.clone(),
            place: place + 1,
            fault,
        })
    };
    chain.iter().enumerate().map(read).collect()
}

fn load_key(
    files: &PairFiles,
    chain: &[CertificateDer<'_>],
    leaf: &Facts,
    provider: &CryptoProvider,
) -> Result<(Arc<dyn SigningKey>, Signing), IdentityFault> {
    let certificate = chain.first().ok_or(IdentityFault::NoCertificate)?;
    match &files.key {
        KeySource::File(path) => {
            let der = key_files::private_key(path, files.readers)?;
            let key = provider.key_provider.load_private_key(der).map_err(|error| {
                IdentityFault::Key { key: path.clone(), reason: error.to_string() }
            })?;
            Ok((key, Signing::Inline))
        }
        KeySource::Pkcs11(uri) => Ok((pkcs11::load(uri, certificate, leaf)?, Signing::Blocking)),
    }
}

/// Key and first certificate belong together.
fn matched(
    files: &PairFiles,
    chain: Vec<CertificateDer<'static>>,
    key: Arc<dyn SigningKey>,
) -> Result<CertifiedKey, IdentityFault> {
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        Ok(()) => Ok(certified),
        Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
            let matches = |certificate: &CertificateDer<'static>| {
                let key = Arc::clone(&certified.key);
                CertifiedKey::new(vec![certificate.clone()], key).keys_match().is_ok()
            };
            let chain = files.source.clone();
            Err(match certified.cert.iter().position(matches) {
                Some(place) => IdentityFault::LeafNotFirst { chain, place: place + 1 },
                None => IdentityFault::Mismatch { chain, key: key_name(&files.key) },
            })
        }
        Err(error) => Err(error.into()),
    }
}

fn key_name(key: &KeySource) -> PathBuf {
    match key {
        KeySource::File(path) => path.clone(),
        KeySource::Pkcs11(uri) => PathBuf::from(uri),
    }
}

/// RFC 8446 section 4.4.2: each one certifies the one before it. The authority's own may be there
/// or not.
fn in_order(files: &PairFiles, facts: &[Facts]) -> Result<(), IdentityFault> {
    let neighbours = facts.iter().zip(facts.iter().skip(1)).enumerate();
    for (place, (certificate, signer)) in neighbours {
        if certificate.issuer != signer.subject {
            return Err(IdentityFault::ChainOrder {
                chain: files.source.clone(),
                place: place + 2,
                subject: signer.subject.to_string(),
                issuer: certificate.issuer.to_string(),
            });
        }
    }
    Ok(())
}

/// Whether the certificate may be shown now; see [`Occasion`].
fn in_time(files: &PairFiles, leaf: &Facts, occasion: &Occasion<'_>) -> Result<(), IdentityFault> {
    let chain = || files.source.clone();
    let in_service = occasion.in_service.map(|served| served.contains(&leaf.fingerprint));
    let may_be_over = in_service == Some(true) || occasion.expired == ExpiredCertificate::Serve;
    if leaf.not_after < occasion.now && !may_be_over {
        return Err(IdentityFault::Expired { chain: chain(), not_after: leaf.not_after });
    }
    if occasion.now < leaf.not_before && in_service == Some(false) {
        return Err(IdentityFault::NotYetValid { chain: chain(), not_before: leaf.not_before });
    }
    Ok(())
}

fn purpose(files: &PairFiles, leaf: &Facts, mode: Mode) -> Option<Warning> {
    let (is_fit, side) = match mode {
        Mode::Terminate => (leaf.purpose.server, "servers"),
        Mode::Originate => (leaf.purpose.client, "clients"),
    };
    (!is_fit).then(|| {
        let file = files.source.display();
        WarningKind::Advice.says(format!(
            "{file}: the certificate is not for {side} (extended key usage): most peers refuse it"
        ))
    })
}

/// The names that a pair is chosen for; a client shows it whatever it is called.
fn names(
    files: &PairFiles,
    leaf: &Facts,
    mode: Mode,
    advice: &mut Vec<Warning>,
) -> Result<Vec<String>, IdentityFault> {
    if mode == Mode::Originate {
        return Ok(Vec::new());
    }
    if leaf.names_from == NamesFrom::CommonName {
        let file = files.source.display();
        advice.push(WarningKind::Advice.says(format!(
            "{file}: the certificate has no alternative names; most clients ignore its common name"
        )));
    }
    let covered: Vec<String> = leaf.names.iter().filter_map(|name| canonical(name)).collect();
    let mut names = Vec::with_capacity(files.names.len());
    for written in &files.names {
        let name =
            canonical(written).ok_or_else(|| IdentityFault::BadName { name: written.clone() })?;
        if !covered.iter().any(|pattern| covers(pattern, &name)) {
            let chain = files.source.clone();
            return Err(IdentityFault::NotCovered { chain, name, covered });
        }
        names.push(name);
    }
    Ok(if names.is_empty() { covered } else { names })
}

/// Nothing shorter is accepted by peers of today (NIST SP 800-131A).
const SHORTEST_RSA: usize = 2048;

/// Days before the end at which another word is said.
const MILESTONES: [u64; 3] = [1, 7, 30];

/// The last milestone that was passed. Of a short-lived certificate only the last third counts:
/// whoever renews it by a program does so before.
fn milestone(facts: &Facts, now: Seconds) -> Option<u64> {
    let whole = facts.not_after.0.saturating_sub(facts.not_before.0);
    let left = facts.not_after.0.saturating_sub(now.0);
    MILESTONES.into_iter().find(|days| left < Seconds::days(*days) && left < whole / 3)
}
