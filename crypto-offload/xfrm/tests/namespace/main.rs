//! The engine against the kernel of this machine, in a network namespace of each test's own.
//!
//! Works with and without ESP in the kernel: reservations, policies, events and dumps are the same
//! code there. What needs ESP is in `vm_xfrm`.

#![allow(clippy::expect_used, reason = "a test that cannot go on fails")]

mod sys;

use std::{
    fs,
    net::IpAddr,
    num::NonZeroU32,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use crypto_offload::{
    Aead, Answer, Direction, EngineError, EngineEvent, ErrorClass, Evidence, Feature, IpsecEngine,
    KeyingMaterial, Lifetimes, Mode, Placement, PolicyDirection, PolicySpec, Reqid, SaId, SaSpec,
    SecretKey, Selector, SequenceNumbers, Spi,
};
use crypto_offload_xfrm::XfrmEngine;

/// An engine in a namespace that nobody else has; `None`, said, where we may not have one.
fn engine(test: &str) -> Option<XfrmEngine> {
    if let Err(error) = sys::unshare_network() {
        println!("SKIPPED {test}: a network namespace needs root: {error}");
        return None;
    }
    match XfrmEngine::open() {
        Ok(engine) => Some(engine),
        Err(error) if error.class == ErrorClass::Unsupported => {
            println!("SKIPPED {test}: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split(' ')).output().expect("iproute2");
    assert!(output.status.success(), "ip {arguments}: {output:?}");
}

fn reqid(number: u32) -> Reqid {
    Reqid(NonZeroU32::new(number).expect("not 0"))
}

fn id(spi: u32) -> SaId {
    SaId { destination: [192, 0, 2, 1].into(), spi: Spi::new(spi).expect("free to use") }
}

const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

fn selector() -> Selector {
    Selector {
        source: "10.1.0.0/16".parse().expect("a prefix"),
        destination: "10.2.0.0/16".parse().expect("a prefix"),
        protocol: Some(17),
        source_port: None,
        destination_port: Some(5060),
    }
}

fn policy(number: u32, spi: Option<u32>) -> PolicySpec {
    PolicySpec {
        direction: PolicyDirection::Out,
        selector: selector(),
        mode: Mode::Tunnel,
        source: [192, 0, 2, 1].into(),
        destination: PEER,
        reqid: reqid(number),
        spi: spi.map(|spi| Spi::new(spi).expect("free to use")),
        device: None,
    }
}

fn inbound(spi: u32) -> SaSpec {
    let key = SecretKey::copy_from(&[3; 20]);
    SaSpec {
        id: id(spi),
        source: PEER,
        direction: Direction::Inbound,
        mode: Mode::Tunnel,
        keying: KeyingMaterial::new(Aead::Aes128Gcm, key).expect("the right length"),
        sequence_numbers: SequenceNumbers::Extended,
        replay_window: 64,
        lifetimes: Lifetimes::default(),
        encapsulation: None,
        reqid: reqid(7),
        selector: selector().reversed(),
        device: None,
        resume_after: 0,
    }
}

fn wait_for(engine: &mut XfrmEngine, wanted: &EngineEvent) -> Vec<EngineEvent> {
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut seen = Vec::new();
    while !seen.contains(wanted) {
        assert!(Instant::now() < deadline, "no {wanted:?} in {seen:?}");
        seen.extend(engine.events().expect("events"));
        thread::sleep(Duration::from_millis(10));
    }
    seen
}

#[test]
fn says_why_the_kernel_can_or_cannot() {
    let Some(engine) = engine("says_why_the_kernel_can_or_cannot") else { return };
    let mut entries = engine.capabilities().of(Placement::KernelSoftware, None);
    let esp = entries.find(|entry| entry.feature == Feature::Engine).expect("an entry");
    match (esp.answer, &esp.evidence) {
        (Answer::Yes, Evidence::Probed { errno: None, .. }) => {}
        (Answer::No, Evidence::Probed { errno: Some(_), message: Some(words) }) => {
            assert!(!words.is_empty());
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_probe_leaves_nothing_behind() {
    let Some(mut engine) = engine("a_probe_leaves_nothing_behind") else { return };
    engine.probe().expect("again");
    assert_eq!(engine.list(), Ok(Vec::new()));
}

#[test]
fn a_reserved_spi_is_nobody_elses_until_it_is_given_up() {
    let Some(mut engine) = engine("a_reserved_spi_is_nobody_elses") else { return };
    engine.reserve(id(0xc000_0001), PEER, reqid(7)).expect("free");
    let refused = engine.reserve(id(0xc000_0001), PEER, reqid(7)).expect_err("taken");
    assert_eq!(refused.class, ErrorClass::Conflict, "{refused}");
    assert!(refused.object.contains("0xc0000001 to 192.0.2.1"), "{refused}");

    let listed = engine.list().expect("a list");
    assert_eq!(listed.len(), 1);
    assert_eq!((listed[0].id, listed[0].source, listed[0].reqid), (id(0xc000_0001), PEER, 7));
    assert_eq!((listed[0].aead, listed[0].fingerprint), (None, None));

    engine.remove(id(0xc000_0001)).expect("removed");
    engine.remove(id(0xc000_0001)).expect("gone already is a success");
    engine.reserve(id(0xc000_0001), PEER, reqid(7)).expect("free again");
}

#[test]
fn an_ipv6_spi_is_reserved_too() {
    let Some(mut engine) = engine("an_ipv6_spi_is_reserved_too") else { return };
    let spi = Spi::new(0xc000_0001).expect("free to use");
    let id = SaId { destination: "2001:db8::1".parse().expect("an address"), spi };
    let source = "2001:db8::2".parse().expect("an address");
    engine.reserve(id, source, reqid(7)).expect("free");
    let listed = engine.list().expect("a list");
    assert_eq!((listed[0].id, listed[0].source), (id, source));
}

#[test]
fn a_reservation_that_lapses_is_told() {
    let Some(mut engine) = engine("a_reservation_that_lapses_is_told") else { return };
    fs::write("/proc/sys/net/core/xfrm_acq_expires", "1").expect("a sysctl of the namespace");
    engine.reserve(id(0xc000_0001), PEER, reqid(7)).expect("free");
    let seen = wait_for(&mut engine, &EngineEvent::HardLimit(id(0xc000_0001)));
    assert_eq!(seen, [EngineEvent::HardLimit(id(0xc000_0001))], "and nothing of our own doing");
    assert_eq!(engine.list(), Ok(Vec::new()));
}

#[test]
fn a_refused_install_leaves_nothing() {
    let Some(mut engine) = engine("a_refused_install_leaves_nothing") else { return };
    engine.reserve(id(0xc000_0001), PEER, reqid(7)).expect("free");
    // Without a device there is no inline placement: refused on every kernel.
    let refused = engine.install(&inbound(0xc000_0001), Placement::InlineCrypto);
    let refused = refused.expect_err("no device");
    assert_eq!(refused.class, ErrorClass::Unsupported);
    assert_eq!(engine.list(), Ok(Vec::new()), "the reservation went with it");
}

#[test]
fn a_kernel_without_esp_says_so_in_its_own_words() {
    let test = "a_kernel_without_esp_says_so_in_its_own_words";
    let Some(mut engine) = engine(test) else { return };
    engine.reserve(id(0xc000_0001), PEER, reqid(7)).expect("free");
    match engine.install(&inbound(0xc000_0001), Placement::KernelSoftware) {
        // Then `vm_xfrm` has the other half of the claim.
        Ok(effective) => assert_eq!(effective.effective, Placement::KernelSoftware),
        Err(EngineError { class, reason, hint, .. }) => {
            assert_eq!(class, ErrorClass::Unsupported);
            assert!(reason.contains(": "), "errno and words: {reason}");
            assert!(hint.is_some_and(|hint| hint.contains("modprobe esp4")));
            assert_eq!(engine.list(), Ok(Vec::new()));
        }
    }
}

#[test]
fn an_unknown_device_is_named() {
    let Some(mut engine) = engine("an_unknown_device_is_named") else { return };
    let sa = SaSpec { device: Some("eth9".to_owned()), ..inbound(0xc000_0001) };
    let refused = engine.install(&sa, Placement::InlineCrypto).expect_err("no such device");
    assert_eq!(refused.class, ErrorClass::Gone);
    assert!(refused.to_string().starts_with("cannot find device eth9: ENODEV"), "{refused}");
}

#[test]
fn an_spi_reserved_by_another_pair_is_refused() {
    let Some(mut engine) = engine("an_spi_reserved_by_another_pair_is_refused") else { return };
    engine.reserve(id(0xc000_0001), PEER, reqid(8)).expect("free");
    let refused = engine.install(&inbound(0xc000_0001), Placement::KernelSoftware);
    let refused = refused.expect_err("taken");
    assert_eq!(refused.class, ErrorClass::Conflict);
    assert!(refused.reason.contains("reqid 8"), "{refused}");
    assert_eq!(engine.list().expect("a list").len(), 1, "theirs stays");
}

#[test]
fn a_policy_moves_to_another_spi_in_one_step_and_goes() {
    let test = "a_policy_moves_to_another_spi_in_one_step_and_goes";
    let Some(mut engine) = engine(test) else { return };
    let software = Placement::KernelSoftware;
    engine.set_policy(&policy(7, Some(0xc000_0001)), software).expect("set");
    engine.set_policy(&policy(7, Some(0xc000_0002)), software).expect("moved");
    let shown = Command::new("ip").args(["xfrm", "policy"]).output().expect("iproute2");
    let shown = String::from_utf8(shown.stdout).expect("text");
    assert_eq!(shown.matches("src 10.1.0.0/16 dst 10.2.0.0/16 proto udp dport 5060").count(), 1);
    assert!(shown.contains("dir out priority 20559"), "{shown}");
    assert!(shown.contains("proto esp spi 0xc0000002 reqid 7 mode tunnel"), "{shown}");

    engine.remove_policy(PolicyDirection::Out, &selector()).expect("removed");
    engine.remove_policy(PolicyDirection::Out, &selector()).expect("gone already is a success");
    let shown = Command::new("ip").args(["xfrm", "policy"]).output().expect("iproute2");
    assert!(shown.stdout.is_empty());
}

#[test]
fn without_an_sa_the_outbound_policy_blocks_and_is_still_its_pairs() {
    let test = "without_an_sa_the_outbound_policy_blocks_and_is_still_its_pairs";
    let Some(mut engine) = engine(test) else { return };
    // Packet offload has its policies in the device; one that blocks is for all devices.
    engine.set_policy(&policy(7, None), Placement::InlinePacket).expect("set");
    let show = || {
        let shown = Command::new("ip").args(["xfrm", "policy"]).output().expect("iproute2");
        String::from_utf8(shown.stdout).expect("text")
    };
    assert!(show().contains("dir out action block priority 20559"), "{}", show());
    assert_eq!(engine.policies().expect("a list")[0].reqid, Some(7));
    let refused = engine.set_policy(&policy(8, None), Placement::KernelSoftware);
    assert!(refused.expect_err("another pair's").reason.contains("of reqid 7"));
    for spi in [Some(0xc000_0001), None] {
        engine.set_policy(&policy(7, spi), Placement::KernelSoftware).expect("in one step");
        assert_eq!(show().contains("action block"), spi.is_none(), "{}", show());
        assert_eq!(show().matches("dir out").count(), 1);
    }
    engine.remove_policy(PolicyDirection::Out, &selector()).expect("removed");
    assert_eq!(show(), "");
}

#[test]
fn a_policy_of_another_owner_is_a_conflict_and_stays() {
    let Some(mut engine) = engine("a_policy_of_another_owner_is_a_conflict") else { return };
    let software = Placement::KernelSoftware;
    engine.set_policy(&policy(8, None), software).expect("set");
    let refused = engine.set_policy(&policy(7, None), software).expect_err("another pair's");
    assert_eq!(refused.class, ErrorClass::Conflict);
    assert!(refused.reason.contains("another pair of ours has it, of reqid 8"), "{refused}");
    engine.remove_policy(PolicyDirection::Out, &selector()).expect("removed");

    ip("xfrm policy add src 10.1.0.0/16 dst 10.2.0.0/16 proto udp dport 5060 dir out priority 5 \
        tmpl src 192.0.2.1 dst 192.0.2.2 proto esp reqid 99 mode tunnel");
    let refused = engine.set_policy(&policy(7, None), software).expect_err("another program's");
    assert!(refused.reason.contains("with priority 5 and reqid 99"), "{refused}");
    let refused = engine.remove_policy(PolicyDirection::Out, &selector()).expect_err("not ours");
    assert_eq!(refused.class, ErrorClass::Conflict);
}

#[test]
fn a_device_that_goes_down_and_up_is_told() {
    let Some(mut engine) = engine("a_device_that_goes_down_and_up_is_told") else { return };
    ip("link add left type veth peer name right");
    ip("link set left up");
    wait_for(&mut engine, &EngineEvent::DeviceUp("left".to_owned()));
    ip("link set left down");
    wait_for(&mut engine, &EngineEvent::DeviceDown("left".to_owned()));
}

#[test]
fn the_event_source_is_readable_when_there_is_news() {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let Some(mut engine) = engine("the_event_source_is_readable_when_there_is_news") else {
        return;
    };
    fn readable(engine: &XfrmEngine, wait: Timespec) -> usize {
        let source = engine.event_source().expect("a source");
        poll(&mut [PollFd::new(&source, PollFlags::IN)], Some(&wait)).expect("poll")
    }
    let old = engine.events().expect("events");
    assert_eq!(old, [], "probing is no news");
    assert_eq!(readable(&engine, Timespec { tv_sec: 0, tv_nsec: 0 }), 0);
    ip("link set lo up");
    assert_eq!(readable(&engine, Timespec { tv_sec: 5, tv_nsec: 0 }), 1);
    engine.events().expect("events");
    assert_eq!(readable(&engine, Timespec { tv_sec: 0, tv_nsec: 0 }), 0);
}

#[test]
fn a_flush_by_another_program_asks_for_a_comparison() {
    let test = "a_flush_by_another_program_asks_for_a_comparison";
    let Some(mut engine) = engine(test) else { return };
    engine.reserve(id(0xc000_0001), PEER, reqid(7)).expect("free");
    ip("xfrm state flush");
    wait_for(&mut engine, &EngineEvent::Resync);
}

#[test]
fn an_engine_answers_for_its_own_namespace_from_any_thread() {
    let test = "an_engine_answers_for_its_own_namespace_from_any_thread";
    let Some(mut engine) = engine(test) else { return };
    engine.reserve(id(0xc000_0001), PEER, reqid(7)).expect("free");
    let elsewhere = thread::spawn(move || {
        sys::unshare_network().expect("we may, as before");
        (engine.list().expect("a list").len(), engine.statistics().map(|all| all.len()))
    });
    let (sas, counters) = elsewhere.join().expect("no panic");
    assert_eq!(sas, 1);
    assert!(counters.is_ok_and(|count| count > 20), "XfrmInError and its like");
}

#[test]
fn ten_thousand_sas_are_listed_in_well_under_a_second() {
    let test = "ten_thousand_sas_are_listed_in_well_under_a_second";
    let Some(mut engine) = engine(test) else { return };
    for spi in 0..10_000 {
        engine.reserve(id(0xc000_0000 + spi), PEER, reqid(7)).expect("free");
    }
    let start = Instant::now();
    let listed = engine.list().expect("a list");
    let took = start.elapsed();
    println!("10,000 reservations listed in {took:?}");
    assert_eq!(listed.len(), 10_000);
    assert!(took < Duration::from_millis(500), "{took:?}");
}

#[test]
fn without_cap_net_admin_the_remedy_is_named() {
    let test = "without_cap_net_admin_the_remedy_is_named";
    if engine(test).is_none() {
        return;
    }
    sys::drop_capabilities().expect("always allowed");
    let refused = XfrmEngine::open().map(drop).expect_err("not allowed");
    assert_eq!(refused.class, ErrorClass::Fatal);
    assert!(refused.to_string().contains("CAP_NET_ADMIN"), "{refused}");
}
