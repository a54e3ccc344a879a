//! What people name, configure and rotate: an SA each way, to one peer, for one kind of traffic.
//!
//! A pair has no keys. Each generation of keys is an epoch: our inbound SA, whose SPI and key we
//! chose, and our outbound SA, whose SPI and key the peer chose.

use std::{fmt, net::IpAddr, str::FromStr, time::Duration};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::{
    Aead, BadLifetime, Lifetimes, Mode, PlacementPolicy, Selector, SequenceNumbers,
    UdpEncapsulation,
};

/// What a pair is called: 1 to 64 letters, digits, `.`, `_` and `-`, the same at both gateways.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PairName(String);

impl PairName {
    /// # Errors
    /// When it is empty, too long, or has other characters.
    pub fn new(name: impl Into<String>) -> Result<Self, BadPair> {
        let name = name.into();
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if name.is_empty() || name.len() > 64 || !name.chars().all(allowed) {
            return Err(BadPair::Name(name));
        }
        Ok(Self(name))
    }

    /// As written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for PairName {
    type Error = BadPair;

    fn try_from(name: String) -> Result<Self, BadPair> {
        Self::new(name)
    }
}

impl FromStr for PairName {
    type Err = BadPair;

    fn from_str(name: &str) -> Result<Self, BadPair> {
        Self::new(name)
    }
}

impl From<PairName> for String {
    fn from(name: PairName) -> Self {
        name.0
    }
}

impl fmt::Display for PairName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A pair, without its keys. `[[ipsec.sa]]` of the configuration has these fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SaPair {
    /// The same at both gateways.
    pub name: PairName,
    /// Pairs that are rotated together, by `--group`.
    #[serde(default)]
    pub group: Option<String>,
    /// The `[[ipsec.peer]]` whose gateway has the other end; none: keys come by hand.
    #[serde(default)]
    pub peer: Option<String>,
    /// Our outer address.
    pub local: IpAddr,
    /// The peer's outer address.
    pub remote: IpAddr,
    /// Inner addresses on our side; in transport mode `local`.
    pub local_net: IpNet,
    /// Inner addresses on the peer's side; in transport mode `remote`.
    pub remote_net: IpNet,
    /// IP protocol number of the traffic; none: any.
    #[serde(default)]
    pub protocol: Option<u8>,
    /// Port on our side; none: any.
    #[serde(default)]
    pub local_port: Option<u16>,
    /// Port on the peer's side; none: any.
    #[serde(default)]
    pub remote_port: Option<u16>,
    /// Tunnel unless set.
    #[serde(default)]
    pub mode: Mode,
    /// Both directions use it.
    #[serde(default = "default_aead")]
    pub aead: Aead,
    /// 64 bits unless set.
    #[serde(default)]
    pub sequence_numbers: SequenceNumbers,
    /// Packets that may come late.
    #[serde(default = "default_replay_window")]
    pub replay_window: u32,
    /// Of each SA.
    #[serde(default)]
    pub lifetimes: Lifetimes,
    /// ESP in UDP: our port and the peer's.
    #[serde(default)]
    pub encapsulation: Option<PairEncapsulation>,
    /// Where the SAs may be.
    #[serde(default)]
    pub placement: PlacementPolicy,
    /// The device that faces the peer; inline placements need it.
    #[serde(default)]
    pub device: Option<String>,
    /// How its keys are changed.
    #[serde(default)]
    pub rotation: RotationTiming,
}

/// The UDP ports of a pair's ESP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PairEncapsulation {
    /// Ours, 4500 by custom.
    pub local_port: u16,
    /// The peer's.
    pub remote_port: u16,
}

impl PairEncapsulation {
    /// As our outbound packets carry it.
    pub const fn outbound(self) -> UdpEncapsulation {
        UdpEncapsulation { source_port: self.local_port, destination_port: self.remote_port }
    }

    /// As our inbound packets carry it.
    pub const fn inbound(self) -> UdpEncapsulation {
        UdpEncapsulation { source_port: self.remote_port, destination_port: self.local_port }
    }
}

/// The clockwork of a rotation. In JSON and TOML, milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RotationTiming {
    /// How long old inbound SAs are kept after the last outbound packet could have used them.
    #[serde(rename = "overlap_ms", with = "milliseconds")]
    pub overlap: Duration,
    /// How long to wait for a packet under the new keys before silence is taken for an idle pair.
    #[serde(rename = "observe_ms", with = "milliseconds")]
    pub observe: Duration,
    /// How long a peer or an engine may take for one step before the rotation is undone.
    #[serde(rename = "step_ms", with = "milliseconds")]
    pub step: Duration,
    /// A scheduled rotation comes up to this part of the soft limit earlier, in percent, by
    /// chance: a thousand pairs made in one second must not rotate in one second.
    pub jitter_percent: u8,
}

impl Default for RotationTiming {
    /// strongSwan keeps rekeyed SAs for 5 s; the jitter is that of its rekeying at 90 % of life.
    fn default() -> Self {
        Self {
            overlap: Duration::from_secs(5),
            observe: Duration::from_secs(1),
            step: Duration::from_secs(5),
            jitter_percent: 10,
        }
    }
}

impl SaPair {
    /// The traffic that we send.
    pub const fn outbound_selector(&self) -> Selector {
        Selector {
            source: self.local_net,
            destination: self.remote_net,
            protocol: self.protocol,
            source_port: self.local_port,
            destination_port: self.remote_port,
        }
    }

    /// # Errors
    /// The first thing that cannot be meant, with the field's name.
    pub fn check(&self) -> Result<(), BadPair> {
        self.check_addresses()?;
        self.lifetimes.check()?;
        let window = self.replay_window;
        if window == 0 || window > MAX_REPLAY_WINDOW {
            return Err(BadPair::ReplayWindow(window));
        }
        let Some(requested) = self.placement.requested() else {
            return Err(BadPair::NoPlacement);
        };
        if self.placement.allowed().iter().any(|p| p.is_inline()) && self.device.is_none() {
            return Err(BadPair::NoDevice(requested));
        }
        let ports = self.local_port.is_some() || self.remote_port.is_some();
        if ports && !self.protocol.is_some_and(|protocol| PROTOCOLS_WITH_PORTS.contains(&protocol))
        {
            return Err(BadPair::PortsWithoutProtocol);
        }
        if self.rotation.jitter_percent > 50 {
            return Err(BadPair::Jitter(self.rotation.jitter_percent));
        }
        Ok(())
    }

    fn check_addresses(&self) -> Result<(), BadPair> {
        if self.local == self.remote {
            return Err(BadPair::SameAddress(self.local));
        }
        if self.local.is_ipv4() != self.remote.is_ipv4() {
            return Err(BadPair::Families("local", "remote"));
        }
        for (name, address) in [("local", self.local), ("remote", self.remote)] {
            if address.is_unspecified() || address.is_multicast() {
                return Err(BadPair::Address { name, address });
            }
        }
        if self.local_net.addr().is_ipv4() != self.remote_net.addr().is_ipv4() {
            return Err(BadPair::Families("local_net", "remote_net"));
        }
        let ends = [
            ("local_net", self.local_net, self.local),
            ("remote_net", self.remote_net, self.remote),
        ];
        for (name, net, address) in ends {
            if net.trunc() != net {
                return Err(BadPair::HostBits { name, net, meant: net.trunc() });
            }
            if self.mode == Mode::Transport && net != IpNet::from(address) {
                return Err(BadPair::Transport { name, net, address });
            }
        }
        Ok(())
    }
}

/// Why a pair is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPair {
    /// See [`PairName`].
    #[error("name {0:?}: use 1 to 64 letters, digits, '.', '_' and '-'")]
    Name(String),
    /// No packet would leave.
    #[error("local and remote are both {0}")]
    SameAddress(IpAddr),
    /// IPv4 and IPv6 do not mix on one side of a tunnel.
    #[error("{0} and {1} are of different families")]
    Families(&'static str, &'static str),
    /// Not an address of one machine.
    #[error("{name}: {address} is not the address of one machine")]
    Address {
        /// The field.
        name: &'static str,
        /// As given.
        address: IpAddr,
    },
    /// A prefix with bits behind its length is a slip more often than a wish.
    #[error("{name}: {net} has bits set behind its length: write {meant}")]
    HostBits {
        /// The field.
        name: &'static str,
        /// As given.
        net: IpNet,
        /// Without them.
        meant: IpNet,
    },
    /// Transport mode keeps a packet's addresses.
    #[error("{name}: transport mode protects {address} alone, not {net}: use mode = \"tunnel\"")]
    Transport {
        /// The field.
        name: &'static str,
        /// As given.
        net: IpNet,
        /// The outer address.
        address: IpAddr,
    },
    /// The kernel's largest is 4,096; none at all would let replays in.
    #[error("replay_window {0}: use 1 to 4096 packets")]
    ReplayWindow(u32),
    /// A list without entries.
    #[error(
        "placement allows nothing: name one of inline-packet, inline-crypto, kernel-software, user-space"
    )]
    NoPlacement,
    /// An engine is a device's.
    #[error("placement {0}: name the device that faces the peer")]
    NoDevice(crate::Placement),
    /// Ports of what?
    #[error(
        "local_port and remote_port need protocol = 6 (TCP), 17 (UDP), 132 (SCTP) or 33 (DCCP)"
    )]
    PortsWithoutProtocol,
    /// Half of the life is the most that chance may take.
    #[error("jitter_percent {0}: use 0 to 50")]
    Jitter(u8),
    /// See [`Lifetimes::check`].
    #[error("lifetimes: {0}")]
    Lifetime(#[from] BadLifetime),
}

/// What the kernel allows (`XFRMA_REPLAY_ESN_MAX`, 4,096 bits).
pub const MAX_REPLAY_WINDOW: u32 = 4096;

const PROTOCOLS_WITH_PORTS: [u8; 4] = [6, 17, 33, 132];

const fn default_aead() -> Aead {
    Aead::Aes256Gcm
}

/// Late packets of 10 ms at 25,000 a second, and one of the four that packet offload takes.
const fn default_replay_window() -> u32 {
    256
}

mod milliseconds {
    //! Durations as whole milliseconds.

    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> SaPair {
        let text = r#"{"name": "trunk-1", "local": "192.0.2.1", "remote": "192.0.2.2",
            "local_net": "10.1.0.0/16", "remote_net": "10.2.0.0/16"}"#;
        serde_json::from_str(text).expect("the fields without defaults are enough")
    }

    #[test]
    fn what_is_left_out_has_a_default_that_passes() {
        assert_eq!(pair().check(), Ok(()));
        let json = serde_json::to_string(&pair()).expect("serializes");
        assert_eq!(serde_json::from_str::<SaPair>(&json).expect("reads"), pair());
    }

    #[test]
    fn each_slip_is_named() {
        let refusal = |change: fn(&mut SaPair)| {
            let mut pair = pair();
            change(&mut pair);
            pair.check().expect_err("a slip").to_string()
        };
        let said = refusal(|pair| pair.local_net = "10.1.2.3/16".parse().expect("a prefix"));
        assert_eq!(
            said,
            "local_net: 10.1.2.3/16 has bits set behind its length: write 10.1.0.0/16"
        );
        let said = refusal(|pair| pair.mode = Mode::Transport);
        assert!(said.contains("transport mode protects 192.0.2.1 alone"), "{said}");
        let said = refusal(|pair| pair.replay_window = 5000);
        assert_eq!(said, "replay_window 5000: use 1 to 4096 packets");
        let said = refusal(|pair| {
            pair.placement = PlacementPolicy::Require(crate::Placement::InlinePacket);
        });
        assert_eq!(said, "placement inline-packet: name the device that faces the peer");
        let said = refusal(|pair| pair.remote_port = Some(5060));
        assert!(said.contains("need protocol"), "{said}");
    }
}
