//! Host candidates of ours: priority and foundation (RFC 8445 section 5.1).

use std::net::{IpAddr, SocketAddr};

use ng::sdp::{Candidate, CandidateKind};

/// Which of a stream's two flows. With rtcp-mux all is [`Component::Rtp`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Component {
    /// 1 in candidates.
    Rtp,
    /// 2.
    Rtcp,
}

impl Component {
    /// As candidates number it; `None` for what RTP does not have.
    pub fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Rtp),
            2 => Some(Self::Rtcp),
            _ => None,
        }
    }

    /// As candidates number it.
    pub fn number(self) -> u8 {
        self.index() as u8 + 1
    }

    /// 0 or 1.
    pub fn index(self) -> usize {
        usize::from(self == Self::Rtcp)
    }
}

/// A host candidate of ours: a bound socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalCandidate {
    /// Of which component.
    pub component: Component,
    /// What the socket is bound to, the base.
    pub address: SocketAddr,
    /// Among those of one component, higher is better; 65535 where there is one.
    pub preference: u16,
}

impl LocalCandidate {
    /// As it stands in SDP. `advertised` is the base, or what a one-to-one NAT makes of it.
    pub fn to_sdp(self, advertised: SocketAddr) -> Candidate {
        Candidate {
            foundation: foundation(self.address.ip()),
            component: self.component.number(),
            priority: self.priority(),
            address: advertised,
            kind: CandidateKind::Host,
            related: None,
        }
    }

    /// RFC 8445 section 5.1.2.1.
    pub fn priority(self) -> u32 {
        priority(HOST, self.preference, self.component)
    }

    /// What a peer-reflexive candidate found by a check from here would have: PRIORITY of checks
    /// (RFC 8445 section 7.1.1).
    pub(super) fn reflexive_priority(self) -> u32 {
        priority(PEER_REFLEXIVE, self.preference, self.component)
    }
}

/// Type preferences that RFC 8445 section 5.1.2.2 recommends.
const HOST: u32 = 126;
const PEER_REFLEXIVE: u32 = 110;

fn priority(kind: u32, preference: u16, component: Component) -> u32 {
    (kind << 24) | (u32::from(preference) << 8) | (256 - u32::from(component.number()))
}

/// The same for all host candidates of one address (RFC 8445 section 5.1.1.3): FNV-1a of it in 16
/// hexadecimal digits. No secret: the address stands beside it.
fn foundation(address: IpAddr) -> Box<str> {
    let fold = |bytes: &[u8]| {
        bytes.iter().fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3)
        })
    };
    let hash = match address {
        IpAddr::V4(address) => fold(&address.octets()),
        IpAddr::V6(address) => fold(&address.octets()),
    };
    format!("{hash:016x}").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(component: Component, address: &str) -> LocalCandidate {
        LocalCandidate { component, address: address.parse().expect("address"), preference: 65535 }
    }

    #[test]
    fn priorities_are_those_of_rfc_8445() {
        let rtp = local(Component::Rtp, "192.0.2.1:4000");
        let rtcp = local(Component::Rtcp, "192.0.2.1:4001");
        assert_eq!(rtp.priority(), 2_130_706_431);
        assert_eq!(rtcp.priority(), 2_130_706_430);
        assert_eq!(rtp.reflexive_priority(), 1_862_270_975);
    }

    #[test]
    fn a_foundation_is_of_an_address_not_of_a_port() {
        let rtp = local(Component::Rtp, "192.0.2.1:4000");
        let rtcp = local(Component::Rtcp, "192.0.2.1:4001");
        let other = local(Component::Rtp, "192.0.2.2:4000");
        let of = |local: LocalCandidate| local.to_sdp(local.address).foundation;
        assert_eq!(of(rtp), of(rtcp));
        assert_ne!(of(rtp), of(other));
        assert_eq!(of(rtp).len(), 16);
    }
}
