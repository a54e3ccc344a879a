//! What people may know of an identity: never a key, only where it is.

use std::fmt;

use gateway_control::TlsCertificate;

use super::certificate::{Fingerprint, KeyKind};
use super::fault::Warning;
use super::pair::{Pair, Signing};
use super::time::Seconds;
use super::trust::RevocationList;
use super::{Identity, Trust};

/// An identity, to be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// In the order in which they are tried.
    pub certificates: Vec<CertificateDescription>,
    /// The lists that peers' certificates are looked up in.
    pub revocation_lists: Vec<RevocationListDescription>,
    /// What deserves a word now.
    pub warnings: Vec<Warning>,
}

/// One certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateDescription {
    /// Its file, or that in a directory.
    pub source: String,
    /// The names it is chosen for, in lower case.
    pub names: Vec<String>,
    /// As in RFC 4514.
    pub subject: String,
    /// As in RFC 4514.
    pub issuer: String,
    /// From when on it holds.
    pub not_before: Seconds,
    /// Until when it holds.
    pub not_after: Seconds,
    /// SHA-256 of it.
    pub fingerprint: Fingerprint,
    /// What kind of key it has.
    pub key: KeyKind,
    /// Where the key signs.
    pub signing: Signing,
    /// What is stapled to it.
    pub ocsp: OcspState,
}

/// What is stapled to a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OcspState {
    /// Nothing was configured.
    None,
    /// An answer that holds until then.
    Stapled(Seconds),
    /// An answer that is of no use, and why.
    Refused(String),
}

/// One revocation list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevocationListDescription {
    /// Its file.
    pub source: String,
    /// As in RFC 4514.
    pub issuer: String,
    /// When it was made.
    pub this_update: Seconds,
    /// When there should be a newer one.
    pub next_update: Option<Seconds>,
}

impl Identity {
    /// What people may know of it.
    pub fn describe(&self) -> Description {
        let lists = self.trust.as_deref().map(Trust::lists).unwrap_or_default();
        Description {
            certificates: self.pairs.iter().map(|pair| certificate(pair)).collect(),
            revocation_lists: lists.iter().map(list).collect(),
            warnings: self.warnings(),
        }
    }
}

fn certificate(pair: &Pair) -> CertificateDescription {
    CertificateDescription {
        source: pair.files.source.display().to_string(),
        names: pair.names.clone(),
        subject: pair.facts.subject.to_string(),
        issuer: pair.facts.issuer.to_string(),
        not_before: pair.facts.not_before,
        not_after: pair.facts.not_after,
        fingerprint: pair.facts.fingerprint,
        key: pair.facts.key,
        signing: pair.signing,
        ocsp: match (&pair.staple, pair.staple_warning()) {
            (Some(staple), _) => OcspState::Stapled(staple.until),
            (None, Some(reason)) => OcspState::Refused(reason.to_string()),
            (None, None) => OcspState::None,
        },
    }
}

fn list(list: &RevocationList) -> RevocationListDescription {
    RevocationListDescription {
        source: list.path.display().to_string(),
        issuer: list.issuer.to_string(),
        this_update: list.this_update,
        next_update: list.next_update,
    }
}

impl From<&CertificateDescription> for TlsCertificate {
    fn from(certificate: &CertificateDescription) -> Self {
        Self {
            names: certificate.names.clone(),
            not_before: certificate.not_before.0,
            not_after: certificate.not_after.0,
            fingerprint: certificate.fingerprint.to_string(),
            source: certificate.source.clone(),
            key: format!("{}{}", certificate.key, certificate.signing),
            ocsp_until: match certificate.ocsp {
                OcspState::Stapled(until) => Some(until.0),
                OcspState::None | OcspState::Refused(_) => None,
            },
        }
    }
}

/// Behind the kind of a key.
impl fmt::Display for Signing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Inline => "",
            Self::Blocking => ", in a token",
        })
    }
}
