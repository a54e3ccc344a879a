//! Each request, repeated, refused and failing half-way, over model kernels.
#![allow(clippy::expect_used, reason = "a test may end with a panic")]

mod support;

use crypto_offload::{
    Epoch, ErrorClass, InstalledPolicy, PolicyDirection, Precedence, SaUsage, Selector,
    middleware::{Fault, Model, Operation},
};
use gateway_control::{
    PairStatus,
    agent::{AgentErrorCode, Request, Response},
};
use offload_agent::Pairs;
use support::agent::{World, expect_ok, keys, life, name, offer, pair, refused, show};

/// What an engine has, for comparison.
fn contents(kernel: &Model) -> (Vec<String>, Vec<String>, usize) {
    let sas = kernel.sas().iter().map(|sa| sa.installed.id.to_string()).collect();
    let policies = kernel.policies();
    let policies = policies
        .iter()
        .map(|policy| format!("{:?} {} {:?}", policy.direction, policy.selector, policy.spi));
    let mut policies: Vec<String> = policies.collect();
    policies.sort();
    (sas, policies, kernel.reserved().len())
}

/// Every change fails from now on.
fn always(class: ErrorClass) -> Vec<Fault> {
    vec![Fault { times: u32::MAX, ..Fault::new(&Operation::CHANGES, class) }]
}

#[test]
fn every_request_repeated_answers_as_before_and_changes_nothing() {
    let world = World::new();
    let mut pairs = world.start();
    for (request, again) in life(1).into_iter().zip(life(1)) {
        let first = expect_ok(pairs.answer(request));
        let (there, status) = (contents(&world.xfrm), show(&mut pairs, 1));
        let second = expect_ok(pairs.answer(again));
        let text = |response: &Response| serde_json::to_string(response).expect("serializes");
        assert_eq!(text(&first), text(&second));
        assert_eq!(contents(&world.xfrm), there);
        assert_eq!(show(&mut pairs, 1), status);
    }
    let status = show(&mut pairs, 1);
    assert_eq!((status.active, status.highest, status.epochs.len()), (Some(Epoch(2)), Epoch(2), 1));
    assert_eq!((world.xfrm.sas().len(), world.xfrm.policies().len()), (2, 3));
}

#[test]
fn undefine_takes_everything_and_may_be_repeated() {
    let world = World::new();
    let mut pairs = world.start();
    life(1).into_iter().for_each(|request| drop(expect_ok(pairs.answer(request))));
    for _ in 0..2 {
        expect_ok(pairs.answer(Request::Undefine { name: name(1) }));
        assert_eq!(contents(&world.xfrm), (vec![], vec![], 0));
    }
    let error = refused(pairs.answer(Request::Show { name: name(1) }));
    assert_eq!(error.code, AgentErrorCode::UnknownPair);
}

#[test]
fn a_failure_at_any_call_leaves_what_was_there() {
    for class in [ErrorClass::Fatal, ErrorClass::Conflict, ErrorClass::Gone] {
        let steps = life(1).len();
        for step in 0..steps {
            let mut failed_call = 1;
            // Until the request makes fewer calls than the one that is to fail.
            while fails_cleanly(step, failed_call, class) {
                failed_call += 1;
            }
        }
    }
}

/// Runs a life up to a step, fails one engine call of that step, and compares. False when the
/// step did not make so many calls.
fn fails_cleanly(step: usize, failed_call: u32, class: ErrorClass) -> bool {
    let world = World::new();
    let mut pairs = world.start();
    let mut requests = life(1).into_iter();
    requests.by_ref().take(step).for_each(|request| drop(expect_ok(pairs.answer(request))));
    let before = contents(&world.xfrm);
    let status = (step > 0).then(|| show(&mut pairs, 1));
    let fault = Fault::new(&Operation::CHANGES, class);
    world.faults.set(vec![Fault { after: failed_call - 1, ..fault }]);
    let response = pairs.answer(requests.next().expect("one more"));
    let reached = world.faults.are_spent();
    world.faults.set(Vec::new());
    if !reached {
        return false;
    }
    let Response::Refused(error) = response else {
        // A failure that the agent could live with, as the last packets of a counter.
        return true;
    };
    assert_eq!(error.code, AgentErrorCode::Engine(class), "{error}");
    assert_eq!(contents(&world.xfrm), before, "step {step}, call {failed_call}, {class:?}");
    assert_eq!(shown(&mut pairs), status);
    // And the state says the same after a restart.
    drop(pairs);
    let mut pairs = world.start();
    assert_eq!(contents(&world.xfrm), before, "step {step}, call {failed_call}, restarted");
    assert_eq!(shown(&mut pairs), status);
    true
}

/// `None` for a pair that is not defined.
fn shown(pairs: &mut Pairs) -> Option<PairStatus> {
    match pairs.answer(Request::Show { name: name(1) }) {
        Response::Pair(status) => Some(*status),
        Response::Refused(error) if error.code == AgentErrorCode::UnknownPair => None,
        other => panic!("no status: {other:?}"),
    }
}

#[test]
fn what_is_in_use_stays_and_what_is_over_is_not_installed_again() {
    let world = World::new();
    let mut pairs = world.start();
    life(1).into_iter().for_each(|request| drop(expect_ok(pairs.answer(request))));
    let code = |response| refused(response).code;
    let epoch = Epoch(2);
    let retire = pairs.answer(Request::RetireOutbound { name: name(1), epoch });
    assert_eq!(code(retire), AgentErrorCode::InUse);
    let discard = pairs.answer(Request::Discard { name: name(1), epoch });
    assert_eq!(code(discard), AgentErrorCode::InUse);
    let prepare = Request::Prepare { name: name(1), epoch: Epoch(1), given: None };
    assert_eq!(code(pairs.answer(prepare)), AgentErrorCode::StaleEpoch);
    let switch = pairs.answer(Request::Switch { name: name(1), epoch: Epoch(1) });
    assert_eq!(code(switch), AgentErrorCode::UnknownEpoch);
}

#[test]
fn nobody_uses_up_a_pairs_epochs_with_one_request() {
    let world = World::new();
    let mut pairs = world.start();
    life(1).into_iter().for_each(|request| drop(expect_ok(pairs.answer(request))));
    for epoch in [u64::MAX, 1 << 40] {
        let leap = Request::Prepare { name: name(1), epoch: Epoch(epoch), given: None };
        let error = refused(pairs.answer(leap));
        assert_eq!(error.code, AgentErrorCode::Invalid);
        assert!(error.message.contains("too far above 2"), "{error}");
    }
    let next = Request::Prepare { name: name(1), epoch: Epoch(3), given: None };
    expect_ok(pairs.answer(next));
}

#[test]
fn a_key_is_taken_once_for_ever() {
    let world = World::new();
    let mut pairs = world.start();
    life(1).into_iter().for_each(|request| drop(expect_ok(pairs.answer(request))));
    drop(pairs);
    let mut pairs = world.start();
    let prepare = Request::Prepare { name: name(1), epoch: Epoch(3), given: None };
    expect_ok(pairs.answer(prepare));
    let again = pairs.answer(Request::InstallOutbound {
        name: name(1),
        epoch: Epoch(3),
        offer: offer(1, 1),
    });
    assert_eq!(refused(again).code, AgentErrorCode::KeyReused);
}

#[test]
fn a_peers_key_that_no_engine_took_may_come_again() {
    let world = World::new();
    let mut pairs = world.start();
    life(1).into_iter().take(2).for_each(|request| drop(expect_ok(pairs.answer(request))));
    world.faults.set(always(ErrorClass::Fatal));
    let install = || keys(1, 1).remove(1);
    let error = refused(pairs.answer(install()));
    assert_eq!(error.code, AgentErrorCode::Engine(ErrorClass::Fatal));
    world.faults.set(Vec::new());
    drop(pairs);
    let mut pairs = world.start();
    expect_ok(pairs.answer(install()));
}

/// An attempt with keys given by hand, of which the step after `Prepare` fails.
fn half_an_attempt(world: &World, pairs: &mut Pairs, epoch: u64) {
    let (name, epoch) = (name(1), Epoch(epoch));
    let given = Some(offer(1, 100));
    expect_ok(pairs.answer(Request::Prepare { name: name.clone(), epoch, given }));
    world.faults.set(always(ErrorClass::Fatal));
    let install = Request::InstallOutbound { name: name.clone(), epoch, offer: offer(1, 200) };
    refused(pairs.answer(install));
    world.faults.set(Vec::new());
    expect_ok(pairs.answer(Request::Discard { name, epoch }));
}

#[test]
fn keys_by_hand_survive_an_attempt_that_failed_and_a_restart_after_it() {
    let world = World::new();
    let mut pairs = world.start();
    expect_ok(pairs.answer(Request::Define { pair: Box::new(pair(1)) }));
    half_an_attempt(&world, &mut pairs, 1);
    drop(pairs);
    let mut pairs = world.start();
    half_an_attempt(&world, &mut pairs, 2);
    let (name, epoch) = (name(1), Epoch(3));
    let given = Some(offer(1, 100));
    expect_ok(pairs.answer(Request::Prepare { name: name.clone(), epoch, given }));
    let install = Request::InstallOutbound { name: name.clone(), epoch, offer: offer(1, 200) };
    expect_ok(pairs.answer(install));
    expect_ok(pairs.answer(Request::Switch { name, epoch }));
}

#[test]
fn a_key_that_the_other_side_may_have_sealed_with_never_seals_here() {
    let world = World::new();
    let mut pairs = world.start();
    expect_ok(pairs.answer(Request::Define { pair: Box::new(pair(1)) }));
    half_an_attempt(&world, &mut pairs, 1);
    let (name, epoch) = (name(1), Epoch(2));
    expect_ok(pairs.answer(Request::Prepare { name: name.clone(), epoch, given: None }));
    let install = Request::InstallOutbound { name, epoch, offer: offer(1, 100) };
    let error = refused(pairs.answer(install));
    assert_eq!(error.code, AgentErrorCode::KeyReused);
    assert!(error.message.contains("IVs would be used again"), "{error}");
}

#[test]
fn a_key_that_has_opened_a_packet_is_spent_and_the_refusal_says_why() {
    let world = World::new();
    let mut pairs = world.start();
    expect_ok(pairs.answer(Request::Define { pair: Box::new(pair(1)) }));
    let prepare = |epoch| {
        let given = Some(offer(1, 100));
        Request::Prepare { name: name(1), epoch: Epoch(epoch), given }
    };
    expect_ok(pairs.answer(prepare(1)));
    let id = world.xfrm.sas()[0].installed.id;
    world.xfrm.count(id, SaUsage { packets: 1, sequence: 1, ..SaUsage::default() });
    expect_ok(pairs.answer(Request::Discard { name: name(1), epoch: Epoch(1) }));
    let error = refused(pairs.answer(prepare(2)));
    assert_eq!(error.code, AgentErrorCode::KeyReused);
    assert!(error.message.contains("would be taken again"), "{error}");
}

#[test]
fn overlapping_selectors_are_refused_with_the_other_pairs_name() {
    let world = World::new();
    let mut pairs = world.start();
    expect_ok(pairs.answer(Request::Define { pair: Box::new(pair(1)) }));
    let mut other = pair(2);
    other.local_net = "10.0.0.0/8".parse().expect("a prefix");
    other.remote_net = "10.0.1.192/28".parse().expect("a prefix");
    let error = refused(pairs.answer(Request::Define { pair: Box::new(other) }));
    assert_eq!((error.code, error.place.as_str()), (AgentErrorCode::Conflict, "trunk-1"));
}

#[test]
fn a_live_pair_keeps_its_addresses_and_takes_new_limits() {
    let world = World::new();
    let mut pairs = world.start();
    life(1).into_iter().for_each(|request| drop(expect_ok(pairs.answer(request))));
    let mut moved = pair(1);
    moved.remote = "192.0.2.3".parse().expect("an address");
    let error = refused(pairs.answer(Request::Define { pair: Box::new(moved) }));
    assert_eq!((error.code, error.place.as_str()), (AgentErrorCode::Conflict, "remote"));
    let mut renewed = pair(1);
    renewed.lifetimes.soft.packets = Some(1000);
    expect_ok(pairs.answer(Request::Define { pair: Box::new(renewed.clone()) }));
    assert_eq!(show(&mut pairs, 1).pair, renewed);
}

#[test]
fn an_engine_without_esp_is_passed_over_and_the_fallback_is_told() {
    let world = World::new();
    let fault = Fault::new(&[Operation::Install], ErrorClass::Unsupported);
    world.faults.set(vec![Fault { times: u32::MAX, ..fault }]);
    let mut pairs = world.start();
    expect_ok(pairs.answer(Request::Define { pair: Box::new(pair(1)) }));
    keys(1, 1).into_iter().for_each(|request| drop(expect_ok(pairs.answer(request))));
    let status = show(&mut pairs, 1);
    let inbound = status.epochs[0].inbound.clone().expect("installed");
    assert_eq!(inbound.engine, "user-space");
    assert!(inbound.placement.fell_back());
    let reason = inbound.placement.reason.expect("a reason");
    assert!(reason.contains("as the script says"), "{reason}");
    let events = world.events.recent();
    assert_eq!(events.len(), 2, "{events:?}");
    assert!(events.iter().all(|event| event.kind.name() == "placement.fallback"));
}

/// Another program's, that overlaps `trunk-1` and is not the same.
fn foreign(
    direction: PolicyDirection,
    reqid: Option<u32>,
    precedence: Precedence,
) -> InstalledPolicy {
    let outbound = Selector {
        source: "10.0.0.0/8".parse().expect("a prefix"),
        destination: "10.0.1.192/28".parse().expect("a prefix"),
        protocol: Some(17),
        source_port: None,
        destination_port: None,
    };
    let selector = match direction {
        PolicyDirection::Out => outbound,
        _ => outbound.reversed(),
    };
    let detail = "priority 375423, reqid 1".to_owned();
    InstalledPolicy { direction, selector, reqid, precedence, detail }
}

#[test]
fn another_programs_policy_that_overlaps_is_a_conflict_that_names_it_and_how_to_see_it() {
    use PolicyDirection::{Forward, In, Out};
    use Precedence::{OverOurs, UnderOurs};
    for (direction, reqid, precedence) in [
        (Out, Some(1), UnderOurs),
        (In, Some(1), UnderOurs),
        (Forward, Some(1), OverOurs),
        (Out, None, OverOurs),
    ] {
        let world = World::new();
        let mut pairs = world.start();
        world.xfrm.put_policy(foreign(direction, reqid, precedence));
        let define = || Request::Define { pair: Box::new(pair(1)) };
        let error = refused(pairs.answer(define()));
        assert_eq!(error.code, AgentErrorCode::Conflict);
        for words in [direction.name(), "10.0.1.192/28", "priority 375423"] {
            assert!(error.message.contains(words), "{error}");
        }
        assert!(error.hint.expect("a hint").contains("ip xfrm policy"));
        let gone = pairs.answer(Request::Show { name: name(1) });
        assert_eq!(refused(gone).code, AgentErrorCode::UnknownPair);
    }
}

#[test]
fn policies_that_protect_nothing_and_come_after_ours_are_let_be_and_so_are_known_pairs() {
    let world = World::new();
    world.xfrm.put_policy(foreign(PolicyDirection::Out, None, Precedence::UnderOurs));
    let mut pairs = world.start();
    life(1).into_iter().for_each(|request| drop(expect_ok(pairs.answer(request))));
    world.xfrm.put_policy(foreign(PolicyDirection::Out, Some(1), Precedence::UnderOurs));
    let mut renewed = pair(1);
    renewed.lifetimes.soft.packets = Some(1000);
    expect_ok(pairs.answer(Request::Define { pair: Box::new(renewed) }));
    expect_ok(pairs.answer(Request::Define { pair: Box::new(pair(2)) }));
}
