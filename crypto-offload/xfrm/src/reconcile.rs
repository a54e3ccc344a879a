//! What should be against what is: the comparison after a device went down, after events were
//! lost, and after a restart. Pure: no kernel, no clock; what to do about a difference is the
//! caller's to say.

use std::collections::{BTreeMap, BTreeSet};

use crypto_offload::{InstalledSa, KeyFingerprint, Placement, SaId};

/// An SA that should be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its name.
    pub id: SaId,
    /// Ties it to its pair.
    pub reqid: u32,
    /// Of its key.
    pub fingerprint: KeyFingerprint,
    /// Where it was when it was last looked at.
    pub placement: Placement,
}

/// An SA that is processed elsewhere than before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    /// Which.
    pub id: SaId,
    /// Where it was.
    pub from: Placement,
    /// Where it is.
    pub to: Placement,
}

/// How the two differ; each list in the order of names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Differences {
    /// Should be there, and is not: a reserved SPI in its place counts as nothing.
    pub missing: Vec<SaId>,
    /// There under the right name with another key: somebody else's, to be left alone, and ours is
    /// gone.
    pub replaced: Vec<SaId>,
    /// There, but elsewhere.
    pub moved: Vec<Moved>,
    /// There under a reqid of ours, but not wanted: left behind by an earlier process, or the
    /// unfinished half of a rotation. Ours to remove.
    pub unknown: Vec<SaId>,
    /// Other programs': to be listed and let be.
    pub foreign: Vec<SaId>,
}

impl Differences {
    /// Whether nothing of ours is amiss. Other programs' SAs are not.
    pub fn is_clean(&self) -> bool {
        self.missing.is_empty()
            && self.replaced.is_empty()
            && self.moved.is_empty()
            && self.unknown.is_empty()
    }
}

/// Compares what should be with a list. `own_reqids` are those of all pairs, also of such as want
/// no SA now.
pub fn reconcile(
    wanted: &[Wanted],
    own_reqids: &BTreeSet<u32>,
    list: &[InstalledSa],
) -> Differences {
    let mut present: BTreeMap<SaId, &InstalledSa> = list.iter().map(|sa| (sa.id, sa)).collect();
    let wanted: BTreeMap<SaId, &Wanted> = wanted.iter().map(|sa| (sa.id, sa)).collect();
    let mut differences = Differences::default();
    for (id, wanted) in wanted {
        match present.remove(&id) {
            Some(found) => differences.compare(wanted, found),
            None => differences.missing.push(id),
        }
    }
    for (id, found) in present {
        if own_reqids.contains(&found.reqid) {
            differences.unknown.push(id);
        } else {
            differences.foreign.push(id);
        }
    }
    differences
}

impl Differences {
    fn compare(&mut self, wanted: &Wanted, found: &InstalledSa) {
        let id = wanted.id;
        // Another algorithm than those that we know, or none: a reservation.
        let Some(_) = found.aead else {
            let ours = found.reqid == wanted.reqid;
            if ours {
                self.missing.push(id)
            } else {
                self.replaced.push(id)
            }
            return;
        };
        // A kernel in lockdown shows no key; then the reqid must do.
        let same = found
            .fingerprint
            .map_or(found.reqid == wanted.reqid, |found| found == wanted.fingerprint);
        if !same {
            self.replaced.push(id);
        } else if found.placement != wanted.placement {
            self.moved.push(Moved { id, from: wanted.placement, to: found.placement });
        }
    }
}

#[cfg(test)]
mod tests {
    use crypto_offload::{Aead, SaUsage, Spi};

    use super::*;

    fn id(spi: u32) -> SaId {
        SaId { destination: [192, 0, 2, 1].into(), spi: Spi::new(spi).expect("free to use") }
    }

    fn wanted(spi: u32) -> Wanted {
        Wanted {
            id: id(spi),
            reqid: 1,
            fingerprint: KeyFingerprint([spi as u8; 16]),
            placement: Placement::InlineCrypto,
        }
    }

    fn installed(spi: u32, reqid: u32) -> InstalledSa {
        InstalledSa {
            id: id(spi),
            source: [192, 0, 2, 2].into(),
            reqid,
            placement: Placement::InlineCrypto,
            device: Some("eth0".to_owned()),
            aead: Some(Aead::Aes128Gcm),
            fingerprint: Some(KeyFingerprint([spi as u8; 16])),
            algorithm: "rfc4106(gcm(aes))".to_owned(),
            usage: SaUsage::default(),
        }
    }

    fn differences(list: &[InstalledSa]) -> Differences {
        reconcile(&[wanted(0x1001), wanted(0x1002)], &BTreeSet::from([1, 2]), list)
    }

    #[test]
    fn all_in_place_is_clean_whatever_others_have() {
        let found =
            differences(&[installed(0x1001, 1), installed(0x1002, 1), installed(0x1003, 9)]);
        assert!(found.is_clean());
        assert_eq!(found.foreign, [id(0x1003)]);
    }

    #[test]
    fn a_wiped_device_leaves_its_sas_missing() {
        assert_eq!(differences(&[]).missing, [id(0x1001), id(0x1002)]);
    }

    #[test]
    fn a_reservation_in_the_place_of_an_sa_is_nothing() {
        let larval = InstalledSa { aead: None, fingerprint: None, ..installed(0x1001, 1) };
        let found = differences(&[larval, installed(0x1002, 1)]);
        assert_eq!(found, Differences { missing: vec![id(0x1001)], ..Differences::default() });
    }

    #[test]
    fn another_key_under_our_name_is_not_ours() {
        let other = KeyFingerprint([9; 16]);
        let theirs = InstalledSa { fingerprint: Some(other), ..installed(0x1001, 1) };
        let found = differences(&[theirs, installed(0x1002, 1)]);
        assert_eq!(found, Differences { replaced: vec![id(0x1001)], ..Differences::default() });
    }

    #[test]
    fn a_hidden_key_is_judged_by_its_reqid() {
        let hidden = |reqid| InstalledSa { fingerprint: None, ..installed(0x1001, reqid) };
        assert!(differences(&[hidden(1), installed(0x1002, 1)]).is_clean());
        let found = differences(&[hidden(9), installed(0x1002, 1)]);
        assert_eq!(found.replaced, [id(0x1001)]);
    }

    #[test]
    fn an_sa_that_fell_back_has_moved() {
        let software = Placement::KernelSoftware;
        let fallen = InstalledSa { placement: software, device: None, ..installed(0x1002, 1) };
        let found = differences(&[installed(0x1001, 1), fallen]);
        let moved = Moved { id: id(0x1002), from: Placement::InlineCrypto, to: software };
        assert_eq!(found, Differences { moved: vec![moved], ..Differences::default() });
    }

    #[test]
    fn what_an_earlier_process_left_is_ours_by_its_reqid() {
        let list = [installed(0x1001, 1), installed(0x1002, 1), installed(0x1003, 2)];
        let found = differences(&list);
        assert_eq!(found, Differences { unknown: vec![id(0x1003)], ..Differences::default() });
    }
}
