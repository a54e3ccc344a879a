//! What an engine is asked to install: one SA, and the policies that send traffic to it.
//!
//! An SA has one direction. A [`SaPair`](crate::SaPair) is what people name: one SA each way.

use std::{fmt, net::IpAddr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::{KeyingMaterial, Lifetimes, Reqid, SaId, Spi};

/// Which way an SA's packets go, seen from us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// From the peer: we open.
    Inbound,
    /// To the peer: we seal.
    Outbound,
}

/// What ESP wraps (RFC 4303 section 3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// The payload of the packet, whose addresses stay.
    Transport,
    /// The whole packet, in a new one between the gateways.
    #[default]
    Tunnel,
}

/// How long sequence numbers are (RFC 4303 section 2.2.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SequenceNumbers {
    /// 64 bits, of which 32 are sent.
    #[default]
    Extended,
    /// 32 bits: the SA ends before they wrap.
    Short,
}

/// ESP in UDP (RFC 3948), with the ports that this SA's packets carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct UdpEncapsulation {
    /// UDP source port.
    pub source_port: u16,
    /// UDP destination port.
    pub destination_port: u16,
}

/// Which packets a policy or an SA is for (RFC 4301 section 4.4.1.1). `None` is any.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Selector {
    /// Inner source addresses.
    pub source: IpNet,
    /// Inner destination addresses.
    pub destination: IpNet,
    /// IP protocol number.
    pub protocol: Option<u8>,
    /// Source port of TCP or UDP.
    pub source_port: Option<u16>,
    /// Destination port of TCP or UDP.
    pub destination_port: Option<u16>,
}

impl Selector {
    /// The same traffic, the other way.
    #[must_use]
    pub const fn reversed(&self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
            protocol: self.protocol,
            source_port: self.destination_port,
            destination_port: self.source_port,
        }
    }

    /// Whether some packet would fit both.
    pub fn overlaps(&self, other: &Self) -> bool {
        fn nets(a: &IpNet, b: &IpNet) -> bool {
            a.contains(b) || b.contains(a)
        }
        fn either<T: PartialEq>(a: Option<T>, b: Option<T>) -> bool {
            a.is_none() || b.is_none() || a == b
        }
        nets(&self.source, &other.source)
            && nets(&self.destination, &other.destination)
            && either(self.protocol, other.protocol)
            && either(self.source_port, other.source_port)
            && either(self.destination_port, other.destination_port)
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let port = |port: Option<u16>| port.map(|port| format!(" port {port}")).unwrap_or_default();
        write!(f, "{}{}", self.source, port(self.source_port))?;
        write!(f, " to {}{}", self.destination, port(self.destination_port))?;
        self.protocol.map_or(Ok(()), |protocol| write!(f, " protocol {protocol}"))
    }
}

/// One SA, whole, with its key.
#[derive(Debug)]
pub struct SaSpec {
    /// Destination and SPI.
    pub id: SaId,
    /// The outer source address.
    pub source: IpAddr,
    /// Seen from us.
    pub direction: Direction,
    /// What ESP wraps.
    pub mode: Mode,
    /// Algorithm, key and salt.
    pub keying: KeyingMaterial,
    /// 32 or 64 bits.
    pub sequence_numbers: SequenceNumbers,
    /// Packets that may come late; of inbound SAs (RFC 4303 section 3.4.3). The kernel's limit is
    /// 4,096.
    pub replay_window: u32,
    /// When to ask for a successor and when to stop.
    pub lifetimes: Lifetimes,
    /// In UDP, or as IP protocol 50.
    pub encapsulation: Option<UdpEncapsulation>,
    /// Ties it to its policies.
    pub reqid: Reqid,
    /// The inner traffic, in the SA's direction.
    pub selector: Selector,
    /// The device whose engine is asked for, where one is.
    pub device: Option<String>,
    /// 0 for a new key. Outbound: the first packet has the number after this one. Inbound: packets
    /// up to this number are refused as replays. For a key that has been in use.
    pub resume_after: u64,
}

/// Where a policy looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PolicyDirection {
    /// At packets that we send.
    Out,
    /// At packets for us, after they were opened.
    In,
    /// At packets that we hand on, after they were opened (tunnel mode).
    Forward,
}

impl PolicyDirection {
    /// The kernel's name, as `ip xfrm policy` has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Out => "out",
            Self::In => "in",
            Self::Forward => "fwd",
        }
    }
}

/// Traffic that must go through ESP, and through which SA. Setting it again replaces it in one
/// step: with another `spi`, that is how outbound traffic moves to a new SA and back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicySpec {
    /// Where it looks.
    pub direction: PolicyDirection,
    /// Which packets; with `direction` its identity.
    pub selector: Selector,
    /// As of its SAs.
    pub mode: Mode,
    /// Outer source of its SAs.
    pub source: IpAddr,
    /// Outer destination of its SAs.
    pub destination: IpAddr,
    /// Of its SAs.
    pub reqid: Reqid,
    /// Outbound, the one SA to use; `None` while there is none: then what fits is dropped. Inbound,
    /// any SA of `reqid` will do, so that old and new overlap: `None`, and what came by none of
    /// them is dropped, also while there are none.
    pub spi: Option<Spi>,
    /// The device, for packet offload.
    pub device: Option<String>,
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

    #[test]
    fn a_prefix_overlaps_what_it_contains_and_families_never_meet() {
        let wide = selector("10.0.0.0/8", "10.2.0.0/16");
        assert!(wide.overlaps(&selector("10.1.0.0/16", "10.2.3.0/24")));
        assert!(!wide.overlaps(&selector("10.1.0.0/16", "10.3.0.0/16")));
        assert!(!wide.overlaps(&selector("::/0", "::/0")));
    }

    #[test]
    fn different_ports_keep_selectors_apart() {
        let any = selector("10.1.0.0/16", "10.2.0.0/16");
        let sip = Selector { protocol: Some(17), destination_port: Some(5060), ..any };
        let rtp = Selector { destination_port: Some(5062), ..sip };
        assert!(any.overlaps(&sip));
        assert!(!sip.overlaps(&rtp));
    }
}
