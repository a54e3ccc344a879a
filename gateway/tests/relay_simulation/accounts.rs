//! What is counted, timed and told.

use std::time::Duration;

use gateway::relay::command::{KeyLimit, KeyOwner, WorkerEvent};
use gateway::relay::drop_reason::DropReason;
use gateway::relay::key_plan::SendPlan;
use gateway::relay::table::Told;
use srtp::Lifetimes;

use crate::call::*;
use crate::relay_support::*;

#[test]
fn kernel_drops_are_counted_once_each() {
    let mut call = Call::new();
    for (sequence, kernel_drops) in [(1, 0), (2, 3), (3, 3), (4, 10)] {
        call.wire.deliver(Datagram {
            from: call.party[PLAIN][0],
            to: call.local[PLAIN][0],
            bytes: rtp(SSRC, sequence),
            timestamp_ns: 0,
            kernel_drops,
        });
    }
    call.turn();
    call.assert_only_drops(PLAIN, &[(DropReason::KernelReceiveQueue, 10)]);
    assert_eq!(call.report().streams[PLAIN].rtp_in.packets, 4);
}

#[test]
fn what_the_kernel_would_not_send_is_counted() {
    let mut call = Call::new();
    call.wire.refuse_sends = 1;
    assert_eq!(call.sends(PLAIN, &rtp(SSRC, 1)), None);
    assert!(call.secured(&rtp(SSRC, 2)).is_some());
}

#[test]
fn a_stepped_clock_leaves_no_residence_time() {
    let mut call = Call::new();
    call.wire.deliver(Datagram {
        from: call.party[PLAIN][0],
        to: call.local[PLAIN][0],
        bytes: rtp(SSRC, 1),
        timestamp_ns: call.realtime_ns + 3_600_000_000_000,
        kernel_drops: 0,
    });
    call.turn();
    assert_eq!(call.wire.sent.len(), 1);
    assert_eq!(call.report().streams[PLAIN].residence.count, 0);
}

#[test]
fn idle_calls_are_told_of_once_per_threshold_and_busy_ones_never() {
    const THRESHOLD: Duration = Duration::from_secs(5);
    let mut call = Call::new();
    let made = call.now;
    let mut told = Vec::new();
    for second in 1..=16_u64 {
        call.passes(Duration::from_secs(1));
        if second <= 3 {
            call.secured(&rtp(SSRC, second as u16)).unwrap();
        }
        for _ in 0..10 {
            call.table.scan(10, THRESHOLD, call.now, |event| {
                told.push((second, event));
                Told::Yes
            });
        }
    }
    let told: Vec<_> = told
        .into_iter()
        .map(|(second, event)| match event {
            WorkerEvent::Idle { call: CALL, since } => (second, since - made),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(told, [(8, Duration::from_secs(3)), (13, Duration::from_secs(3))]);
}

#[test]
fn a_soft_limit_is_told_until_there_is_room_for_it() {
    let mut call = Call::planned(PROFILE, |plans| {
        if let SendPlan::Set(keys, _) = &mut plans[SECURE].send_key {
            keys.first.lifetimes = Lifetimes::from_sdes(16).unwrap();
        }
    });
    let scan = |call: &mut Call, told| {
        limits(call, told)
            .into_iter()
            .filter(|met| *met == (KeyOwner::Ours, KeyLimit::Soft))
            .count()
    };
    for sequence in 0..13 {
        call.secured(&rtp(SSRC, sequence)).unwrap();
    }
    assert_eq!(scan(&mut call, Told::Yes), 0);
    call.secured(&rtp(SSRC, 13)).unwrap();
    assert!(scan(&mut call, Told::QueueFull) > 0);
    assert_eq!(scan(&mut call, Told::Yes), 1);
    assert_eq!(scan(&mut call, Told::Yes), 0);
    for sequence in 14..16 {
        call.secured(&rtp(SSRC, sequence)).unwrap();
    }
    assert_eq!(call.sends(PLAIN, &rtp(SSRC, 16)), None);
    call.assert_only_drops(PLAIN, &[(DropReason::KeyExhausted, 1)]);
    assert_eq!(limits(&mut call, Told::Yes), [(KeyOwner::Ours, KeyLimit::Hard)]);
    assert_eq!(limits(&mut call, Told::Yes), []);
}
