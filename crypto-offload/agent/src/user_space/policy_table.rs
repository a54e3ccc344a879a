//! Which policy a packet falls under: the most specific selector that fits.
//!
//! Selectors of one shape (prefix lengths, and which of protocol and ports they name) are a group,
//! sorted by what they name; a packet is cut to each group's shape, most specific shape first, and
//! looked up there by bisection. Gateways have few shapes. Nothing is hashed, so no sender can
//! choose packets that are slow to find.

use std::{cmp::Reverse, net::IpAddr};

use crypto_offload::{Selector, esp::Inner};

/// Policies by their index; made anew when one comes or goes.
#[derive(Default)]
pub(super) struct PolicyTable(Vec<Group>);

struct Group {
    shape: Shape,
    source_mask: u128,
    destination_mask: u128,
    entries: Vec<(Key, u32)>,
}

/// Compared from the least specific up.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Shape {
    destination_len: u8,
    source_len: u8,
    has_source_port: bool,
    has_destination_port: bool,
    has_protocol: bool,
    is_ipv6: bool,
}

/// Destination, source, then protocol and ports.
type Key = (u128, u128, u64);

/// A packet as a table looks at it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Flow {
    source: u128,
    destination: u128,
    ports: Option<(u16, u16)>,
    protocol: u8,
    is_ipv6: bool,
}

impl PolicyTable {
    /// A table of `selectors`, each with its policy's index.
    pub(super) fn new<'a>(selectors: impl Iterator<Item = (&'a Selector, u32)>) -> Self {
        let mut groups: Vec<Group> = Vec::new();
        for (selector, policy) in selectors {
            let shape = Shape::of(selector);
            let at = groups.iter().position(|group| group.shape == shape).unwrap_or_else(|| {
                groups.push(Group::new(shape));
                groups.len() - 1
            });
            groups[at].entries.push((key_of(selector), policy));
        }
        groups.sort_unstable_by_key(|group| Reverse(group.shape));
        for group in &mut groups {
            group.entries.sort_unstable();
        }
        Self(groups)
    }

    /// The policy for `flow`.
    pub(super) fn find(&self, flow: &Flow) -> Option<u32> {
        self.0.iter().find_map(|group| {
            let key = group.cut(flow)?;
            let at = group.entries.binary_search_by(|(entry, _)| entry.cmp(&key)).ok()?;
            Some(group.entries[at].1)
        })
    }
}

impl Group {
    fn new(shape: Shape) -> Self {
        Self {
            shape,
            source_mask: mask(shape.source_len, shape.is_ipv6),
            destination_mask: mask(shape.destination_len, shape.is_ipv6),
            entries: Vec::new(),
        }
    }

    /// What of `flow` this group compares; `None` when it has not what the group asks for.
    fn cut(&self, flow: &Flow) -> Option<Key> {
        let shape = &self.shape;
        if shape.is_ipv6 != flow.is_ipv6 {
            return None;
        }
        let (mut source_port, mut destination_port) = (None, None);
        if shape.has_source_port || shape.has_destination_port {
            let ports = flow.ports?;
            source_port = shape.has_source_port.then_some(ports.0);
            destination_port = shape.has_destination_port.then_some(ports.1);
        }
        let protocol = shape.has_protocol.then_some(flow.protocol);
        let rest = packed(protocol, source_port, destination_port);
        Some((flow.destination & self.destination_mask, flow.source & self.source_mask, rest))
    }
}

impl Shape {
    fn of(selector: &Selector) -> Self {
        Self {
            destination_len: selector.destination.prefix_len(),
            source_len: selector.source.prefix_len(),
            has_source_port: selector.source_port.is_some(),
            has_destination_port: selector.destination_port.is_some(),
            has_protocol: selector.protocol.is_some(),
            is_ipv6: selector.destination.addr().is_ipv6(),
        }
    }
}

impl Flow {
    pub(super) fn of(inner: &Inner) -> Self {
        Self {
            source: bits(inner.source),
            destination: bits(inner.destination),
            ports: inner.ports,
            protocol: inner.protocol,
            is_ipv6: inner.destination.is_ipv6(),
        }
    }
}

fn key_of(selector: &Selector) -> Key {
    (
        bits(selector.destination.network()),
        bits(selector.source.network()),
        packed(selector.protocol, selector.source_port, selector.destination_port),
    )
}

fn packed(protocol: Option<u8>, source_port: Option<u16>, destination_port: Option<u16>) -> u64 {
    u64::from(protocol.unwrap_or(0)) << 32
        | u64::from(source_port.unwrap_or(0)) << 16
        | u64::from(destination_port.unwrap_or(0))
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// The first `length` bits of an address.
fn mask(length: u8, is_ipv6: bool) -> u128 {
    let width: u8 = if is_ipv6 { 128 } else { 32 };
    let all = u128::MAX >> (128 - width);
    all & u128::MAX.checked_shl(u32::from(width - length)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selector(source: &str, destination: &str) -> Selector {
        Selector {
            source: source.parse().expect("a prefix"),
            destination: destination.parse().expect("a prefix"),
            protocol: None,
            source_port: None,
            destination_port: None,
        }
    }

    fn flow(source: &str, destination: &str, ports: Option<(u16, u16)>) -> Flow {
        Flow::of(&Inner {
            length: 100,
            source: source.parse().expect("an address"),
            destination: destination.parse().expect("an address"),
            protocol: 17,
            ports,
        })
    }

    fn table(selectors: &[Selector]) -> PolicyTable {
        PolicyTable::new(selectors.iter().zip(0..))
    }

    #[test]
    fn the_most_specific_selector_wins_whatever_the_order() {
        let wide = selector("10.1.0.0/16", "10.2.0.0/16");
        let narrow = selector("10.1.0.0/16", "10.2.3.0/24");
        let port = Selector { protocol: Some(17), destination_port: Some(5060), ..narrow };
        let to = |table: &PolicyTable, destination, ports| {
            table.find(&flow("10.1.0.1", destination, ports))
        };
        for (order, indexes) in
            [([wide, narrow, port], [0, 1, 2]), ([port, narrow, wide], [2, 1, 0])]
        {
            let table = table(&order);
            assert_eq!(to(&table, "10.2.9.1", Some((1, 5060))), Some(indexes[0]));
            assert_eq!(to(&table, "10.2.3.1", Some((1, 5061))), Some(indexes[1]));
            assert_eq!(to(&table, "10.2.3.1", None), Some(indexes[1]));
            assert_eq!(to(&table, "10.2.3.1", Some((1, 5060))), Some(indexes[2]));
            assert_eq!(to(&table, "10.3.0.1", Some((1, 5060))), None);
        }
    }

    #[test]
    fn families_never_meet_even_at_the_widest() {
        let table = table(&[selector("::/0", "::/0")]);
        assert_eq!(table.find(&flow("10.1.0.1", "10.2.0.1", None)), None);
        assert_eq!(table.find(&flow("fd00::1", "fd01::1", None)), Some(0));
    }

    #[test]
    fn agrees_with_asking_every_selector() {
        let nets = ["0.0.0.0/0", "10.0.0.0/8", "10.2.0.0/15", "10.2.0.0/16", "10.2.3.4/32"];
        let all: Vec<_> = nets
            .iter()
            .flat_map(|source| nets.iter().map(move |destination| selector(source, destination)))
            .collect();
        let table = table(&all);
        let hosts = ["10.2.3.4", "10.2.3.5", "10.3.0.1", "10.9.0.1", "11.0.0.1"];
        for (source, destination) in
            hosts.iter().flat_map(|source| hosts.iter().map(move |host| (*source, *host)))
        {
            let best = all
                .iter()
                .enumerate()
                .filter(|(_, selector)| {
                    selector.source.contains(&source.parse::<IpAddr>().expect("an address"))
                        && selector
                            .destination
                            .contains(&destination.parse::<IpAddr>().expect("an address"))
                })
                .max_by_key(|(_, selector)| {
                    (selector.destination.prefix_len(), selector.source.prefix_len())
                })
                .map(|(at, _)| at as u32);
            assert_eq!(table.find(&flow(source, destination, None)), best);
        }
    }
}
