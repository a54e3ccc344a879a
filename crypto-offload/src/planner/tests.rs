//! Plans and ladders: who is tried, who is not, and what is said about it.

use std::time::{Duration, Instant};

use super::*;
use crate::{
    Aead, Effective, EngineError, ErrorClass, Evidence, Lifetimes, Limits, Mode, PairEncapsulation,
    PlacementPolicy,
};

fn pair(placements: &[Placement]) -> SaPair {
    let text = r#"{"name": "trunk-1", "local": "192.0.2.1", "remote": "192.0.2.2",
        "local_net": "10.1.0.0/16", "remote_net": "10.2.0.0/16", "device": "eth0"}"#;
    let pair: SaPair = serde_json::from_str(text).expect("a pair");
    SaPair { placement: PlacementPolicy::Prefer(placements.to_vec()), ..pair }
}

fn entry(placement: Placement, feature: Feature, answer: Answer) -> Capability {
    let device = placement.is_inline().then(|| "eth0".to_owned());
    let evidence = Evidence::Probed { errno: None, message: Some("as a test says".to_owned()) };
    Capability { placement, device, feature, answer, evidence }
}

/// An engine with these placements, and these answers about its first.
fn engine(placements: &[Placement], answers: &[(Feature, Answer)]) -> Capabilities {
    let has = placements.iter().map(|place| entry(*place, Feature::Engine, Answer::Yes));
    let says = answers.iter().map(|(feature, answer)| entry(placements[0], *feature, *answer));
    Capabilities { entries: has.chain(says).collect() }
}

const KERNEL: [Placement; 3] =
    [Placement::InlinePacket, Placement::InlineCrypto, Placement::KernelSoftware];

fn refusal_of(pair: &SaPair, known: &Capabilities, placement: Placement) -> Option<String> {
    let refused = plan(pair, &[("xfrm", known)]).refused;
    refused.into_iter().find(|refused| refused.placement == placement).map(|r| r.reason)
}

#[test]
fn places_are_tried_in_the_policys_order_each_by_the_engine_that_has_it() {
    let (kernel, own) = (engine(&KERNEL, &[]), engine(&[Placement::UserSpace], &[]));
    let engines = [("xfrm", &kernel), ("user-space", &own)];
    let order = [Placement::UserSpace, Placement::InlineCrypto, Placement::KernelSoftware];
    let plan = plan(&pair(&order), &engines);
    let tried: Vec<_> =
        plan.steps.iter().map(|s| (s.engine.as_str(), s.placement, s.device.as_deref())).collect();
    let expected = [
        ("user-space", Placement::UserSpace, None),
        ("xfrm", Placement::InlineCrypto, Some("eth0")),
        ("xfrm", Placement::KernelSoftware, None),
    ];
    assert_eq!(tried, expected);
    assert_eq!(plan.refused, []);
}

#[test]
fn what_an_engine_cannot_is_refused_with_the_evidence_and_what_nobody_knows_is_tried() {
    let place = Placement::KernelSoftware;
    let aead = Feature::Aead(Aead::Aes256Gcm);
    let known = |answer| engine(&[place], &[(aead, answer)]);
    let refused = refusal_of(&pair(&[place]), &known(Answer::No), place);
    assert_eq!(refused.as_deref(), Some("aes-256-gcm: probed: as a test says"));
    assert_eq!(refusal_of(&pair(&[place]), &known(Answer::Unknown), place), None);
    let mut later = known(Answer::No);
    later.entries.push(entry(place, aead, Answer::Yes));
    assert_eq!(refusal_of(&pair(&[place]), &later, place), None);
}

#[test]
fn a_place_that_no_engine_has_and_a_device_that_nobody_knows_are_named() {
    let own = engine(&[Placement::UserSpace], &[]);
    let refused = plan(&pair(&[Placement::InlineCrypto]), &[("user-space", &own)]).refused;
    assert_eq!(refused[0].engine, None);
    let other = SaPair { device: Some("eth1".to_owned()), ..pair(&[Placement::InlineCrypto]) };
    let reason = refusal_of(&other, &engine(&KERNEL, &[]), Placement::InlineCrypto);
    assert_eq!(reason.as_deref(), Some("nothing is known of a device eth1"));
}

#[test]
fn a_known_limit_of_the_replay_window_binds_what_is_larger() {
    let place = Placement::KernelSoftware;
    let known = engine(
        &[place],
        &[(Feature::ReplayWindow(256), Answer::Yes), (Feature::ReplayWindow(512), Answer::No)],
    );
    let with = |replay_window| SaPair { replay_window, ..pair(&[place]) };
    assert_eq!(refusal_of(&with(256), &known, place), None);
    assert!(refusal_of(&with(1024), &known, place).is_some_and(|r| r.contains("1024")));
    assert_eq!(refusal_of(&with(300), &known, place), None, "only trying will tell");
}

#[test]
fn packet_offload_is_refused_where_its_driver_refuses() {
    let place = Placement::InlinePacket;
    let fits = SaPair { replay_window: 128, ..pair(&[place]) };
    let known = engine(&KERNEL, &[]);
    assert_eq!(refusal_of(&fits, &known, place), None);
    let hard = Limits { bytes: Some(1 << 30), ..Limits::default() };
    let bad = [
        (SaPair { replay_window: 512, ..fits.clone() }, "32, 64, 128 or 256"),
        (SaPair { aead: Aead::ChaCha20Poly1305, ..fits.clone() }, "AES-GCM only"),
        (SaPair { protocol: Some(132), ..fits.clone() }, "not protocol 132"),
        (
            SaPair { lifetimes: Lifetimes { hard, ..Lifetimes::default() }, ..fits.clone() },
            "hard limit of bytes only with a soft one",
        ),
        (
            SaPair {
                encapsulation: Some(PairEncapsulation { local_port: 4500, remote_port: 4500 }),
                ..fits
            },
            "transport mode only",
        ),
    ];
    for (pair, says) in bad {
        let reason = refusal_of(&pair, &known, place).unwrap_or_default();
        assert!(reason.contains(says), "{reason}");
    }
}

#[test]
fn crypto_offload_leaves_window_and_limits_to_the_stack_and_believes_a_probe() {
    let place = Placement::InlineCrypto;
    let wide = SaPair { replay_window: 4096, ..pair(&[place]) };
    assert_eq!(refusal_of(&wide, &engine(&KERNEL, &[]), place), None);
    let chacha = SaPair { aead: Aead::ChaCha20Poly1305, ..wide };
    assert!(refusal_of(&chacha, &engine(&KERNEL, &[]), place).is_some());
    let probed = engine(&[place], &[(Feature::Aead(chacha.aead), Answer::Yes)]);
    assert_eq!(refusal_of(&chacha, &probed, place), None);
}

#[test]
fn our_own_esp_does_tunnels_only() {
    let place = Placement::UserSpace;
    let transport = SaPair { mode: Mode::Transport, ..pair(&[place]) };
    let reason = refusal_of(&transport, &engine(&[place], &[]), place);
    assert!(reason.is_some_and(|reason| reason.contains("tunnel mode only")));
}

#[test]
fn an_engine_left_out_is_refused_with_the_reason_and_one_alone_is_kept() {
    let (kernel, own) = (engine(&KERNEL, &[]), engine(&[Placement::UserSpace], &[]));
    let engines = [("xfrm", &kernel), ("user-space", &own)];
    let whole = plan(&pair(&[Placement::KernelSoftware, Placement::UserSpace]), &engines);
    let without = whole.clone().without("xfrm", "it was busy");
    assert_eq!(without.steps.iter().map(|step| &*step.engine).collect::<Vec<_>>(), ["user-space"]);
    assert_eq!(without.refused[0].reason, "it was busy");
    let within = whole.within("xfrm");
    assert_eq!(
        within.steps.iter().map(|step| step.placement).collect::<Vec<_>>(),
        [Placement::KernelSoftware]
    );
    assert_eq!(within.allowed, [Placement::KernelSoftware, Placement::UserSpace]);
}

fn ladder(placements: &[Placement]) -> InstallLadder {
    let (kernel, own) = (engine(&KERNEL, &[]), engine(&[Placement::UserSpace], &[]));
    let engines = [("xfrm", &kernel), ("user-space", &own)];
    InstallLadder::new(plan(&pair(placements), &engines))
}

fn error(class: ErrorClass, reason: &str) -> EngineError {
    EngineError {
        class,
        operation: "install SA".to_owned(),
        object: "0xc0000001 to 192.0.2.1".to_owned(),
        reason: reason.to_owned(),
        hint: None,
    }
}

fn at(placement: Placement, reason: Option<&str>) -> Result<Effective, EngineError> {
    let reason = reason.map(str::to_owned);
    Ok(Effective { requested: placement, effective: placement, reason })
}

#[test]
fn a_full_table_spills_and_the_reason_of_every_better_place_is_kept() {
    let now = Instant::now();
    let mut ladder =
        ladder(&[Placement::InlineCrypto, Placement::KernelSoftware, Placement::UserSpace]);
    ladder.installed(Err(error(ErrorClass::Exhausted, "ENOSPC: table full")), now);
    ladder.installed(Err(error(ErrorClass::Unsupported, "EOPNOTSUPP")), now);
    ladder.installed(at(Placement::UserSpace, None), now);
    let NextInstall::Done(placed) = ladder.next(now) else { panic!("{ladder:?}") };
    assert_eq!(placed.engine, "user-space");
    assert_eq!(
        placed.effective.reason.as_deref(),
        Some("inline-crypto by xfrm: ENOSPC: table full; kernel-software by xfrm: EOPNOTSUPP")
    );
    assert_eq!(placed.passed.iter().filter(|passed| passed.is_alert()).count(), 1);
}

#[test]
fn busy_is_asked_again_for_a_while_and_then_passed_over() {
    let start = Instant::now();
    let mut now = start;
    let mut ladder = ladder(&[Placement::InlineCrypto, Placement::KernelSoftware]);
    let mut asked = 0;
    while let NextInstall::Install(step) | NextInstall::Remove(step) = ladder.next(now) {
        if step.placement == Placement::KernelSoftware {
            break;
        }
        asked += 1;
        ladder.installed(Err(error(ErrorClass::Busy, "EBUSY")), now);
        if let NextInstall::Wait(until) = ladder.next(now) {
            now = until;
        }
    }
    assert_eq!((asked, now - start), (6, Duration::from_millis(155)));
}

#[test]
fn silent_software_stays_where_allowed_and_goes_where_not() {
    let now = Instant::now();
    let ignored = || at(Placement::KernelSoftware, Some("read back without offload"));
    let mut allowed = ladder(&[Placement::InlineCrypto, Placement::KernelSoftware]);
    allowed.installed(ignored(), now);
    let NextInstall::Done(placed) = allowed.next(now) else { panic!("{allowed:?}") };
    assert!(placed.effective.fell_back());
    assert_eq!(placed.effective.reason.as_deref(), Some("read back without offload"));

    let mut strict = ladder(&[Placement::InlineCrypto]);
    strict.installed(ignored(), now);
    assert!(matches!(strict.next(now), NextInstall::Remove(_)));
    let mut stuck = strict.clone();
    strict.removed(Ok(()));
    let NextInstall::Refuse(unplaced) = strict.next(now) else { panic!("{strict:?}") };
    assert_eq!(unplaced.left, None);
    let said = unplaced.to_string();
    assert!(said.contains("which the pair does not allow: read back without offload"), "{said}");
    stuck.removed(Err(error(ErrorClass::Fatal, "EPERM")));
    let NextInstall::Refuse(unplaced) = stuck.next(now) else { panic!("{stuck:?}") };
    assert_eq!(unplaced.left, Some(("xfrm".to_owned(), Placement::KernelSoftware)));
}

#[test]
fn what_the_next_place_would_only_hide_ends_the_walk() {
    let now = Instant::now();
    for class in [ErrorClass::Conflict, ErrorClass::Gone, ErrorClass::Fatal] {
        let mut ladder = ladder(&[Placement::KernelSoftware, Placement::UserSpace]);
        ladder.installed(Err(error(class, "no")), now);
        let NextInstall::Refuse(unplaced) = ladder.next(now) else { panic!("{ladder:?}") };
        assert_eq!(unplaced.class, class);
    }
}

#[test]
fn an_empty_plan_is_a_refusal_that_says_why() {
    let own = engine(&[Placement::UserSpace], &[]);
    let nothing = plan(&pair(&[Placement::InlineCrypto]), &[("user-space", &own)]);
    let ladder = InstallLadder::new(nothing);
    let NextInstall::Refuse(unplaced) = ladder.next(Instant::now()) else { panic!("{ladder:?}") };
    assert_eq!(
        unplaced.to_string(),
        "no place for the SA: inline-crypto: no engine that runs here does that"
    );
}
