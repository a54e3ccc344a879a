//! A party with several keys: it rotates over them by MKI, adds and withdraws some, and comes to
//! the end of what one may protect.

use std::time::Duration;

use gateway::relay::command::{KeyLimit, KeyOwner, StreamPlan};
use gateway::relay::drop_reason::DropReason;
use gateway::relay::key_plan::{KeyChange, ReceivePlan, SrtpKey, SrtpKeys};
use gateway::relay::table::Told;
use srtp::{Lifetimes, Mki, Policy, Profile, Sender};

use crate::call::*;
use crate::relay_support::*;

/// The party's key of this number, which is also its MKI.
fn key(profile: Profile, number: u8) -> SrtpKey {
    SrtpKey { mki: mki(number), ..SrtpKey::unnamed(master_key(profile, number)) }
}

fn mki(number: u8) -> Mki {
    Mki::new(&[0, number]).unwrap()
}

fn keys(profile: Profile, numbers: &[u8]) -> SrtpKeys {
    let mut keys = numbers.iter().map(|number| key(profile, *number));
    SrtpKeys { first: keys.next().unwrap(), further: keys.collect() }
}

/// A call whose party announced these keys and has all of them to send under.
fn call_with(profile: Profile, numbers: &[u8]) -> Call {
    let mut call = Call::planned(profile, |plans| {
        plans[SECURE].receive_key =
            ReceivePlan::Set(Box::new(keys(profile, numbers)), terms(profile));
    });
    let first = key(profile, numbers[0]);
    call.crypto.sender = Sender::new(first.parameters(), &policy(profile)).unwrap();
    for number in &numbers[1..] {
        call.crypto.sender.install(&key(profile, *number).parameters()).unwrap();
    }
    call
}

fn change(install: &[u8], retire: &[u8]) -> StreamPlan {
    let change = KeyChange {
        install: install.iter().map(|number| key(PROFILE, *number)).collect(),
        retire: retire.iter().map(|number| mki(*number)).collect(),
    };
    StreamPlan { receive_key: ReceivePlan::Change(Box::new(change)), ..unchanged(0) }
}

/// The party sends the next packet of its stream under the key that it uses.
fn heard(call: &mut Call, sequence: u16) -> bool {
    let packet = rtp(SSRC, sequence);
    let protected = call.crypto.protect(&packet);
    let datagram = call.sends(SECURE, &protected);
    assert!(datagram.as_ref().is_none_or(|datagram| datagram.bytes == packet));
    datagram.is_some()
}

#[test]
fn a_party_that_rotates_over_three_keys_loses_no_packet_over_a_wrap() {
    for profile in Profile::ALL {
        let mut call = call_with(profile, &[1, 2, 3]);
        for step in 0..600_u16 {
            if step % 50 == 0 {
                call.crypto.sender.switch_to(&mki(1 + (step / 50 % 3) as u8)).unwrap();
            }
            let sequence = 65_300_u16.wrapping_add(step);
            assert!(heard(&mut call, sequence), "{profile} {sequence}");
            let report = call.crypto.protect_rtcp(&receiver_report(SSRC, 3));
            assert_eq!(call.arrives(call.party[SECURE][1], (SECURE, 1), &report).len(), 1);
        }
        call.assert_only_drops(SECURE, &[]);
    }
}

#[test]
fn a_key_that_a_reinvite_adds_is_taken_beside_the_others_and_no_packet_twice() {
    let mut call = call_with(PROFILE, &[1, 2]);
    assert!(heard(&mut call, 1));
    let replayed = call.crypto.protect(&rtp(SSRC, 2));
    assert!(call.sends(SECURE, &replayed).is_some());
    call.apply([unchanged(1), change(&[3], &[])]);
    call.crypto.sender.install(&key(PROFILE, 3).parameters()).unwrap();
    assert_eq!(call.sends(SECURE, &replayed), None);
    call.assert_only_drops(SECURE, &[(DropReason::Replayed, 1)]);
    for (sequence, number) in (3..).zip([1, 3, 2, 3]) {
        call.crypto.sender.switch_to(&mki(number)).unwrap();
        assert!(heard(&mut call, sequence), "key {number}");
    }
}

#[test]
fn a_key_that_a_reinvite_withdraws_stays_until_the_party_has_changed_over() {
    let mut call = call_with(PROFILE, &[1, 2]);
    assert!(heard(&mut call, 1));
    call.apply([unchanged(1), change(&[3], &[1])]);
    call.crypto.sender.install(&key(PROFILE, 3).parameters()).unwrap();
    call.passes(Duration::from_secs(60));
    assert!(heard(&mut call, 2), "the party has not changed over yet");
    let late = call.crypto.protect(&rtp(SSRC, 3));
    let too_late = call.crypto.protect(&rtp(SSRC, 5));
    call.crypto.sender.switch_to(&mki(3)).unwrap();
    assert!(heard(&mut call, 4), "now it has");
    assert!(call.sends(SECURE, &late).is_some(), "overtaken on the way");
    call.passes(Duration::from_secs(6));
    assert!(heard(&mut call, 6));
    assert_eq!(call.sends(SECURE, &too_late), None, "the old key is gone");
    call.assert_only_drops(SECURE, &[(DropReason::AuthenticationFailed, 1)]);
}

#[test]
fn a_second_change_makes_room_by_ending_the_first_ones_overlap() {
    let mut call = call_with(PROFILE, &[1, 2]);
    call.apply([unchanged(1), change(&[3], &[1])]);
    // The same MKI, another key: as a party does that counts its MKIs round.
    let mut again = change(&[], &[]);
    if let ReceivePlan::Change(change) = &mut again.receive_key {
        change.install.push(SrtpKey { mki: mki(1), ..key(PROFILE, 9) });
    }
    call.apply([unchanged(1), again]);
    let other = SrtpKey { mki: mki(1), ..key(PROFILE, 9) };
    call.crypto.sender = Sender::new(other.parameters(), &Policy::default()).unwrap();
    assert!(heard(&mut call, 1));
    call.crypto.sender = Sender::new(key(PROFILE, 1).parameters(), &Policy::default()).unwrap();
    assert!(!heard(&mut call, 2));
}

#[test]
fn a_party_beyond_its_own_lifetime_is_refused_until_it_goes_on_under_another_key() {
    let mut call = Call::planned(PROFILE, |plans| {
        let mut keys = keys(PROFILE, &[1, 2]);
        keys.first.lifetimes = Lifetimes::from_sdes(16).unwrap();
        plans[SECURE].receive_key = ReceivePlan::Set(Box::new(keys), terms(PROFILE));
    });
    call.crypto.sender = Sender::new(key(PROFILE, 1).parameters(), &Policy::default()).unwrap();
    for sequence in 0..13 {
        assert!(heard(&mut call, sequence));
    }
    assert_eq!(limits(&mut call, Told::Yes), []);
    for sequence in 13..16 {
        assert!(heard(&mut call, sequence));
    }
    assert_eq!(limits(&mut call, Told::Yes), [(KeyOwner::Party, KeyLimit::Soft)]);
    for sequence in 16..20 {
        assert!(!heard(&mut call, sequence));
    }
    call.assert_only_drops(SECURE, &[(DropReason::KeyExhausted, 4)]);
    assert_eq!(limits(&mut call, Told::Yes), [(KeyOwner::Party, KeyLimit::Hard)]);

    call.crypto.sender.install(&key(PROFILE, 2).parameters()).unwrap();
    call.crypto.sender.switch_to(&mki(2)).unwrap();
    for sequence in 20..60 {
        assert!(heard(&mut call, sequence));
    }
    assert_eq!(limits(&mut call, Told::Yes), []);
}
