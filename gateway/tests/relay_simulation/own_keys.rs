//! Keys of ours that the party was given side by side: a step from one to the next loses nothing,
//! repeats no index, and ends at the last.

use std::time::Duration;

use gateway::relay::command::{KeyLimit, KeyOwner, StreamIndex, WorkerEvent};
use gateway::relay::key_plan::SendPlan;
use gateway::relay::table::Told;
use srtp::{Lifetimes, Mki, PacketIndex, Profile, Receiver};

use crate::call::*;
use crate::relay_support::*;

/// A call whose secure party holds two keys of ours.
fn call_with(profile: Profile, lifetimes: Lifetimes) -> Call {
    let mut call = Call::planned(profile, |plans| {
        plans[SECURE].send_key = set_send_either(profile, [7, 8]);
        if let SendPlan::Set(keys, _) = &mut plans[SECURE].send_key {
            keys.first.lifetimes = lifetimes;
            keys.further[0].lifetimes = lifetimes;
        }
    });
    let receiver = Receiver::new(named_key(profile, 7).parameters(), &policy(profile));
    call.crypto.receiver = receiver.unwrap();
    call.crypto.receiver.install(&named_key(profile, 8).parameters()).unwrap();
    call
}

fn switch(call: &mut Call, number: u8) {
    let mki = Mki::new(&[number]).unwrap();
    call.table.switch_key(CALL, StreamIndex(SECURE as u16), &mki);
}

/// The number of the key that the party last heard us under.
fn heard(call: &Call) -> u8 {
    call.crypto.receiver.keys().next().unwrap().mki.as_bytes()[0]
}

/// The key whose limit control would be told of, had it room.
fn limited(call: &mut Call) -> Option<Mki> {
    let mut named = None;
    for _ in 0..10 {
        call.table.scan(10, Duration::MAX, call.now, |event| {
            if let WorkerEvent::KeyLimit { mki, .. } = event {
                named = Some(mki);
            }
            Told::QueueFull
        });
    }
    named
}

#[test]
fn a_step_to_the_next_key_loses_no_packet_and_goes_on_in_the_round() {
    for profile in Profile::ALL {
        let mut call = call_with(profile, Lifetimes::MAX);
        let mut late = Vec::new();
        for step in 0..600_u16 {
            if step == 300 {
                switch(&mut call, 8);
            }
            let packet = rtp(SSRC, 65_400_u16.wrapping_add(step));
            if (290..300).contains(&step) {
                // Under way while the key changes.
                late.push((packet.clone(), call.sends(PLAIN, &packet).unwrap().bytes));
                continue;
            }
            assert_eq!(call.secured(&packet).unwrap(), packet, "{profile} {step}");
            assert_eq!(heard(&call), if step < 300 { 7 } else { 8 }, "{profile} {step}");
            let report = receiver_report(SSRC, 1);
            let sent = call.arrives(call.party[PLAIN][1], (PLAIN, 1), &report);
            assert_eq!(call.crypto.open_rtcp(&sent[0].bytes).unwrap(), report);
        }
        for (packet, sealed) in late {
            assert_eq!(call.crypto.open(&sealed).unwrap(), packet, "{profile}: overtaken");
        }
        call.assert_only_drops(PLAIN, &[]);
        let streams = call.crypto.receiver.streams().collect::<Vec<_>>();
        assert_eq!(streams, [(SSRC, PacketIndex::new(1, 463))], "{profile}");
    }
}

#[test]
fn packets_after_the_step_are_under_the_second_key_and_no_other() {
    let mut call = call_with(PROFILE, Lifetimes::MAX);
    call.secured(&rtp(SSRC, 1)).unwrap();
    switch(&mut call, 8);
    let packet = rtp(SSRC, 2);
    let sealed = call.sends(PLAIN, &packet).unwrap().bytes;
    let alone = |number| {
        let key = named_key(PROFILE, number);
        let mut receiver = Receiver::new(key.parameters(), &policy(PROFILE)).unwrap();
        receiver.open_rtp(&mut sealed.clone()).is_ok()
    };
    assert!(alone(8) && !alone(7));
    assert_eq!(call.report().streams[SECURE].keyed.sealed, 1, "counted by key");
}

#[test]
fn a_key_that_is_not_there_is_not_gone_on_to() {
    let mut call = call_with(PROFILE, Lifetimes::MAX);
    switch(&mut call, 9);
    call.table.switch_key(CALL, StreamIndex(9), &Mki::new(&[8]).unwrap());
    // The plain party has no keys at all.
    call.table.switch_key(CALL, StreamIndex(PLAIN as u16), &Mki::new(&[8]).unwrap());
    call.secured(&rtp(SSRC, 1)).unwrap();
    assert_eq!(heard(&call), 7);
}

#[test]
fn a_step_at_the_soft_limit_comes_in_time_and_the_next_keys_limit_is_told_anew() {
    let mut call = call_with(PROFILE, Lifetimes::from_sdes(16).unwrap());
    for sequence in 0..14 {
        call.secured(&rtp(SSRC, sequence)).unwrap();
    }
    assert_eq!(limited(&mut call), Mki::new(&[7]).ok());
    assert_eq!(limits(&mut call, Told::Yes), [(KeyOwner::Ours, KeyLimit::Soft)]);
    switch(&mut call, 8);
    for sequence in 14..28 {
        call.secured(&rtp(SSRC, sequence)).unwrap();
    }
    assert_eq!(heard(&call), 8);
    assert_eq!(limited(&mut call), Mki::new(&[8]).ok());
    assert_eq!(limits(&mut call, Told::Yes), [(KeyOwner::Ours, KeyLimit::Soft)]);
    call.assert_only_drops(PLAIN, &[]);
}

#[test]
fn what_was_met_before_the_step_is_no_news_after_it() {
    let mut call = call_with(PROFILE, Lifetimes::from_sdes(16).unwrap());
    for sequence in 0..14 {
        call.secured(&rtp(SSRC, sequence)).unwrap();
    }
    switch(&mut call, 8);
    assert_eq!(limits(&mut call, Told::Yes), []);
}

#[test]
fn a_key_at_its_end_gives_way_by_itself_where_nobody_took_the_step() {
    let mut call = call_with(PROFILE, Lifetimes::from_sdes(16).unwrap());
    for sequence in 0..32 {
        call.secured(&rtp(SSRC, sequence)).unwrap();
        assert_eq!(heard(&call), if sequence < 16 { 7 } else { 8 });
    }
    // Whoever takes it now is there already.
    switch(&mut call, 8);
    assert_eq!(call.sends(PLAIN, &rtp(SSRC, 32)), None, "both have done all that they may");
}
