//! Ways that are found: between all kinds of agents, over bad networks and NATs, with trickle.

use std::time::Duration;

use webrtc::ice::{Component, Implementation, Role, State};

use crate::network::{Mapping, Nat};
use crate::world::{A, B, Made, World};

const SOON: Duration = Duration::from_millis(500);

#[test]
fn two_full_agents_connect_within_half_a_second_and_agree() {
    let mut world = World::plain(1);
    world.signal();
    assert!(world.run_until(SOON, World::is_connected));
    world.assert_agreed(Component::Rtp);
    assert_eq!(world.ends[A].valid[0], ["192.0.2.2:5000".parse().unwrap()]);
    assert_eq!(world.ends[B].valid[0], ["192.0.2.1:4000".parse().unwrap()]);
    assert_eq!(world.ends[A].valid[1], []);
}

#[test]
fn both_components_are_found_and_rtcp_is_not_mistaken_for_rtp() {
    let a =
        Made { rtcp: &["192.0.2.1:4001"], ..Made::full(Role::Controlling, &["192.0.2.1:4000"]) };
    let b = Made { rtcp: &["192.0.2.2:5001"], ..Made::full(Role::Controlled, &["192.0.2.2:5000"]) };
    let mut world = World::new(2, a, b);
    world.signal();
    assert!(world.run_until(SOON, World::is_connected));
    world.assert_agreed(Component::Rtp);
    world.assert_agreed(Component::Rtcp);
    assert_eq!(world.ends[A].selected[1].unwrap().1, "192.0.2.2:5001".parse().unwrap());
}

#[test]
fn agreeing_on_rtcp_mux_late_leaves_one_component_to_wait_for() {
    let a =
        Made { rtcp: &["192.0.2.1:4001"], ..Made::full(Role::Controlling, &["192.0.2.1:4000"]) };
    let mut world = World::new(3, a, Made::full(Role::Controlled, &["192.0.2.2:5000"]));
    world.signal();
    world.run(SOON);
    assert_eq!(world.ends[A].agent.state(), State::Checking);
    let now = world.now;
    world.ends[A].agent.use_one_component(now);
    assert!(world.run_until(SOON, World::is_connected));
    world.assert_agreed(Component::Rtp);
}

/// Found by fuzzing: the early check's candidate no longer was.
#[test]
fn an_early_check_on_rtcp_is_forgotten_when_rtcp_mux_is_agreed() {
    let a = Made { rtcp: &["192.0.2.1:4001"], ..Made::full(Role::Controlled, &["192.0.2.1:4000"]) };
    let b =
        Made { rtcp: &["192.0.2.2:5001"], ..Made::full(Role::Controlling, &["192.0.2.2:5000"]) };
    let mut world = World::new(13, a, b);
    world.tell(B);
    world.run(SOON);
    let now = world.now;
    for end in &mut world.ends {
        end.agent.use_one_component(now);
    }
    world.tell(A);
    assert!(world.run_until(SOON, World::is_connected));
    world.assert_agreed(Component::Rtp);
}

fn both_components(seed: u64) -> World {
    let a =
        Made { rtcp: &["192.0.2.1:4001"], ..Made::full(Role::Controlling, &["192.0.2.1:4000"]) };
    let b = Made { rtcp: &["192.0.2.2:5001"], ..Made::full(Role::Controlled, &["192.0.2.2:5000"]) };
    World::new(seed, a, b)
}

fn take_rtcp_mux_back(world: &mut World, end: usize) {
    let (now, locals) = (world.now, world.ends[end].locals.clone());
    world.ends[end].agent.use_two_components(locals, now).unwrap();
    world.ends[end].selected[1] = None;
    world.tell_candidates(end);
}

#[test]
fn rtcp_mux_taken_back_gives_rtcp_a_pair_and_disturbs_rtp_in_nothing() {
    let mut world = both_components(14);
    let now = world.now;
    for end in &mut world.ends {
        end.agent.use_one_component(now);
    }
    world.signal();
    assert!(world.run_until(SOON, World::is_connected));
    take_rtcp_mux_back(&mut world, A);
    take_rtcp_mux_back(&mut world, B);
    assert!(world.is_connected(), "RTP goes on");
    assert!(world.run_until(SOON, |world| world.ends.iter().all(|end| end.selected[1].is_some())));
    world.assert_agreed(Component::Rtp);
    world.assert_agreed(Component::Rtcp);
    world.run(Duration::from_secs(120));
    assert!(world.is_connected());
    assert!(world.ends.iter().all(|end| end.lost.is_none() && end.failed.is_none()));
    // Each component was selected once: RTP not again.
    assert!(world.ends.iter().all(|end| end.selections.len() == 2));
}

#[test]
fn rtcp_that_finds_no_way_when_it_comes_late_takes_nothing_from_rtp() {
    let mut world = both_components(15);
    let now = world.now;
    for end in &mut world.ends {
        end.agent.use_one_component(now);
    }
    world.signal();
    assert!(world.run_until(SOON, World::is_connected));
    world.network.dead.insert("192.0.2.2:5001".parse().unwrap());
    take_rtcp_mux_back(&mut world, A);
    take_rtcp_mux_back(&mut world, B);
    world.run(Duration::from_secs(300));
    assert!(world.is_connected());
    assert!(world.ends.iter().all(|end| end.lost.is_none() && end.failed.is_none()));
    assert!(world.ends.iter().all(|end| end.selected[1].is_none()));
    // RTP's own consent still counts.
    world.network.dead.insert("192.0.2.2:5000".parse().unwrap());
    world.run(Duration::from_secs(40));
    assert!(world.ends.iter().all(|end| end.lost.is_some()));
}

#[test]
fn a_restart_without_rtcp_mux_waits_for_both_components() {
    let mut world = both_components(16);
    let now = world.now;
    for end in &mut world.ends {
        end.agent.use_one_component(now);
    }
    world.signal();
    assert!(world.run_until(SOON, World::is_connected));
    world.restart(A, Role::Controlling);
    world.restart(B, Role::Controlled);
    let now = world.now;
    for end in &mut world.ends {
        let locals = end.locals.clone();
        end.agent.use_two_components(locals, now).unwrap();
    }
    world.signal();
    assert!(world.run_until(SOON, World::is_connected));
    world.assert_agreed(Component::Rtcp);
    world.run(Duration::from_secs(60));
    assert!(world.ends.iter().all(|end| end.lost.is_none() && end.failed.is_none()));
}

#[test]
fn ipv6_is_preferred_where_it_works_and_ipv4_taken_where_it_does_not() {
    let make = || {
        let a = Made::full(Role::Controlling, &["[2001:db8::1]:4000", "192.0.2.1:4000"]);
        let b = Made::full(Role::Controlled, &["[2001:db8::2]:5000", "192.0.2.2:5000"]);
        World::new(4, a, b)
    };
    let mut world = make();
    world.signal();
    assert!(world.run_until(SOON, World::is_connected));
    world.assert_agreed(Component::Rtp);
    assert!(world.ends[A].selected[0].unwrap().1.is_ipv6());

    let mut world = make();
    world.network.dead.insert("[2001:db8::2]:5000".parse().unwrap());
    world.signal();
    assert!(world.run_until(SOON, World::is_connected));
    world.assert_agreed(Component::Rtp);
    assert!(world.ends[A].selected[0].unwrap().1.is_ipv4());
}

#[test]
fn over_loss_duplication_and_reordering_they_connect_in_time_and_agree() {
    for seed in 0..200 {
        let mut world = World::plain(seed);
        world.network.loss = 300;
        world.network.duplication = 100;
        world.network.delay = (Duration::from_millis(1), Duration::from_millis(150));
        world.signal();
        assert!(world.run_until(Duration::from_millis(39_500), World::is_connected), "seed {seed}");
        world.assert_agreed(Component::Rtp);
        for end in &world.ends {
            assert!(end.failed.is_none(), "seed {seed}");
        }
    }
}

#[test]
fn a_party_behind_any_nat_is_found_as_peer_reflexive() {
    for (seed, mapping) in [(1, Mapping::EndpointIndependent), (2, Mapping::PerDestination)] {
        for behind in [A, B] {
            let inner = ["10.0.0.1:4000", "10.0.0.2:5000"];
            let outer = ["192.0.2.1:4000", "192.0.2.2:5000"];
            let address = |end| [if end == behind { inner[end] } else { outer[end] }];
            let (a, b) = (address(A), address(B));
            let mut world = World::new(
                seed,
                Made::full(Role::Controlling, &a),
                Made::full(Role::Controlled, &b),
            );
            let nat = Nat::new("198.51.100.7", mapping);
            world
                .network
                .nats
                .push((inner[behind].parse::<std::net::SocketAddr>().unwrap().ip(), nat));
            world.signal();
            assert!(world.run_until(3 * SOON, World::is_connected), "{mapping:?} {behind}");
            let (_, seen) = world.ends[1 - behind].selected[0].unwrap();
            assert_eq!(seen.ip(), "198.51.100.7".parse::<std::net::IpAddr>().unwrap());
        }
    }
}

#[test]
fn a_lite_agent_is_found_by_a_full_one_of_either_supposed_role() {
    for role in [Role::Controlling, Role::Controlled] {
        let full = Made::full(role, &["192.0.2.1:4000"]);
        let mut world = World::new(5, full, Made::lite(&["192.0.2.2:5000"]));
        world.signal();
        assert!(world.run_until(SOON, World::is_connected));
        world.assert_agreed(Component::Rtp);
        assert_eq!(world.ends[A].agent.role(), Role::Controlling);
        assert_eq!(world.ends[B].agent.counters().checks_sent, 0);
    }
}

#[test]
fn two_lite_agents_take_each_others_best_candidate_without_a_check() {
    let a = Made { role: Role::Controlling, ..Made::lite(&["192.0.2.1:4000", "192.0.2.9:4000"]) };
    let mut world = World::new(6, a, Made::lite(&["192.0.2.2:5000"]));
    world.signal();
    assert!(world.is_connected());
    assert_eq!(world.ends[B].selected[0].unwrap().1, "192.0.2.1:4000".parse().unwrap());
    world.run(Duration::from_secs(120));
    assert!(world.is_connected());
    assert_eq!(world.ends[A].sent.len() + world.ends[B].sent.len(), 0);
}

#[test]
fn checks_before_the_answer_are_answered_and_followed_once_it_comes() {
    let mut world = World::plain(7);
    world.tell(B);
    world.run(SOON);
    assert!(!world.is_connected());
    assert!(world.ends[A].agent.counters().checks_answered > 0);
    assert_eq!(world.ends[A].agent.counters().checks_sent, 0);
    assert_eq!(world.ends[A].valid[0], []);
    // No candidate was ever named to A: what it saw is enough.
    world.tell_credentials(A);
    assert!(world.run_until(SOON, World::is_connected));
    world.assert_agreed(Component::Rtp);
}

#[test]
fn candidates_may_trickle_in_after_both_credentials() {
    let mut world = World::plain(8);
    world.tell_credentials(A);
    world.tell_credentials(B);
    world.run(Duration::from_secs(20));
    assert!(!world.is_connected());
    world.tell_candidates(A);
    assert!(world.run_until(SOON, World::is_connected));
    world.assert_agreed(Component::Rtp);
}

#[test]
fn role_conflicts_are_repaired_both_ways() {
    for seed in 0..40 {
        for role in [Role::Controlling, Role::Controlled] {
            let mut world = World::new(
                seed,
                Made::full(role, &["192.0.2.1:4000"]),
                Made::full(role, &["192.0.2.2:5000"]),
            );
            world.network.loss = 100;
            world.signal();
            let time = Duration::from_secs(30);
            assert!(world.run_until(time, World::is_connected), "{seed} {role:?}");
            assert_ne!(world.ends[A].agent.role(), world.ends[B].agent.role(), "{seed} {role:?}");
        }
    }
}

#[test]
fn without_a_way_each_fails_once_and_not_before_the_patience_of_rfc_8863() {
    let mut world = World::plain(9);
    world.network.loss = 1000;
    world.signal();
    world.run(Duration::from_secs(600));
    for end in &world.ends {
        let after = end.failed.expect("failed") - world.start;
        assert!(after >= Duration::from_millis(39_500), "{after:?}");
        assert!(after <= Duration::from_secs(41), "{after:?}");
        assert_eq!(end.agent.state(), State::Failed);
        // Seven requests in all (RFC 8489 section 6.2.1).
        assert_eq!(end.sent.len(), 7);
    }
}

#[test]
fn without_end_of_candidates_failure_takes_longer() {
    let mut world = World::plain(10);
    world.tell_credentials(A);
    world.run(Duration::from_secs(600));
    assert_eq!(world.ends[A].failed.expect("failed") - world.start, Duration::from_secs(79));
}

#[test]
fn a_component_without_a_way_fails_the_whole() {
    let a =
        Made { rtcp: &["192.0.2.1:4001"], ..Made::full(Role::Controlling, &["192.0.2.1:4000"]) };
    let b = Made { rtcp: &["192.0.2.2:5001"], ..Made::full(Role::Controlled, &["192.0.2.2:5000"]) };
    let mut world = World::new(11, a, b);
    world.network.dead.insert("192.0.2.2:5001".parse().unwrap());
    world.signal();
    world.run(Duration::from_secs(60));
    assert!(world.ends.iter().all(|end| end.failed.is_some()));
    assert!(world.ends.iter().all(|end| end.valid[0].is_empty()));
}

#[test]
fn new_checks_are_at_least_fifty_milliseconds_apart() {
    let addresses: Vec<String> = (1..=10).map(|host| format!("192.0.2.{host}:4000")).collect();
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let mut world = World::new(
        12,
        Made::full(Role::Controlling, &["198.51.100.1:5000"]),
        Made::full(Role::Controlled, &addresses),
    );
    world.network.loss = 1000;
    world.tell(A);
    world.run(Duration::from_millis(499));
    let times: Vec<_> = world.ends[A].sent.iter().map(|(at, _, _)| *at - world.start).collect();
    let paced: Vec<_> = (0..10).map(|turn| Duration::from_millis(50 * turn)).collect();
    assert_eq!(times, paced);
    assert_eq!(world.ends[A].implementation, Implementation::Full);
}
