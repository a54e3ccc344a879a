//! What a restart makes of the state and of what the engines still have, over model kernels.
#![allow(clippy::expect_used, reason = "a test may end with a panic")]

mod support;

use std::fs;

use crypto_offload::{
    Epoch, ErrorClass, Spi,
    middleware::{Fault, Operation},
};
use gateway_control::{
    PairStatus,
    agent::{AGENT_VERSION, AgentHello, Request, Response},
};
use offload_agent::{KeySource, Pairs, Places, StartError, State, StateError};
use support::agent::{World, expect_ok, keys, life, name, pair, show};

fn hello(pairs: &mut Pairs, seen: Option<u64>) -> AgentHello {
    let request = Request::Hello { version: AGENT_VERSION, seen_generation: seen };
    match pairs.answer(request) {
        Response::Hello(hello) => hello,
        other => panic!("no hello: {other:?}"),
    }
}

fn run(pairs: &mut Pairs, requests: Vec<Request>) {
    requests.into_iter().for_each(|request| drop(expect_ok(pairs.answer(request))));
}

/// A pair with one epoch in use.
fn one_pair(world: &World) -> PairStatus {
    let mut pairs = world.start();
    run(&mut pairs, vec![Request::Define { pair: Box::new(pair(1)) }]);
    run(&mut pairs, keys(1, 1));
    show(&mut pairs, 1)
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("readable").flatten() {
        fs::copy(entry.path(), to.join(entry.file_name())).expect("a copy");
    }
}

/// The keys are given up, the definition, the highest epoch and the policies are kept.
fn expect_distrusted(world: &World, pairs: &mut Pairs, reason: &str) {
    let told = hello(pairs, None).distrusted.expect("distrusted");
    assert!(told.contains(reason), "{told}");
    assert!(world.xfrm.sas().is_empty());
    assert_eq!(world.xfrm.policies().len(), 3);
    let status = show(pairs, 1);
    assert_eq!((status.epochs.len(), status.active, status.highest), (0, None, Epoch(1)));
    let kinds = world.events.recent();
    assert!(kinds.iter().any(|event| event.kind.name() == "state.distrusted"), "{kinds:?}");
}

#[test]
fn after_every_request_a_restart_knows_the_same() {
    let world = World::new();
    let mut pairs = world.start();
    for request in life(1) {
        expect_ok(pairs.answer(request));
        let before = show(&mut pairs, 1);
        drop(pairs);
        pairs = world.start();
        assert_eq!(show(&mut pairs, 1), before);
    }
    assert!(world.events.recent().is_empty(), "{:?}", world.events.recent());
}

#[test]
fn each_start_counts_and_a_higher_count_seen_elsewhere_gives_up_the_keys() {
    let world = World::new();
    one_pair(&world);
    let mut pairs = world.start();
    assert_eq!(hello(&mut pairs, Some(2)).generation, 2);
    assert_eq!(hello(&mut pairs, Some(7)).generation, 8);
    expect_distrusted(&world, &mut pairs, "the gateway saw 7");
    drop(pairs);
    assert_eq!(hello(&mut world.start(), Some(8)).generation, 9);
}

#[test]
fn a_state_that_was_rolled_back_is_not_believed() {
    let world = World::new();
    one_pair(&world);
    let (state, old) = (world.places().directory, world.directory.0.join("old"));
    copy(&state, &old);
    let mut pairs = world.start();
    run(&mut pairs, keys(1, 2));
    drop(pairs);
    fs::copy(old.join("state.log"), state.join("state.log")).expect("rolled back");
    expect_distrusted(&world, &mut world.start(), "rolled back");
}

#[test]
fn a_state_rolled_back_within_one_start_is_not_believed() {
    let world = World::new();
    let mut pairs = world.start();
    run(&mut pairs, vec![Request::Define { pair: Box::new(pair(1)) }]);
    run(&mut pairs, keys(1, 1));
    let log = world.places().directory.join("state.log");
    let old = fs::read(&log).expect("readable");
    run(&mut pairs, keys(1, 2));
    drop(pairs);
    fs::write(&log, old).expect("rolled back");
    expect_distrusted(&world, &mut world.start(), "rolled back");
}

#[test]
fn a_directory_that_others_may_write_in_is_not_used() {
    use std::os::unix::fs::PermissionsExt;
    for exposed in ["state", "run"] {
        let world = World::new();
        let directory = world.directory.0.join(exposed);
        fs::create_dir_all(&directory).expect("a directory");
        for mode in [0o777, 0o770, 0o1777] {
            fs::set_permissions(&directory, fs::Permissions::from_mode(mode)).expect("ours");
            let error = world.try_start().err().expect("refused").to_string();
            assert!(error.contains(exposed) && error.contains("others may write"), "{error}");
        }
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o711)).expect("ours");
        drop(world.start());
    }
}

#[test]
fn a_key_that_others_may_use_is_not_used() {
    use std::os::unix::fs::PermissionsExt;
    let world = World::new();
    let key = world.directory.0.join("key");
    fs::write(&key, [7; 32]).expect("writes");
    let places = || Places { key: KeySource::File(key.clone()), ..world.places() };
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).expect("ours");
    let error = State::open(&places()).err().expect("refused").to_string();
    assert!(error.contains("mode 0640") && error.contains("chmod 600"), "{error}");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("ours");
    assert!(State::open(&places()).is_ok());
}

#[test]
fn a_copied_directory_is_not_believed() {
    let world = World::new();
    one_pair(&world);
    let (state, moved) = (world.places().directory, world.directory.0.join("moved"));
    fs::rename(&state, &moved).expect("moved away");
    copy(&moved, &state);
    expect_distrusted(&world, &mut world.start(), "copy");
}

#[test]
fn a_state_of_another_run_of_the_machine_is_not_believed() {
    let world = World::new();
    one_pair(&world);
    let run = world.places().runtime;
    for entry in fs::read_dir(&run).expect("readable").flatten() {
        if entry.path().extension().is_some_and(|name| name == "witness") {
            let text = fs::read_to_string(entry.path()).expect("readable");
            let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("readable");
            let other = "00000000-1111-2222-3333-444444444444";
            fs::write(entry.path(), text.replace(boot.trim(), other)).expect("written");
        }
    }
    expect_distrusted(&world, &mut world.start(), "restarted");
}

#[test]
fn a_state_without_its_witness_or_key_is_not_believed() {
    for extension in ["witness", "key"] {
        let world = World::new();
        one_pair(&world);
        for entry in fs::read_dir(world.places().runtime).expect("readable").flatten() {
            if entry.path().extension().is_some_and(|name| name == extension) {
                fs::remove_file(entry.path()).expect("removed");
            }
        }
        let reason = if extension == "key" { "another key" } else { "vouches" };
        expect_distrusted(&world, &mut world.start(), reason);
    }
}

#[test]
fn damage_anywhere_in_the_log_never_panics_and_never_leaves_keys() {
    // A little more than the log has bytes; what is beyond falls to its last one.
    for at in (0..6000).step_by(97) {
        for cut in [true, false] {
            let broken = World::new();
            let mut pairs = broken.start();
            run(&mut pairs, vec![Request::Define { pair: Box::new(pair(1)) }]);
            run(&mut pairs, keys(1, 1));
            drop(pairs);
            let log = broken.places().directory.join("state.log");
            let mut bytes = fs::read(&log).expect("readable");
            let at = at.min(bytes.len() - 1);
            if cut {
                bytes.truncate(at);
            } else {
                bytes[at] ^= 0x40;
            }
            fs::write(&log, bytes).expect("written");
            let mut pairs = broken.start();
            assert!(hello(&mut pairs, None).distrusted.is_some(), "byte {at}, cut: {cut}");
            assert!(broken.xfrm.sas().is_empty());
        }
    }
}

#[test]
fn two_agents_never_share_a_state() {
    let world = World::new();
    let _first = world.start();
    let second = world.try_start().err().expect("refused");
    assert!(matches!(second, StartError::State(StateError::InUse(_))), "{second}");
}

#[test]
fn an_sa_that_the_kernel_lost_meanwhile_is_told_and_its_policy_stays() {
    let world = World::new();
    one_pair(&world);
    world.xfrm.lose_sas();
    let mut pairs = world.start();
    let status = show(&mut pairs, 1);
    assert_eq!((status.epochs.len(), status.active), (0, None));
    let events = world.events.recent();
    assert_eq!(events.len(), 2);
    assert!(events.iter().all(|event| event.kind.name() == "sa.lost" && event.object == "trunk-1"));
    assert_eq!(world.xfrm.policies().len(), 3);
}

#[test]
fn what_no_record_names_is_removed_and_what_is_not_ours_stays() {
    let world = World::new();
    one_pair(&world);
    let ours = world.xfrm.sas().remove(0);
    for (spi, reqid) in [(0xc999_0001, ours.installed.reqid), (0xc999_0002, 1)] {
        let mut sa = ours.clone();
        sa.installed.id.spi = Spi::new(spi).expect("free");
        sa.installed.reqid = reqid;
        world.xfrm.put(sa);
    }
    let _pairs = world.start();
    let spis: Vec<u32> = world.xfrm.sas().iter().map(|sa| sa.installed.id.spi.value()).collect();
    assert!(!spis.contains(&0xc999_0001) && spis.contains(&0xc999_0002), "{spis:x?}");
}

#[test]
fn user_space_sas_go_on_above_every_number_that_may_have_been_used() {
    let world = World::new();
    let fault = Fault::new(&[Operation::Install], ErrorClass::Unsupported);
    world.faults.set(vec![Fault { times: u32::MAX, ..fault }]);
    one_pair(&world);
    let mut last = 0;
    for _ in 0..3 {
        world.user_space.forget();
        let mut pairs = world.start();
        let status = show(&mut pairs, 1);
        let outbound = status.epochs[0].outbound.clone().expect("resumed");
        assert!(outbound.resumed);
        assert_eq!(status.active, Some(Epoch(1)));
        let sas = world.user_space.sas();
        let sa = sas.iter().find(|sa| sa.installed.id.spi == outbound.spi);
        let after = sa.expect("installed").resume_after;
        assert!(after >= last + 65_536, "{after} after {last}");
        assert_eq!(world.user_space.policies().len(), 3);
        last = after;
    }
}

#[test]
fn a_resumed_sas_counter_is_not_taken_for_the_whole_of_it() {
    let world = World::new();
    let fault = Fault::new(&[Operation::Install], ErrorClass::Unsupported);
    world.faults.set(vec![Fault { times: u32::MAX, ..fault }]);
    one_pair(&world);
    let mut pairs = world.start();
    run(&mut pairs, keys(1, 2));
    let retire = Request::RetireInbound { name: name(1), epoch: Epoch(1) };
    let counted = |response| match response {
        Response::Retired { packets } => packets,
        other => panic!("not retired: {other:?}"),
    };
    // Survived in its engine, with its counter.
    assert_eq!(counted(pairs.answer(retire)), Some(0));
    drop(pairs);
    world.user_space.forget();
    let mut pairs = world.start();
    run(&mut pairs, keys(1, 3));
    let retire = Request::RetireOutbound { name: name(1), epoch: Epoch(2) };
    assert_eq!(counted(pairs.answer(retire)), None);
}

#[test]
fn a_forgotten_pair_stays_forgotten() {
    let world = World::new();
    one_pair(&world);
    let mut pairs = world.start();
    run(&mut pairs, vec![Request::Undefine { name: name(1) }]);
    drop(pairs);
    let mut pairs = world.start();
    let gone = pairs.answer(Request::Show { name: name(1) });
    assert!(matches!(gone, Response::Refused(_)));
}
