//! New keys while data flows.

use std::io::Write;

use gateway_control::TlsKeyUpdateRequest;

use crate::support::{Pki, Relay, accept, pattern, read_exactly, sbc, until};

#[test]
fn connections_that_are_asked_for_new_keys_go_on_under_them_and_tls_12_is_left_alone() {
    let pki = Pki::new();
    let (listener, address) = sbc();
    let relay = Relay::start(vec![pki.terminate(&[address])]);
    let mut client = pki.connect(&rustls::version::TLS13, relay.address(0));
    let mut sbc = accept(&listener);
    let _old = pki.connect(&rustls::version::TLS12, relay.address(0));
    let _old_sbc = accept(&listener);
    until("both are up", || relay.relay.status(9, 0).connections.len() == 2);
    let wanted = TlsKeyUpdateRequest { listener: Some("sip".to_owned()), ..Default::default() };
    let dry = TlsKeyUpdateRequest { dry_run: true, ..wanted.clone() };
    let report = relay.relay.update_keys(&dry).unwrap();
    assert_eq!((report.updated, report.not_possible), (1, 1));
    assert_eq!(relay.counters().key_updates_sent, 0);
    for round in 1..=20 {
        relay.relay.update_keys(&wanted).unwrap();
        let sent = pattern(40_000);
        client.write_all(&sent).unwrap();
        assert_eq!(read_exactly(&mut sbc, sent.len()), sent);
        sbc.write_all(&sent).unwrap();
        assert_eq!(read_exactly(&mut client, sent.len()), sent);
        until("it is counted", || relay.counters().key_updates_sent == round);
        if round % 4 == 0 {
            // More than a few at once would be a flood, the answers to ours included.
            client.conn.refresh_traffic_keys().unwrap();
        }
    }
    until("the client's own and its answers are counted", || {
        let received = relay.counters().key_updates_received;
        let listed = relay.relay.status(9, 0).connections;
        // 20 answers and 5 of its own, of which the last one each waits for data to go before.
        received == 23 && listed[0].key_updates == 43
    });
}

#[test]
fn connections_are_listed_in_parts_and_one_alone_can_be_asked_for_new_keys() {
    let pki = Pki::new();
    let (listener, address) = sbc();
    let relay = Relay::start(vec![pki.terminate(&[address])]);
    let _up: Vec<_> = (0..3)
        .map(|_| (pki.connect(&rustls::version::TLS13, relay.address(0)), accept(&listener)))
        .collect();
    let all = || relay.relay.status(9, 0).connections;
    until("all are up", || all().len() == 3);
    let part = relay.relay.status(2, 0);
    assert!(part.connections.len() == 2 && part.more);
    let rest = relay.relay.status(2, part.connections[1].id);
    assert!(rest.connections.len() == 1 && !rest.more);
    assert!(all().iter().all(|one| one.version == "1.3" && one.upstream == address));
    let only = TlsKeyUpdateRequest { connection: Some(all()[1].id), ..Default::default() };
    assert_eq!(relay.relay.update_keys(&only).unwrap().updated, 1);
    until("only that one has new keys", || {
        let updates: Vec<_> = all().iter().map(|one| one.key_updates).collect();
        updates == [0, 1, 0]
    });
}
