//! What is different between two identities, for people and to know whether anything is.

use std::sync::Arc;

use super::Identity;
use super::pair::Pair;

/// In words; nothing: the new one would do nothing that the old one does not.
pub(crate) fn between(old: &Identity, new: &Identity) -> Vec<String> {
    let mut changes = Vec::new();
    if old.settings != new.settings {
        changes.push("other settings".to_owned());
    }
    for pair in &new.pairs {
        changes.extend(of_pair(with_source(&old.pairs, pair), pair));
    }
    let gone = old.pairs.iter().filter(|pair| with_source(&new.pairs, pair).is_none());
    changes.extend(gone.map(|pair| format!("{}: no longer there", pair.files.source.display())));
    match (&old.trust, &new.trust) {
        (Some(old), Some(new)) if !old.is_same(new) => {
            changes.push("other authorities or revocation lists".to_owned());
        }
        (None, Some(_)) | (Some(_), None) => changes.push("other authorities".to_owned()),
        _ => {}
    }
    let order = |identity: &Identity| -> Vec<_> {
        identity.pairs.iter().map(|pair| pair.files.source.clone()).collect()
    };
    if changes.is_empty() && order(old) != order(new) {
        changes.push("another order of certificates".to_owned());
    }
    if changes.is_empty() && old.kept != new.kept {
        let now = if new.kept.is_empty() {
            "all files can be used again"
        } else {
            "files that cannot be used"
        };
        changes.push(now.to_owned());
    }
    changes
}

fn with_source<'a>(pairs: &'a [Arc<Pair>], pair: &Pair) -> Option<&'a Arc<Pair>> {
    pairs.iter().find(|other| other.files.source == pair.files.source)
}

fn of_pair(old: Option<&Arc<Pair>>, new: &Pair) -> Option<String> {
    let source = new.files.source.display();
    let ends = new.facts.not_after;
    let Some(old) = old else { return Some(format!("{source}: new, until {ends}")) };
    let answer = |pair: &Pair| pair.staple.as_ref().map(|staple| staple.der.clone());
    if old.facts.fingerprint != new.facts.fingerprint {
        Some(format!("{source}: another certificate, until {ends}"))
    } else if old.certified.cert != new.certified.cert {
        Some(format!("{source}: other certificates behind the first"))
    } else if old.names != new.names || old.files != new.files {
        Some(format!("{source}: for other names or from other files"))
    } else if answer(old) != answer(new) {
        Some(format!("{source}: another OCSP answer"))
    } else {
        None
    }
}
