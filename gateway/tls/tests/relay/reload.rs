//! Listeners come, change and go, and connections stay.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use gateway_control::{TlsReloadRequest, TlsReloadResult};
use rustls::ProtocolVersion;
use tls_relay::{CertificateSource, TlsRelay, VersionPreference};

use crate::support::{BOTH, Pki, Relay, connect, echo, read_exactly, sbc, settings, until};

#[test]
fn reloads_under_load_drop_no_connection_and_fail_no_handshake() {
    let pki = Pki::new();
    let (listener, address) = sbc();
    echo(listener);
    let relay = Relay::start(vec![pki.terminate(&[address])]);
    let to = relay.address(0);
    let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let mut lasting = pki.connect(&rustls::version::TLS13, to);
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let mut client = pki.connect(&rustls::version::TLS13, to);
                    client.write_all(b"hello").unwrap();
                    assert_eq!(read_exactly(&mut client, 5), b"hello");
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for round in 0..30 {
            if round % 3 == 0 {
                pki.issue("localhost");
            }
            let report = relay.relay.reload(&TlsReloadRequest::default()).unwrap();
            assert_ne!(report.listeners[0].result, TlsReloadResult::Refused, "{report:?}");
            lasting.write_all(b"still here").unwrap();
            assert_eq!(read_exactly(&mut lasting, 10), b"still here");
            std::thread::sleep(Duration::from_millis(20));
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(done.load(Ordering::Relaxed) > 10);
    assert_eq!(relay.counters().handshakes.len(), 1, "{:?}", relay.counters().handshakes);
}

#[test]
fn a_broken_certificate_is_refused_and_the_old_one_serves() {
    let pki = Pki::new();
    let (listener, address) = sbc();
    echo(listener);
    let wanted = pki.terminate(&[address]);
    let relay = Relay::start(vec![wanted]);
    pki.folder.file("localhost.pem", "no certificate");
    let report = relay.relay.reload(&TlsReloadRequest::default()).unwrap();
    assert_eq!(report.listeners[0].result, TlsReloadResult::Refused);
    assert!(report.listeners[0].reason.contains("localhost.pem"), "{report:?}");
    assert!(relay.relay.status(0, 0).listeners[0].problem.is_some());
    let mut client = pki.connect(&rustls::version::TLS13, relay.address(0));
    client.write_all(b"hello").unwrap();
    assert_eq!(read_exactly(&mut client, 5), b"hello");
}

#[test]
fn a_new_address_is_bound_before_the_old_one_closes_and_connections_outlive_both() {
    let pki = Pki::new();
    let (listener, address) = sbc();
    echo(listener);
    let mut relay = Relay::start(vec![pki.terminate(&[address])]);
    let old = relay.address(0);
    let mut lasting = pki.connect(&rustls::version::TLS13, old);
    // Somebody has the port: all stays as it was.
    let (_holder, taken) = sbc();
    relay.settings.listeners[0].listen = taken;
    let report = relay.relay.apply(relay.settings.clone());
    assert_eq!(report.listeners[0].result, TlsReloadResult::Refused);
    let reason = &report.listeners[0].reason;
    assert!(reason.contains(&taken.to_string()) && reason.contains("ss -ltnp"), "{reason}");
    assert_eq!(relay.address(0), old);
    drop(pki.connect(&rustls::version::TLS13, old));

    relay.settings.listeners[0].listen = std::net::SocketAddr::from(([127, 0, 0, 2], 0));
    let report = relay.relay.apply(relay.settings.clone());
    assert_eq!(report.listeners[0].result, TlsReloadResult::Reloaded, "{report:?}");
    let new = relay.address(0);
    assert_ne!(new, old);
    drop(pki.connect(&rustls::version::TLS13, new));
    until("the old address is closed", || std::net::TcpStream::connect(old).is_err());

    relay.settings.listeners.clear();
    let report = relay.relay.apply(relay.settings.clone());
    assert_eq!(report.listeners[0].result, TlsReloadResult::Stopped);
    until("the new address is closed", || std::net::TcpStream::connect(new).is_err());
    lasting.write_all(b"still here").unwrap();
    assert_eq!(read_exactly(&mut lasting, 10), b"still here");
    assert_eq!(relay.relay.counters().len(), 1, "its numbers stay while it drains");
    drop(lasting);
    until("it has drained", || relay.relay.counters().is_empty());
}

#[test]
fn a_renamed_listener_takes_over_the_address() {
    let pki = Pki::new();
    let (listener, address) = sbc();
    echo(listener);
    let mut relay = Relay::start(vec![pki.terminate(&[address])]);
    let at = relay.address(0);
    relay.settings.listeners[0].listen = at;
    relay.settings.listeners[0].name = "renamed".to_owned();
    let report = relay.relay.apply(relay.settings.clone());
    let results: Vec<_> = report.listeners.iter().map(|one| one.result).collect();
    assert_eq!(results, [TlsReloadResult::Stopped, TlsReloadResult::Started], "{report:?}");
    drop(pki.connect(&rustls::version::TLS13, at));
}

#[test]
fn one_broken_listener_is_told_and_the_others_start() {
    let pki = Pki::new();
    let (listener, address) = sbc();
    echo(listener);
    let good = pki.terminate(&[address]);
    let (_holder, taken) = sbc();
    let mut busy = pki.terminate(&[address]);
    (busy.name, busy.listen) = ("busy".to_owned(), taken);
    let mut bare = pki.terminate(&[]);
    bare.name = "bare".to_owned();
    let started = TlsRelay::start(settings(vec![busy, good, bare])).unwrap();
    let told: Vec<_> = started.faults.iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), 2);
    assert!(told[0].contains("busy") && told[0].contains(&taken.to_string()), "{told:?}");
    assert!(told[1].contains("bare") && told[1].contains("no upstream"), "{told:?}");
    let serving = started.relay.status(0, 0).listeners[1].listen;
    drop(pki.connect(&rustls::version::TLS13, serving));
}

#[test]
fn a_draining_relay_takes_no_connection_and_keeps_those_it_has() {
    let pki = Pki::new();
    let (listener, address) = sbc();
    echo(listener);
    let relay = Relay::start(vec![pki.terminate(&[address])]);
    let to = relay.address(0);
    let mut lasting = pki.connect(&rustls::version::TLS13, to);
    relay.relay.drain();
    until("nobody listens", || std::net::TcpStream::connect(to).is_err());
    lasting.write_all(b"still here").unwrap();
    assert_eq!(read_exactly(&mut lasting, 10), b"still here");
    assert_eq!(relay.relay.connections(), 1);
    // The process ends: so does the connection, visibly.
    drop(relay);
    assert!(!matches!(lasting.read(&mut [0; 1]), Ok(1..)));
}

#[test]
fn an_older_version_is_preferred_where_that_is_asked_for_and_said() {
    let pki = Pki::new();
    let (listener, address) = sbc();
    echo(listener);
    let mut wanted = settings(vec![pki.terminate(&[address])]);
    wanted.prefer = VersionPreference::Tls12Device;
    let mut started = TlsRelay::start(wanted.clone()).unwrap();
    let to = started.relay.status(0, 0).listeners[0].listen;
    let version = || {
        let client = connect(Arc::new(pki.client_config_of(&BOTH)), to).unwrap();
        client.conn.protocol_version().unwrap()
    };
    assert_eq!(version(), ProtocolVersion::TLSv1_2);
    let mut told = || {
        let notices = std::iter::from_fn(|| started.notices.try_recv().ok());
        notices.filter(|notice| notice.reason.contains("tls12-device")).count()
    };
    assert_eq!(told(), 1);
    started.relay.apply(wanted.clone());
    assert_eq!(told(), 0, "nothing new");
    wanted.prefer = VersionPreference::Tls13;
    started.relay.apply(wanted);
    assert_eq!(version(), ProtocolVersion::TLSv1_3);
}

#[test]
fn a_secret_that_kubernetes_swaps_is_served_without_anybody_asking() {
    let pki = Pki::new();
    let (listener, address) = sbc();
    echo(listener);
    let mount = pki.folder.path("mount");
    let swap = |version: &str| {
        // As kubelet does: a folder of its own, then one link that points at it.
        let folder = mount.join(version);
        std::fs::create_dir_all(&folder).unwrap();
        let own = pki.issue("localhost");
        std::fs::rename(own.chain, folder.join("tls.crt")).unwrap();
        std::fs::rename(own.key, folder.join("tls.key")).unwrap();
        std::os::unix::fs::symlink(version, mount.join("..data_tmp")).unwrap();
        std::fs::rename(mount.join("..data_tmp"), mount.join("..data")).unwrap();
    };
    swap("..first");
    for name in ["tls.crt", "tls.key"] {
        let link = std::path::Path::new("..data").join(name);
        std::os::unix::fs::symlink(link, mount.join(name)).unwrap();
    }
    let mut wanted = pki.terminate(&[address]);
    wanted.identity.certificates = vec![CertificateSource::Directory(mount.clone())];
    let relay = Relay::start(vec![wanted]);
    let shown = || {
        let client = pki.connect(&rustls::version::TLS13, relay.address(0));
        client.conn.peer_certificates().unwrap()[0].clone()
    };
    let first = shown();
    let fingerprint = || relay.relay.status(0, 0).listeners[0].certificates[0].fingerprint.clone();
    let before = fingerprint();
    let mut lasting = pki.connect(&rustls::version::TLS13, relay.address(0));
    swap("..second");
    until("the new certificate is served", || shown() != first);
    assert_ne!(fingerprint(), before);
    lasting.write_all(b"still here").unwrap();
    assert_eq!(read_exactly(&mut lasting, 10), b"still here");
}
