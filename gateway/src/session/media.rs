//! What a party says of itself in one media section: where it receives, its transport, its keys.

use std::net::{IpAddr, SocketAddr};

use ng::request::{AddressFamily, Signal};
use ng::sdp::{Direction, MediaSection, Protocol};

use crate::relay::command::Remote;

use super::Refused;
use super::crypto::PeerCrypto;
use super::mux::Settled;
use super::settings::family_of;

/// A relayed section as its party described it.
#[derive(Debug)]
pub(super) struct Said {
    /// Where it receives.
    remote: Remote,
    /// Its transport.
    pub(super) protocol: Protocol,
    /// It would multiplex RTCP.
    pub(super) rtcp_mux: bool,
    /// Its direction.
    pub(super) direction: Direction,
    /// Its keys, those we can use.
    pub(super) crypto: Vec<PeerCrypto>,
}

/// What a section is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// RTP to relay.
    Relay,
    /// Disabled: port 0.
    Disabled,
    /// SRTP that only DTLS could key.
    Dtls,
    /// SRTP without a key we could use.
    NoKey,
    /// Not RTP: passes through.
    Foreign,
}

impl Kind {
    /// Sorts a section.
    pub(super) fn of(section: &MediaSection, crypto: &[PeerCrypto]) -> Self {
        if !section.protocol.is_rtp() || *section.kind == *b"message" {
            Self::Foreign
        } else if section.port == 0 {
            Self::Disabled
        } else if section.protocol.is_dtls() {
            Self::Dtls
        } else if section.protocol.is_srtp() && crypto.is_empty() {
            Self::NoKey
        } else {
            Self::Relay
        }
    }
}

impl Said {
    /// Reads a section that is to be relayed.
    pub(super) fn of(
        section: &MediaSection,
        signal: &Signal,
        crypto: Vec<PeerCrypto>,
    ) -> Result<Self, Refused> {
        let remote = remote(section, signal)?;
        Ok(Self {
            remote,
            protocol: section.protocol.clone(),
            rtcp_mux: section.rtcp_mux,
            direction: section.direction,
            crypto,
        })
    }

    /// Where it receives, given whether its leg came to be multiplexed.
    pub(super) fn remote(&self, mux: Settled) -> Remote {
        match mux {
            Settled::OnePort => Remote { rtp: self.remote.rtp, rtcp: self.remote.rtp },
            Settled::TwoPorts => self.remote,
        }
    }

    /// The family of the address where it receives; `None` on hold.
    pub(super) fn family(&self) -> Option<AddressFamily> {
        self.remote.rtp.map(|rtp| family_of(rtp.ip()))
    }

    /// Silence is to be expected: hold of the old or the new kind.
    pub(super) fn on_hold(&self) -> bool {
        self.direction != Direction::SendRecv || self.remote.rtp.is_none()
    }
}

/// The address a section is to be reached at: where the SIP message came from if that is to be
/// trusted more, else what the SDP says.
pub(super) fn address(section: &MediaSection, signal: &Signal) -> Option<IpAddr> {
    let instead = signal.received_from.filter(|_| signal.flags.sip_source_address);
    match (instead, section.connection) {
        // The zero address is no address but a hold: it stays.
        (Some(instead), Some(said)) if !said.is_unspecified() => Some(instead),
        (Some(instead), None) => Some(instead),
        (_, said) => said,
    }
}

/// With an address of its own choosing the operator also means RTCP's; `a=rtcp`'s port stays.
fn remote(section: &MediaSection, signal: &Signal) -> Result<Remote, Refused> {
    let address = address(section, signal).ok_or(Refused::INCOMPLETE_SDP)?;
    if address.is_unspecified() {
        return Ok(Remote { rtp: None, rtcp: None });
    }
    let rtcp = match section.connection == Some(address) {
        true => section.remote_rtcp_unmuxed(),
        false => {
            let port = section.rtcp.map(|(port, _)| port).or(section.port.checked_add(1));
            port.filter(|port| *port != 0).map(|port| SocketAddr::new(address, port))
        }
    };
    Ok(Remote { rtp: Some(SocketAddr::new(address, section.port)), rtcp })
}
