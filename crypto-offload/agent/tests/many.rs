//! As many pairs as a large site has: what requests cost beside the engine's own time.
#![allow(clippy::expect_used, reason = "a test may end with a panic")]

mod support;

use std::time::{Duration, Instant};

use crypto_offload::Epoch;
use gateway_control::agent::{MAX_MESSAGE, Request, Response};
use offload_agent::Pairs;
use support::agent::{World, expect_ok, keys, name, pair, show};

fn rotate(pairs: &mut Pairs, number: u16, epoch: u64) {
    for request in keys(number, epoch) {
        expect_ok(pairs.answer(request));
    }
}

#[test]
fn a_thousand_rotations_take_seconds_and_the_log_stays_short() {
    let world = World::new();
    let mut pairs = world.start();
    for number in 0..PAIRS {
        expect_ok(pairs.answer(Request::Define { pair: Box::new(pair(number)) }));
        rotate(&mut pairs, number, 1);
    }
    let started = Instant::now();
    for number in 0..PAIRS {
        rotate(&mut pairs, number, 2);
        let (name, epoch) = (name(number), Epoch(1));
        expect_ok(pairs.answer(Request::RetireOutbound { name: name.clone(), epoch }));
        expect_ok(pairs.answer(Request::RetireInbound { name, epoch }));
    }
    let took = started.elapsed();
    println!("1,000 rotations: {took:?}");
    // In a debug build, on a busy machine; a tenth of it is usual.
    assert!(took < Duration::from_secs(20), "{took:?}");
    let log = world.places().directory.join("state.log");
    let length = log.metadata().expect("there").len();
    assert!(length < 24 << 20, "{length} bytes");
    drop(pairs);
    let started = Instant::now();
    let mut pairs = world.start();
    println!("restart: {:?}", started.elapsed());
    assert_eq!(show(&mut pairs, 999).active, Some(Epoch(2)));
    assert!(world.events.recent().is_empty());
}

#[test]
fn a_list_is_paged_below_the_largest_message_and_names_every_pair_once() {
    let world = World::new();
    let mut pairs = world.start();
    for number in 0..PAIRS {
        expect_ok(pairs.answer(Request::Define { pair: Box::new(pair(number)) }));
    }
    let mut names = Vec::new();
    let mut after = None;
    loop {
        let response = pairs.answer(Request::List { after, limit: usize::MAX });
        assert!(serde_json::to_vec(&response).expect("serializes").len() <= MAX_MESSAGE);
        let Response::Pairs(list) = response else { panic!("no list") };
        assert_eq!(list.total, usize::from(PAIRS));
        names.extend(list.pairs.into_iter().map(|status| status.pair.name));
        after = names.last().cloned();
        if !list.more {
            break;
        }
    }
    let sorted = names.is_sorted();
    names.dedup();
    assert!(sorted && names.len() == usize::from(PAIRS), "{}", names.len());
}

const PAIRS: u16 = 1000;
