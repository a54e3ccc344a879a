//! What a server is sent instead of a handshake, or in the middle of one, and what it answers.

use std::sync::Arc;

use kernel_tls::{Handshake, HandshakeError, Hello, HelloReader, Progress, Reading};
use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::pki_types::ServerName;
use rustls::{
    AlertDescription, CipherSuite, ProtocolVersion, ServerConfig, SupportedProtocolVersion,
};

use crate::support::pki::{ClientAuthentication, NAME, Pki, VERSIONS};

/// The first flight of an honest client.
fn client_hello(pki: &Pki) -> Vec<u8> {
    let name = ServerName::try_from(NAME).expect("a name");
    let mut client = Handshake::client(Arc::new(pki.client(&[], VERSIONS)), name).expect("client");
    let mut hello = Vec::new();
    assert_eq!(client.step(&mut hello).expect("a hello"), Progress::NeedsBytes);
    hello
}

/// One flight after the other, until the server refuses or is content to wait.
fn serve(config: ServerConfig, bytes: &[u8]) -> Result<Vec<u8>, HandshakeError> {
    let Some(hello) = HelloReader::new().received(bytes)? else { return Ok(Vec::new()) };
    let mut handshake = Handshake::server(Arc::new(config), hello)?;
    let mut out = Vec::new();
    handshake.step(&mut out)?;
    Ok(out)
}

fn refused(bytes: &[u8]) -> HandshakeError {
    HelloReader::new().received(bytes).expect_err("not a hello")
}

fn record(content_type: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).expect("short").to_be_bytes();
    [&[content_type, 3, 1, length[0], length[1]], content].concat()
}

fn gathered(hello: &[u8]) -> Hello {
    HelloReader::new().received(hello).expect("honest").expect("whole")
}

#[test]
fn a_hello_that_comes_byte_by_byte_is_gathered_and_read_exactly() {
    let pki = Pki::new();
    let bytes = client_hello(&pki);
    let mut reader = HelloReader::new();
    let mut hello = None;
    for (place, byte) in bytes.iter().enumerate() {
        assert!(hello.is_none(), "it was whole {} bytes too early", bytes.len() - place);
        assert!(reader.wanted() <= bytes.len() - place, "it wants no byte of what follows");
        hello = reader.received(&[*byte]).expect("honest");
    }
    let hello = hello.expect("whole");
    assert_eq!(hello.server_name().as_deref(), Some(NAME));
    assert!(hello.offers_version(ProtocolVersion::TLSv1_3));
    assert!(hello.offers_version(ProtocolVersion::TLSv1_2));
    assert!(!hello.offers_version(ProtocolVersion::TLSv1_1));
    assert!(hello.offers_suite(CipherSuite::TLS13_AES_128_GCM_SHA256));
    assert!(!hello.offers_suite(CipherSuite::TLS_RSA_WITH_AES_128_CBC_SHA));
    assert_eq!(hello.client_hello().alpn().expect("alpn").next(), Some(&b"sip"[..]));
}

#[test]
fn a_hello_in_many_records_is_one_hello() {
    let pki = Pki::new();
    let bytes = client_hello(&pki);
    for size in [1, 2, 3, 100, 1_000] {
        let cut: Vec<u8> =
            bytes[5..].chunks(size).flat_map(|fragment| record(22, fragment)).collect();
        let hello = gathered(&cut);
        assert!(hello.offers_version(ProtocolVersion::TLSv1_3), "in pieces of {size}");
        let config = pki.server(&[], ClientAuthentication::None);
        let mut handshake = Handshake::server(Arc::new(config), hello).expect("a server");
        let mut out = Vec::new();
        assert_eq!(handshake.step(&mut out).expect("accepted"), Progress::NeedsBytes);
        assert_eq!(handshake.version(), Some(ProtocolVersion::TLSv1_3));
        assert_eq!(out[0], 22, "a ServerHello");
    }
}

#[test]
fn a_hello_of_tls12_alone_offers_no_tls13() {
    let pki = Pki::new();
    let name = ServerName::try_from(NAME).expect("a name");
    let config = Arc::new(pki.client(&[], &VERSIONS[..1]));
    let mut client = Handshake::client(config, name).expect("client");
    let mut hello = Vec::new();
    client.step(&mut hello).expect("a hello");
    let hello = gathered(&hello);
    assert!(!hello.offers_version(ProtocolVersion::TLSv1_3));
    assert!(hello.offers_version(ProtocolVersion::TLSv1_2));
}

#[test]
fn what_is_not_tls_is_answered_with_an_alert() {
    let not_tls: [&[u8]; 5] = [
        b"GET / HTTP/1.1\r\n\r\n",
        b"REGISTER sip:example.com SIP/2.0\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
        // SSL 2.0's hello, which RFC 8446 appendix D.5 forbids.
        &[0x80, 0x2e, 1, 0, 2, 0, 0x15, 0, 0, 0, 0x10, 7, 0, 0xc0],
        &[0; 64],
    ];
    for bytes in not_tls {
        let error = refused(bytes);
        assert_eq!(error.label(), "not_tls", "{error}");
        assert_eq!(error.alert(), Some(AlertDescription::DecodeError));
        assert_eq!(error.alert_bytes(), [21, 3, 3, 0, 2, 2, 50]);
    }
}

#[test]
fn versions_before_tls12_are_told_that_they_are_too_old() {
    let pki = Pki::new();
    for (minor, version) in [(0, "SSL 3.0"), (1, "TLS 1.0"), (2, "TLS 1.1")] {
        let error = serve(
            pki.server(&[], ClientAuthentication::None),
            &record(22, &plain_hello([3, minor])),
        )
        .expect_err(version);
        assert_eq!(error.label(), "no_shared_version", "{version}: {error}");
        assert_eq!(error.alert(), Some(AlertDescription::ProtocolVersion), "{version}");
    }
}

/// Found by the `hello` fuzz target.
#[test]
fn a_refusal_does_not_depend_on_what_came_behind_the_bytes_that_are_refused() {
    let old_and_broken: &[u8] = &[1, 0, 0, 40, 3, 1];
    for first in [record(22, old_and_broken), record(22, &plain_hello([3, 1]))] {
        let behind = [first.clone(), record(22, &[7; 40]), vec![0; 9]].concat();
        let mut reader = HelloReader::new();
        let pieces = behind.chunks(1).find_map(|byte| reader.received(byte).err());
        let pieces = pieces.expect("refused");
        assert_eq!(refused(&behind).label(), pieces.label());
        assert_eq!(refused(&behind).alert_bytes(), pieces.alert_bytes());
    }
}

#[test]
fn no_shared_cipher_is_a_handshake_failure() {
    let pki = Pki::new();
    let error =
        serve(pki.server(&[], ClientAuthentication::None), &record(22, &plain_hello([3, 3])))
            .expect_err("a suite from another century");
    assert_eq!(error.label(), "no_shared_cipher", "{error}");
    assert_eq!(error.alert(), Some(AlertDescription::HandshakeFailure));
}

/// A hello that offers TLS_RSA_WITH_RC4_128_SHA.
fn plain_hello(version: [u8; 2]) -> Vec<u8> {
    let random = [7; 32];
    let mut rest = vec![0, 0, 2, 0, 5, 1, 0];
    if version == [3, 3] {
        // signature_algorithms: ECDSA P-256; supported_groups: P-256.
        rest.extend([0, 16, 0, 13, 0, 4, 0, 2, 4, 3, 0, 10, 0, 4, 0, 2, 0, 23]);
    }
    let length = u8::try_from(2 + random.len() + rest.len()).expect("short");
    [&[1, 0, 0, length], &version[..], &random, &rest].concat()
}

#[test]
fn a_hello_without_end_is_refused_while_it_is_small() {
    // A message of 16 MiB, announced.
    let error = refused(&record(22, &[1, 0xff, 0xff, 0xff, 3, 3]));
    assert_eq!((error.label(), error.alert()), ("too_long", Some(AlertDescription::DecodeError)));

    // One of 64 KiB, of which every record brings a byte.
    let mut reader = HelloReader::new();
    let mut given = 0;
    reader.received(&record(22, &[1, 0, 0xff, 0xff])).expect("it may be true");
    let error = loop {
        given += 6;
        match reader.received(&record(22, &[0])) {
            Ok(hello) => assert!(hello.is_none()),
            Err(error) => break error,
        }
        assert!(given < 200_000, "it is gathered without end");
    };
    assert_eq!(error.label(), "too_long");
    assert!(!error.alert_bytes().is_empty());
}

#[test]
fn a_record_too_long_for_tls_is_refused_by_its_header() {
    let error = refused(&[22, 3, 1, 0x48, 0x01]);
    assert_eq!(error.label(), "too_long", "{error}");
}

#[test]
fn other_records_than_a_hello_are_refused() {
    for content_type in [20, 21, 23, 24] {
        let error = refused(&record(content_type, &[1, 0]));
        assert!(!error.label().is_empty());
        assert_ne!(error.label(), "internal", "{content_type}: {error}");
        assert!(error.peer_alert().is_some() || !error.alert_bytes().is_empty(), "{error}");
    }
    let finished = refused(&record(22, &[20, 0, 0, 1, 0]));
    assert_eq!(finished.alert(), Some(AlertDescription::UnexpectedMessage), "{finished}");
}

#[test]
fn an_empty_record_in_front_of_a_hello_is_refused() {
    // RFC 8446 section 5.1 allows no empty fragments of handshake messages.
    let error = refused(&record(22, &[]));
    assert_eq!(
        (error.label(), error.alert()),
        ("decode_error", Some(AlertDescription::DecodeError))
    );
}

#[test]
fn change_cipher_specs_without_end_are_refused_in_the_handshake() {
    let pki = Pki::new();
    let mut handshake = Handshake::server(
        Arc::new(pki.server(&[], ClientAuthentication::None)),
        gathered(&client_hello(&pki)),
    )
    .expect("a server");
    let mut out = Vec::new();
    handshake.step(&mut out).expect("a ServerHello");
    let refused = (0..100).find_map(|_| {
        handshake.received(&[20, 3, 3, 0, 1, 1]);
        handshake.step(&mut out).err()
    });
    assert_eq!(refused.expect("a flood").label(), "peer_misbehaved");
}

#[test]
fn a_handshake_cut_short_at_any_byte_only_waits() {
    let pki = Pki::new();
    let hello = client_hello(&pki);
    for length in 0..hello.len() {
        let mut reader = HelloReader::new();
        let answer = reader.received(&hello[..length]).expect("nothing wrong so far");
        assert!(answer.is_none(), "{length} of {} bytes", hello.len());
        assert_eq!(reader.is_empty(), length == 0);
    }
    let config = Arc::new(pki.server(&[], ClientAuthentication::None));
    let name = || ServerName::try_from(NAME).expect("a name");
    let mut server = Handshake::server(config, gathered(&hello)).expect("a server");
    let mut flight = Vec::new();
    server.step(&mut flight).expect("a flight");
    // The client had other secrets than this flight was made for: it must not get that far.
    let start = usize::from(u16::from_be_bytes([flight[3], flight[4]])) + 5;
    for length in 0..start {
        let mut client =
            Handshake::client(Arc::new(pki.client(&[], VERSIONS)), name()).expect("client");
        let mut out = Vec::new();
        client.step(&mut out).expect("a hello");
        assert!(client.wanted(Reading::Exact) == 5);
        client.received(&flight[..length]);
        assert_eq!(client.step(&mut out).expect("waiting"), Progress::NeedsBytes, "{length}");
        assert!(client.wanted(Reading::Exact) <= start - length);
    }
}

/// What a client says behind its hello, with the byte at `place` changed: how the server takes it.
fn answer(pki: &Pki, versions: &[&'static SupportedProtocolVersion], place: usize) -> Answer {
    let config = Arc::new(pki.server(&[], ClientAuthentication::Required));
    let name = ServerName::try_from(NAME).expect("a name");
    let config_of_client = Arc::new(pki.client(&[], versions));
    let mut client = Handshake::client(config_of_client, name).expect("client");
    let mut out = Vec::new();
    client.step(&mut out).expect("a hello");
    let mut server = Handshake::server(config, gathered(&out)).expect("a server");
    let mut flight = Vec::new();
    server.step(&mut flight).expect("a flight");
    client.received(&flight);
    out.clear();
    client.step(&mut out).expect("the second flight");
    if is_version_of_record(&out, place) {
        return Answer::Ignored;
    }
    let Some(byte) = out.get_mut(place) else { return Answer::NoSuchByte };
    *byte ^= 0x55;
    server.received(&out[..place]);
    flight.clear();
    let progress = server.step(&mut flight).expect("nothing wrong so far");
    assert_eq!(progress, Progress::NeedsBytes, "cut at {place}");
    assert!(server.wanted(Reading::Exact) <= out.len() - place, "cut at {place}");
    server.received(&out[place..]);
    match server.step(&mut flight) {
        Ok(progress) => Answer::Taken(progress),
        Err(error) => Answer::Refused(error),
    }
}

/// Whether a byte is one that RFC 8446 section 5.1 wants ignored in every record.
fn is_version_of_record(records: &[u8], place: usize) -> bool {
    let mut start = 0;
    while let Some(header) = records.get(start..start + 5) {
        if (start + 1..start + 3).contains(&place) {
            return true;
        }
        start += 5 + usize::from(u16::from_be_bytes([header[3], header[4]]));
    }
    false
}

enum Answer {
    NoSuchByte,
    Ignored,
    Taken(Progress),
    Refused(HandshakeError),
}

#[test]
fn a_second_flight_that_is_cut_or_changed_at_any_byte_completes_nothing() {
    let pki = Pki::new();
    for versions in [&VERSIONS[..1], &VERSIONS[1..]] {
        let mut refusals = 0;
        for place in (0..).step_by(3) {
            match answer(&pki, versions, place) {
                Answer::NoSuchByte => break,
                Answer::Ignored => {}
                // A changed length may announce more than has come.
                Answer::Taken(progress) => assert_eq!(progress, Progress::NeedsBytes, "{place}"),
                Answer::Refused(error) => {
                    assert_ne!(error.label(), "internal", "{place}: {error}");
                    refusals += 1;
                }
            }
        }
        assert!(refusals > 50, "{refusals} refusals");
    }
}

#[test]
fn any_changed_byte_of_a_hello_ends_in_an_answer() {
    let pki = Pki::new();
    let hello = client_hello(&pki);
    for place in 0..hello.len() {
        for value in [0, 1, 0x7f, 0xff] {
            let mut changed = hello.clone();
            changed[place] ^= value;
            match serve(
                pki.server(&[TLS13_AES_128_GCM_SHA256], ClientAuthentication::None),
                &changed,
            ) {
                Ok(_) => {}
                Err(error) => assert_ne!(error.label(), "internal", "{place} {value}: {error}"),
            }
        }
        if place > 600 {
            break; // Behind that are the random bytes of a post-quantum key.
        }
    }
}

#[test]
fn a_configuration_with_early_data_is_refused() {
    let pki = Pki::new();
    let mut config = pki.server(&[], ClientAuthentication::None);
    config.max_early_data_size = 1_024;
    let error = Handshake::server(Arc::new(config), gathered(&client_hello(&pki)));
    assert_eq!(error.expect_err("early data").label(), "early_data");
}

#[test]
fn early_data_is_not_taken_for_anything_else() {
    let pki = Pki::new();
    let mut bytes = client_hello(&pki);
    bytes.extend(record(23, &[7; 100]));
    let error = serve(pki.server(&[], ClientAuthentication::None), &bytes).expect_err("refused");
    assert!(matches!(error.label(), "bad_record" | "unexpected_message"), "{error}");
}

#[test]
fn the_caller_may_refuse_a_name() {
    let pki = Pki::new();
    let hello = gathered(&client_hello(&pki));
    let error = hello.refuse(AlertDescription::UnrecognisedName, "unknown_name");
    assert_eq!(error.label(), "unknown_name");
    assert_eq!(error.alert_bytes(), [21, 3, 3, 0, 2, 2, 112]);
}
