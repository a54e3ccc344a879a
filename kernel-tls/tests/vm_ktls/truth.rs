//! What is told of the kernel and of each socket, against what is so.

use kernel_tls::{RecordPath, Support, TlsFeature, TlsStatistics, Version, diagnose};
use rustls::ProtocolVersion;

use crate::ground::{Flow, Place, connect, suites, tcp_pair, transfer};

#[test]
fn the_probe_tells_what_this_kernel_can_do() {
    let support = Support::shared();
    for line in support.lines() {
        println!("{line}");
    }
    let newer = std::env::var("POSTERN_VM").is_ok_and(|line| line == "7");
    assert_eq!(support.has(TlsFeature::Renewal), newer);
    for line in support.lines() {
        let expected = newer || line.feature != TlsFeature::Renewal;
        assert_eq!(support.has(line.feature), expected, "{line}");
    }
}

#[test]
fn a_socket_is_diagnosed_as_it_is() {
    let (plain, _other) = tcp_pair();
    assert!(diagnose(&plain).is_err(), "a socket without TLS");
    for suite in suites() {
        let (server, client) = connect(suite, &Place::Kernel.policy(), &Place::User.policy());
        if !server.stream.is_kernel() {
            continue;
        }
        let told = diagnose(&server.socket).expect("a diagnosis");
        assert_eq!((told.tx, told.rx), (RecordPath::Software, RecordPath::Software));
        assert_eq!((told.tx, told.rx), (server.stream.paths().tx, server.stream.paths().rx));
        let tls13 = server.stream.version() == ProtocolVersion::TLSv1_3;
        assert_eq!(told.version, Some(if tls13 { Version::Tls13 } else { Version::Tls12 }));
        let cipher = told.cipher.expect("a cipher").to_string();
        let name = format!("{:?}", suite.suite()).replace('_', "-");
        let family = &cipher.to_uppercase()[..11];
        assert!(name.to_uppercase().contains(family), "{cipher} of {name}");
        assert!(!told.zerocopy, "no device, no zero copy");
        assert_eq!(told.no_pad, tls13);
        assert!(diagnose(&client.socket).is_err(), "its peer's records are in user space");
    }
}

#[test]
fn statistics_count_what_happens() {
    let before = TlsStatistics::read().expect("tls_stat");
    let suite = crate::ground::suite("TLS_ECDHE_ECDSA_WITH_AES_128");
    let mut ends = connect(suite, &Place::Kernel.policy(), &Place::User.policy());
    transfer(&mut ends, &mut [Flow::new(0), Flow::new(1)], 1_000, &[1_000]);
    let during = TlsStatistics::read().expect("tls_stat");
    let grown = |name| during.counter(name).expect(name) - before.counter(name).expect(name);
    assert_eq!((grown("TlsTxSw"), grown("TlsRxSw")), (1, 1));
    assert_eq!((grown("TlsCurrTxSw"), grown("TlsCurrRxSw")), (1, 1));
    assert_eq!(grown("TlsDecryptError"), 0);
    let newer = std::env::var("POSTERN_VM").is_ok_and(|line| line == "7");
    assert_eq!(during.counter("TlsRxRekeyOk").is_some(), newer);
}
