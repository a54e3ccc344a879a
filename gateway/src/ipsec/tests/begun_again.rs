//! Rotations while which an agent is restarted that takes over its SAs: their first packets would
//! be refused, so that newer keys come at once. Nobody looks by himself here (`rotate = "off"`).

use std::time::Duration;

use crypto_offload::{Epoch, PairName};
use gateway_control::agent::Request;
use gateway_control::{OperationState, PairSelection};

use super::site::{Site, assert_settled, ends, keyed};
use crate::ipsec::agent::model::Trouble;

/// The agent dies at that request about epoch 2, once.
fn restart_at(site: &Site, wanted: fn(&Request) -> bool) {
    let mut done = false;
    site.model.fail(move |request| {
        let hit = !done && wanted(request);
        done |= hit;
        hit.then_some(Trouble::Restart)
    });
}

async fn rotates_to_epoch_3(a: &Site, b: &Site) {
    let done = a.rotate("trunk-1").await;
    assert_eq!(done.state, OperationState::Done, "{done:?}");
    assert_eq!(done.pairs[0].record.as_ref().unwrap().to, Epoch(3));
    for site in [a, b] {
        site.until("settled", |site| site.status("trunk-1").epochs.len() == 1).await;
    }
    assert_settled(a, b, "trunk-1", 3);
}

#[tokio::test]
async fn by_the_side_that_drives_when_its_own_agent_was_restarted() {
    let (a, b) = keyed("own-restart").await;
    restart_at(
        &a,
        |request| matches!(request, Request::InstallOutbound { epoch, .. } if epoch.0 == 2),
    );
    rotates_to_epoch_3(&a, &b).await;
    assert!(!a.changes().iter().any(|asked| asked == "switch trunk-1 2"), "{:?}", a.changes());
}

#[tokio::test]
async fn by_the_side_that_drives_when_the_others_agent_was_restarted() {
    let (a, b) = keyed("peers-restart").await;
    restart_at(&b, |request| matches!(request, Request::Switch { epoch, .. } if epoch.0 == 2));
    rotates_to_epoch_3(&a, &b).await;
}

#[tokio::test]
async fn also_while_it_only_waits_for_the_overlap() {
    for victim_drives in [true, false] {
        let (a, mut b) = keyed("overlap-restart").await;
        let mut a = a;
        for (site, mut pair) in [(&a, ends("trunk-1", 1).0), (&b, ends("trunk-1", 1).1)] {
            pair.rotation.overlap = Duration::from_secs(100);
            site.define(pair).await;
        }
        let pairs = PairSelection::Name(PairName::new("trunk-1").unwrap());
        a.begin(pairs).await;
        let lingers = |site: &Site| {
            let status = site.status("trunk-1");
            let old = status.epoch(Epoch(1));
            status.active == Some(Epoch(2)) && old.is_some_and(|old| old.outbound.is_none())
        };
        a.until("lingering", lingers).await;
        b.until("lingering", lingers).await;
        let victim = if victim_drives { &mut a } else { &mut b };
        victim.model.take_over();
        drop(victim.run.take());
        victim.run = Some(victim.model.run());
        let new = |site: &Site| site.status("trunk-1").active == Some(Epoch(3));
        a.until("renewed", new).await;
        b.until("renewed", new).await;
    }
}
