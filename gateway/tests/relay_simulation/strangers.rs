//! Who can't get a call's media by asking for it, nor stop it by talking first.

use std::time::Duration;

use gateway::relay::command::StreamPlan;
use gateway::relay::drop_reason::DropReason;
use gateway::relay::key_plan::{ReceivePlan, SendPlan};

use crate::call::*;
use crate::relay_support::*;

/// CVE-2025-53399: whoever sends to the port gets neither media nor a hearing.
#[test]
fn unauthenticated_packets_never_move_an_srtp_leg() {
    let mut call = Call::new();
    let genuine = call.crypto.protect(&rtp(SSRC, 1));
    let mut forged = genuine.clone();
    forged[20] ^= 1;
    for ms in 0..500_u64 {
        call.passes(Duration::from_millis(20));
        let attempt = match ms % 3 {
            0 => rtp(SSRC, ms as u16),
            1 => forged.clone(),
            _ => Crypto::new(PROFILE, 99, 99).protect(&rtp(SSRC, ms as u16)),
        };
        assert_eq!(call.sends_from(hijacker(), SECURE, &attempt), None);
        assert!(call.secured(&rtp(SSRC, ms as u16)).is_some(), "still to the party");
    }
    call.assert_only_drops(SECURE, &[(DropReason::AuthenticationFailed, 500)]);
    assert!(call.report().streams[SECURE].last_packet.is_none());
    assert!(call.sends(SECURE, &genuine).is_some());
}

#[test]
fn an_srtp_party_behind_nat_is_found_by_its_first_authentic_packet() {
    let mut call = Call::new();
    let natted = "192.0.2.77:31000".parse().unwrap();
    let packet = call.crypto.protect(&rtp(SSRC, 1));
    assert!(call.sends_from(natted, SECURE, &packet).is_some());
    assert_eq!(call.sends(PLAIN, &rtp(SSRC, 1)).unwrap().to, natted);
}

#[test]
fn a_replayed_packet_moves_nothing_and_is_not_relayed() {
    let mut call = Call::new();
    let packet = call.crypto.protect(&rtp(SSRC, 1));
    assert!(call.sends(SECURE, &packet).is_some());
    assert_eq!(call.sends(SECURE, &packet), None);
    assert_eq!(call.sends_from(hijacker(), SECURE, &packet), None);
    call.assert_only_drops(SECURE, &[(DropReason::WrongSource, 1), (DropReason::Replayed, 1)]);
}

#[test]
fn a_hijacker_on_a_plain_leg_yields_to_the_party_however_long_he_was_alone() {
    let mut call = Call::new();
    for sequence in 0..200 {
        call.passes(Duration::from_millis(20));
        call.sends_from(hijacker(), PLAIN, &rtp(666, sequence));
    }
    assert!(call.sends(PLAIN, &rtp(SSRC, 1)).is_some());
    let answer = call.crypto.protect(&rtp(SSRC + 1, 1));
    assert_eq!(call.sends(SECURE, &answer).unwrap().to, call.party[PLAIN][0]);
    assert_eq!(call.sends_from(hijacker(), PLAIN, &rtp(666, 201)), None);
    call.assert_only_drops(PLAIN, &[(DropReason::WrongSource, 1)]);
}

#[test]
fn a_hijacker_who_comes_first_cannot_use_up_the_senders_sources() {
    let mut call = Call::new();
    for ssrc in 0..100 {
        call.passes(Duration::from_millis(20));
        call.sends_from(hijacker(), PLAIN, &rtp(ssrc, 1));
    }
    call.assert_only_drops(PLAIN, &[(DropReason::TooManySources, 96)]);
    for ssrc in [SSRC, SSRC + 1, SSRC + 2] {
        assert!(call.secured(&rtp(ssrc, 1)).is_some(), "room is left for the party");
    }
}

#[test]
fn a_party_behind_nat_may_change_its_source_throughout_the_call() {
    let mut call = Call::planned(PROFILE, |plans| {
        plans[PLAIN].remote =
            remote(["192.168.1.9:4000", "192.168.1.9:4001"].map(|at| at.parse().unwrap()));
    });
    for ssrc in 1..=30 {
        assert!(call.sends_from(hijacker(), PLAIN, &rtp(ssrc, 1)).is_some(), "source {ssrc}");
        call.passes(Duration::from_secs(10));
    }
}

/// Parties may name any address as theirs, also ours.
#[test]
fn a_packet_that_goes_round_between_two_legs_is_dropped_before_a_second_is_over() {
    let mut call = Call::new();
    let [a, b] = call.local;
    let plain = |to, peer| StreamPlan {
        remote: remote(to),
        receive_key: ReceivePlan::Clear,
        send_key: SendPlan::Clear,
        ..unchanged(peer)
    };
    call.apply([plain(b, 1), plain(a, 0)]);
    let mut round = call.sends_from(hijacker(), PLAIN, &rtp(SSRC, 1));
    let mut laps = 0;
    while let Some(datagram) = round {
        let stream = usize::from(datagram.to == b[0]);
        round = call.sends_from(datagram.from, stream, &datagram.bytes);
        laps += 1;
        assert!(laps < 100_000, "it goes round for ever");
    }
    assert_eq!(call.drops(PLAIN, DropReason::Flood) + call.drops(SECURE, DropReason::Flood), 1);
}
