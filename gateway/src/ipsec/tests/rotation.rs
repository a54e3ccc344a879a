//! Rotations between two gateways, and what becomes of them when something fails.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering::Relaxed},
};
use std::time::Duration;

use admin_client::{Client, location};
use crypto_offload::rotation::Outcome;
use crypto_offload::{Epoch, PairName};
use gateway_control::agent::{AgentErrorCode, Request};
use gateway_control::{
    EventKind, OperationState, PairSelection, PairTerms, PeerOffer, PeerStep, PeerStepDone, path,
};

use super::site::{Site, assert_settled, ends, keyed, pair_of_sites};
use crate::ipsec::agent::model::{Trouble, fresh_offer, refusal};
use crate::ipsec::slots::Order;

fn set(site: &Site, epoch: u64, sealed: u64, opened: u64) {
    site.model.with(|state| {
        let pair = state.pairs.values_mut().next().unwrap();
        let keys = pair.epochs.get_mut(&Epoch(epoch)).unwrap();
        (keys.sealed, keys.opened) = (sealed, opened);
    });
}

#[tokio::test]
async fn both_sides_move_to_the_new_keys_and_the_loss_is_counted() {
    let (a, b) = keyed("rotate").await;
    assert_settled(&a, &b, "trunk-1", 1);
    set(&a, 1, 500, 299);
    set(&b, 1, 300, 500);
    let done = a.rotate("trunk-1").await;
    let record = done.pairs[0].record.clone().unwrap();
    assert_eq!((record.from, record.to, record.lost), (Some(Epoch(1)), Epoch(2), Some(1)));
    assert_eq!((record.who.as_str(), record.why.as_str()), ("operator ops.example (ann)", "asked"));
    assert_ne!(record.old_spis, Some(record.new_spis));
    b.until("logged", |b| b.ipsec.log().newest(9).len() == 2).await;
    assert_settled(&a, &b, "trunk-1", 2);
    let theirs = b.ipsec.log().newest(1).remove(0);
    assert_eq!((theirs.who.as_str(), theirs.lost), ("peer a", Some(0)));
    let swapped = |(inbound, outbound)| (outbound, inbound);
    assert_eq!(theirs.new_spis, swapped(record.new_spis));
    assert_eq!(theirs.old_spis, record.old_spis.map(swapped));
    let order = a.changes();
    let at = |text: &str| order.iter().rposition(|asked| asked == text).unwrap();
    assert!(at("prepare trunk-1 2") < at("install_outbound trunk-1 2"));
    assert!(at("switch trunk-1 2") < at("retire_outbound trunk-1 1"));
    assert!(at("retire_outbound trunk-1 1") < at("retire_inbound trunk-1 1"));
    let told = b.events.after(0);
    assert!(told.iter().any(|event| event.kind == EventKind::SaRotated && event.to == "2"));
}

/// An answer to a peer may hold a key, which must not stay in memory for whoever repeats a request.
#[tokio::test]
async fn answers_to_peers_are_not_kept_for_a_repetition() {
    let (a, b) = keyed("not-kept").await;
    let files = b.config.admin.tls.as_ref().unwrap().files();
    let client = Client::peer(&b.config.ipsec.peer[0].admin, "gw-a.example", &files).unwrap();
    let shown =
        || a.model.with(|state| state.asked.iter().filter(|q| *q == "show trunk-1").count());
    let before = shown();
    for _ in 0..2 {
        let step = location(path::PEER, &["trunk-1", "1", "switch"]);
        let body = PeerStep::default();
        client.post_once::<_, PeerStepDone>(&step, &body, "the same key").await.unwrap();
    }
    assert!(shown() >= before + 2, "the agent was asked {} times", shown() - before);
}

#[tokio::test]
async fn when_both_rotate_at_once_the_lower_id_drives_and_both_are_done() {
    let (a, b) = keyed("both").await;
    for (site, pair) in [(&a, ends("trunk-1", 1).0), (&b, ends("trunk-1", 1).1)] {
        let mut pair = pair;
        // A busy machine must not look like a peer that is silent.
        pair.rotation.step = Duration::from_secs(10);
        site.define(pair).await;
    }
    for _ in 0..5 {
        let (at_a, at_b) = tokio::join!(a.rotate("trunk-1"), b.rotate("trunk-1"));
        assert_eq!(at_a.state, OperationState::Done, "{at_a:?}");
        assert_eq!(at_b.state, OperationState::Done, "{at_b:?}");
        let calm = |site: &Site| site.status("trunk-1").epochs.len() == 1;
        a.until("calm", calm).await;
        b.until("calm", calm).await;
        let epoch = a.status("trunk-1").active.unwrap();
        assert_settled(&a, &b, "trunk-1", epoch.0);
    }
}

#[tokio::test]
async fn a_peer_that_cannot_be_reached_leaves_everything_as_it_was_and_says_so() {
    let (a, b) = keyed("unreachable").await;
    b.unplug();
    let failed = a.rotate("trunk-1").await;
    assert_eq!(failed.state, OperationState::Failed);
    let detail = failed.pairs[0].detail.clone().unwrap();
    assert!(detail.starts_with("offer: "), "{detail}");
    assert!(detail.contains("undone: epoch 1 stands"), "{detail}");
    assert_settled(&a, &b, "trunk-1", 1);
    let told = a.events.after(0);
    assert!(told.iter().any(|event| event.kind == EventKind::SaRotationFailed));
}

/// Fails the first request of that kind about epoch 2.
fn fail_once(
    site: &Site,
    kind: &'static str,
    mut trouble: impl FnMut() -> Trouble + Send + 'static,
) {
    let mut left = 1;
    site.model.fail(move |request| {
        let hit = match request {
            Request::Prepare { epoch, .. } => kind == "prepare" && epoch.0 == 2,
            Request::InstallOutbound { epoch, .. } => kind == "install outbound" && epoch.0 == 2,
            Request::Switch { epoch, .. } => kind == "switch" && epoch.0 == 2,
            _ => false,
        };
        (hit && std::mem::take(&mut left) == 1).then(&mut trouble)
    });
}

#[tokio::test]
async fn an_agents_refusal_at_any_step_is_undone_at_both_sides_and_told() {
    for (at_a, kind, step) in [
        (true, "prepare", "prepare"),
        (true, "install outbound", "install outbound"),
        (true, "switch", "switch"),
        (false, "prepare", "offer"),
        (false, "install outbound", "offer"),
        (false, "switch", "peer switches"),
    ] {
        let (a, b) = keyed("refused").await;
        // On a busy machine no step may run out of time, which is another failure.
        for site in [&a, &b] {
            site.model.with(|state| {
                let pairs = state.pairs.values_mut();
                pairs.for_each(|pair| pair.pair.rotation.step = Duration::from_secs(30));
            });
        }
        let failing = if at_a { &a } else { &b };
        fail_once(failing, kind, || Trouble::Refuse(refusal(AgentErrorCode::Invalid, "here")));
        let failed = a.rotate("trunk-1").await;
        let detail = failed.pairs[0].detail.clone().unwrap_or_default();
        assert!(detail.starts_with(&format!("{step}: ")), "{kind}: {detail}");
        assert!(detail.contains("here"), "{kind}: {detail}");
        assert!(detail.contains("undone: epoch 1 stands"), "{kind}: {detail}");
        let only_first = |site: &Site| site.status("trunk-1").epochs.len() == 1;
        b.until("undone", only_first).await;
        assert_settled(&a, &b, "trunk-1", 1);
        let again = a.rotate("trunk-1").await;
        assert_eq!(again.state, OperationState::Done, "{kind}: {again:?}");
    }
}

#[tokio::test]
async fn what_an_agent_will_not_discard_frees_the_pair_and_is_ended_by_the_schedule() {
    let (a, b) = keyed("discard").await;
    let refused = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&refused);
    b.model.fail(move |request| {
        let hit = matches!(request, Request::Discard { .. });
        count.fetch_add(hit.into(), Relaxed);
        hit.then(|| Trouble::Refuse(refusal(AgentErrorCode::InUse, "in use")))
    });
    // A rotation that the peer undoes, and has nothing of.
    let (name, patience) = (PairName::new("trunk-1").unwrap(), Duration::from_secs(10));
    let status = a.status("trunk-1");
    let offer = PeerOffer {
        gateway: a.ipsec.gateway_id().to_owned(),
        terms: PairTerms::of(&status.pair),
        from: status.active,
        offer: fresh_offer(0xc900_0001, status.pair.aead),
    };
    let peer = a.ipsec.peers().named("b").unwrap();
    peer.offer(&name, Epoch(2), &offer, patience).await.unwrap();
    peer.step(&name, Epoch(2), "abort", PeerStep::default(), patience).await.unwrap();
    b.until("refused", |_| refused.load(Relaxed) > 0).await;
    let settled = |site: &Site| {
        let status = site.status("trunk-1");
        status.epochs.len() == 1 && status.active >= Some(Epoch(2))
    };
    b.until("settled", settled).await;
    a.until("settled", settled).await;
    assert!(refused.load(Relaxed) < 5, "{refused:?}");
}

#[tokio::test]
async fn a_pair_that_was_forgotten_during_a_peers_rotation_is_free() {
    let (a, b) = keyed("forgotten").await;
    b.model.fail(|request| {
        let hit = matches!(request, Request::RetireInbound { .. });
        hit.then(|| Trouble::Refuse(refusal(AgentErrorCode::UnknownPair, "forgotten")))
    });
    assert_eq!(a.rotate("trunk-1").await.state, OperationState::Done);
    let name = PairName::new("trunk-1").unwrap();
    b.until("free", |b| !b.ipsec.slots().is_busy(&name)).await;
}

#[tokio::test]
async fn an_agent_that_dies_at_any_step_costs_time_and_no_rotation() {
    for (at_a, kind) in [(true, "prepare"), (true, "switch"), (false, "prepare"), (false, "switch")]
    {
        let (a, b) = keyed("dies").await;
        let failing = if at_a { &a } else { &b };
        fail_once(failing, kind, || Trouble::Die);
        let done = a.rotate("trunk-1").await;
        assert_eq!(done.state, OperationState::Done, "{kind}: {done:?}");
        b.until("settled", |b| b.status("trunk-1").epochs.len() == 1).await;
        assert_settled(&a, &b, "trunk-1", 2);
    }
}

#[tokio::test]
async fn a_peer_that_hangs_is_given_up_after_the_steps_time_and_undone() {
    let (a, b) = keyed("hangs").await;
    fail_once(&b, "install outbound", || Trouble::Hang);
    let began = std::time::Instant::now();
    let failed = a.rotate("trunk-1").await;
    let detail = failed.pairs[0].detail.clone().unwrap_or_default();
    assert!(detail.starts_with("offer: ") && detail.contains("answer"), "{detail}");
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    assert_eq!(a.status("trunk-1").active, Some(Epoch(1)));
    assert_eq!(a.status("trunk-1").epochs.len(), 1);
}

#[tokio::test]
async fn ends_that_are_defined_differently_are_told_apart_by_field() {
    let (a, b) = pair_of_sites("terms").await;
    let (at_a, mut at_b) = ends("trunk-1", 1);
    at_b.local_net = "10.9.0.0/16".parse().unwrap();
    a.define(at_a).await;
    b.define(at_b).await;
    let failed = a.rotate("trunk-1").await;
    let detail = failed.pairs[0].detail.clone().unwrap();
    assert!(detail.contains("local_net (remote_net there)"), "{detail}");
    assert!(detail.contains("here 10.9.0.0/16, there 10.1.2.0/24"), "{detail}");
    assert!(detail.contains("the pair has no keys"), "{detail}");
}

#[tokio::test]
async fn a_peer_may_not_touch_a_pair_whose_other_end_is_another() {
    let (a, b) = pair_of_sites("others").await;
    let (at_a, mut at_b) = ends("trunk-1", 1);
    at_b.peer = Some("c".to_owned());
    a.define(at_a).await;
    b.define(at_b).await;
    let failed = a.rotate("trunk-1").await;
    let detail = failed.pairs[0].detail.clone().unwrap();
    assert!(detail.contains("this pair's other end is not a"), "{detail}");
    assert_eq!(b.changes(), ["define"]);
}

#[tokio::test]
async fn a_rotation_left_half_way_is_ended_after_a_restart_of_the_gateway() {
    let (a, b) = keyed("halfway").await;
    // As if we had been killed after the peer took our offer.
    let name = PairName::new("trunk-1").unwrap();
    let (ours, _) = a.ipsec.agent().prepare(&name, Epoch(2), None).await.unwrap();
    let (theirs, _) = b.ipsec.agent().prepare(&name, Epoch(2), None).await.unwrap();
    b.ipsec.agent().install_outbound(&name, Epoch(2), ours).await.unwrap();
    a.ipsec.agent().install_outbound(&name, Epoch(2), theirs).await.unwrap();
    a.ipsec.agent().switch(&name, Epoch(2)).await.unwrap();
    let ended = |site: &Site| {
        let status = site.status("trunk-1");
        status.active == Some(Epoch(2)) && status.epochs.len() == 1
    };
    a.until("ended", ended).await;
    b.until("ended", ended).await;
    assert_settled(&a, &b, "trunk-1", 2);
    assert_eq!(a.ipsec.log().newest(1)[0].to, Epoch(2));
}

#[tokio::test]
async fn many_pairs_rotate_together_without_waiting_for_each_others_overlap() {
    let (a, b) = pair_of_sites("many").await;
    for number in 0..200 {
        let (mut at_a, mut at_b) = ends(&format!("trunk-{number:03}"), number);
        // Two gateways, two agents and an operator share this thread.
        (at_a.rotation.step, at_b.rotation.step) =
            (Duration::from_secs(30), Duration::from_secs(30));
        a.define(at_a).await;
        b.define(at_b).await;
    }
    for state in ["first keys", "rotation"] {
        let began = std::time::Instant::now();
        let done = a.rotate_all(PairSelection::Group("trunks".to_owned())).await;
        assert_eq!(done.state, OperationState::Done, "{state}: {done:?}");
        assert!(began.elapsed() < Duration::from_secs(20), "{state}: {:?}", began.elapsed());
        let calm = |b: &Site| !b.ipsec.slots().is_busy(&PairName::new("trunk-199").unwrap());
        b.until("calm", calm).await;
    }
    assert_eq!(a.ipsec.log().newest(1000).len(), 400);
}

/// As an agent that had the outbound SA of epoch 2 and retired it.
fn refuse_as_undone(site: &Site) {
    site.model.fail(|request| {
        let hit = matches!(request, Request::InstallOutbound { epoch, .. } if epoch.0 == 2);
        hit.then(|| Trouble::Refuse(refusal(AgentErrorCode::StaleEpoch, "here")))
    });
}

fn has_only(site: &Site, epoch: u64) -> bool {
    let status = site.status("trunk-1");
    status.active == Some(Epoch(epoch)) && status.epochs.len() == 1
}

/// Epoch 2 is left with an inbound SA.
fn leave_half_way(site: &Site, resumed: bool) {
    site.model.with(|state| {
        let pair = state.pairs.values_mut().next().unwrap();
        pair.highest = Epoch(2);
        let one = &pair.epochs[&Epoch(1)];
        let inbound = one.inbound.as_ref().map(|offer| offer.dangerous_duplicate());
        let keys = crate::ipsec::agent::model::Keys { inbound, resumed, ..Default::default() };
        pair.epochs.insert(Epoch(2), keys);
    });
}

#[tokio::test]
async fn an_epoch_left_half_way_twice_is_replaced_by_a_new_one() {
    let (a, b) = keyed("stuck").await;
    let name = PairName::new("trunk-1").unwrap();
    for _ in 0..2 {
        assert!(!a.ipsec.slots().is_stuck(&name));
        a.ipsec.slots().ended(&name, Outcome::Halfway { epoch: Epoch(2) });
    }
    leave_half_way(&a, false);
    // Nobody asks: what is half-way is taken up by itself.
    a.until("renewed", |a| has_only(a, 3)).await;
    b.until("renewed", |b| has_only(b, 3)).await;
    assert_settled(&a, &b, "trunk-1", 3);
    assert!(!a.changes().iter().any(|asked| asked == "prepare trunk-1 2"), "{:?}", a.changes());
    a.until("forgotten", |a| !a.ipsec.slots().is_stuck(&name)).await;
}

#[tokio::test]
async fn an_epoch_that_the_peer_undid_is_stale_and_goes_with_the_next_rotation() {
    let (a, b) = keyed("stale").await;
    refuse_as_undone(&b);
    let done = a.rotate("trunk-1").await;
    assert_eq!(done.state, OperationState::Done, "{done:?}");
    b.until("settled", |b| has_only(b, 3)).await;
    assert_settled(&a, &b, "trunk-1", 3);
    let order = a.changes();
    let at = |text: &str| order.iter().position(|asked| asked == text);
    assert!(!order.iter().any(|asked| asked == "discard trunk-1 2"), "{order:?}");
    assert!(at("retire_inbound trunk-1 2") > at("switch trunk-1 3"), "{order:?}");
    assert!(at("retire_inbound trunk-1 2").is_some(), "{order:?}");
}

#[tokio::test]
async fn half_way_keys_of_an_agent_that_was_restarted_are_replaced_without_being_asked() {
    let (a, b) = keyed("half-resumed").await;
    leave_half_way(&a, true);
    a.until("replaced", |a| has_only(a, 3)).await;
    b.until("replaced", |b| has_only(b, 3)).await;
    assert_settled(&a, &b, "trunk-1", 3);
}

#[tokio::test]
async fn a_rotation_of_ours_ends_when_the_peer_has_us_switch_and_not_for_a_late_request() {
    let (a, b) = keyed("switched").await;
    let name = PairName::new("trunk-1").unwrap();
    let peer = b.ipsec.peers().named("a").unwrap();
    b.until("calm", |b| !b.ipsec.slots().is_busy(&name)).await;
    let lease = b.ipsec.slots().lease(&name).ok().unwrap();
    lease.making(Epoch(3));
    b.ipsec.agent().prepare(&name, Epoch(3), None).await.unwrap();
    b.ipsec.answer_switch(&name, Epoch(1), &peer).await.unwrap();
    assert_eq!(lease.order(), Order::GoOn, "epoch 1 is in use");

    b.model.with(|state| {
        let pair = state.pairs.values_mut().next().unwrap();
        let one = &pair.epochs[&Epoch(1)];
        let copy = |offer: &Option<gateway_control::KeyOffer>| {
            offer.as_ref().map(|offer| offer.dangerous_duplicate())
        };
        let (inbound, outbound) = (copy(&one.inbound), copy(&one.outbound));
        let two = crate::ipsec::agent::model::Keys { inbound, outbound, ..Default::default() };
        pair.epochs.insert(Epoch(2), two);
    });
    b.ipsec.answer_switch(&name, Epoch(2), &peer).await.unwrap();
    assert_eq!(lease.order(), Order::Yield);
    assert_eq!(b.status("trunk-1").active, Some(Epoch(2)));
    drop((a, lease));
}
