//! Rotations that nobody asked for.

use std::time::Duration;

use crypto_offload::{Epoch, PairName};
use gateway_control::{EventKind, OperationState, PairSelection};

use super::site::{Site, ends, keyed, pair_of_sites};
use crate::config::ipsec::Rotate;
use crate::ipsec::agent::model::Keys;

fn rotate_by_itself(site: &Site) {
    let mut config = site.config.clone();
    config.ipsec.rotate = Rotate::Auto;
    site.ipsec.reconfigure(&config);
}

#[tokio::test]
async fn age_and_a_restart_of_the_agent_ask_for_new_keys_by_themselves() {
    let (a, b) = keyed("schedule").await;
    rotate_by_itself(&a);
    let keys = |site: &Site, change: fn(&mut Keys)| {
        site.model.with(|state| {
            let pair = state.pairs.values_mut().next().unwrap();
            pair.epochs.values_mut().for_each(change);
        });
    };
    keys(&a, |keys| keys.age = Duration::from_secs(86_000));
    a.until("rotated", |a| a.status("trunk-1").active == Some(Epoch(2))).await;
    let at = |site: &Site, epoch| {
        let status = site.status("trunk-1");
        status.active == Some(Epoch(epoch)) && status.epochs.len() == 1
    };
    a.until("calm", |a| at(a, 2)).await;
    b.until("calm", |b| at(b, 2)).await;
    keys(&a, |keys| keys.resumed = true);
    a.until("rotated again", |a| at(a, 3)).await;
    // A rotation is in the log once all of it is over.
    let logged = |a: &Site| a.ipsec.log().newest(10).len() == 3;
    a.until("logged", logged).await;
    let log = a.ipsec.log().newest(2);
    let said: Vec<_> = log.iter().map(|r| (r.who.as_str(), r.why.as_str())).collect();
    assert_eq!(said, [("recovery", "resumed"), ("schedule", "age")]);
}

#[tokio::test]
async fn an_engines_soft_limit_is_believed_once_and_only_for_the_keys_in_use() {
    let (a, b) = keyed("soft-limit").await;
    rotate_by_itself(&a);
    let passed = |epoch: u64| {
        let from = format!("epoch {epoch} inbound SPI 0xc0000001");
        a.model.event_from(EventKind::SaRotationDue, "trunk-1", &from, "soft limit");
    };
    let has = |site: &Site, epoch| {
        let status = site.status("trunk-1");
        status.active == Some(Epoch(epoch)) && status.epochs.len() == 1
    };
    // The agent's event is read only by whoever listens already.
    tokio::time::sleep(Duration::from_millis(200)).await;
    passed(1);
    a.until("rotated", |a| has(a, 2)).await;
    b.until("rotated", |b| has(b, 2)).await;
    passed(1);
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(a.status("trunk-1").highest, Epoch(2), "{:?}", a.changes());
    let log = a.ipsec.log().newest(1).remove(0);
    assert_eq!((log.who.as_str(), log.why.as_str()), ("schedule", "soft limit"));
}

#[tokio::test]
async fn pairs_that_wait_for_their_overlap_hold_up_no_others() {
    let (a, b) = pair_of_sites("overlap").await;
    for number in 0..60 {
        let (mut at_a, mut at_b) = ends(&format!("trunk-{number:02}"), number);
        for pair in [&mut at_a, &mut at_b] {
            pair.rotation.step = Duration::from_secs(30);
        }
        a.define(at_a).await;
        b.define(at_b).await;
    }
    let first = a.rotate_all(PairSelection::All).await;
    assert_eq!(first.state, OperationState::Done, "{first:?}");
    let old = |keys: &mut Keys| keys.age = Duration::from_secs(86_000);
    for site in [&a, &b] {
        site.model.with(|state| {
            for pair in state.pairs.values_mut() {
                pair.pair.rotation.overlap = Duration::from_secs(100);
            }
        });
    }
    rotate_by_itself(&a);
    a.model.with(|state| {
        let epochs = state.pairs.values_mut().flat_map(|pair| pair.epochs.values_mut());
        epochs.for_each(old);
    });
    let moved = |site: &Site| {
        let active = |number: u8| site.status(&format!("trunk-{number:02}")).active;
        (0..60).all(|number| active(number) == Some(Epoch(2)))
    };
    a.until("rotated", moved).await;
    b.until("rotated", moved).await;
    let name = PairName::new("trunk-00").unwrap();
    assert!(a.ipsec.slots().is_busy(&name), "the overlap is not over");
}
