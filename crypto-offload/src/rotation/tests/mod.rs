//! Rotations between two gateways, in virtual time, with everything going wrong that can: whatever
//! happens, no packet is sent that the other side cannot open, and in the end both sides have one
//! epoch, the same.

mod agent;
mod world;

use std::time::Duration;

use proptest::prelude::*;

use self::world::{Crash, Weather, Whose, World};
use super::Outcome;
use crate::Epoch;

/// Once nothing goes wrong any more, both sides come to rest with one epoch.
fn settle_down(world: &mut World) -> Epoch {
    world.weather = Weather::default();
    world.crash = None;
    world.run(Duration::from_secs(600));
    let standings = [0, 1].map(|at| world.sides[at].agent.standing());
    for standing in &standings {
        assert!(standing.is_calm(), "no rest: {standing:?} {}", world.story());
    }
    assert_eq!(standings[0].active, standings[1].active, "{}", world.story());
    standings[0].active.unwrap_or(Epoch(0))
}

#[test]
fn in_fair_weather_a_rotation_is_done_once() {
    let mut world = World::new(1, Weather::default()).established();
    world.want(0, Duration::from_millis(1));
    assert_eq!(settle_down(&mut world), Epoch(2));
    assert_eq!(world.sides[0].outcomes, [Outcome::Rotated { epoch: Epoch(2) }]);
    assert!(world.sides[1].outcomes.is_empty());
}

#[test]
fn first_keys_come_the_same_way() {
    let mut world = World::new(1, Weather::default());
    world.want(1, Duration::from_millis(1));
    assert_eq!(settle_down(&mut world), Epoch(1));
}

#[test]
fn an_idle_pair_is_rotated_too() {
    let idle = Weather { idle: 1000, ..Weather::default() };
    let mut world = World::new(1, idle).established();
    world.want(0, Duration::from_millis(1));
    world.run(Duration::from_secs(30));
    assert_eq!(world.sides[0].outcomes, [Outcome::Rotated { epoch: Epoch(2) }]);
}

#[test]
fn where_both_begin_at_once_one_rotation_comes_of_it() {
    for seed in 0..500 {
        let mut world = World::new(seed, Weather::default()).established();
        let after = world.below(60);
        world.want(0, Duration::from_millis(1));
        world.want(1, Duration::from_millis(1 + after));
        assert_eq!(settle_down(&mut world), Epoch(2), "{}", world.story());
        assert!(world.sides[0].outcomes.contains(&Outcome::Rotated { epoch: Epoch(2) }));
    }
}

#[test]
fn one_crash_at_any_step_of_anybody_costs_no_packet() {
    let kinds = [Whose::GatewayBefore, Whose::GatewayAfter, Whose::AgentBefore, Whose::AgentAfter];
    for (whose, first) in kinds.into_iter().flat_map(|whose| [(whose, false), (whose, true)]) {
        let mut at = 0;
        loop {
            at += 1;
            let mut world = World::new(at, Weather::default());
            if !first {
                world = world.established();
            }
            world.crash = Some(Crash { at, whose });
            world.want(0, Duration::from_millis(1));
            world.run(Duration::from_secs(100));
            let before = world.acts;
            let epoch = settle_down(&mut world);
            assert!(epoch >= Epoch(1), "{}", world.story());
            if before < at {
                break;
            }
        }
        assert!(at > 5, "a rotation has more steps than {at}");
    }
}

#[test]
fn a_thousand_pairs_in_foul_weather() {
    for seed in 0..1000 {
        foul(seed, 60, 10);
    }
}

/// Both sides rotate now and then while messages are lost, late and repeated, and gateways and
/// agents die.
fn foul(seed: u64, trouble: u64, deaths: u64) {
    let weather = Weather {
        lost: trouble,
        repeated: trouble,
        late: trouble,
        gateway_dies: deaths,
        agent_dies: deaths,
        idle: 500,
    };
    let mut world = World::new(seed, weather);
    if world.chance(900) {
        world = world.established();
    }
    for side in 0..2 {
        for _ in 0..3 {
            let after = world.below(60_000);
            world.want(side, Duration::from_millis(after));
        }
    }
    world.run(Duration::from_secs(90));
    settle_down(&mut world);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_weather_costs_a_packet(seed: u64, trouble in 0_u64..400, deaths in 0_u64..120) {
        foul(seed, trouble, deaths);
    }
}
