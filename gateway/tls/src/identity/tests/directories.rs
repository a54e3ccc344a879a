//! Directories of certificates, whole and half-written.

use std::fs;
use std::os::unix::fs::symlink;

use super::handshake::Client;
use super::*;

/// A directory as the kubelet fills it: `..data` leads to a generation, names lead through it.
fn generation(folder: &Folder, number: u32, leaf: &Leaf, mode: u32) {
    let name = format!("..2026_{number}");
    folder.file_with_mode(&format!("{name}/tls.crt"), leaf.pem(), 0o644);
    folder.file_with_mode(&format!("{name}/tls.key"), leaf.key_pem(), mode);
    symlink(&name, folder.path("..data_tmp")).unwrap();
    fs::rename(folder.path("..data_tmp"), folder.path("..data")).unwrap();
    for name in ["tls.crt", "tls.key"] {
        let _exists = symlink(format!("..data/{name}"), folder.path(name));
    }
}

fn directory(folder: &Folder) -> ListenerSettings {
    listener(vec![CertificateSource::Directory(folder.path(""))])
}

fn sources(identity: &Identity) -> Vec<String> {
    let certificates = identity.describe().certificates.into_iter();
    certificates.map(|it| it.source.rsplit('/').next().unwrap().to_owned()).collect()
}

#[test]
fn a_kubernetes_secret_is_read_and_its_next_generation_is_taken() {
    let folder = Folder::new("kubelet");
    let authority = Authority::new("CA");
    generation(&folder, 1, &authority.leaf(&["a.example"]), 0o440);
    let (listener, common) = (directory(&folder), common());
    let current = Current::new(Identity::load(&listener, &common).unwrap());
    assert_eq!(sources(&current.identity()), ["tls.crt"]);
    let before = current.identity().describe().certificates[0].fingerprint;
    generation(&folder, 2, &authority.leaf(&["a.example"]), 0o440);
    let changes = current.reload(&listener, &common, Reason::Changed).unwrap();
    assert!(changes[0].contains("tls.crt: another certificate"), "{changes:?}");
    assert_ne!(current.identity().describe().certificates[0].fingerprint, before);
    assert!(Client::new(&authority).connect(&current.identity(), "a.example").is_ok());
}

#[test]
fn a_kubernetes_key_that_everybody_can_read_is_refused() {
    let folder = Folder::new("kubelet-open");
    generation(&folder, 1, &Authority::new("CA").leaf(&["a.example"]), 0o644);
    let error = refusal(&directory(&folder));
    assert!(error.contains("others can read") && error.contains("chmod 640"), "{error}");
}

#[test]
fn pairs_go_by_their_names_and_what_has_no_key_is_left_alone() {
    let folder = Folder::new("pairs");
    let authority = Authority::new("CA");
    pair(&folder, "b", &authority.leaf(&["b.example"]));
    pair(&folder, "a", &authority.leaf(&["a.example"]));
    folder.file("ca.crt", authority.pem());
    folder.file(".hidden.key", "x");
    assert_eq!(sources(&load(&directory(&folder))), ["a.pem", "b.pem"]);
}

#[test]
fn a_directory_that_is_missing_or_empty_or_half_full_says_so() {
    let folder = Folder::new("empty");
    assert!(refusal(&directory(&folder)).contains("holds no certificate with its key"));
    let mut listener = directory(&folder);
    listener.identity.certificates = vec![CertificateSource::Directory(folder.path("none"))];
    assert!(refusal(&listener).contains("cannot read"));
    folder.file("a.key", Authority::new("CA").leaf(&["a.example"]).key_pem());
    let error = refusal(&directory(&folder));
    assert!(error.contains("a.key") && error.contains("no certificate beside"), "{error}");
}

#[test]
fn a_half_written_pair_stays_as_it_was_and_others_are_taken() {
    let folder = Folder::new("half");
    let authority = Authority::new("CA");
    for name in ["a", "b"] {
        pair(&folder, name, &authority.leaf(&[&format!("{name}.example")]));
    }
    let (listener, common) = (directory(&folder), common());
    let current = Current::new(Identity::load(&listener, &common).unwrap());
    let prints = || -> Vec<_> {
        let certificates = current.identity().describe().certificates.into_iter();
        certificates.map(|it| it.fingerprint).collect()
    };
    let before = prints();
    let next = authority.leaf(&["a.example"]);
    folder.file("a.pem", next.pem());
    pair(&folder, "b", &authority.leaf(&["b.example"]));
    let changes = current.reload(&listener, &common, Reason::Changed).unwrap();
    assert_eq!(changes.len(), 1, "{changes:?}");
    assert!(changes[0].contains("b.pem"), "{changes:?}");
    let warnings = current.identity().warnings();
    assert!(warnings[0].to_string().contains("what was there before stays"), "{warnings:?}");
    assert_eq!(prints()[0], before[0]);
    assert_ne!(prints()[1], before[1]);
    folder.file("a.key", next.key_pem());
    current.reload(&listener, &common, Reason::Changed).unwrap();
    assert_ne!(prints()[0], before[0]);
    assert_eq!(current.identity().warnings(), []);
}

#[test]
fn a_directory_that_vanishes_takes_nothing_with_it() {
    let folder = Folder::new("vanish");
    let authority = Authority::new("CA");
    pair(&folder, "a", &authority.leaf(&["a.example"]));
    let (listener, common) = (directory(&folder), common());
    let current = Current::new(Identity::load(&listener, &common).unwrap());
    fs::remove_dir_all(folder.path("")).unwrap();
    current.reload(&listener, &common, Reason::Changed).unwrap();
    assert_eq!(sources(&current.identity()), ["a.pem"]);
    assert!(current.identity().warnings()[0].to_string().contains("cannot read"));
    assert!(Client::new(&authority).connect(&current.identity(), "a.example").is_ok());
}
