//! An ordinary conversation: data, ends, new keys, sessions that go on.

use std::io::ErrorKind;
use std::sync::Arc;

use kernel_tls::{AskPeer, Policy, Reading, Received};

use crate::support::end::{connect, in_user_space};
use crate::support::pki::{ClientAuthentication, Pki, VERSIONS};

#[test]
fn data_goes_both_ways_and_ends_with_close_notify_both_ways() {
    let pki = Pki::new();
    let server = Arc::new(pki.server(&[], ClientAuthentication::Required));
    for versions in [&VERSIONS[..1], &VERSIONS[1..]] {
        for reading in [Reading::Exact, Reading::Greedy] {
            let client = Arc::new(pki.client(&[], versions));
            let (mut server, mut client) = connect(&server, &client, reading, &in_user_space());
            assert_eq!(server.stream.version(), versions[0].version);
            assert_eq!(client.write(b"to the server").expect("written"), 13);
            assert_eq!(server.read_all().expect("read"), b"to the server");
            assert_eq!(server.write(b"to the client").expect("written"), 13);
            assert_eq!(client.read_all().expect("read"), b"to the client");

            client.stream.close_write(&client.socket).expect("closed");
            assert_eq!(server.read().expect("an end"), Received::CloseNotify);
            assert_eq!(server.read().expect("the end again"), Received::CloseNotify);
            assert_eq!(server.write(b"still").expect("half-closed"), 5);
            assert_eq!(client.read_all().expect("read"), b"still");
            server.stream.close_write(&server.socket).expect("closed");
            assert_eq!(client.read().expect("an end"), Received::CloseNotify);
            let refused = client.write(b"x").expect_err("closed");
            assert_eq!(refused.kind(), ErrorKind::BrokenPipe);
        }
    }
}

#[test]
fn a_socket_that_ends_without_close_notify_has_cut_the_data_short() {
    let pki = Pki::new();
    let server = Arc::new(pki.server(&[], ClientAuthentication::None));
    let client = Arc::new(pki.client(&[], VERSIONS));
    let (mut server, mut client) = connect(&server, &client, Reading::Exact, &in_user_space());
    client.write(b"half a story").expect("written");
    // Tickets that are never read would make the socket's end a reset.
    assert_eq!(client.read_all().expect("tickets"), b"");
    drop(client);
    assert_eq!(server.read().expect("read"), Received::Data(b"half a story"));
    assert_eq!(server.read().expect_err("cut").kind(), ErrorKind::UnexpectedEof);
}

#[test]
fn keys_are_renewed_when_asked_and_data_goes_on() {
    let pki = Pki::new();
    let server = Arc::new(pki.server(&[], ClientAuthentication::None));
    let client = Arc::new(pki.client(&[], VERSIONS));
    let (mut server, mut client) = connect(&server, &client, Reading::Exact, &in_user_space());
    for round in 0..20_u8 {
        let (from, to) = match round % 2 {
            0 => (&mut server, &mut client),
            _ => (&mut client, &mut server),
        };
        from.stream.update_keys(&from.socket, AskPeer::Renew).expect("renewed");
        from.write(&[round; 100]).expect("written");
        assert_eq!(to.read_all().expect("read"), [round; 100]);
        to.write(&[round; 50]).expect("written");
        assert_eq!(from.read_all().expect("read"), [round; 50]);
    }
    assert_eq!(client.stream.renewals().0, 10);
    assert_eq!(server.stream.renewals(), (10, 20), "each request of ours was answered");
}

#[test]
fn keys_are_renewed_by_themselves_before_they_have_sealed_as_many_records_as_they_may() {
    let pki = Pki::new();
    let server = Arc::new(pki.server(&[], ClientAuthentication::None));
    let client = Arc::new(pki.client(&[], VERSIONS));
    let policy = Policy { update_after: 64, ..in_user_space() };
    let (mut server, mut client) = connect(&server, &client, Reading::Exact, &policy);
    for record in 0..200_u8 {
        client.write(&[record]).expect("written");
        assert_eq!(server.read_all().expect("read"), [record]);
    }
    assert_eq!((client.stream.renewals().0, server.stream.renewals().1), (3, 3));
    assert_eq!(client.stream.records_sent(), 203);
    assert_eq!(server.stream.records_received(), 203);
}

#[test]
fn tls12_keys_cannot_be_renewed_and_the_connection_goes_on() {
    let pki = Pki::new();
    let server = Arc::new(pki.server(&[], ClientAuthentication::None));
    let client = Arc::new(pki.client(&[], &VERSIONS[..1]));
    let (mut server, mut client) = connect(&server, &client, Reading::Exact, &in_user_space());
    let refused = client.stream.update_keys(&client.socket, AskPeer::Renew);
    assert_eq!(refused.expect_err("TLS 1.2").kind(), ErrorKind::Unsupported);
    client.write(b"on").expect("written");
    assert_eq!(server.read_all().expect("read"), b"on");
}

#[test]
fn a_second_connection_resumes_the_first_in_both_versions() {
    for versions in [&VERSIONS[..1], &VERSIONS[1..]] {
        let pki = Pki::new();
        let server = Arc::new(pki.server(&[], ClientAuthentication::Required));
        let client = Arc::new(pki.client(&[], versions));
        let policy = in_user_space();
        let (_server, mut first) = connect(&server, &client, Reading::Exact, &policy);
        assert!(!first.resumed);
        assert_eq!(first.read_all().expect("tickets"), b"");
        let (server, second) = connect(&server, &client, Reading::Exact, &policy);
        assert!(second.resumed && server.resumed);
    }
}

#[test]
fn what_a_full_socket_does_not_take_is_kept_and_sent_later() {
    let pki = Pki::new();
    let server = Arc::new(pki.server(&[], ClientAuthentication::None));
    let client = Arc::new(pki.client(&[], VERSIONS));
    let (mut server, mut client) = connect(&server, &client, Reading::Exact, &in_user_space());
    let mut written = 0;
    let refused = loop {
        match client.write(&[7; 50_000]) {
            Ok(taken) => written += taken,
            Err(error) => break error,
        }
    };
    assert_eq!(refused.kind(), ErrorKind::WouldBlock);
    assert!(client.stream.wants_flush());
    let mut received = 0;
    while client.stream.wants_flush() {
        received += server.read_all().expect("read").len();
        if let Err(error) = client.stream.flush(&client.socket) {
            assert_eq!(error.kind(), ErrorKind::WouldBlock);
        }
    }
    received += server.read_all().expect("read").len();
    assert_eq!(received, written);
}
