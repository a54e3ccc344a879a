//! What an attacker may send after a handshake, and what it is told.

use std::io::{ErrorKind, Write};
use std::sync::Arc;

use kernel_tls::{AskPeer, Policy, Reading, Received, RecordError};
use rustls::crypto::ring;
use rustls::{AlertDescription, ContentType, SupportedProtocolVersion};

use crate::support::attacker::Attacker;
use crate::support::end::{Talk, connect, in_user_space};
use crate::support::pki::{ClientAuthentication, Pki, VERSIONS};

fn meet(version: &'static SupportedProtocolVersion) -> (Attacker, Talk) {
    let pki = Pki::new();
    let server = Arc::new(pki.server(&[], ClientAuthentication::None));
    // ring seals whatever number a record has; aws-lc insists on an unbroken order.
    let client = Arc::new(pki.client(ring::ALL_CIPHER_SUITES, &[version]));
    Attacker::meet(&server, &client, &patient())
}

/// The same, with an attacker that is the server.
fn lure(version: &'static SupportedProtocolVersion, policy: &Policy) -> (Attacker, Talk) {
    let pki = Pki::new();
    // As above; the two providers' keys do not mix, their ciphers do.
    let server = Arc::new(pki.server(ring::ALL_CIPHER_SUITES, ClientAuthentication::None));
    let client = Arc::new(pki.client(&[], &[version]));
    Attacker::lure(&server, &client, policy)
}

/// A policy that bears any number of messages: what else ends a connection is tested here.
fn patient() -> Policy {
    Policy { update_burst: u32::MAX, ..in_user_space() }
}

/// Reads until the connection fails: the label, and the alert that the attacker got.
fn refusal(attacker: &mut Attacker, victim: &mut Talk) -> (&'static str, Option<AlertDescription>) {
    let error = victim.read_all().expect_err("it must not be accepted");
    assert_eq!(error.kind(), ErrorKind::InvalidData, "{error}");
    let again = victim.read().expect_err("it stays over");
    assert_eq!(again.to_string(), error.to_string());
    assert!(victim.write(b"x").is_err(), "both directions are over");
    let (error, told) = (RecordError::of(&error).expect("a record error"), attacker.alert());
    assert_eq!(error.alert(), told, "the error names the alert that was sent");
    (error.label(), told)
}

const TLS12: &SupportedProtocolVersion = &rustls::version::TLS12;
const TLS13: &SupportedProtocolVersion = &rustls::version::TLS13;

#[test]
fn a_content_type_that_has_no_place_is_refused() {
    for version in VERSIONS {
        for content_type in [0_u8, 24, 25, 255] {
            let (mut attacker, mut victim) = meet(version);
            attacker.send(ContentType::from(content_type), b"what is this");
            let (label, alert) = refusal(&mut attacker, &mut victim);
            let told = (label, alert);
            assert!(
                matches!(label, "unexpected_message" | "decode_error" | "not_tls")
                    && matches!(
                        alert,
                        Some(AlertDescription::UnexpectedMessage | AlertDescription::DecodeError)
                    ),
                "{version:?} {content_type}: {told:?}"
            );
        }
    }
}

#[test]
fn a_change_cipher_spec_after_the_handshake_is_refused() {
    for version in VERSIONS {
        let (mut attacker, mut victim) = meet(version);
        attacker.socket.write_all(&[20, 3, 3, 0, 1, 1]).expect("sent");
        let (label, alert) = refusal(&mut attacker, &mut victim);
        assert_eq!(label, "unexpected_message", "{version:?}");
        assert_eq!(alert, Some(AlertDescription::UnexpectedMessage), "{version:?}");
    }
}

#[test]
fn a_second_client_hello_is_declined_once_in_tls12_and_refused_after_that() {
    let (mut attacker, mut victim) = meet(TLS12);
    attacker.send(ContentType::Handshake, CLIENT_HELLO);
    assert_eq!(victim.read_all().expect("declined"), b"");
    assert_eq!(attacker.alert(), Some(AlertDescription::NoRenegotiation));
    attacker.send(ContentType::ApplicationData, b"never mind");
    assert_eq!(victim.read_all().expect("data"), b"never mind");
    attacker.send(ContentType::Handshake, CLIENT_HELLO);
    let (label, _) = refusal(&mut attacker, &mut victim);
    assert_eq!(label, "peer_misbehaved");
}

#[test]
fn a_second_client_hello_is_refused_in_tls13() {
    let (mut attacker, mut victim) = meet(TLS13);
    attacker.send(ContentType::Handshake, CLIENT_HELLO);
    let (label, alert) = refusal(&mut attacker, &mut victim);
    assert_eq!(label, "unexpected_message");
    assert_eq!(alert, Some(AlertDescription::UnexpectedMessage));
}

#[test]
fn a_record_that_does_not_open_is_refused() {
    for version in VERSIONS {
        let (mut attacker, mut victim) = meet(version);
        let mut record = attacker.record(ContentType::ApplicationData, b"true");
        *record.last_mut().expect("a tag") ^= 1;
        attacker.socket.write_all(&record).expect("sent");
        let (label, alert) = refusal(&mut attacker, &mut victim);
        assert_eq!((label, alert), ("bad_record", Some(AlertDescription::BadRecordMac)));
    }
}

#[test]
fn what_came_before_a_bad_record_is_delivered() {
    let (mut attacker, mut victim) = meet(TLS13);
    attacker.send(ContentType::ApplicationData, b"good");
    attacker.socket.write_all(&[23, 3, 3, 0, 17, 0, 0, 0, 0, 0, 0, 0]).expect("sent");
    attacker.socket.write_all(&[0; 10]).expect("sent");
    assert_eq!(victim.read().expect("read"), Received::Data(b"good"));
    assert!(victim.stream.has_pending());
    assert_eq!(refusal(&mut attacker, &mut victim).0, "bad_record");
}

#[test]
fn a_record_longer_than_any_may_be_is_refused_by_its_header() {
    for version in VERSIONS {
        let (mut attacker, mut victim) = meet(version);
        attacker.socket.write_all(&[23, 3, 3, 0xff, 0xff]).expect("sent");
        let (label, alert) = refusal(&mut attacker, &mut victim);
        assert_eq!(label, "too_long");
        assert!(
            matches!(alert, Some(AlertDescription::RecordOverflow | AlertDescription::DecodeError)),
            "{alert:?}"
        );
    }
}

#[test]
fn a_record_with_more_data_than_allowed_is_refused() {
    for version in VERSIONS {
        let (mut attacker, mut victim) = meet(version);
        let record = attacker.record(ContentType::ApplicationData, &[7; 16_385]);
        attacker.socket.write_all(&record).expect("sent");
        let (label, alert) = refusal(&mut attacker, &mut victim);
        assert_eq!(label, "record_overflow");
        assert_eq!(alert, Some(AlertDescription::RecordOverflow));
    }
}

#[test]
fn empty_records_are_borne_for_a_while_only() {
    for version in VERSIONS {
        let (mut attacker, mut victim) = meet(version);
        for _ in 0..8 {
            attacker.send(ContentType::ApplicationData, b"");
        }
        attacker.send(ContentType::ApplicationData, b"here");
        assert_eq!(victim.read_all().expect("a few"), b"here");
        for _ in 0..100 {
            attacker.send(ContentType::ApplicationData, b"");
        }
        let (label, alert) = refusal(&mut attacker, &mut victim);
        assert_eq!((label, alert), ("peer_misbehaved", Some(AlertDescription::UnexpectedMessage)));
    }
}

#[test]
fn a_message_of_16_mb_is_refused_when_it_is_announced() {
    let (mut attacker, mut victim) = meet(TLS13);
    attacker.send(ContentType::Handshake, &[4, 0xff, 0xff, 0xff, 0, 0]);
    let (label, alert) = refusal(&mut attacker, &mut victim);
    assert_eq!((label, alert), ("too_long", Some(AlertDescription::DecodeError)));
}

#[test]
fn a_message_in_tiny_records_is_not_gathered_without_end() {
    let (mut attacker, mut victim) = meet(TLS13);
    attacker.send(ContentType::Handshake, &[4, 0, 0xff, 0xff]);
    let mut error = None;
    for _ in 0..10_000 {
        attacker.send(ContentType::Handshake, &[0]);
        if let Err(refused) = victim.read_all() {
            error = Some(refused);
            break;
        }
    }
    let error = error.expect("65,535 records of one byte each are 1.5 MB");
    assert_eq!(RecordError::of(&error).expect("a record error").label(), "too_long");
    assert_eq!(attacker.alert(), Some(AlertDescription::DecodeError));
}

#[test]
fn data_inside_a_message_is_refused() {
    let (mut attacker, mut victim) = meet(TLS13);
    attacker.send(ContentType::Handshake, &[24, 0, 0]);
    attacker.send(ContentType::ApplicationData, b"in between");
    let (label, alert) = refusal(&mut attacker, &mut victim);
    assert_eq!((label, alert), ("peer_misbehaved", Some(AlertDescription::UnexpectedMessage)));
}

#[test]
fn key_updates_without_end_are_refused() {
    let pki = Pki::new();
    let server = Arc::new(pki.server(&[], ClientAuthentication::None));
    let client = Arc::new(pki.client(&[], VERSIONS));
    let (mut server, mut client) = connect(&server, &client, Reading::Exact, &in_user_space());
    for _ in 0..1_000 {
        client.stream.update_keys(&client.socket, AskPeer::Renew).expect("sent");
    }
    let error = server.read_all().expect_err("a flood");
    assert_eq!(RecordError::of(&error).expect("a record error").label(), "key_update_flood");
}

#[test]
fn messages_that_are_no_data_are_limited_by_the_policy() {
    let pki = Pki::new();
    let server = Arc::new(pki.server(&[], ClientAuthentication::None));
    let client = Arc::new(pki.client(ring::ALL_CIPHER_SUITES, &[TLS13]));
    let policy = Policy { update_burst: 3, ..in_user_space() };
    let (mut attacker, mut victim) = Attacker::meet(&server, &client, &policy);
    for _ in 0..3 {
        attacker.send(ContentType::ApplicationData, b"");
        attacker.send(ContentType::ApplicationData, b"x");
    }
    assert_eq!(victim.read_all().expect("three are borne"), b"xxx");
    attacker.send(ContentType::ApplicationData, b"");
    let (label, alert) = refusal(&mut attacker, &mut victim);
    assert_eq!((label, alert), ("key_update_flood", Some(AlertDescription::UnexpectedMessage)));
}

#[test]
fn a_fatal_alert_of_ours_reaches_the_peer_and_ends_both_directions() {
    for version in VERSIONS {
        let (mut attacker, mut victim) = meet(version);
        let alert = AlertDescription::InternalError;
        victim.stream.send_alert(&victim.socket, alert).expect("said");
        assert_eq!(attacker.alert(), Some(alert));
        assert!(victim.write(b"x").is_err() && victim.read().is_err());
    }
}

#[test]
fn a_key_update_with_anything_behind_it_is_refused() {
    let (mut attacker, mut victim) = meet(TLS13);
    attacker.send(ContentType::Handshake, &[KEY_UPDATE, &[24]].concat());
    let (label, alert) = refusal(&mut attacker, &mut victim);
    assert_eq!((label, alert), ("peer_misbehaved", Some(AlertDescription::UnexpectedMessage)));
}

#[test]
fn a_fatal_alert_ends_both_directions_and_is_told() {
    for version in VERSIONS {
        let (mut attacker, mut victim) = meet(version);
        attacker.send(ContentType::Alert, &[2, 40]);
        let told = victim.read().expect("told");
        assert_eq!(told, Received::Alert(AlertDescription::HandshakeFailure));
        assert!(victim.write(b"x").is_err());
    }
}

#[test]
fn what_follows_close_notify_is_ignored() {
    for version in VERSIONS {
        let (mut attacker, mut victim) = meet(version);
        attacker.send(ContentType::Alert, &[1, 0]);
        attacker.send(ContentType::ApplicationData, b"afterthought");
        attacker.socket.write_all(b"and garbage").expect("sent");
        assert_eq!(victim.read().expect("an end"), Received::CloseNotify);
        assert_eq!(victim.read().expect("an end"), Received::CloseNotify);
        assert_eq!(victim.write(b"bye").expect("half-closed"), 3);
    }
}

#[test]
fn garbage_after_our_own_close_notify_is_refused_without_a_panic() {
    for version in VERSIONS {
        let (mut attacker, mut victim) = meet(version);
        victim.stream.close_write(&victim.socket).expect("closed");
        attacker.socket.write_all(&[23, 3, 3, 0, 4, 1, 2, 3, 4]).expect("sent");
        assert!(victim.read_all().is_err());
    }
}

#[test]
fn a_hello_request_is_declined_once_and_refused_after_that() {
    let (mut attacker, mut victim) = lure(TLS12, &patient());
    attacker.send(ContentType::Handshake, HELLO_REQUEST);
    assert_eq!(victim.read_all().expect("declined"), b"");
    assert_eq!(attacker.alert(), Some(AlertDescription::NoRenegotiation));
    attacker.send(ContentType::Handshake, HELLO_REQUEST);
    assert_eq!(refusal(&mut attacker, &mut victim).0, "peer_misbehaved");
}

#[test]
fn a_hello_request_is_refused_in_tls13() {
    let (mut attacker, mut victim) = lure(TLS13, &patient());
    attacker.send(ContentType::Handshake, HELLO_REQUEST);
    assert_eq!(refusal(&mut attacker, &mut victim).1, Some(AlertDescription::UnexpectedMessage));
}

#[test]
fn tickets_without_end_are_refused() {
    let (mut attacker, mut victim) = lure(TLS13, &in_user_space());
    let ticket = [&[4, 0, 0, 14, 0, 0, 14, 16, 1, 2, 3, 4, 0, 0, 1][..], &[7, 0, 0]].concat();
    for _ in 0..10 {
        attacker.send(ContentType::Handshake, &ticket);
    }
    attacker.send(ContentType::ApplicationData, b"and data");
    assert_eq!(victim.read_all().expect("ten are borne"), b"and data");
    for _ in 0..100 {
        attacker.send(ContentType::Handshake, &ticket);
    }
    let (label, alert) = refusal(&mut attacker, &mut victim);
    assert_eq!((label, alert), ("key_update_flood", Some(AlertDescription::UnexpectedMessage)));
}

#[test]
fn a_malformed_ticket_is_refused() {
    let (mut attacker, mut victim) = lure(TLS13, &patient());
    attacker.send(ContentType::Handshake, &[4, 0, 0, 3, 0, 0, 0]);
    let (label, alert) = refusal(&mut attacker, &mut victim);
    assert_eq!((label, alert), ("decode_error", Some(AlertDescription::DecodeError)));
}

#[test]
fn a_ticket_from_a_client_is_refused() {
    let (mut attacker, mut victim) = meet(TLS13);
    let ticket = [&[4, 0, 0, 14, 0, 0, 14, 16, 1, 2, 3, 4, 0, 0, 1][..], &[7, 0, 0]].concat();
    attacker.send(ContentType::Handshake, &ticket);
    assert_eq!(refusal(&mut attacker, &mut victim).1, Some(AlertDescription::UnexpectedMessage));
}

/// Asks a client to renegotiate.
const HELLO_REQUEST: &[u8] = &[0, 0, 0, 0];

/// Enough of one to be recognised.
const CLIENT_HELLO: &[u8] = &[
    1, 0, 0, 43, 3, 3, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20,
    21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 0, 0, 2, 0xc0, 0x2b, 1, 0, 0, 0,
];

/// One that asks for an answer.
const KEY_UPDATE: &[u8] = &[24, 0, 0, 1, 1];
