//! What each pair is doing right now: a rotation that we drive, one that its peer drives, or none.
//!
//! This is memory of work under way, not of SAs: after a restart it is empty, and the work is
//! found again in what the agent has. Whoever decides between two rotations of a pair does it
//! under one lock, so that exactly one of them goes on.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crypto_offload::rotation::{Outcome, Responder};
use crypto_offload::{Epoch, PairName, Spi};
use tokio::sync::watch;

/// Every pair that is doing something; clones share them.
#[derive(Clone, Default)]
pub(crate) struct Slots(Arc<Mutex<HashMap<PairName, Slot>>>);

#[derive(Default)]
struct Slot {
    /// Rotations of ours in a row that could neither be finished nor undone.
    halfway: u32,
    own: Option<Own>,
    answering: Option<Answering>,
    /// Keys that people bring are being put in place.
    by_hand: bool,
    /// A rotation waits for the one that is under way.
    queued: bool,
    /// Somebody waits to retire what people's rotations leave behind.
    followed: bool,
}

/// A rotation that we drive.
struct Own {
    epoch: Option<Epoch>,
    orders: watch::Sender<Order>,
}

/// What a rotation of ours is told from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// To go on.
    GoOn,
    /// The peer's rotation goes first.
    Yield,
    /// The peer's agent was restarted and refuses the first packets under the new keys.
    BeginAgain,
}

/// A rotation that the peer drives.
pub(crate) struct Answering {
    pub(crate) responder: Responder,
    /// Its gateway's `[[ipsec.peer]]`.
    pub(crate) peer: String,
    /// The epoch that was active when it began.
    pub(crate) from: Option<Epoch>,
    /// Its SPIs: inbound, outbound.
    pub(crate) old_spis: Option<(Spi, Spi)>,
    /// Packets that the peer sealed under that.
    pub(crate) peer_sealed: Option<u64>,
    pub(crate) began: std::time::Instant,
    /// Changed whenever `responder` was told something; closed when it is over.
    pub(crate) changed: watch::Sender<u64>,
}

/// Why a rotation of ours cannot begin.
#[derive(Debug)]
pub(crate) enum Busy {
    /// We drive one already.
    Own(UnderWay),
    /// The peer does.
    Peer(UnderWay),
    /// Keys are being put in place by hand.
    ByHand,
}

/// A rotation that another has to wait for.
#[derive(Debug)]
pub(crate) struct UnderWay {
    /// What it makes, as far as it has got.
    pub(crate) epoch: Option<Epoch>,
    over: Over,
}

#[derive(Debug)]
enum Over {
    Own(watch::Receiver<Order>),
    Peers(watch::Receiver<u64>),
}

/// A place behind the rotation that is under way, of which there is one; given back when dropped.
pub(crate) struct Place {
    slots: Slots,
    name: PairName,
}

/// The right to retire what people's rotations leave behind; given back when dropped.
pub(crate) struct Follower {
    slots: Slots,
    name: PairName,
}

/// The right to drive a pair's rotation, given back when dropped.
pub(crate) struct Lease {
    slots: Slots,
    name: PairName,
    orders: watch::Receiver<Order>,
}

/// The right to put keys in place by hand.
pub(crate) struct HandLease {
    slots: Slots,
    name: PairName,
}

/// As often an epoch is left half-way before another is made.
const STUCK: u32 = 2;

impl Slot {
    fn is_empty(&self) -> bool {
        !self.is_busy() && !self.queued && !self.followed && self.halfway == 0
    }

    fn is_busy(&self) -> bool {
        self.own.is_some() || self.answering.is_some() || self.by_hand
    }
}

impl Slots {
    /// Begins a rotation of ours.
    pub(crate) fn lease(&self, name: &PairName) -> Result<Lease, Busy> {
        self.with(name, |slot| {
            if let Some(own) = &slot.own {
                return Err(Busy::Own(own.under_way()));
            }
            if slot.by_hand {
                return Err(Busy::ByHand);
            }
            if let Some(answering) = &slot.answering {
                let over = Over::Peers(answering.changed.subscribe());
                let epoch = Some(answering.responder.epoch());
                return Err(Busy::Peer(UnderWay { epoch, over }));
            }
            let (sender, orders) = watch::channel(Order::GoOn);
            slot.own = Some(Own { epoch: None, orders: sender });
            Ok(Lease { slots: self.clone(), name: name.clone(), orders })
        })
    }

    /// Begins to put keys in place by hand.
    pub(crate) fn lease_by_hand(&self, name: &PairName) -> Result<HandLease, Busy> {
        self.with(name, |slot| {
            if let Some(own) = &slot.own {
                return Err(Busy::Own(own.under_way()));
            }
            if std::mem::replace(&mut slot.by_hand, true) {
                return Err(Busy::ByHand);
            }
            Ok(HandLease { slots: self.clone(), name: name.clone() })
        })
    }

    /// The place behind the rotation that is under way, unless another waits there.
    pub(crate) fn queue(&self, name: &PairName) -> Option<Place> {
        let free = self.with(name, |slot| !std::mem::replace(&mut slot.queued, true));
        free.then(|| Place { slots: self.clone(), name: name.clone() })
    }

    /// Begins to wait for the end of people's rotations of the pair, unless somebody does.
    pub(crate) fn follow(&self, name: &PairName) -> Option<Follower> {
        let free = self.with(name, |slot| !std::mem::replace(&mut slot.followed, true));
        free.then(|| Follower { slots: self.clone(), name: name.clone() })
    }

    /// Judges a peer's offer by `verdict`, which is given the epoch of our own rotation. Where it
    /// gives a rotation to answer, that takes this pair over: ours is told to yield.
    pub(crate) fn contest<T>(
        &self,
        name: &PairName,
        verdict: impl FnOnce(Option<Epoch>) -> Result<Answering, T>,
    ) -> Result<Takeover, T> {
        self.with(name, |slot| {
            let own = slot.own.as_ref().and_then(|own| own.epoch);
            let answering = verdict(own)?;
            if let Some(own) = &slot.own {
                own.orders.send_replace(Order::Yield);
            }
            let epoch = answering.responder.epoch();
            match &mut slot.answering {
                // The offer is being repeated.
                Some(before) if before.responder.epoch() == epoch => {
                    before.responder.heard(std::time::Instant::now());
                    before.changed.send_modify(|count| *count += 1);
                    Ok(Takeover::Repeated)
                }
                place => {
                    let changed = answering.changed.subscribe();
                    *place = Some(answering);
                    Ok(Takeover::Began(changed))
                }
            }
        })
    }

    /// Tells or asks the rotation that the peer drives, if there is one of this epoch.
    pub(crate) fn answering<T>(
        &self,
        name: &PairName,
        epoch: Epoch,
        act: impl FnOnce(&mut Answering) -> T,
    ) -> Option<T> {
        self.with(name, |slot| {
            let answering = slot.answering.as_mut()?;
            (answering.responder.epoch() == epoch).then(|| act(answering))
        })
    }

    /// The rotation that the peer drove is over.
    pub(crate) fn answered(&self, name: &PairName, epoch: Epoch) -> Option<Answering> {
        self.with(name, |slot| {
            let over = slot.answering.as_ref()?.responder.epoch() == epoch;
            if over { slot.answering.take() } else { None }
        })
    }

    /// Has our rotation to this epoch begin again under new keys, if there is one.
    pub(crate) fn begin_again(&self, name: &PairName, epoch: Epoch) -> Option<()> {
        self.with(name, |slot| {
            let own = slot.own.as_ref().filter(|own| own.epoch == Some(epoch))?;
            own.orders.send_if_modified(|order| {
                let goes_on = *order == Order::GoOn;
                *order = if goes_on { Order::BeginAgain } else { *order };
                goes_on
            });
            Some(())
        })
    }

    /// Whether anything is being done to the pair.
    pub(crate) fn is_busy(&self, name: &PairName) -> bool {
        let slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        slots.get(name).is_some_and(Slot::is_busy)
    }

    /// A rotation of ours ended like that.
    pub(crate) fn ended(&self, name: &PairName, outcome: Outcome) {
        self.with(name, |slot| match outcome {
            Outcome::Halfway { .. } => slot.halfway += 1,
            Outcome::Rotated { .. } | Outcome::Undone { .. } => slot.halfway = 0,
            // Nothing about the epoch that is half-way.
            Outcome::Exported { .. } | Outcome::Yielded | Outcome::Stale { .. } => {}
        });
    }

    /// Whether what is half-way is not worth another attempt: new keys are.
    pub(crate) fn is_stuck(&self, name: &PairName) -> bool {
        self.with(name, |slot| slot.halfway >= STUCK)
    }

    fn with<T>(&self, name: &PairName, act: impl FnOnce(&mut Slot) -> T) -> T {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = slots.entry(name.clone()).or_default();
        let result = act(slot);
        if slot.is_empty() {
            slots.remove(name);
        }
        result
    }
}

/// What became of a peer's offer that was taken.
pub(crate) enum Takeover {
    /// It was taken before.
    Repeated,
    /// It is new.
    Began(watch::Receiver<u64>),
}

impl Own {
    fn under_way(&self) -> UnderWay {
        UnderWay { epoch: self.epoch, over: Over::Own(self.orders.subscribe()) }
    }
}

impl UnderWay {
    /// Until it is over.
    pub(crate) async fn end(self) {
        // Its end closes the channel.
        match self.over {
            Over::Own(mut orders) => while orders.changed().await.is_ok() {},
            Over::Peers(mut changes) => while changes.changed().await.is_ok() {},
        }
    }
}

impl Lease {
    /// Until there is another order than to go on.
    pub(crate) async fn ordered(&mut self) -> Order {
        match self.orders.wait_for(|order| *order != Order::GoOn).await {
            Ok(order) => *order,
            // Fails only if the lease is gone, and this is it.
            Err(_) => Order::Yield,
        }
    }

    /// The order as it is now.
    #[cfg(test)]
    pub(crate) fn order(&self) -> Order {
        *self.orders.borrow()
    }

    /// The epoch that the rotation is making.
    pub(crate) fn making(&self, epoch: Epoch) {
        self.slots.with(&self.name, |slot| {
            if let Some(own) = &mut slot.own {
                own.epoch = Some(epoch);
            }
        });
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.slots.with(&self.name, |slot| slot.own = None);
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.slots.with(&self.name, |slot| slot.followed = false);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.slots.with(&self.name, |slot| slot.queued = false);
    }
}

impl Drop for HandLease {
    fn drop(&mut self) {
        self.slots.with(&self.name, |slot| slot.by_hand = false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crypto_offload::RotationTiming;

    fn answering(epoch: u64) -> Answering {
        let (now, timing) = (std::time::Instant::now(), RotationTiming::default());
        Answering {
            responder: Responder::new(Epoch(epoch), timing, now),
            peer: "gw-b".to_owned(),
            from: None,
            old_spis: None,
            peer_sealed: None,
            began: now,
            changed: watch::Sender::new(0),
        }
    }

    #[test]
    fn one_rotation_of_ours_at_a_time_and_its_place_is_given_back() {
        let (slots, name) = (Slots::default(), PairName::new("trunk-1").unwrap());
        let lease = slots.lease(&name).ok().unwrap();
        assert!(matches!(slots.lease(&name), Err(Busy::Own(_))));
        assert!(matches!(slots.lease_by_hand(&name), Err(Busy::Own(_))));
        drop(lease);
        assert!(!slots.is_busy(&name));
        let hand = slots.lease_by_hand(&name).ok().unwrap();
        assert!(matches!(slots.lease(&name), Err(Busy::ByHand)));
        drop(hand);
        assert!(slots.lease(&name).is_ok());
    }

    #[test]
    fn a_peers_offer_that_is_taken_ends_ours_and_holds_the_pair() {
        let (slots, name) = (Slots::default(), PairName::new("trunk-1").unwrap());
        let lease = slots.lease(&name).ok().unwrap();
        lease.making(Epoch(4));
        let refused = slots.contest(&name, Err::<Answering, _>);
        assert_eq!(refused.err(), Some(Some(Epoch(4))));
        assert_eq!(lease.order(), Order::GoOn);
        assert!(matches!(
            slots.contest(&name, |_| Ok::<_, ()>(answering(4))),
            Ok(Takeover::Began(_))
        ));
        assert_eq!(lease.order(), Order::Yield);
        drop(lease);
        assert!(matches!(slots.lease(&name), Err(Busy::Peer(_))));
        assert!(matches!(
            slots.contest(&name, |_| Ok::<_, ()>(answering(4))),
            Ok(Takeover::Repeated)
        ));
        assert!(slots.answered(&name, Epoch(4)).is_some());
        assert!(slots.lease(&name).is_ok());
    }
}
