//! The records in user space, two of our ends against each other.
#![expect(clippy::expect_used, reason = "a test that cannot go on ends")]

#[path = "../support/mod.rs"]
mod support;

use std::sync::Arc;

use kernel_tls::{AskPeer, Reading, Received};
use support::{ClientAuthentication, Pki, VERSIONS, connect};

#[test]
fn data_goes_both_ways_and_ends_with_close_notify_both_ways() {
    for versions in [&VERSIONS[..1], &VERSIONS[1..]] {
        for reading in [Reading::Exact, Reading::Greedy] {
            let pki = Pki::new();
            let server = Arc::new(pki.server(&[], ClientAuthentication::Required));
            let client = Arc::new(pki.client(&[], versions));
            let (mut server, mut client) = connect(&server, &client, reading);
            assert_eq!(server.stream.version(), versions[0].version);
            assert_eq!(client.write(b"to the server").expect("written"), 13);
            assert_eq!(server.read_all().expect("read"), b"to the server");
            assert_eq!(server.write(b"to the client").expect("written"), 13);
            assert_eq!(client.read_all().expect("read"), b"to the client");

            client.stream.close_write(&client.socket).expect("closed");
            let end = server.stream.read(&server.socket, &mut server.scratch);
            assert_eq!(end.expect("an end"), Received::CloseNotify);
            assert_eq!(server.write(b"still").expect("half-closed"), 5);
            assert_eq!(client.read_all().expect("read"), b"still");
            server.stream.close_write(&server.socket).expect("closed");
            let end = client.stream.read(&client.socket, &mut client.scratch);
            assert_eq!(end.expect("an end"), Received::CloseNotify);
            assert!(client.write(b"x").is_err());
        }
    }
}

#[test]
fn keys_are_renewed_when_asked_and_data_goes_on() {
    let pki = Pki::new();
    let server = Arc::new(pki.server(&[], ClientAuthentication::None));
    let client = Arc::new(pki.client(&[], VERSIONS));
    let (mut server, mut client) = connect(&server, &client, Reading::Exact);
    for round in 0..100_u8 {
        let (from, to) =
            if round % 2 == 0 { (&mut server, &mut client) } else { (&mut client, &mut server) };
        from.stream.update_keys(&from.socket, AskPeer::Renew).expect("renewed");
        from.write(&[round; 100]).expect("written");
        assert_eq!(to.read_all().expect("read"), [round; 100]);
        to.write(&[round; 50]).expect("written");
        assert_eq!(from.read_all().expect("read"), [round; 50]);
    }
}

#[test]
fn a_second_connection_resumes_the_first_in_both_versions() {
    for versions in [&VERSIONS[..1], &VERSIONS[1..]] {
        let pki = Pki::new();
        let mut server = pki.server(&[], ClientAuthentication::Required);
        server.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().expect("a ticketer");
        let server = Arc::new(server);
        let client = Arc::new(pki.client(&[], versions));
        let (_server, mut first) = connect(&server, &client, Reading::Exact);
        assert!(!first.resumed);
        assert_eq!(first.read_all().expect("tickets"), b"");
        let (server, second) = connect(&server, &client, Reading::Exact);
        assert!(second.resumed && server.resumed);
    }
}
