//! Consent (RFC 7675): lost after 30 seconds of silence, not before, and gone for good.

use std::time::Duration;

use webrtc::ice::{Component, Refusal, Role, State};

use crate::world::{A, B, Made, World};

const SOON: Duration = Duration::from_millis(500);
const SECOND: Duration = Duration::from_secs(1);

fn connected(mut world: World) -> World {
    world.signal();
    assert!(world.run_until(SOON, World::is_connected));
    world
}

#[test]
fn a_quiet_hour_keeps_consent_with_a_check_every_four_to_six_seconds() {
    let mut world = connected(World::plain(1));
    world.run(SECOND);
    let mine = |world: &World| world.ends[A].agent.counters().checks_sent;
    let before = mine(&world);
    world.run(3600 * SECOND);
    assert!(world.is_connected());
    let checks = mine(&world) - before;
    assert!((600..=900).contains(&checks), "{checks}");
    let to_b = world.ends[A].sent.iter().filter(|(_, _, length)| *length > 80);
    let times: Vec<_> =
        to_b.map(|(at, _, _)| *at).filter(|at| *at - world.start > SECOND).collect();
    let gaps: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(gaps.iter().all(|gap| (4 * SECOND..=6 * SECOND).contains(gap)));
    let different = gaps.iter().collect::<std::collections::BTreeSet<_>>().len();
    assert!(different > gaps.len() / 2, "the interval is not random");
}

#[test]
fn consent_ends_thirty_seconds_after_the_last_answer_and_not_before() {
    for seed in 0..50 {
        let mut world = connected(World::plain(seed));
        world.run(Duration::from_millis(7000 + seed * 137));
        // Nothing is under way when the network dies: the last answer is known exactly.
        let answers = world.ends[A].agent.counters().answers;
        assert!(
            world.run_until(10 * SECOND, |world| {
                world.ends[A].agent.counters().answers > answers
            })
        );
        let last = world.now;
        world.network.loss = 1000;
        world.run(60 * SECOND);
        assert_eq!(world.ends[A].lost.expect("lost") - last, 30 * SECOND, "seed {seed}");
        assert_eq!(world.ends[A].agent.state(), State::Lost);
        assert_eq!(world.ends[A].valid[0], []);
    }
}

#[test]
fn twenty_seconds_of_silence_do_not_end_consent() {
    let mut world = connected(World::plain(3));
    world.network.loss = 1000;
    world.run(20 * SECOND);
    world.network.loss = 0;
    world.run(600 * SECOND);
    assert!(world.is_connected());
    assert!(world.ends.iter().all(|end| end.lost.is_none()));
}

#[test]
fn loss_of_three_percent_each_way_does_not_end_consent() {
    for seed in 0..20 {
        let mut world = connected(World::plain(seed));
        world.network.loss = 30;
        world.run(600 * SECOND);
        assert!(world.ends.iter().all(|end| end.lost.is_none()), "seed {seed}");
    }
}

#[test]
fn after_lost_consent_nothing_is_sent_there_and_nothing_answered() {
    let mut world = connected(World::plain(4));
    world.network.loss = 1000;
    world.run(60 * SECOND);
    assert!(world.ends.iter().all(|end| end.lost.is_some()));
    world.network.loss = 0;
    let sent = world.ends[A].sent.len();
    world.run(600 * SECOND);
    assert_eq!(world.ends[A].sent.len(), sent);
    assert!(!world.is_connected());
}

#[test]
fn who_lost_consent_does_not_answer_the_other_on_that_path() {
    let mut refused = 0;
    for seed in 0..20 {
        let mut world = connected(World::plain(seed));
        world.run(20 * SECOND);
        world.network.loss = 1000;
        let lost = |end: usize| move |world: &World| world.ends[end].lost.is_some();
        assert!(world.run_until(60 * SECOND, |world| lost(A)(world) || lost(B)(world)));
        let first = if world.ends[A].lost.is_some() { A } else { B };
        world.network.loss = 0;
        let answered = world.ends[first].agent.counters().checks_answered;
        world.run(60 * SECOND);
        let counters = world.ends[first].agent.counters();
        assert_eq!(counters.checks_answered, answered, "seed {seed}");
        assert!(world.ends[1 - first].lost.is_some(), "seed {seed}");
        refused += counters.refused(Refusal::Revoked);
    }
    assert!(refused > 0, "none was ever asked");
}

#[test]
fn a_restart_brings_back_what_consent_ended() {
    let mut world = connected(World::plain(6));
    world.network.loss = 1000;
    world.run(60 * SECOND);
    world.network.loss = 0;
    world.restart(A, Role::Controlling);
    world.restart(B, Role::Controlled);
    world.signal();
    assert!(world.run_until(SOON, World::is_connected));
    world.assert_agreed(Component::Rtp);
}

#[test]
fn a_lite_agent_takes_thirty_seconds_without_checks_for_the_end() {
    let full = Made::full(Role::Controlling, &["192.0.2.1:4000"]);
    let mut world = connected(World::new(7, full, Made::lite(&["192.0.2.2:5000"])));
    world.run(600 * SECOND);
    assert!(world.is_connected());
    let answered = world.ends[B].agent.counters().checks_answered;
    assert!(world.run_until(10 * SECOND, |world| {
        world.ends[B].agent.counters().checks_answered > answered
    }));
    let last = world.now;
    world.network.loss = 1000;
    world.run(60 * SECOND);
    assert_eq!(world.ends[B].lost.expect("lost") - last, 30 * SECOND);
}

#[test]
fn a_component_that_keeps_consent_is_selected_again_after_the_other_lost_it() {
    let a =
        Made { rtcp: &["192.0.2.1:4001"], ..Made::full(Role::Controlling, &["192.0.2.1:4000"]) };
    let b = Made { rtcp: &["192.0.2.2:5001"], ..Made::full(Role::Controlled, &["192.0.2.2:5000"]) };
    let mut world = connected(World::new(8, a, b));
    world.network.dead.insert("192.0.2.2:5001".parse().unwrap());
    world.run(120 * SECOND);
    for (end, rtp) in [(A, "192.0.2.2:5000"), (B, "192.0.2.1:4000")] {
        let end = &world.ends[end];
        let lost = end.lost.expect("lost");
        assert_eq!(end.selections.last(), Some(&(lost, rtp.parse().unwrap())));
        assert_eq!(end.valid[0], [rtp.parse().unwrap()]);
        assert_eq!(end.valid[1], []);
        assert!(end.sent.last().is_some_and(|(at, _, _)| world.now - *at < 10 * SECOND));
    }
}
