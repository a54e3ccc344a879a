//! What was told about listeners' files: each warning once, and again only after it had gone.

use std::collections::{BTreeSet, HashMap};

use gateway_control::EventKind;

use crate::identity::{Warning, WarningKind};
use crate::notice::{Notice, Teller};

/// What was told, by listener.
#[derive(Debug, Default)]
pub(crate) struct Warned(HashMap<String, BTreeSet<Warning>>);

impl Warned {
    /// These are all listeners' warnings of now: tells those that are new.
    pub(crate) fn tell(
        &mut self,
        now: impl Iterator<Item = (String, Vec<Warning>)>,
        teller: &Teller,
    ) {
        let now: HashMap<_, BTreeSet<_>> =
            now.map(|(listener, warnings)| (listener, warnings.into_iter().collect())).collect();
        let none = BTreeSet::new();
        for (listener, warnings) in &now {
            let known = self.0.get(listener).unwrap_or(&none);
            warnings.difference(known).for_each(|warning| tell(listener, warning, teller));
        }
        self.0 = now;
    }
}

fn tell(listener: &str, warning: &Warning, teller: &Teller) {
    let kind = match warning.kind {
        WarningKind::Time => EventKind::TlsCertificateExpiring,
        WarningKind::Refused => EventKind::TlsReloadFailed,
        WarningKind::Advice => {
            tracing::warn!(listener, "{warning}");
            return;
        }
    };
    let (from, to) = (String::new(), String::new());
    let (object, reason) = (format!("listener {listener}"), warning.to_string());
    teller.tell(Notice { kind, object, from, to, reason, owner: "gateway" });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warning(text: &str) -> Warning {
        Warning { kind: WarningKind::Time, text: text.to_owned() }
    }

    #[test]
    fn a_warning_is_told_once_and_again_after_it_had_gone() {
        let (teller, mut notices) = Teller::new();
        let mut warned = Warned::default();
        let mut told = |texts: &[&str]| {
            let warnings = texts.iter().map(|text| warning(text)).collect();
            warned.tell([("sip".to_owned(), warnings)].into_iter(), &teller);
            std::iter::from_fn(|| notices.try_recv().ok())
                .map(|notice| {
                    assert_eq!(notice.kind, EventKind::TlsCertificateExpiring);
                    assert_eq!(notice.object, "listener sip");
                    notice.reason
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(told(&["a", "b"]), ["a", "b"]);
        assert_eq!(told(&["a", "c"]), ["c"]);
        assert_eq!(told(&[]), [""; 0]);
        assert_eq!(told(&["a"]), ["a"]);
    }
}
