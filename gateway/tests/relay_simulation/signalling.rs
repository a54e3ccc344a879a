//! What a later plan does to a call: hold, new keys, the end.

use std::time::Duration;

use gateway::relay::command::{Remote, StreamPlan};
use gateway::relay::drop_reason::DropReason;
use gateway::relay::key_plan::{ReceivePlan, SendPlan};

use crate::call::*;
use crate::relay_support::*;

#[test]
fn hold_stops_media_but_not_rtcp_and_resuming_goes_on_under_the_same_key() {
    let mut call = Call::new();
    call.secured(&rtp(SSRC, 65_530)).unwrap();
    let hold = |receive, send| StreamPlan { receive, send, ..unchanged(1) };
    call.apply([hold(false, false), unchanged(0)]);
    for sequence in 65_531..65_535 {
        assert_eq!(call.sends(PLAIN, &rtp(SSRC, sequence)), None);
        let answer = call.crypto.protect(&rtp(SSRC + 1, sequence));
        assert_eq!(call.sends(SECURE, &answer), None);
    }
    let report = receiver_report(SSRC, 1);
    let sent = call.arrives(call.party[PLAIN][1], (PLAIN, 1), &report);
    assert_eq!(call.crypto.open_rtcp(&sent[0].bytes).unwrap(), report);
    call.assert_only_drops(PLAIN, &[(DropReason::DirectionOff, 4)]);
    call.assert_only_drops(SECURE, &[(DropReason::DirectionOff, 4)]);

    call.apply([unchanged(1), unchanged(0)]);
    for sequence in 10..20 {
        assert!(call.secured(&rtp(SSRC, sequence)).is_some());
        let answer = call.crypto.protect(&rtp(SSRC + 1, sequence));
        assert!(call.sends(SECURE, &answer).is_some(), "the receiver kept count while on hold");
    }
}

#[test]
fn an_old_style_hold_sends_nothing_to_the_zero_address() {
    let mut call = Call::new();
    let zero = Some(Remote { rtp: None, rtcp: None });
    call.apply([StreamPlan { remote: zero, ..unchanged(1) }, unchanged(0)]);
    let answer = call.crypto.protect(&rtp(SSRC, 1));
    assert_eq!(call.sends(SECURE, &answer), None);
    call.assert_only_drops(SECURE, &[(DropReason::NoDestination, 1)]);
}

#[test]
fn without_an_answer_packets_have_no_peer() {
    let mut call = Call::planned(PROFILE, |plans| plans[PLAIN].peer = None);
    assert_eq!(call.sends(PLAIN, &rtp(SSRC, 1)), None);
    call.assert_only_drops(PLAIN, &[(DropReason::NoPeer, 1)]);
}

#[test]
fn a_leg_whose_key_is_not_known_yet_neither_takes_nor_sends_anything() {
    let mut call = Call::planned(PROFILE, |plans| {
        plans[SECURE].receive_key = ReceivePlan::Keep;
        plans[SECURE].send_key = SendPlan::Keep;
    });
    assert_eq!(call.sends(PLAIN, &rtp(SSRC, 1)), None, "never in clear");
    assert_eq!(call.sends(SECURE, &rtp(SSRC, 1)), None);
    call.assert_only_drops(PLAIN, &[(DropReason::NoKey, 1)]);
    call.assert_only_drops(SECURE, &[(DropReason::NoKey, 1)]);
}

#[test]
fn a_new_receive_key_leaves_the_old_one_a_moment() {
    let mut call = Call::new();
    let mut old = std::mem::replace(&mut call.crypto, Crypto::new(PROFILE, 11, 2));
    let mut sequence = 0;
    let mut next = || {
        sequence += 1;
        rtp(SSRC, sequence)
    };
    let packet = old.protect(&next());
    assert!(call.sends(SECURE, &packet).is_some());
    call.apply([
        unchanged(1),
        StreamPlan { receive_key: set_receive(PROFILE, 11), ..unchanged(0) },
    ]);

    call.passes(Duration::from_secs(60));
    let packet = old.protect(&next());
    assert!(call.sends(SECURE, &packet).is_some(), "the party has not changed over yet");
    let late = old.protect(&next());
    let packet = call.crypto.protect(&next());
    assert!(call.sends(SECURE, &packet).is_some(), "now it has");
    assert!(call.sends(SECURE, &late).is_some(), "overtaken on the way");
    assert_eq!(call.sends(SECURE, &late), None, "but not twice");

    call.passes(Duration::from_secs(6));
    let packet = call.crypto.protect(&next());
    assert!(call.sends(SECURE, &packet).is_some());
    let packet = old.protect(&next());
    assert_eq!(call.sends(SECURE, &packet), None, "the old key is gone");
}

#[test]
fn a_new_send_key_goes_on_in_the_numbers_of_the_old_one() {
    let mut call = Call::new();
    for sequence in (100..110).chain(50_000..50_010) {
        call.secured(&rtp(SSRC, sequence)).unwrap();
    }
    call.apply([unchanged(1), StreamPlan { send_key: set_send(PROFILE, 22), ..unchanged(0) }]);
    call.crypto = Crypto::new(PROFILE, 1, 22);
    let packet = rtp(SSRC, 50_010);
    assert_eq!(call.secured(&packet).unwrap(), renumbered(packet, 120));
}

#[test]
fn closing_a_stream_closes_its_sockets_and_keeps_its_numbers() {
    let mut call = Call::new();
    call.secured(&rtp(SSRC, 1)).unwrap();
    call.apply([unchanged(1), StreamPlan { closed: true, ..unchanged(0) }]);
    assert_eq!(call.wire.open_sockets(), 2);
    assert_eq!(call.sends(PLAIN, &rtp(SSRC, 2)), None);
    call.assert_only_drops(PLAIN, &[(DropReason::NoPeer, 1)]);
    assert_eq!(call.report().streams[SECURE].rtp_out.packets, 1);
}

#[test]
fn closing_a_call_closes_everything_and_reports() {
    let mut call = Call::new();
    call.secured(&rtp(SSRC, 1)).unwrap();
    let report = call.table.close(CALL, &mut call.wire).unwrap();
    assert_eq!(report.streams[PLAIN].rtp_in.packets, 1);
    assert_eq!(call.wire.open_sockets(), 0);
    assert!(call.table.close(CALL, &mut call.wire).is_none());
    assert!(call.table.report(CALL).is_none());
}
