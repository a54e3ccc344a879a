//! Rotations that are asked for while another is under way, and of peers that say no at once.

use std::time::{Duration, Instant};

use crypto_offload::{Epoch, PairName};
use gateway_control::{OperationStarted, OperationState, PairSelection};

use super::site::{Site, assert_settled, ends, keyed, pair_of_sites};

async fn set(a: &Site, b: &Site, overlap: Duration, step: Duration) {
    for (site, mut pair) in [(a, ends("trunk-1", 1).0), (b, ends("trunk-1", 1).1)] {
        (pair.rotation.overlap, pair.rotation.step) = (overlap, step);
        site.define(pair).await;
    }
}

async fn begin(site: &Site) -> OperationStarted {
    site.begin(PairSelection::Name(PairName::new("trunk-1").unwrap())).await
}

async fn made(site: &Site, started: &OperationStarted) -> Epoch {
    let done = site.end_of(started).await;
    assert_eq!(done.state, OperationState::Done, "{done:?}");
    done.pairs[0].record.as_ref().unwrap().to
}

#[tokio::test]
async fn one_waits_for_the_end_of_the_last_and_a_third_is_told_so() {
    let (a, b) = keyed("queue").await;
    set(&a, &b, Duration::from_secs(2), Duration::from_secs(30)).await;
    let (first, second, third) = (begin(&a).await, begin(&a).await, begin(&a).await);
    let refused = a.end_of(&third).await;
    assert_eq!(refused.state, OperationState::Failed);
    let detail = refused.pairs[0].detail.clone().unwrap();
    assert!(detail.contains("waits already"), "{detail}");
    let waiting = a.ipsec.operations().find(&second.operation).unwrap().report();
    assert_eq!(waiting.pairs[0].step, "waiting for the rotation of epoch 2 to end");
    assert_eq!(made(&a, &first).await, Epoch(2));
    assert_eq!(made(&a, &second).await, Epoch(3));
    b.until("calm", |b| b.status("trunk-1").epochs.len() == 1).await;
    assert_settled(&a, &b, "trunk-1", 3);
}

#[tokio::test]
async fn who_asks_while_the_last_one_ends_at_the_other_side_gets_newer_keys_too() {
    let (a, b) = keyed("queue-peer").await;
    set(&a, &b, Duration::from_secs(1), Duration::from_secs(30)).await;
    let first = begin(&a).await;
    b.until("switched", |b| b.status("trunk-1").active == Some(Epoch(2))).await;
    let second = begin(&b).await;
    assert_eq!(made(&b, &second).await, Epoch(3));
    assert_eq!(made(&a, &first).await, Epoch(2));
}

#[tokio::test]
async fn a_peer_without_its_agent_is_believed_when_it_says_so() {
    let (a, mut b) = keyed("no-agent").await;
    set(&a, &b, Duration::from_millis(50), Duration::from_secs(30)).await;
    b.run = None;
    let began = Instant::now();
    let failed = a.end_of(&begin(&a).await).await;
    let took = began.elapsed();
    let detail = failed.pairs[0].detail.clone().unwrap();
    assert!(detail.contains("the offload agent does not answer"), "{detail}");
    assert!(detail.contains("undone: epoch 1 stands"), "{detail}");
    assert!(took < Duration::from_secs(15), "{took:?}");
    assert_eq!(a.status("trunk-1").epochs.len(), 1);
}

#[tokio::test]
async fn a_peer_that_was_never_reached_is_not_asked_to_undo_what_it_has_not_heard_of() {
    let (a, _b) = pair_of_sites("nobody-there").await;
    let (mut pair, _) = ends("trunk-1", 1);
    // Nothing listens at its address.
    pair.peer = Some("c".to_owned());
    a.define(pair).await;
    let failed = a.end_of(&begin(&a).await).await;
    let detail = failed.pairs[0].detail.clone().unwrap();
    assert!(detail.starts_with("offer: cannot reach"), "{detail}");
    assert!(detail.ends_with("undone: the pair has no keys, as before"), "{detail}");
}
