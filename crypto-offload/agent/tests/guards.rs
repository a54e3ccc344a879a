//! What guards a pair without keys, over model kernels: which policies there are at every moment of
//! a pair's life, and what is said where clear text may pass.
#![allow(clippy::expect_used, reason = "a test may end with a panic")]

mod support;

use std::sync::Arc;

use crypto_offload::{
    Epoch, ErrorClass, Selector,
    middleware::{Fault, Operation},
};
use gateway_control::{
    EventKind,
    agent::{AgentErrorCode, Request},
};
use offload_agent::{Engines, Pairs, State};
use support::agent::{World, expect_ok, keys, life, name, pair, refused, show};

fn define(pairs: &mut Pairs, number: u16) {
    expect_ok(pairs.answer(Request::Define { pair: Box::new(pair(number)) }));
}

/// The kernel takes no SAs, until the script changes.
fn without_esp(world: &World) {
    let fault = Fault::new(&[Operation::Install], ErrorClass::Unsupported);
    world.faults.set(vec![Fault { times: u32::MAX, ..fault }]);
}

/// Of each policy which traffic it is for.
fn selectors(world: &World) -> Vec<Selector> {
    let mut all: Vec<_> = world.xfrm.policies().iter().map(|policy| policy.selector).collect();
    all.sort_by_key(ToString::to_string);
    all
}

/// The policies of a pair, whose outbound one names an SA or blocks.
fn whole(names_sa: bool) -> Vec<(String, bool)> {
    vec![("Forward".to_owned(), false), ("In".to_owned(), false), ("Out".to_owned(), names_sa)]
}

/// Those that there are, by direction.
fn kinds(world: &World) -> Vec<(String, bool)> {
    let kind = |policy: crypto_offload::PolicySpec| {
        (format!("{:?}", policy.direction), policy.spi.is_some())
    };
    let mut all: Vec<_> = world.xfrm.policies().into_iter().map(kind).collect();
    all.sort();
    all
}

/// The old epoch's SAs go.
fn retire_first(pairs: &mut Pairs) {
    let requests = life(1);
    for request in requests.into_iter().skip(7) {
        expect_ok(pairs.answer(request));
    }
}

#[test]
fn a_pair_is_guarded_from_its_definition_to_its_end() {
    let world = World::new();
    let mut pairs = world.start();
    let mut requests = life(1).into_iter();
    expect_ok(pairs.answer(requests.next().expect("define")));
    assert_eq!(kinds(&world), whole(false));
    for request in requests {
        let switches = matches!(request, Request::Switch { .. });
        let before = kinds(&world);
        expect_ok(pairs.answer(request));
        let after = kinds(&world);
        assert_eq!(after, if switches { whole(true) } else { before });
    }
    assert_eq!(show(&mut pairs, 1).unguarded, None);
    expect_ok(pairs.answer(Request::Undefine { name: name(1) }));
    assert_eq!(kinds(&world), []);
}

#[test]
fn the_guard_outlives_keys_that_are_undone_and_every_restart() {
    let world = World::new();
    let mut pairs = world.start();
    define(&mut pairs, 1);
    for request in keys(1, 1).into_iter().take(2) {
        expect_ok(pairs.answer(request));
    }
    expect_ok(pairs.answer(Request::Discard { name: name(1), epoch: Epoch(1) }));
    assert_eq!(kinds(&world), whole(false));
    drop(pairs);
    // Somebody removed them while no agent ran.
    world.xfrm.forget();
    let pairs = world.start();
    assert_eq!(kinds(&world), whole(false));
    drop(pairs);
}

#[test]
fn a_pair_of_an_agent_that_set_no_guards_is_guarded_by_the_next_start() {
    let world = World::new();
    let mut pairs = world.start();
    define(&mut pairs, 1);
    // As it leaves pairs.
    assert_eq!(pairs.flush(), 0);
    assert_eq!(kinds(&world), []);
    assert!(show(&mut pairs, 1).unguarded.expect("flushed").contains("outbound"));
    drop(pairs);
    let mut pairs = world.start();
    assert_eq!(kinds(&world), whole(false));
    assert_eq!(show(&mut pairs, 1).unguarded, None);
}

#[test]
fn while_keys_are_in_user_space_the_kernel_blocks_what_does_not_go_there() {
    let world = World::new();
    without_esp(&world);
    let mut pairs = world.start();
    define(&mut pairs, 1);
    keys(1, 1).into_iter().for_each(|request| drop(expect_ok(pairs.answer(request))));
    assert_eq!(kinds(&world), whole(false));
    assert_eq!(world.user_space.policies().len(), 3);
    assert_eq!(show(&mut pairs, 1).unguarded, None);
    // The kernel can, meanwhile.
    world.faults.set(Vec::new());
    keys(1, 2).into_iter().for_each(|request| drop(expect_ok(pairs.answer(request))));
    retire_first(&mut pairs);
    assert_eq!(kinds(&world), whole(true));
    assert!(world.user_space.policies().is_empty());
}

#[test]
fn what_user_space_opens_passes_and_that_is_told_until_it_ends() {
    let world = World::new();
    without_esp(&world);
    world.user_space.be_stopped("the kernel looks at it");
    let mut pairs = world.start();
    define(&mut pairs, 1);
    assert_eq!(show(&mut pairs, 1).unguarded, None);
    keys(1, 1).into_iter().for_each(|request| drop(expect_ok(pairs.answer(request))));
    assert_eq!(kinds(&world), []);
    let reason = show(&mut pairs, 1).unguarded.expect("the policies are in the way");
    assert!(reason.contains("inbound") && !reason.contains("outbound"), "{reason}");
    // Over a restart, too: its SAs are resumed before policies are set again.
    drop(pairs);
    world.user_space.forget();
    let mut pairs = world.start();
    assert_eq!(kinds(&world), []);
    world.faults.set(Vec::new());
    keys(1, 2).into_iter().for_each(|request| drop(expect_ok(pairs.answer(request))));
    retire_first(&mut pairs);
    assert_eq!(kinds(&world), whole(true));
    let told: Vec<_> = world
        .events
        .recent()
        .into_iter()
        .filter(|event| event.kind == EventKind::SaUnguarded)
        .map(|event| event.to)
        .collect();
    assert_eq!(told, ["may pass", "may pass", "is dropped"]);
}

#[test]
fn a_changed_selector_is_guarded_and_the_old_one_is_not() {
    let world = World::new();
    let mut pairs = world.start();
    define(&mut pairs, 1);
    let old = selectors(&world);
    let mut moved = pair(1);
    moved.remote_net = pair(2).remote_net;
    expect_ok(pairs.answer(Request::Define { pair: Box::new(moved) }));
    let new = selectors(&world);
    assert_eq!((old.len(), new.len()), (3, 3));
    assert!(old.iter().all(|selector| !new.contains(selector)), "{new:?}");
    // Back, but the kernel refuses one of the new ones: the pair is as it was.
    for after in 0..3 {
        let fault = Fault::new(&[Operation::SetPolicy], ErrorClass::Fatal);
        world.faults.set(vec![Fault { after, ..fault }]);
        let back = Request::Define { pair: Box::new(pair(1)) };
        assert_eq!(refused(pairs.answer(back)).code, AgentErrorCode::Engine(ErrorClass::Fatal));
        assert!(world.faults.are_spent());
        assert_eq!(selectors(&world), new);
    }
}

#[test]
fn what_an_agent_without_its_state_left_blocks_until_its_traffic_has_a_pair_again() {
    let world = World::new();
    define(&mut world.start(), 1);
    let left = world.xfrm.policies();
    std::fs::remove_dir_all(world.places().directory).expect("a state");
    let mut pairs = world.start();
    assert_eq!(world.xfrm.policies(), left);
    // As a kernel answers that has one of another reqid.
    world.faults.set(vec![Fault::new(&[Operation::SetPolicy], ErrorClass::Conflict)]);
    define(&mut pairs, 1);
    assert!(world.faults.are_spent());
    assert_eq!(kinds(&world), whole(false));
    assert!(world.xfrm.policies().iter().all(|policy| policy.reqid != left[0].reqid));
}

#[test]
fn an_agent_that_nothing_guards_blocks_by_its_engine_and_says_what_may_pass() {
    let world = World::new();
    let start = || {
        let engines = Engines::new(vec![Box::new(world.user_space.clone())])
            .guarded_by(Err("no CONFIG_XFRM_USER".to_owned()));
        let state = State::open(&world.places()).expect("a state");
        Pairs::start(engines, state, Arc::clone(&world.events)).expect("starts")
    };
    let mut pairs = start();
    define(&mut pairs, 1);
    let blocked = world.user_space.policies();
    assert_eq!(blocked.iter().map(|policy| policy.spi).collect::<Vec<_>>(), [None]);
    let said = show(&mut pairs, 1).unguarded;
    assert_eq!(said.as_deref(), Some("inbound: no CONFIG_XFRM_USER"));
    drop(pairs);
    world.user_space.forget();
    let mut pairs = start();
    assert_eq!(world.user_space.policies(), blocked);
    let events = world.events.recent();
    assert_eq!(events.len(), 2, "{events:?}");
    assert!(events.iter().all(|event| event.kind == EventKind::SaUnguarded), "{events:?}");
    expect_ok(pairs.answer(Request::Undefine { name: name(1) }));
    assert!(world.user_space.policies().is_empty());
}
