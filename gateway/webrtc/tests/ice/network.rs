//! The network between two ends: delay, loss, duplication, reordering, NATs. All chance comes from
//! one seed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

/// SplitMix64: enough to deal out events, and the same everywhere.
#[derive(Clone, Debug)]
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(crate) fn bytes<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.next() as u8)
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Datagram {
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) bytes: Vec<u8>,
}

/// How a NAT treats what passes (RFC 4787).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mapping {
    /// One outer port for each inner one; whoever was sent to may answer.
    EndpointIndependent,
    /// An outer port for each destination, open to that alone ("symmetric").
    PerDestination,
}

#[derive(Debug)]
pub(crate) struct Nat {
    outer: IpAddr,
    mapping: Mapping,
    inner: BTreeMap<u16, SocketAddr>,
    /// Outer ports by inner address and, where the mapping asks for it, destination.
    ports: BTreeMap<(SocketAddr, Option<SocketAddr>), u16>,
    open: BTreeSet<(u16, SocketAddr)>,
}

impl Nat {
    pub(crate) fn new(outer: &str, mapping: Mapping) -> Self {
        let outer = outer.parse().unwrap();
        let (inner, ports, open) = Default::default();
        Self { outer, mapping, inner, ports, open }
    }

    fn out(&mut self, datagram: &mut Datagram) {
        let by_destination = self.mapping == Mapping::PerDestination;
        let key = (datagram.from, by_destination.then_some(datagram.to));
        let next = 20_000 + self.ports.len() as u16;
        let port = *self.ports.entry(key).or_insert(next);
        self.inner.insert(port, datagram.from);
        self.open.insert((port, datagram.to));
        datagram.from = SocketAddr::new(self.outer, port);
    }

    /// `None` where nobody inside asked for it.
    fn inward(&self, datagram: &Datagram) -> Option<SocketAddr> {
        let port = datagram.to.port();
        self.open.contains(&(port, datagram.from)).then(|| self.inner[&port])
    }
}

#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) chance: Chance,
    /// Of 1000.
    pub(crate) loss: u64,
    /// Of 1000.
    pub(crate) duplication: u64,
    /// One way; the more they differ, the more is reordered.
    pub(crate) delay: (Duration, Duration),
    /// Addresses that nothing reaches and nothing leaves.
    pub(crate) dead: BTreeSet<SocketAddr>,
    pub(crate) nats: Vec<(IpAddr, Nat)>,
    in_flight: BTreeMap<(Instant, u64), Datagram>,
    sent: u64,
}

impl Network {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            chance: Chance(seed),
            loss: 0,
            duplication: 0,
            delay: (Duration::from_millis(10), Duration::from_millis(10)),
            dead: BTreeSet::new(),
            nats: Vec::new(),
            in_flight: BTreeMap::new(),
            sent: 0,
        }
    }

    pub(crate) fn send(&mut self, mut datagram: Datagram, now: Instant) {
        if self.dead.contains(&datagram.from) || self.dead.contains(&datagram.to) {
            return;
        }
        if let Some((_, nat)) = self.nats.iter_mut().find(|(inner, _)| *inner == datagram.from.ip())
        {
            nat.out(&mut datagram);
        }
        let copies = 1 + u64::from(self.chance.below(1000) < self.duplication);
        for _ in 0..copies {
            if self.chance.below(1000) < self.loss {
                continue;
            }
            let (least, most) = self.delay;
            let spread = (most - least).as_micros() as u64 + 1;
            let delay = least + Duration::from_micros(self.chance.below(spread));
            self.sent += 1;
            self.in_flight.insert((now + delay, self.sent), datagram.clone());
        }
    }

    pub(crate) fn next_arrival(&self) -> Option<Instant> {
        self.in_flight.keys().next().map(|(at, _)| *at)
    }

    /// What arrives by `now`, addressed to where it is received.
    pub(crate) fn arrived(&mut self, now: Instant) -> Option<Datagram> {
        loop {
            let entry = self.in_flight.first_entry().filter(|entry| entry.key().0 <= now)?;
            let mut datagram = entry.remove();
            let Some((_, nat)) = self.nats.iter().find(|(_, nat)| nat.outer == datagram.to.ip())
            else {
                let behind = |(inner, _): &(IpAddr, Nat)| *inner == datagram.to.ip();
                match self.nats.iter().any(behind) {
                    // Nobody outside reaches a private address.
                    true => continue,
                    false => return Some(datagram),
                }
            };
            if let Some(inner) = nat.inward(&datagram) {
                datagram.to = inner;
                return Some(datagram);
            }
        }
    }
}
