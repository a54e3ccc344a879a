//! Restarts: the old path carries media until the new one works; old credentials are not taken again.

use std::time::Duration;

use webrtc::ice::{AgentError, Component, Implementation, RemoteParameters, Restart, Role, State};

use crate::world::{A, B, World};

const SOON: Duration = Duration::from_millis(500);
const SECOND: Duration = Duration::from_secs(1);

fn connected(seed: u64) -> World {
    let mut world = World::plain(seed);
    world.signal();
    assert!(world.run_until(SOON, World::is_connected));
    world
}

#[test]
fn the_old_path_stays_valid_until_the_new_one_is_selected() {
    let mut world = connected(1);
    let b = world.ends[B].locals[0].address;
    world.restart(A, Role::Controlling);
    // The answer takes a minute: consent is kept up on the old path all the while.
    world.run(60 * SECOND);
    assert_eq!(world.ends[A].valid[0], [b]);
    assert!(world.ends.iter().all(|end| end.lost.is_none()));
    world.restart(B, Role::Controlled);
    world.signal();
    assert!(world.run_until(SOON, World::is_connected));
    world.assert_agreed(Component::Rtp);
    assert_eq!(world.ends[A].selections.len(), 2);
    world.run(600 * SECOND);
    assert!(world.ends.iter().all(|end| end.lost.is_none()));
    assert_eq!(world.ends[A].valid[0], [b]);
}

#[test]
fn a_restart_moves_to_a_new_address_without_a_moment_of_none() {
    let mut world = connected(2);
    // The party's NAT gives it another port: its old address dies once the new one is named.
    world.restart(A, Role::Controlling);
    world.restart(B, Role::Controlled);
    world.signal();
    let mut connected_since = None;
    while connected_since.is_none_or(|since| world.now - since < 6 * SECOND) {
        assert!(!world.ends[A].valid[0].is_empty());
        assert!(!world.ends[B].valid[0].is_empty());
        if world.is_connected() {
            connected_since.get_or_insert(world.now);
        }
        world.run(Duration::from_millis(1));
    }
}

#[test]
fn a_restart_that_finds_no_way_says_so_and_the_old_path_goes_on() {
    let mut world = connected(3);
    world.restart(A, Role::Controlling);
    let strange = RemoteParameters {
        credentials: webrtc::ice::credentials(&world.network.chance.bytes()),
        ..world.ends[B].parameters()
    };
    let now = world.now;
    world.ends[A].agent.set_remote(strange, now).unwrap();
    world.tell_candidates(A);
    world.run(120 * SECOND);
    assert_eq!(world.ends[A].agent.state(), State::Failed);
    assert!(world.ends[A].failed.is_some());
    assert!(world.ends[A].lost.is_none());
    assert_eq!(world.ends[A].valid[0], [world.ends[B].locals[0].address]);
}

#[test]
fn credentials_of_before_are_refused_on_both_sides() {
    let mut world = connected(4);
    let (now, ours) = (world.now, world.ends[A].credentials.clone());
    let theirs = world.ends[B].parameters();
    let implementation = Implementation::Full;
    let again = Restart { implementation, local: ours, role: Role::Controlling };
    assert_eq!(world.ends[A].agent.restart(again, now), Err(AgentError::ReusedCredentials));
    world.restart(A, Role::Controlling);
    let refused = world.ends[A].agent.set_remote(theirs, now);
    assert_eq!(refused, Err(AgentError::ReusedCredentials));
}

#[test]
fn our_own_credentials_are_refused_as_the_partys() {
    let mut world = World::plain(5);
    let (now, mine) = (world.now, world.ends[A].parameters());
    let refused = world.ends[A].agent.set_remote(mine, now);
    assert_eq!(refused, Err(AgentError::ReusedCredentials));
}

#[test]
fn the_same_credentials_again_change_nothing() {
    let mut world = connected(6);
    let sent = world.ends[A].agent.counters().checks_sent;
    world.tell(A);
    assert!(world.is_connected());
    assert_eq!(world.ends[A].agent.counters().checks_sent, sent);
}

#[test]
fn another_answer_of_a_forked_call_begins_anew_under_our_credentials() {
    let mut world = connected(7);
    let other = crate::world::End::new(
        crate::world::Made::full(Role::Controlled, &["192.0.2.3:6000"]),
        &mut world.network.chance,
        world.now,
    );
    world.ends[B] = other;
    world.signal();
    assert!(world.run_until(SOON, World::is_connected));
    world.assert_agreed(Component::Rtp);
    assert_eq!(world.ends[A].selected[0].unwrap().1, "192.0.2.3:6000".parse().unwrap());
}

/// A full party that is controlled waits for us to check and to nominate.
#[test]
fn a_restart_makes_a_lite_agent_full_and_a_full_one_lite() {
    let mut world = connected(8);
    for implementation in [Implementation::Lite, Implementation::Full] {
        let role = match implementation {
            Implementation::Full => Role::Controlling,
            Implementation::Lite => Role::Controlled,
        };
        world.ends[A].implementation = implementation;
        world.restart(A, role);
        world.restart(B, role.other());
        world.signal();
        let sent = world.ends[A].agent.counters().checks_sent;
        let nominations = world.ends.each_ref().map(|end| end.selections.len());
        assert!(world.run_until(SOON, World::is_connected), "{implementation:?}");
        // The session before lingers, and asks nothing.
        world.run(6 * SECOND);
        for (end, before) in world.ends.iter().zip(nominations) {
            assert!(end.selections.len() > before, "selected anew");
        }
        world.assert_agreed(Component::Rtp);
        let sent = world.ends[A].agent.counters().checks_sent - sent;
        assert_eq!(sent > 0, implementation == Implementation::Full);
        assert!(world.ends.iter().all(|end| end.lost.is_none()));
    }
}

#[test]
fn restarts_over_loss_always_end_and_never_without_a_path() {
    for seed in 0..60 {
        let mut world = connected(seed);
        world.network.loss = 200;
        world.network.delay = (Duration::from_millis(1), Duration::from_millis(120));
        for turn in 0..3 {
            let (first, role) =
                if turn % 2 == 0 { (A, Role::Controlling) } else { (B, Role::Controlled) };
            world.restart(first, role);
            world.restart(1 - first, role.other());
            world.tell(first);
            let pause = Duration::from_millis(world.network.chance.below(300));
            world.run(pause);
            world.tell(1 - first);
            assert!(world.run_until(39 * SECOND, World::is_connected), "seed {seed}");
            world.assert_agreed(Component::Rtp);
            assert!(world.ends.iter().all(|end| end.lost.is_none()), "seed {seed}");
        }
    }
}
