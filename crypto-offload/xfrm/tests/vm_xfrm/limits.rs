//! Limits of packets and of time are told before and when they are reached.

use std::{
    thread,
    time::{Duration, Instant},
};

use crypto_offload::{EngineEvent, ErrorClass, IpsecEngine, Lifetimes, Limits};

use crate::{
    ground::{End, Ground},
    tunnel::{THERE, Tunnel},
};

fn wait_for(end: &mut End, wanted: &EngineEvent) -> Vec<EngineEvent> {
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut seen = Vec::new();
    while !seen.contains(wanted) {
        assert!(Instant::now() < deadline, "no {wanted:?} in {seen:?}");
        seen.extend(end.engine.events().expect("events"));
        thread::sleep(Duration::from_millis(20));
    }
    seen
}

fn tunnel(soft: Limits, hard: Limits) -> Tunnel {
    Tunnel { lifetimes: Lifetimes { soft, hard }, ..Tunnel::default() }
}

#[test]
fn limits_of_packets_are_told_and_the_hard_one_ends_the_sa() {
    let packets = |packets| Limits { packets: Some(packets), ..Limits::default() };
    let tunnel = tunnel(packets(2), packets(4));
    let mut ground = Ground::new();
    tunnel.set_up(&mut ground);
    let id = tunnel.id(THERE, 2);

    assert_eq!(tunnel.echo(&ground, &[100; 3]), 3);
    let seen = wait_for(&mut ground.left, &EngineEvent::SoftLimit(id));
    assert!(!seen.contains(&EngineEvent::HardLimit(id)), "{seen:?}");

    tunnel.echo(&ground, &[100; 3]);
    wait_for(&mut ground.left, &EngineEvent::HardLimit(id));
    let gone = ground.left.engine.usage(id).expect_err("it is gone");
    assert_eq!(gone.class, ErrorClass::Gone);
    ground.left.engine.remove(id).expect("gone already is a success");
}

#[test]
fn limits_of_time_are_told() {
    let seconds = |seconds| Limits { seconds: Some(seconds), ..Limits::default() };
    let tunnel = tunnel(seconds(1), seconds(3));
    let mut ground = Ground::new();
    tunnel.set_up(&mut ground);
    let id = tunnel.id(THERE, 2);
    let seen = wait_for(&mut ground.left, &EngineEvent::HardLimit(id));
    let position = |wanted| seen.iter().position(|event| *event == wanted);
    let (soft, hard) = (position(EngineEvent::SoftLimit(id)), position(EngineEvent::HardLimit(id)));
    assert!(soft.is_some() && soft < hard, "{seen:?}");
}

#[test]
fn limits_of_bytes_are_told() {
    let bytes = |bytes| Limits { bytes: Some(bytes), ..Limits::default() };
    let tunnel = tunnel(bytes(2_000), bytes(1_000_000));
    let mut ground = Ground::new();
    tunnel.set_up(&mut ground);
    assert_eq!(tunnel.echo(&ground, &[1000; 4]), 4);
    wait_for(&mut ground.left, &EngineEvent::SoftLimit(tunnel.id(THERE, 2)));
}
