//! Handshakes that succeed, and what the association does afterwards.

use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use srtp::Profile;
use webrtc::dtls::DtlsSettings;
use webrtc::identity::{Identity, SignatureAlgorithm};

use crate::certificates;
use crate::pair::{Pair, identity};

#[test]
fn both_sides_get_the_same_keys_for_each_profile() {
    for profile in Profile::COMMON {
        let mut pair = Pair::with_profiles(&[profile], &[profile]);
        pair.run();
        pair.assert_secured();
        assert_eq!(pair.client.outcome.profile(), Some(profile));
        assert_ne!(pair.client.outcome.keys().receive, pair.client.outcome.keys().send);
    }
}

#[test]
fn the_server_prefers_among_what_the_client_offers() {
    let offered = [Profile::AesCm128HmacSha1_80, Profile::AeadAes128Gcm];
    let preferred = [Profile::AeadAes256Gcm, Profile::AeadAes128Gcm, Profile::AesCm128HmacSha1_80];
    let mut pair = Pair::with_profiles(&offered, &preferred);
    pair.run();
    pair.assert_secured();
    assert_eq!(pair.client.outcome.profile(), Some(Profile::AeadAes128Gcm));
}

#[test]
fn certificates_of_each_kind_work_in_both_roles() {
    let (ours, settings) = (identity(0), DtlsSettings::default());
    for other in [certificates::rsa(), certificates::p384()] {
        for (client, server) in [(&ours, &other), (&other, &ours)] {
            let common = &Profile::COMMON;
            let mut pair = Pair::between(client, server, &settings, common, common);
            pair.run();
            pair.assert_secured();
        }
    }
}

#[test]
fn a_key_that_is_elsewhere_signs_in_both_roles() {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::default().self_signed(&key).unwrap();
    let algorithms = [SignatureAlgorithm::EcdsaSha256];
    let outside = Identity::outside(&[certificate.der()], &algorithms).unwrap();
    let (algorithm, der) = (&ECDSA_P256_SHA256_ASN1_SIGNING, key.serialize_der());
    let token = EcdsaKeyPair::from_pkcs8(algorithm, &der).unwrap();
    let (settings, common) = (DtlsSettings::default(), &Profile::COMMON);
    for (client, server) in [(&identity(0), &outside), (&outside, &identity(0))] {
        let mut pair = Pair::between(client, server, &settings, common, common);
        pair.run();
        assert!(pair.client.outcome.secured.is_none());
        let side =
            if pair.client.outcome.to_sign.is_some() { &mut pair.client } else { &mut pair.server };
        let request = side.outcome.to_sign.take().unwrap();
        assert_eq!(request.algorithm, SignatureAlgorithm::EcdsaSha256);
        let signature = token.sign(&SystemRandom::new(), &request.message).unwrap();
        side.association.signed(Some(signature.as_ref().to_vec()), pair.now);
        pair.run();
        pair.assert_secured();
    }
}

#[test]
fn no_datagram_is_larger_than_the_mtu() {
    let large = certificates::of_size(12_000);
    for mtu in [300, 600, 1200] {
        let settings = DtlsSettings { mtu, ..DtlsSettings::default() };
        // 12 KB in datagrams of 300 bytes are more than wait to be sent at a time.
        let server = if mtu == 300 { &identity(1) } else { &large };
        let common = &Profile::COMMON;
        let mut pair = Pair::between(&identity(0), server, &settings, common, common);
        pair.run();
        pair.assert_secured();
        let sent = || pair.client.outcome.sent.iter().chain(&pair.server.outcome.sent);
        let largest = sent().map(Vec::len).max();
        assert!(largest <= Some(mtu), "{largest:?} at {mtu}");
        assert!(largest > Some(mtu - 60), "{largest:?}: nothing was fragmented at {mtu}");
    }
}

#[test]
fn a_secured_association_answers_a_repeated_finished() {
    let mut pair = Pair::usual();
    // The server's last flight is lost.
    for datagram in pair.client.drain() {
        pair.server.association.receive(&datagram, pair.now);
    }
    for datagram in pair.server.drain() {
        pair.client.association.receive(&datagram, pair.now);
    }
    for datagram in pair.client.drain() {
        pair.server.association.receive(&datagram, pair.now);
    }
    assert!(!pair.server.drain().is_empty());
    assert!(pair.server.outcome.secured.is_some());
    assert!(pair.client.outcome.secured.is_none());

    let at = pair.client.outcome.timeout.unwrap();
    pair.now = at;
    pair.client.association.handle_timeout(at);
    pair.run();
    pair.assert_secured();
}

#[test]
fn a_secured_association_has_no_timer() {
    let mut pair = Pair::usual();
    pair.run();
    assert_eq!(pair.client.outcome.timeout, None);
    assert_eq!(pair.server.outcome.timeout, None);
}

#[test]
fn either_side_closes_and_the_other_hears_of_it() {
    for client_closes in [true, false] {
        let mut pair = Pair::usual();
        pair.run();
        let now = pair.now;
        let closing = if client_closes { &mut pair.client } else { &mut pair.server };
        closing.association.close(now);
        pair.run();
        let (client, server) = (&pair.client.outcome, &pair.server.outcome);
        assert_eq!((client.closed, server.closed), (!client_closes, client_closes));
        assert_eq!((client.failed, server.failed), (None, None));
    }
}

#[test]
fn retransmission_doubles_from_its_first_interval() {
    let mut pair = Pair::usual();
    let start = pair.now;
    let mut waits = Vec::new();
    pair.client.drain();
    while pair.client.outcome.failed.is_none() {
        let at = pair.client.outcome.timeout.unwrap();
        waits.push(at - pair.now);
        pair.now = at;
        pair.client.association.handle_timeout(at);
        pair.client.drain();
    }
    let doubling: Vec<_> = (0..6).map(|n| Duration::from_millis(400 << n)).collect();
    assert_eq!(waits[..6], doubling);
    assert_eq!(pair.now - start, DtlsSettings::default().handshake_timeout);
}

#[test]
fn what_is_no_dtls_changes_nothing() {
    let mut pair = Pair::usual();
    let noise: [&[u8]; 6] = [
        b"",
        b"\x16",
        b"\x16\xfe\xfd",
        &[0x80; 200],
        &[20; 64],
        b"\x16\xfe\xfd\0\0\0\0\0\0\0\0\xff\xff",
    ];
    for datagram in noise {
        pair.client.association.receive(datagram, pair.now);
        pair.server.association.receive(datagram, pair.now);
    }
    pair.run();
    pair.assert_secured();
    for datagram in noise {
        pair.client.association.receive(datagram, pair.now);
        pair.server.association.receive(datagram, pair.now);
    }
    pair.run();
    assert_eq!((pair.client.outcome.failed, pair.server.outcome.failed), (None, None));
}
