//! What a watch does: takes new files where they are whole, and keeps the old ones elsewhere.
//!
//! Whoever writes a certificate and its key writes one before the other, so a fault here is often
//! only a moment. Named pairs are not read again (that is what a reload is for), their OCSP answers
//! are.

use std::path::Path;
use std::sync::Arc;

use super::fault::{IdentityFault, Warning, WarningKind};
use super::pair::{Occasion, Pair, PairFiles};
use super::time::Seconds;
use super::trust::Trust;
use super::{Common, Identity, directory, provider};
use crate::settings::{CertificateSource, ListenerSettings};

/// The next identity after `old`.
pub(crate) fn refresh(
    old: &Identity,
    listener: &ListenerSettings,
    common: &Common,
    now: Seconds,
) -> Result<Identity, IdentityFault> {
    let mut kept = Vec::new();
    let trust = match Trust::load(&listener.identity, old.trust.as_deref()) {
        Ok(trust) => trust.map(Arc::new),
        Err(fault) => {
            kept.push(as_before(&fault));
            old.trust.clone()
        }
    };
    let (provider, in_service) = (provider::provider(), old.in_service());
    let occasion = Occasion::of(listener, now, Some(&in_service), &provider);
    let mut pairs = Vec::new();
    for source in &listener.identity.certificates {
        match source {
            CertificateSource::Directory(directory) => {
                pairs.extend(of_directory(old, directory, &occasion, &mut kept));
            }
            CertificateSource::Files(files) => {
                let files = super::named(files);
                let same = old.pairs.iter().find(|pair| pair.files == files);
                pairs.push(Arc::new(match same {
                    Some(pair) => Pair::clone(pair).stapled(now),
                    None => Pair::load(files, &occasion)?,
                }));
            }
        }
    }
    let mut new = Identity::build(listener, common, pairs, trust)?;
    new.kept = kept;
    Ok(new)
}

/// What is in a directory now; of pairs that are not whole, what was there before.
fn of_directory(
    old: &Identity,
    directory: &Path,
    occasion: &Occasion<'_>,
    kept: &mut Vec<Warning>,
) -> Vec<Arc<Pair>> {
    let before = || old.pairs.iter().filter(|pair| pair.files.source.parent() == Some(directory));
    match directory::pairs(directory) {
        Ok(files) => {
            files.into_iter().filter_map(|files| of_pair(before(), files, occasion, kept)).collect()
        }
        Err(fault) => {
            kept.push(as_before(&fault));
            before().cloned().collect()
        }
    }
}

fn of_pair<'a>(
    mut before: impl Iterator<Item = &'a Arc<Pair>>,
    files: PairFiles,
    occasion: &Occasion<'_>,
    kept: &mut Vec<Warning>,
) -> Option<Arc<Pair>> {
    let source = files.source.clone();
    match Pair::load(files, occasion) {
        Ok(pair) => Some(Arc::new(pair)),
        Err(fault) => {
            kept.push(as_before(&fault));
            before.find(|pair| pair.files.source == source).cloned()
        }
    }
}

fn as_before(fault: &IdentityFault) -> Warning {
    WarningKind::Refused.says(format!("{fault}; until then what was there before stays"))
}
