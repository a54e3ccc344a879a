//! What is done about each kind of refusal, over model kernels: busy, full, unfit, silent.
#![allow(clippy::expect_used, reason = "a test may end with a panic")]

mod support;

use std::time::Instant;

use crypto_offload::{
    Effective, ErrorClass, Placement, PlacementPolicy, SaPair,
    middleware::{Fault, Operation},
};
use gateway_control::{
    Event,
    agent::{AgentErrorCode, Request, Response},
};
use offload_agent::Pairs;
use support::agent::{World, expect_ok, keys, name, pair, refused, show};

/// `trunk-1`, in one of these places.
fn in_places(placements: &[Placement]) -> SaPair {
    let placement = PlacementPolicy::Prefer(placements.to_vec());
    SaPair { placement, device: Some("eth0".to_owned()), ..pair(1) }
}

fn define(pairs: &mut Pairs, pair: SaPair) {
    expect_ok(pairs.answer(Request::Define { pair: Box::new(pair) }));
}

/// The next installations of `xfrm` fail.
fn fail_installs(world: &World, class: ErrorClass, times: u32) {
    world.faults.set(vec![Fault { times, ..Fault::new(&[Operation::Install], class) }]);
}

/// How often `xfrm` was asked to install something since the last time.
fn installs(world: &World) -> usize {
    let mut calls = world.calls.lock().expect("whole");
    let count = calls.iter().filter(|call| call.operation == Operation::Install).count();
    calls.clear();
    count
}

fn inbound(pairs: &mut Pairs) -> (String, Effective) {
    let status = show(pairs, 1);
    let newest = status.epochs.last().expect("an epoch");
    let sa = newest.inbound.clone().expect("an inbound SA");
    (sa.engine, sa.placement)
}

fn kinds(events: &[Event]) -> Vec<&'static str> {
    events.iter().map(|event| event.kind.name()).collect()
}

#[test]
fn an_engine_that_is_busy_for_a_moment_is_asked_again_a_little_later_each_time() {
    let world = World::new();
    let mut pairs = world.start();
    define(&mut pairs, in_places(&[Placement::InlineCrypto, Placement::KernelSoftware]));
    fail_installs(&world, ErrorClass::Busy, 3);
    let began = Instant::now();
    keys(1, 1).into_iter().for_each(|request| drop(expect_ok(pairs.answer(request))));
    // 5 + 10 + 20.
    assert!(began.elapsed().as_millis() >= 35, "{:?}", began.elapsed());
    assert!(world.faults.are_spent());
    assert_eq!(installs(&world), 5, "three refusals, and one of each SA");
    let (engine, at) = inbound(&mut pairs);
    let whole = Placement::InlineCrypto;
    assert_eq!((engine.as_str(), at.effective, at.reason), ("xfrm", whole, None));
    assert!(world.events.recent().is_empty(), "{:?}", world.events.recent());
}

#[test]
fn one_that_stays_busy_is_passed_over_with_the_reason_shown() {
    let world = World::new();
    let mut pairs = world.start();
    define(&mut pairs, in_places(&[Placement::KernelSoftware, Placement::UserSpace]));
    fail_installs(&world, ErrorClass::Busy, u32::MAX);
    keys(1, 1).into_iter().for_each(|request| drop(expect_ok(pairs.answer(request))));
    assert_eq!(installs(&world), 6, "once and five times more");
    let (engine, at) = inbound(&mut pairs);
    assert_eq!((engine.as_str(), at.effective), ("user-space", Placement::UserSpace));
    let expected = "kernel-software by xfrm: as the script says";
    assert_eq!(at.reason.as_deref(), Some(expected));
    let events = world.events.recent();
    assert_eq!(kinds(&events), ["placement.fallback"; 2]);
    assert_eq!(events[0].reason, expected);
    assert_eq!(world.xfrm.reserved(), [], "the SPI is free again");
}

#[test]
fn an_engine_too_busy_for_the_outbound_sa_is_left_out_of_the_next_epoch() {
    let world = World::new();
    let mut pairs = world.start();
    define(&mut pairs, in_places(&[Placement::KernelSoftware, Placement::UserSpace]));
    let mut requests = keys(1, 1).into_iter();
    expect_ok(pairs.answer(requests.next().expect("prepare")));
    fail_installs(&world, ErrorClass::Busy, u32::MAX);
    let error = refused(pairs.answer(requests.next().expect("install outbound")));
    assert_eq!(error.code, AgentErrorCode::Engine(ErrorClass::Busy));
    world.faults.set(Vec::new());
    let epoch = crypto_offload::Epoch(1);
    expect_ok(pairs.answer(Request::Discard { name: name(1), epoch }));
    keys(1, 2).into_iter().for_each(|request| drop(expect_ok(pairs.answer(request))));
    let (engine, at) = inbound(&mut pairs);
    assert_eq!(engine, "user-space");
    assert!(at.reason.expect("a reason").contains("as the script says"));
    expect_ok(pairs.answer(Request::Probe));
    keys(1, 3).into_iter().for_each(|request| drop(expect_ok(pairs.answer(request))));
    assert_eq!(inbound(&mut pairs).0, "xfrm", "it is probed, and believed again");
}

#[test]
fn a_full_table_spills_and_is_told_of_by_an_alert() {
    let world = World::new();
    let mut pairs = world.start();
    define(&mut pairs, in_places(&[Placement::InlineCrypto, Placement::UserSpace]));
    world.xfrm.limit(0);
    keys(1, 1).into_iter().for_each(|request| drop(expect_ok(pairs.answer(request))));
    assert_eq!(installs(&world), 1, "what is full is not asked again");
    let (engine, at) = inbound(&mut pairs);
    assert_eq!((engine.as_str(), at.effective), ("user-space", Placement::UserSpace));
    assert_eq!(at.reason.as_deref(), Some("inline-crypto by xfrm: the table is full"));
    let events = world.events.recent();
    assert_eq!(kinds(&events), ["limit.reached", "placement.fallback", "placement.fallback"]);
    let alert = &events[0];
    assert_eq!((alert.from.as_str(), alert.to.as_str()), ("inline-crypto by xfrm", "user-space"));
}

#[test]
fn an_offload_that_is_silently_ignored_is_taken_away_where_it_is_not_allowed() {
    let world = World::new();
    let mut pairs = world.start();
    define(&mut pairs, in_places(&[Placement::InlineCrypto]));
    world.xfrm.come_out_as(Some(Placement::KernelSoftware));
    let prepare = || keys(1, 1).remove(0);
    let error = refused(pairs.answer(prepare()));
    assert_eq!(error.code, AgentErrorCode::Engine(ErrorClass::Unsupported));
    assert!(error.message.contains("which the pair does not allow"), "{error}");
    assert!(error.hint.expect("a hint").contains("kernel-software"));
    assert_eq!((world.xfrm.sas().len(), world.xfrm.reserved().len()), (0, 0));
    world.xfrm.come_out_as(None);
    expect_ok(pairs.answer(prepare()));
}

#[test]
fn a_plan_names_the_rules_of_drivers_and_asks_no_engine() {
    let world = World::new();
    let mut pairs = world.start();
    let pair = SaPair {
        aead: crypto_offload::Aead::ChaCha20Poly1305,
        ..in_places(&[Placement::InlineCrypto, Placement::KernelSoftware])
    };
    let Response::Plan(plan) = expect_ok(pairs.answer(Request::Plan { pair: Box::new(pair) }))
    else {
        panic!("no plan");
    };
    assert_eq!(
        plan.steps.iter().map(|step| step.placement).collect::<Vec<_>>(),
        [Placement::KernelSoftware]
    );
    assert!(plan.refused[0].reason.contains("AES-GCM only"), "{plan:?}");
    assert_eq!(installs(&world), 0);
}
