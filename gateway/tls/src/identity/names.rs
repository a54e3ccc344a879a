//! Which certificates serve which name: exact names first, then wildcards of one label (RFC 9525
//! section 6.3).
//!
//! Several certificates may serve a name; they are tried in the order of the configuration, so that
//! one with ECDSA can stand before one with RSA. The map knows places in a list and no keys.

use std::collections::HashMap;

use rustls::pki_types::DnsName;

/// Names to places in a list of certificates.
#[derive(Clone, Debug, Default)]
pub(crate) struct NameMap {
    exact: HashMap<String, Vec<usize>>,
    /// By what follows `*.`.
    wildcard: HashMap<String, Vec<usize>>,
}

impl NameMap {
    /// `names` are as [`canonical`] has them.
    pub(crate) fn insert(&mut self, names: &[String], place: usize) {
        for name in names {
            let places = match name.strip_prefix("*.") {
                Some(parent) => self.wildcard.entry(parent.to_owned()),
                None => self.exact.entry(name.clone()),
            }
            .or_default();
            if !places.contains(&place) {
                places.push(place);
            }
        }
    }

    /// Who serves `name`: those that have it first, then those whose wildcard covers it.
    pub(crate) fn find(&self, name: &str) -> impl Iterator<Item = usize> {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let exact = self.exact.get(&name);
        let parent = name.split_once('.').filter(|(label, _)| !label.is_empty());
        let wildcard = parent.and_then(|(_, parent)| self.wildcard.get(parent));
        exact.into_iter().chain(wildcard).flatten().copied()
    }
}

/// Lower case and without a dot at the end; `None` where it is neither a DNS name nor `*.` and one.
pub(crate) fn canonical(name: &str) -> Option<String> {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let plain = name.strip_prefix("*.").unwrap_or(&name);
    DnsName::try_from(plain).is_ok().then_some(name)
}

/// Whether a certificate for `pattern` is one for `name`; both as [`canonical`] has them.
pub(crate) fn covers(pattern: &str, name: &str) -> bool {
    if pattern == name {
        return true;
    }
    let (Some(parent), Some((label, rest))) = (pattern.strip_prefix("*."), name.split_once('.'))
    else {
        return false;
    };
    !label.is_empty() && label != "*" && rest == parent
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn map(certificates: &[&[&str]]) -> NameMap {
        let mut map = NameMap::default();
        for (place, names) in certificates.iter().enumerate() {
            let names: Vec<_> = names.iter().map(|name| canonical(name).unwrap()).collect();
            map.insert(&names, place);
        }
        map
    }

    fn found(map: &NameMap, name: &str) -> Vec<usize> {
        map.find(name).collect()
    }

    #[test]
    fn exact_names_come_before_wildcards_and_both_in_the_order_of_the_configuration() {
        let map = map(&[&["*.example.com"], &["sip.example.com"], &["SIP.example.com."]]);
        assert_eq!(found(&map, "sip.example.com"), [1, 2, 0]);
        assert_eq!(found(&map, "SIP.EXAMPLE.COM."), [1, 2, 0]);
        assert_eq!(found(&map, "pbx.example.com"), [0]);
    }

    #[test]
    fn a_wildcard_stands_for_one_label() {
        let map = map(&[&["*.example.com"]]);
        for name in ["example.com", "a.b.example.com", ".example.com", "", ".", "com"] {
            assert_eq!(found(&map, name), [0usize; 0], "{name}");
        }
    }

    #[test]
    fn what_no_client_can_ask_for_is_no_name() {
        for name in ["", "*", "*.", "a..b", "a b", "*.*.example.com", "a.*.example.com", "10.0.0.1"]
        {
            assert_eq!(canonical(name), None, "{name}");
        }
        assert_eq!(canonical("*.Example.Com.").as_deref(), Some("*.example.com"));
    }

    fn label() -> impl Strategy<Value = String> {
        "[a-c]{1,2}"
    }

    fn name() -> impl Strategy<Value = String> {
        (any::<bool>(), proptest::collection::vec(label(), 1..4)).prop_map(|(wildcard, labels)| {
            let labels = labels.join(".");
            if wildcard { format!("*.{labels}") } else { labels }
        })
    }

    proptest! {
        /// The map and the plain rule agree, whatever the certificates are.
        #[test]
        fn the_map_finds_whom_the_rule_covers(
            certificates in proptest::collection::vec(proptest::collection::vec(name(), 0..4), 0..6),
            asked in proptest::collection::vec(label(), 1..4).prop_map(|labels| labels.join(".")),
        ) {
            let mut map = NameMap::default();
            for (place, names) in certificates.iter().enumerate() {
                map.insert(names, place);
            }
            let by_rule = |wanted: &dyn Fn(&String) -> bool| -> Vec<usize> {
                let certificates = certificates.iter().enumerate();
                certificates
                    .filter(|(_, names)| names.iter().any(wanted))
                    .map(|(place, _)| place)
                    .collect()
            };
            let exact = by_rule(&|name| *name == asked);
            let wildcard = by_rule(&|name| *name != asked && covers(name, &asked));
            let expected: Vec<_> = exact.into_iter().chain(wildcard).collect();
            let mixed_case: String = asked
                .chars()
                .enumerate()
                .map(|(at, letter)| if at % 2 == 0 { letter.to_ascii_uppercase() } else { letter })
                .collect();
            prop_assert_eq!(found(&map, &asked), expected.clone());
            prop_assert_eq!(found(&map, &format!("{mixed_case}.")), expected);
        }
    }
}
