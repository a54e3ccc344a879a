//! What holds for every order of events: bounds, no standing clock, agreement in the end.

use std::time::Duration;

use proptest::prelude::*;
use webrtc::ice::{Component, Role};

use crate::world::{A, B, Made, World};

#[derive(Clone, Copy, Debug)]
enum Event {
    Credentials(usize),
    Candidates(usize),
    Wait(u64),
    Restart(usize),
    Outage(u64),
}

fn event() -> impl Strategy<Value = Event> {
    let end = prop_oneof![Just(A), Just(B)];
    prop_oneof![
        3 => end.clone().prop_map(Event::Credentials),
        3 => end.clone().prop_map(Event::Candidates),
        3 => (0..3000_u64).prop_map(Event::Wait),
        1 => end.prop_map(Event::Restart),
        1 => (0..45_000_u64).prop_map(Event::Outage),
    ]
}

/// A restart is both sides' new credentials; signalling follows or not, as dealt.
fn apply(world: &mut World, event: Event) {
    match event {
        Event::Credentials(end) => world.tell_credentials(end),
        Event::Candidates(end) => world.tell_candidates(end),
        Event::Wait(millis) => world.run(Duration::from_millis(millis)),
        Event::Restart(end) => {
            world.restart(end, Role::Controlling);
            world.restart(1 - end, Role::Controlled);
        }
        Event::Outage(millis) => {
            let loss = std::mem::replace(&mut world.network.loss, 1000);
            world.run(Duration::from_millis(millis));
            world.network.loss = loss;
        }
    }
}

/// Two pairs on a bad network; `loss` in a thousand each way.
fn lossy(seed: u64, loss: u64) -> World {
    let a = Made::full(Role::Controlling, &["192.0.2.1:4000", "[2001:db8::1]:4000"]);
    let b = Made::full(Role::Controlled, &["192.0.2.2:5000", "[2001:db8::2]:5000"]);
    let mut world = World::new(seed, a, b);
    world.network.loss = loss;
    world.network.duplication = 50;
    world.network.delay = (Duration::from_millis(1), Duration::from_millis(80));
    world
}

/// Until a check that is never answered is given up, with the RTO of 500 ms (RFC 8489 section
/// 6.2.1): then it is the other pair's turn.
const TRANSACTION: Duration = Duration::from_millis(39_500);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn whatever_happened_a_restart_connects_and_both_ends_agree(
        seed: u64,
        loss in 0..200_u64,
        events in proptest::collection::vec(event(), 0..12),
    ) {
        let mut world = lossy(seed, loss);
        for event in events {
            apply(&mut world, event);
        }
        apply(&mut world, Event::Restart(A));
        world.signal();
        prop_assert!(world.run_until(2 * TRANSACTION, World::is_connected));
        world.network.loss = 0;
        // Nominations in flight arrive; the old path lingers for five seconds.
        world.run(Duration::from_secs(6));
        prop_assert!(world.is_connected());
        world.assert_agreed(Component::Rtp);
        for end in &world.ends {
            let (_, remote) = end.selected[0].unwrap();
            prop_assert_eq!(end.valid[0][0], remote);
        }
    }
}

/// One loss in three, both ways together: all seven requests of the nomination or all their answers.
#[test]
fn a_nomination_that_comes_to_nothing_is_followed_by_the_next_pairs() {
    let mut world = lossy(6_452_489_138_897_741_457, 187);
    apply(&mut world, Event::Restart(A));
    world.signal();
    assert!(!world.run_until(TRANSACTION - Duration::from_secs(1), World::is_connected));
    assert!(world.run_until(Duration::from_secs(3), World::is_connected));
    world.run(Duration::from_secs(6));
    world.assert_agreed(Component::Rtp);
}
