//! Files that change while nobody asks.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use gateway_control::{EventKind, TlsReloadRequest, TlsReloadResult};
use tls_relay::{CertificateSource, ListenerSettings};

use crate::support::{Client, Pki, Relay, echo, eventually, read_exactly, sbc, until};

/// A listener whose certificates are whatever the folder holds.
fn of_directory(pki: &Pki, upstream: std::net::SocketAddr) -> ListenerSettings {
    let mut settings = pki.terminate(&[upstream]);
    let directory = pki.authority().parent().map(Path::to_owned).unwrap();
    settings.identity.certificates = vec![CertificateSource::Directory(directory)];
    settings
}

fn shown(client: &Client) -> Vec<u8> {
    client.conn.peer_certificates().unwrap()[0].to_vec()
}

#[test]
fn a_certificate_that_is_put_into_a_watched_directory_is_shown_and_connections_go_on() {
    let pki = Pki::new();
    let (listener, address) = sbc();
    echo(listener);
    let mut relay = Relay::start(vec![of_directory(&pki, address)]);
    let to = relay.address(0);
    let mut lasting = pki.connect(&rustls::version::TLS13, to);
    let before = shown(&lasting);
    let fingerprint = relay.relay.status(0, 0).listeners[0].certificates[0].fingerprint.clone();
    pki.issue("localhost");
    until("the new one is shown", || shown(&pki.connect(&rustls::version::TLS13, to)) != before);
    assert_ne!(relay.relay.status(0, 0).listeners[0].certificates[0].fingerprint, fingerprint);
    lasting.write_all(b"still here").unwrap();
    assert_eq!(read_exactly(&mut lasting, 10), b"still here");
    let told = eventually("it is told", || {
        let notice = relay.notices.try_recv().ok()?;
        (notice.kind == EventKind::TlsReloaded && notice.reason.contains("another"))
            .then_some(notice)
    });
    assert!(told.reason.contains("localhost.pem: another certificate"), "{told:?}");
}

#[test]
fn a_half_written_pair_is_told_and_the_old_one_is_shown() {
    let pki = Pki::new();
    let (listener, address) = sbc();
    echo(listener);
    let mut relay = Relay::start(vec![of_directory(&pki, address)]);
    let to = relay.address(0);
    let before = shown(&pki.connect(&rustls::version::TLS13, to));
    fs::write(pki.authority().with_file_name("localhost.pem"), "half a certif").unwrap();
    let told = eventually("it is told", || {
        let notice = relay.notices.try_recv().ok()?;
        (notice.kind == EventKind::TlsReloadFailed).then_some(notice)
    });
    assert!(told.reason.contains("what was there before stays"), "{told:?}");
    assert_eq!(shown(&pki.connect(&rustls::version::TLS13, to)), before);
}

#[test]
fn a_reload_says_what_changed_or_that_nothing_did() {
    let pki = Pki::new();
    let (_listener, address) = sbc();
    let relay = Relay::start(vec![pki.terminate(&[address])]);
    let reload = |dry_run| {
        let request = TlsReloadRequest { dry_run, ..TlsReloadRequest::default() };
        relay.relay.reload(&request).unwrap().listeners.remove(0)
    };
    assert_eq!(reload(false).result, TlsReloadResult::Unchanged);
    pki.issue("localhost");
    for dry_run in [true, false] {
        let told = reload(dry_run);
        assert_eq!(told.result, TlsReloadResult::Reloaded);
        assert!(told.reason.contains("localhost.pem: another certificate, until "), "{told:?}");
    }
    assert_eq!(reload(true).result, TlsReloadResult::Unchanged);
}
