//! New keys: ours, the peer's, both at once, a thousand times, and before they are worn out.

use kernel_tls::{AskPeer, Policy, TlsStatistics};

use crate::ground::{Deadline, Flow, Place, TLS13, connect, flush, has_tls13, suite, transfer};

#[test]
fn a_thousand_updates_from_each_side_lose_no_byte() {
    if !has_tls13() {
        return;
    }
    let policy = Place::Kernel.policy();
    let mut ends = connect(suite(TLS13), &policy, &Place::User.policy());
    let mut flows = [Flow::new(0), Flow::new(1)];
    let until = Deadline::new();
    for round in 0..1_000 {
        flows[0].write(&mut ends.0, 300);
        flows[1].write(&mut ends.1, 300);
        let ask = if round % 2 == 0 { AskPeer::Renew } else { AskPeer::Nothing };
        ends.0.stream.update_keys(&ends.0.socket, ask).expect("ours");
        ends.1.stream.update_keys(&ends.1.socket, AskPeer::Renew).expect("the peer's");
        flows[0].write(&mut ends.0, 300);
        flows[1].write(&mut ends.1, 300);
        flows[0].read(&mut ends.1);
        flows[1].read(&mut ends.0);
        flush(&mut ends.0);
        flush(&mut ends.1);
        until.check("a thousand updates");
    }
    transfer(&mut ends, &mut flows, 1_000, &[1_000]);
    assert!(flows.iter().all(|flow| flow.received == flow.sent && flow.sent > 500_000));
    // Each of ours, each answer to the peer's; and each of the peer's, each answer to ours.
    let (ours, theirs) = ends.0.stream.renewals();
    assert!(ours >= 1_500 && theirs >= 1_500, "{ours} of ours, {theirs} of the peer's");
}

#[test]
fn updates_at_the_same_moment_cross_without_harm() {
    if !has_tls13() {
        return;
    }
    let before = TlsStatistics::read().expect("tls_stat");
    for name in ["TLS13_AES_256", "TLS13_CHACHA20"] {
        let policy = Place::Kernel.policy();
        let mut ends = connect(suite(name), &policy, &policy);
        assert!(ends.0.stream.is_kernel() && ends.1.stream.is_kernel());
        let mut flows = [Flow::new(0), Flow::new(1)];
        for _ in 0..100 {
            for end in [&mut ends.0, &mut ends.1] {
                end.stream.update_keys(&end.socket, AskPeer::Renew).expect("new keys");
            }
            transfer(&mut ends, &mut flows, 100, &[50]);
        }
        // A request and the answer to the other's, each way.
        let renewals = (ends.0.stream.renewals(), ends.1.stream.renewals());
        assert_eq!(renewals, ((200, 200), (200, 200)), "{name}");
    }
    let after = TlsStatistics::read().expect("tls_stat");
    let grown = |name| after.counter(name).expect(name) - before.counter(name).expect(name);
    assert_eq!((grown("TlsTxRekeyError"), grown("TlsRxRekeyError")), (0, 0));
    assert_eq!((grown("TlsTxRekeyOk"), grown("TlsRxRekeyOk")), (800, 800));
}

#[test]
fn keys_are_renewed_before_as_many_records_as_they_may_protect() {
    if !has_tls13() {
        return;
    }
    let policy = Policy { update_after: 100, ..Place::Kernel.policy() };
    let mut ends = connect(suite(TLS13), &policy, &Place::User.policy());
    let mut flow = Flow::new(0);
    for _ in 0..1_000 {
        flow.write(&mut ends.0, 10);
        flow.read(&mut ends.1);
    }
    // 98 records and a KeyUpdate with each key.
    assert_eq!(ends.0.stream.renewals(), (10, 0), "for 1,000 records sent");
    ends.0.stream.count_records(&ends.0.socket).expect("counted");
    let tickets = 1;
    assert_eq!(ends.0.stream.records_sent(), tickets + 1_000 + 10, "each KeyUpdate is one");

    let mut flow = Flow::new(1);
    for _ in 0..1_000 {
        flow.write(&mut ends.1, 10);
        flow.read(&mut ends.0);
        assert_eq!(ends.1.read_all().expect("no data"), b"");
        // The answer to a request.
        flush(&mut ends.1);
    }
    // The peer was asked after every 73 to 75, and to ask is to renew ours.
    let (ours, theirs) = ends.0.stream.renewals();
    assert_eq!(ours - 10, theirs);
    assert!((13..=14).contains(&theirs), "{theirs} for 1,000 records received");
    ends.0.stream.count_records(&ends.0.socket).expect("counted");
    assert_eq!(ends.0.stream.records_received(), 1_000 + theirs);
}

#[test]
fn tls12_ends_before_its_keys_are_worn_out() {
    let policy = Policy { update_after: 100, ..Place::Kernel.policy() };
    let suite = suite("TLS_ECDHE_ECDSA_WITH_AES_256");
    let mut ends = connect(suite, &policy, &Place::User.policy());
    let mut flow = Flow::new(0);
    for _ in 0..96 {
        flow.write(&mut ends.0, 10);
        flow.read(&mut ends.1);
    }
    let mut last = Ok(0);
    for _ in 0..10 {
        last = last.and_then(|_| ends.0.write(b"one more"));
    }
    let error = last.expect_err("no more than the limit");
    let label = kernel_tls::RecordError::of(&error).map(kernel_tls::RecordError::label);
    assert_eq!(label, Some("keys_exhausted"));
    let until = Deadline::new();
    loop {
        match ends.1.read() {
            Ok(kernel_tls::Received::CloseNotify) => break,
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock, "{error}"),
        }
        until.check("close_notify");
    }
}
