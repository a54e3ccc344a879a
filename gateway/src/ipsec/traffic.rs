//! What each pair has carried, added up over its SAs: those count from their own beginning, and their
//! counts go with them.
//!
//! It is as old as the schedule's last look; what an SA carried between that and its end is missing.
//! A restart of the gateway begins with what the SAs of that time have carried.

use std::collections::BTreeMap;

use crypto_offload::{Direction, Epoch, PairName, SaUsage};
use gateway_control::PairStatus;

use super::tally::direction_name;

/// Every pair's.
#[derive(Clone, Debug, Default)]
pub(crate) struct Traffic(BTreeMap<PairName, Carried>);

#[derive(Clone, Debug, Default)]
struct Carried {
    inbound: Amount,
    outbound: Amount,
    /// Of each SA, as it was last seen.
    seen: BTreeMap<(Epoch, &'static str), Amount>,
}

/// Packets and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Amount {
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
}

/// One pair's, one way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// Its name; [`OTHERS`] of all that are not told one by one.
    pub(crate) pair: String,
    pub(crate) direction: &'static str,
    pub(crate) amount: Amount,
}

impl Traffic {
    /// The pairs as they are now; those that are not among them are forgotten.
    pub(crate) fn looked_at(&mut self, pairs: &[PairStatus]) {
        let mut before = std::mem::take(&mut self.0);
        for status in pairs {
            let name = &status.pair.name;
            let mut carried = before.remove(name).unwrap_or_default();
            carried.looked_at(status);
            self.0.insert(name.clone(), carried);
        }
    }

    /// The first by name each for itself, the rest together.
    pub(crate) fn rows(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        let mut others = [Amount::default(); 2];
        for (at, (name, carried)) in self.0.iter().enumerate() {
            let amounts = [carried.inbound, carried.outbound];
            if at < ONE_BY_ONE {
                rows.extend(both(name.as_str(), amounts));
            } else {
                others.iter_mut().zip(amounts).for_each(|(sum, amount)| sum.add(amount));
            }
        }
        if self.0.len() > ONE_BY_ONE {
            rows.extend(both(OTHERS, others));
        }
        rows
    }
}

impl Carried {
    fn looked_at(&mut self, status: &PairStatus) {
        let before = std::mem::take(&mut self.seen);
        for epoch in &status.epochs {
            let sas = [
                (Direction::Inbound, &epoch.inbound, &mut self.inbound),
                (Direction::Outbound, &epoch.outbound, &mut self.outbound),
            ];
            for (direction, sa, sum) in sas {
                let Some(sa) = sa else { continue };
                let (key, now) = ((epoch.epoch, direction_name(direction)), Amount::of(&sa.usage));
                sum.add(now.since(before.get(&key).copied().unwrap_or_default()));
                self.seen.insert(key, now);
            }
        }
    }
}

impl Amount {
    const fn of(usage: &SaUsage) -> Self {
        Self { packets: usage.packets, bytes: usage.bytes }
    }

    const fn add(&mut self, other: Self) {
        self.packets = self.packets.saturating_add(other.packets);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }

    /// A count that fell began anew, with its agent.
    const fn since(self, before: Self) -> Self {
        if self.packets < before.packets {
            return self;
        }
        let bytes = self.bytes.saturating_sub(before.bytes);
        Self { packets: self.packets - before.packets, bytes }
    }
}

fn both(pair: &str, [inbound, outbound]: [Amount; 2]) -> [Row; 2] {
    let row = |direction, amount| Row {
        pair: pair.to_owned(),
        direction: direction_name(direction),
        amount,
    };
    [row(Direction::Inbound, inbound), row(Direction::Outbound, outbound)]
}

/// A label for each of ten thousand pairs would be a burden to whoever keeps the numbers.
const ONE_BY_ONE: usize = 200;

/// No pair can have this name.
pub(crate) const OTHERS: &str = "(others)";

#[cfg(test)]
mod tests {
    use super::*;
    use crypto_offload::{Effective, Placement, Spi};
    use gateway_control::{EpochStatus, SaStatus};

    fn status(name: &str, packets: &[(u64, u64)]) -> PairStatus {
        let sa = |packets| SaStatus {
            spi: Spi::new(0xc000_0001).unwrap(),
            engine: "user-space".to_owned(),
            placement: Effective {
                requested: Placement::UserSpace,
                effective: Placement::UserSpace,
                reason: None,
            },
            key: String::new(),
            usage: SaUsage { packets, bytes: packets * 100, ..SaUsage::default() },
            seconds_to_soft: None,
            resumed: false,
        };
        let epoch = |(epoch, packets): &(u64, u64)| EpochStatus {
            epoch: Epoch(*epoch),
            inbound: Some(sa(*packets)),
            outbound: None,
        };
        let pair = serde_json::from_value(serde_json::json!({
            "name": name, "local": "192.0.2.1", "remote": "192.0.2.2",
            "local_net": "10.1.0.0/16", "remote_net": "10.2.0.0/16",
        }));
        let bare = serde_json::json!({
            "pair": serde_json::to_value::<crypto_offload::SaPair>(pair.unwrap()).unwrap(),
            "epochs": [], "active": null, "highest": 0,
        });
        let status: PairStatus = serde_json::from_value(bare).unwrap();
        PairStatus { epochs: packets.iter().map(epoch).collect(), ..status }
    }

    fn inbound(traffic: &Traffic) -> u64 {
        traffic.rows()[0].amount.packets
    }

    #[test]
    fn a_pairs_count_goes_on_over_rotations_and_restarts_of_its_agent() {
        let mut traffic = Traffic::default();
        for (sas, expected) in [
            (&[(1, 100)][..], 100),
            (&[(1, 150), (2, 10)], 160),
            (&[(2, 40)], 190),
            // Counted anew.
            (&[(2, 5)], 195),
            (&[(2, 6)], 196),
        ] {
            traffic.looked_at(&[status("trunk-1", sas)]);
            assert_eq!(inbound(&traffic), expected);
        }
        assert_eq!(traffic.rows()[0].amount.bytes, 19_600);
        traffic.looked_at(&[]);
        assert!(traffic.rows().is_empty());
    }

    #[test]
    fn a_thousand_pairs_make_no_more_than_so_many_lines() {
        let pairs: Vec<_> =
            (0..1000).map(|at| status(&format!("trunk-{at:04}"), &[(1, 1)])).collect();
        let mut traffic = Traffic::default();
        traffic.looked_at(&pairs);
        let rows = traffic.rows();
        assert_eq!(rows.len(), 2 * (ONE_BY_ONE + 1));
        let last = &rows[rows.len() - 2];
        assert_eq!((last.pair.as_str(), last.amount.packets), (OTHERS, 800));
    }
}
