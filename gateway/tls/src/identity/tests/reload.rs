//! Replacing identities: what was wrong with the new one is told, and the old one stays.

use std::io::{Read as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};

use rcgen::KeyPair;

use super::handshake::{Client, exchange};
use super::*;

#[test]
fn a_broken_new_certificate_is_refused_with_the_reason_and_the_old_one_stays() {
    let folder = Folder::new("broken");
    let authority = Authority::new("CA");
    let leaf = authority.leaf(&["a.example"]);
    let listener = listener(vec![pair(&folder, "a", &leaf)]);
    let common = common();
    let current = Current::new(Identity::load(&listener, &common).unwrap());
    let before = current.identity().describe();
    let expired = authority.leaf_with(&["a.example"], KeyPair::generate().unwrap(), |params| {
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    });
    let early = authority.leaf_with(&["a.example"], KeyPair::generate().unwrap(), |params| {
        params.not_before = rcgen::date_time_ymd(2090, 1, 1);
    });
    let other = authority.leaf(&["a.example"]);
    for (chain, key, reason) in [
        ("hello".to_owned(), leaf.key_pem(), "holds no certificate"),
        (other.pem(), leaf.key_pem(), "is not that of the certificate"),
        (expired.pem(), expired.key_pem(), "expired at"),
        (early.pem(), early.key_pem(), "holds only from"),
        (leaf.pem(), String::new(), "holds no private key"),
    ] {
        folder.file("a.pem", chain);
        folder.file("a.key", key);
        let error = current.reload(&listener, &common, Reason::Asked).unwrap_err().to_string();
        assert!(error.contains(reason) && error.contains("a."), "{reason}: {error}");
        assert_eq!(current.identity().describe(), before);
    }
    pair(&folder, "a", &other);
    let changes = current.reload(&listener, &common, Reason::Asked).unwrap();
    assert!(changes[0].contains("another certificate"), "{changes:?}");
    assert_ne!(current.identity().describe(), before);
    assert!(Client::new(&authority).connect(&current.identity(), "a.example").is_ok());
}

#[test]
fn nothing_changed_is_told_as_such() {
    let folder = Folder::new("unchanged");
    let listener = listener(vec![pair(&folder, "a", &Authority::new("CA").leaf(&["a.example"]))]);
    let common = common();
    let current = Current::new(Identity::load(&listener, &common).unwrap());
    for reason in [Reason::Asked, Reason::Changed] {
        assert_eq!(current.reload(&listener, &common, reason).unwrap(), [""; 0]);
    }
}

#[test]
fn a_certificate_that_ended_while_it_was_shown_stays_through_reloads() {
    let folder = Folder::new("midnight");
    let authority = Authority::new("CA");
    let leaf = authority.leaf_with(&["a.example"], KeyPair::generate().unwrap(), |params| {
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    });
    let mut listener = listener(vec![pair(&folder, "a", &leaf)]);
    let common = common();
    let ends = 1_609_459_200;
    let before = |days| Seconds(ends - Seconds::days(days) - 1);
    let identity = Identity::load_at(&listener, &common, None, before(60)).unwrap();
    assert_eq!(identity.warnings_at(before(30)), []);
    for (at, said) in [(before(29), "30 days"), (before(6), "7 days"), (before(0), "a day")] {
        let warning = identity.warnings_at(at)[0].to_string();
        assert!(warning.contains(&format!("has less than {said} left")), "{warning}");
    }
    let next = identity.reload(&listener, &common).unwrap();
    assert!(next.warnings()[0].to_string().contains("expired at 2021-01-01"));
    // And does not keep others from coming.
    listener.identity.certificates.push(pair(&folder, "b", &authority.leaf(&["b.example"])));
    assert_eq!(next.reload(&listener, &common).unwrap().describe().certificates.len(), 2);
    assert!(Identity::load(&listener, &common).is_err(), "at a start it is refused");
}

#[test]
fn an_older_revocation_list_than_the_one_in_force_is_refused() {
    let folder = Folder::new("rollback");
    let authority = Authority::new("CA");
    let mut listener = listener(vec![pair(&folder, "a", &authority.leaf(&["a.example"]))]);
    listener.identity.client_authentication = ClientAuthentication::Required;
    listener.identity.authority = Some(folder.file("ca.pem", authority.pem()));
    let list = |day| folder.file("ca.crl", authority.revocation_list(&[], day, 2090));
    listener.identity.revocation_lists = vec![list(2)];
    let common = common();
    let identity = Identity::load(&listener, &common).unwrap();
    list(1);
    let error = identity.reload(&listener, &common).unwrap_err().to_string();
    assert!(error.contains("ca.crl") && error.contains("older than the one in force"), "{error}");
    list(3);
    assert!(identity.reload(&listener, &common).is_ok());
}

#[test]
fn a_revocation_list_with_a_false_signature_leaves_the_old_one_in_force() {
    let folder = Folder::new("false-list");
    let (authority, impostor) = (Authority::new("CA"), Authority::new("CA"));
    let mut listener = listener(vec![pair(&folder, "a", &authority.leaf(&["a.example"]))]);
    listener.identity.client_authentication = ClientAuthentication::Required;
    listener.identity.authority = Some(folder.file("ca.pem", authority.pem()));
    let (good, bad) = (authority.leaf(&["good.example"]), authority.leaf(&["bad.example"]));
    let list = authority.revocation_list(&[&bad], 1, 2090);
    listener.identity.revocation_lists = vec![folder.file("ca.crl", list)];
    let common = common();
    let identity = Identity::load(&listener, &common).unwrap();
    folder.file("ca.crl", impostor.revocation_list(&[], 2, 2090));
    let error = identity.reload(&listener, &common).unwrap_err().to_string();
    assert!(error.contains("ca.crl") && error.contains("no certificate in `authority`"), "{error}");
    let next = identity.refresh(&listener, &common).unwrap();
    assert!(next.warnings()[0].to_string().contains("until then what was there before stays"));
    let connect = |leaf| Client::showing(&authority, leaf).connect(&next, "a.example");
    assert!(connect(&good).is_ok(), "the false list is not asked");
    assert!(connect(&bad).unwrap_err().contains("Revoked"), "the old list is");
}

#[test]
fn connections_go_on_and_new_ones_come_while_certificates_are_replaced() {
    let folder = Folder::new("load");
    let authority = Authority::new("CA");
    let listener = listener(vec![pair(&folder, "a", &authority.leaf(&["a.example"]))]);
    let common = common();
    let current = Current::new(Identity::load(&listener, &common).unwrap());
    let done = AtomicBool::new(false);
    let connected = std::thread::scope(|scope| {
        let connect = || {
            let client = Client::new(&authority);
            let mut standing = client.connect(&current.identity(), "a.example").unwrap();
            let mut count = 0;
            while !done.load(Ordering::Relaxed) || count == 0 {
                client.connect(&current.identity(), "a.example").unwrap();
                standing.client.writer().write_all(b"still here").unwrap();
                let mut bytes = Vec::new();
                standing.client.write_tls(&mut bytes).unwrap();
                standing.server.read_tls(&mut &bytes[..]).unwrap();
                exchange(&mut standing.client, &mut standing.server).unwrap();
                let mut heard = [0; 10];
                standing.server.reader().read_exact(&mut heard).unwrap();
                assert_eq!(&heard, b"still here");
                count += 1;
            }
            count
        };
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(connect)).collect();
        for round in 0..20 {
            if round % 4 == 3 {
                folder.file("a.key", "broken");
                assert!(current.reload(&listener, &common, Reason::Asked).is_err());
            }
            pair(&folder, "a", &authority.leaf(&["a.example"]));
            assert_eq!(current.reload(&listener, &common, Reason::Asked).unwrap().len(), 1);
        }
        done.store(true, Ordering::Relaxed);
        threads.into_iter().map(|thread| thread.join().unwrap()).sum::<usize>()
    });
    assert!(connected >= 4);
}
