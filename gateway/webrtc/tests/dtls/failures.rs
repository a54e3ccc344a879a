//! Handshakes that must fail, each with its reason on both sides, and what is refused beforehand.

use std::time::{Duration, Instant};

use ng::sdp::HashFunction;
use srtp::Profile;
use webrtc::dtls::{Association, DtlsSettings, Failure, Role, Unusable};

use crate::certificates;
use crate::pair::{Pair, identity, sha256};

/// TLS alerts (RFC 5246 section 7.2).
const HANDSHAKE_FAILURE: u8 = 40;
const BAD_CERTIFICATE: u8 = 42;
const ILLEGAL_PARAMETER: u8 = 47;
const INTERNAL_ERROR: u8 = 80;

/// Identity 0 calls identity 1, each expecting the certificates of these.
fn expecting(by_client: usize, by_server: usize) -> Pair {
    let (of_server, of_client) = ([sha256(&identity(by_client))], [sha256(&identity(by_server))]);
    let mut pair = Pair::expecting(&DtlsSettings::default(), &of_server, &of_client);
    pair.server.association.address_proven();
    pair
}

/// They expect each other, and the client's address is still to be proven.
fn unproven() -> Pair {
    let (of_server, of_client) = ([sha256(&identity(1))], [sha256(&identity(0))]);
    Pair::expecting(&DtlsSettings::default(), &of_server, &of_client)
}

#[test]
fn a_servers_wrong_certificate_is_refused() {
    let mut pair = expecting(0, 0);
    pair.run();
    assert_eq!(pair.client.outcome.failed, Some(Failure::WrongFingerprint));
    assert_eq!(pair.server.outcome.failed, Some(Failure::Alert(BAD_CERTIFICATE)));
    assert!(pair.client.outcome.secured.is_none() && pair.server.outcome.secured.is_none());
}

#[test]
fn a_clients_wrong_certificate_is_refused() {
    let mut pair = expecting(1, 1);
    pair.run();
    assert_eq!(pair.server.outcome.failed, Some(Failure::WrongFingerprint));
    assert_eq!(pair.client.outcome.failed, Some(Failure::Alert(BAD_CERTIFICATE)));
    assert!(pair.client.outcome.secured.is_none() && pair.server.outcome.secured.is_none());
}

#[test]
fn without_a_common_profile_both_fail() {
    let mut pair = Pair::with_profiles(&[Profile::AeadAes128Gcm], &[Profile::AesCm128HmacSha1_80]);
    pair.run();
    assert_eq!(pair.server.outcome.failed, Some(Failure::NoCommonProfile));
    assert_eq!(pair.client.outcome.failed, Some(Failure::Alert(HANDSHAKE_FAILURE)));
}

#[test]
fn a_certificate_of_more_than_16_kib_is_refused_in_both_roles() {
    let (large, ours) = (certificates::of_size(20_000), identity(0));
    let (settings, common) = (DtlsSettings::default(), &Profile::COMMON);
    let mut pair = Pair::between(&ours, &large, &settings, common, common);
    pair.run_out();
    assert_eq!(pair.client.outcome.failed, Some(Failure::CertificateTooLarge));
    assert_eq!(pair.server.outcome.failed, Some(Failure::Alert(ILLEGAL_PARAMETER)));

    let mut pair = Pair::between(&large, &ours, &settings, common, common);
    pair.run_out();
    assert_eq!(pair.server.outcome.failed, Some(Failure::CertificateTooLarge));
    assert_eq!(pair.client.outcome.failed, Some(Failure::Alert(ILLEGAL_PARAMETER)));
}

#[test]
fn a_handshake_without_answers_ends_at_its_bound() {
    let mut pair = Pair::usual();
    let hello = pair.client.drain();
    let start = pair.now;
    pair.server.association.receive(&hello[0], start);
    for side in [&mut pair.client, &mut pair.server] {
        side.drain();
        let mut now = start;
        while side.outcome.failed.is_none() {
            now = side.outcome.timeout.unwrap();
            side.association.handle_timeout(now);
            side.drain();
        }
        assert_eq!(side.outcome.failed, Some(Failure::TimedOut));
        assert_eq!(now - start, Duration::from_secs(30));
        assert_eq!(side.outcome.timeout, None);
    }
}

#[test]
fn a_server_that_waits_for_a_client_hello_has_no_bound() {
    let mut pair = Pair::usual();
    pair.server.drain();
    assert_eq!(pair.server.outcome.timeout, None);
}

#[test]
fn an_unproven_address_never_gets_more_than_three_times_what_it_sent() {
    let Pair { mut client, mut server, mut now } = unproven();
    let hello = client.drain().remove(0);
    let (mut sent, mut received) = (0, 0);
    // The forger repeats its ClientHello, and time passes.
    for round in 0..40 {
        if round % 3 == 0 {
            server.association.receive(&hello, now);
            received += hello.len();
        }
        sent += server.drain().iter().map(Vec::len).sum::<usize>();
        assert!(sent <= 3 * received, "{sent} for {received}");
        let Some(at) = server.outcome.timeout else { break };
        now = at;
        server.association.handle_timeout(now);
    }
    assert!(sent > 0);
    assert_eq!(server.outcome.failed, Some(Failure::TimedOut));
}

#[test]
fn an_unproven_client_that_repeats_its_hello_gets_through() {
    let mut pair = unproven();
    let start = pair.now;
    pair.run();
    assert!(pair.client.outcome.secured.is_none(), "the first flight fits the budget: no test");
    pair.run_out();
    pair.assert_secured();
    assert!(pair.now - start < Duration::from_secs(1));
}

#[test]
fn a_refused_signature_fails_the_handshake() {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::default().self_signed(&key).unwrap();
    let algorithms = [webrtc::identity::SignatureAlgorithm::EcdsaSha256];
    let outside = webrtc::identity::Identity::outside(&[certificate.der()], &algorithms).unwrap();
    let (settings, common) = (DtlsSettings::default(), &Profile::COMMON);
    let mut pair = Pair::between(&identity(0), &outside, &settings, common, common);
    pair.run();
    assert!(pair.server.outcome.to_sign.is_some());
    pair.server.association.signed(None, pair.now);
    pair.run();
    assert_eq!(pair.server.outcome.failed, Some(Failure::NotSigned));
    assert_eq!(pair.client.outcome.failed, Some(Failure::Alert(INTERNAL_ERROR)));
}

#[test]
fn sha_1_fingerprints_count_only_where_settings_say_so() {
    let (now, common) = (Instant::now(), &Profile::COMMON);
    let sha1 = [identity(1).fingerprint(HashFunction::Sha1)];
    let mut settings = DtlsSettings::default();
    let refused = Association::new(&identity(0), &settings, Role::Client, &sha1, common, now);
    assert_eq!(refused.err(), Some(Unusable::Fingerprints));
    settings.accept_sha1 = true;
    let mut pair = Pair::expecting(&settings, &sha1, &[sha256(&identity(0))]);
    pair.server.association.address_proven();
    pair.run();
    pair.assert_secured();
}

#[test]
fn profiles_without_a_dtls_number_are_refused() {
    let (now, settings) = (Instant::now(), DtlsSettings::default());
    let fingerprints = [sha256(&identity(1))];
    let profiles = [Profile::AesCm256HmacSha1_80];
    let refused =
        Association::new(&identity(0), &settings, Role::Client, &fingerprints, &profiles, now);
    assert_eq!(refused.err(), Some(Unusable::Profiles));
}
