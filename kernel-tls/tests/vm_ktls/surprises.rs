//! Records that a peer has no business sending, and legal ones that few expect.

use std::io::ErrorKind;

use kernel_tls::{Policy, Received, RecordError, TlsStatistics};
use rustls::{AlertDescription, SupportedCipherSuite};

use crate::attacker::{Attacker, send};
use crate::ground::{Deadline, Place, TLS12, TLS13, has_tls13, kernel_suites, suite};
use crate::support::end::Talk;

fn victim_of(suite: SupportedCipherSuite) -> (Talk, Attacker) {
    let (victim, attacker) = Attacker::of_server(suite, &Place::Kernel.policy());
    assert!(victim.stream.is_kernel());
    (victim, attacker)
}

/// Reads until something ends the connection; data that came before is thrown away.
fn last_of(victim: &mut Talk) -> Result<String, std::io::Error> {
    let until = Deadline::new();
    loop {
        match victim.read() {
            Ok(Received::Data(_) | Received::Nothing) => {}
            Ok(end) => return Ok(format!("{end:?}")),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        until.check("the victim");
    }
}

/// The victim ends with this label, tells the attacker this alert, and stays ended.
fn ends_with(victim: &mut Talk, attacker: &mut Attacker, label: &str, alert: AlertDescription) {
    let error = last_of(victim).expect_err(label);
    assert_eq!(RecordError::of(&error).map(RecordError::label), Some(label), "{error}");
    assert_eq!(RecordError::of(&error).and_then(RecordError::alert), Some(alert), "{error}");
    let told = loop {
        match attacker.next() {
            Some((21, alert)) => break alert,
            Some(_) => {}
            None => panic!("{label}: no alert"),
        }
    };
    assert_eq!(told, [2, u8::from(alert)], "{label}");
    let again = victim.read().expect_err("it is over");
    assert_eq!(again.kind(), ErrorKind::InvalidData);
    let write = victim.write(b"more").expect_err("it is over");
    assert_eq!(write.kind(), ErrorKind::InvalidData);
}

#[test]
fn records_out_of_place_end_the_connection_with_the_right_alert() {
    use AlertDescription::{DecodeError, UnexpectedMessage};
    let both: &[(u8, &[u8], &str, AlertDescription)] = &[
        (20, &[1], "unexpected_message", UnexpectedMessage),
        (99, b"what is this", "unexpected_message", UnexpectedMessage),
        (24, &[1, 0, 1, 0], "unexpected_message", UnexpectedMessage),
        (22, &[], "unexpected_message", UnexpectedMessage),
        (22, &[20, 0, 0, 1, 9], "unexpected_message", UnexpectedMessage),
        (21, &[], "unexpected_message", UnexpectedMessage),
        (21, &[2], "decode_error", DecodeError),
        (21, &[3, 40], "decode_error", DecodeError),
        (21, &[2, 40, 2, 40], "decode_error", DecodeError),
    ];
    for suite in kernel_suites() {
        for (kind, content, label, alert) in both {
            let (mut victim, mut attacker) = victim_of(suite);
            attacker.record(23, b"data first");
            attacker.record(*kind, content);
            ends_with(&mut victim, &mut attacker, label, *alert);
        }
    }
}

#[test]
fn handshake_messages_out_of_place_end_a_tls13_connection() {
    use AlertDescription::{DecodeError, IllegalParameter, UnexpectedMessage};
    if !has_tls13() {
        return;
    }
    let update_and_more = [24, 0, 0, 1, 0, 24, 0, 0, 1, 0];
    let cases: &[(&[u8], &str, AlertDescription)] = &[
        (&[1, 0, 0, 1, 0], "unexpected_message", UnexpectedMessage),
        (&[4, 0, 0, 1, 0], "unexpected_message", UnexpectedMessage),
        (&[24, 0, 0, 1, 2], "decode_error", IllegalParameter),
        (&[24, 0, 0, 2, 0, 0], "decode_error", IllegalParameter),
        (&update_and_more, "decode_error", IllegalParameter),
        (&[4, 1, 0, 0], "too_long", DecodeError),
    ];
    for (content, label, alert) in cases {
        let (mut victim, mut attacker) = victim_of(suite(TLS13));
        attacker.record(22, content);
        ends_with(&mut victim, &mut attacker, label, *alert);
    }
    let (mut victim, mut attacker) = victim_of(suite(TLS13));
    attacker.record(22, &[24, 0, 0]);
    attacker.record(23, b"in between");
    ends_with(&mut victim, &mut attacker, "unexpected_message", UnexpectedMessage);
    // A warning that TLS 1.3 does not have.
    let (mut victim, mut attacker) = victim_of(suite(TLS13));
    attacker.record(21, &[1, 41]);
    ends_with(&mut victim, &mut attacker, "decode_error", DecodeError);
}

#[test]
fn bytes_that_are_no_record_end_the_connection() {
    use AlertDescription::{BadRecordMac, DecodeError, RecordOverflow};
    for suite in kernel_suites() {
        let forged = [&[23, 3, 3, 0, 64][..], &[7; 64]].concat();
        // The kernel looks at a header together with the nonce that TLS 1.2 has behind it.
        let header = |bytes: [u8; 5]| [&bytes[..], &[9; 8]].concat();
        let (short, long) = (header([23, 3, 3, 0, 3]), header([23, 3, 3, 0xff, 0xff]));
        let cases: &[(&[u8], &str, AlertDescription)] = &[
            (&forged, "bad_record", BadRecordMac),
            (&short, "bad_record", BadRecordMac),
            (&long, "record_overflow", RecordOverflow),
            (b"GET / HTTP/1.1\r\n\r\n", "decode_error", DecodeError),
        ];
        for (bytes, label, alert) in cases {
            let (mut victim, mut attacker) = victim_of(suite);
            send(&attacker.socket, bytes);
            ends_with(&mut victim, &mut attacker, label, *alert);
        }
    }
}

#[test]
fn a_fatal_alert_is_told_and_ends_both_ways() {
    for suite in kernel_suites() {
        let (mut victim, mut attacker) = victim_of(suite);
        attacker.record(21, &[2, 80]);
        let end = last_of(&mut victim).expect("an alert");
        assert_eq!(end, "Alert(InternalError)");
        let write = victim.write(b"more").expect_err("it is over");
        assert_eq!(write.kind(), ErrorKind::BrokenPipe);
    }
}

#[test]
fn warnings_are_borne_and_a_flood_of_them_is_not() {
    for suite in kernel_suites() {
        let (mut victim, mut attacker) = victim_of(suite);
        for _ in 0..4 {
            attacker.record(21, &[1, 90]);
        }
        attacker.record(23, b"still here");
        assert_eq!(victim.read_all().expect("data"), b"still here");
        attacker.record(21, &[1, 90]);
        let alert = AlertDescription::UnexpectedMessage;
        ends_with(&mut victim, &mut attacker, "warning_flood", alert);
    }
}

#[test]
fn renegotiation_is_declined_once_and_then_refused() {
    let hello_request: &[u8] = &[0, 0, 0, 0];
    let (mut victim, mut attacker) = Attacker::of_client(suite(TLS12), &Place::Kernel.policy());
    assert!(victim.stream.is_kernel());
    attacker.record(22, hello_request);
    attacker.record(23, b"and on it goes");
    assert_eq!(victim.read_all().expect("data"), b"and on it goes");
    assert_eq!(attacker.next(), Some((21, vec![1, 100])), "no_renegotiation");
    attacker.record(22, hello_request);
    let alert = AlertDescription::UnexpectedMessage;
    ends_with(&mut victim, &mut attacker, "renegotiation", alert);
}

#[test]
fn a_flood_of_key_updates_ends_with_an_alert() {
    if !has_tls13() {
        return;
    }
    for request in [0, 1] {
        let (mut victim, mut attacker) = Attacker::of_server(suite(TLS13), &Policy::default());
        for _ in 0..40 {
            attacker.record(22, &[24, 0, 0, 1, request]);
            attacker.renew_sending();
        }
        let alert = AlertDescription::UnexpectedMessage;
        ends_with(&mut victim, &mut attacker, "key_update_flood", alert);
        let (_, theirs) = victim.stream.renewals();
        assert!((32..36).contains(&theirs), "{theirs}");
    }
}

/// A NewSessionTicket that rustls takes, with the byte 24 at many places.
fn ticket() -> Vec<u8> {
    let mut body = vec![0, 0, 14, 16, 0, 0, 0, 0, 1, 9];
    body.extend([0, 60]);
    body.extend([24; 60]);
    body.extend([0, 0]);
    let mut message = vec![4, 0, 0, u8::try_from(body.len()).expect("short")];
    message.extend(body);
    message
}

#[test]
fn tickets_and_key_updates_come_in_parts_and_together() {
    if !has_tls13() {
        return;
    }
    let (mut victim, mut attacker) = Attacker::of_client(suite(TLS13), &Place::Kernel.policy());
    assert!(victim.stream.is_kernel());
    let expect = |victim: &mut Talk, attacker: &mut Attacker, what: &str| {
        attacker.record(23, what.as_bytes());
        assert_eq!(victim.read_all().expect(what), what.as_bytes(), "{what}");
    };
    // Parts that begin with 24, at which the kernel takes the whole ticket for a KeyUpdate.
    for part in ticket().chunks(20) {
        attacker.record(22, part);
    }
    expect(&mut victim, &mut attacker, "behind a ticket in parts");
    for part in [&[24][..], &[0, 0], &[1, 1]] {
        attacker.record(22, part);
    }
    attacker.renew_sending();
    expect(&mut victim, &mut attacker, "behind a KeyUpdate in parts");
    assert_eq!(attacker.next(), Some((22, vec![24, 0, 0, 1, 0])), "the answer");
    let together = [ticket(), ticket(), vec![24, 0, 0, 1, 1]].concat();
    attacker.record(22, &together);
    attacker.renew_sending();
    expect(&mut victim, &mut attacker, "behind two tickets and a KeyUpdate");
    assert_eq!(attacker.next(), Some((22, vec![24, 0, 0, 1, 0])), "the answer");
    victim.write(b"under our third key").expect("written");
    assert_eq!(attacker.next(), Some((23, b"under our third key".to_vec())));
}

#[test]
fn empty_and_padded_records_carry_nothing_and_end_nothing() {
    for suite in kernel_suites() {
        let (mut victim, mut attacker) = victim_of(suite);
        let before = TlsStatistics::read().expect("tls_stat");
        for _ in 0..2_000 {
            attacker.record(23, &[]);
        }
        attacker.record(23, b"data");
        let mut seen = Vec::new();
        let until = Deadline::new();
        while seen.len() < 4 {
            seen.extend(victim.read_all().expect("data"));
            until.check("the data");
        }
        assert_eq!(seen, b"data");
        if suite.version().version == rustls::ProtocolVersion::TLSv1_3 {
            attacker.padded(23, b"padded", 5_000);
            attacker.padded(23, b"", 300);
            attacker.padded(23, b" twice", 1);
            assert_eq!(victim.read_all().expect("data"), b"padded twice");
            let after = TlsStatistics::read().expect("tls_stat");
            let name = "TlsRxNoPadViolation";
            assert!(after.counter(name) > before.counter(name), "padding was not expected");
        }
        victim.stream.count_records(&victim.socket).expect("counted");
        assert!(victim.stream.records_received() >= 2_001, "the kernel counts empty ones too");
        victim.write(b"answer").expect("written");
        assert_eq!(attacker.next(), Some((23, b"answer".to_vec())));
    }
}
