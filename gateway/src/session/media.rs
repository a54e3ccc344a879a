//! What a party says of itself in one media section: where it receives, its transport, its keys.

use std::net::{IpAddr, SocketAddr};

use ng::request::{AddressFamily, Signal};
use ng::sdp::{Direction, DtlsDescription, MediaSection, Protocol};

use crate::relay::command::Remote;

use super::Refused;
use super::bundle::{self, Groups, Membership, Place};
use super::crypto::PeerCrypto;
use super::dtls::PeerDtls;
use super::ice::PeerIce;
use super::mux::Settled;
use super::offer::Context;
use super::settings::{Settings, family_of};

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
    /// `a=mid`.
    pub(super) mid: Option<Box<[u8]>>,
    /// It is in a `a=group:BUNDLE`.
    pub(super) bundled: bool,
    /// Its place in that group, where we take it.
    pub(super) membership: Option<Box<Membership>>,
    /// What it may be sent: bit `n` for payload type `n`.
    pub(super) payload_types: u128,
    /// Its keys, those we can use.
    pub(super) crypto: Vec<PeerCrypto>,
    /// Its DTLS, where we can use it.
    pub(super) dtls: Option<PeerDtls>,
    /// Its ICE, where it speaks it and there are agents for it.
    pub(super) ice: Option<PeerIce>,
}

/// What a section offers to be keyed by, those of it that we can use.
pub(super) struct Keys {
    pub(super) crypto: Vec<PeerCrypto>,
    pub(super) dtls: Result<PeerDtls, Refused>,
}

/// What a section is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// RTP to relay.
    Relay,
    /// Disabled: port 0.
    Disabled,
    /// What we cannot have, and why: SRTP that we cannot key, a data channel.
    Unusable(Refused),
    /// Not RTP: passes through.
    Foreign,
}

impl Keys {
    /// Of a section.
    pub(super) fn of(settings: &Settings, section: &MediaSection) -> Self {
        Self {
            crypto: PeerCrypto::usable(settings, &section.crypto),
            dtls: PeerDtls::usable(settings.webrtc.as_ref(), &section.dtls),
        }
    }
}

impl Kind {
    /// Sorts a section, whose place in a group may make up for a port of zero.
    pub(super) fn of(section: &MediaSection, keys: &Keys, place: Option<Place>) -> Self {
        let protocol = &section.protocol;
        let asks_for_dtls = protocol.is_dtls() || section.dtls != DtlsDescription::default();
        if is_data_channel(section) {
            return Self::Unusable(Refused::DATA_CHANNEL);
        } else if !protocol.is_rtp() || *section.kind == *b"message" {
            return Self::Foreign;
        } else if section.port == 0 && place.is_none() {
            return Self::Disabled;
        }
        match &keys.dtls {
            Err(reason) if protocol.is_dtls() => Self::Unusable(*reason),
            Err(reason) if protocol.is_srtp() && keys.crypto.is_empty() => {
                Self::Unusable(if asks_for_dtls { *reason } else { Refused::NO_KEY })
            }
            Err(_) | Ok(_) => Self::Relay,
        }
    }
}

impl Said {
    /// Reads a section that is to be relayed; `before` is what its party said of it last. Of a
    /// group's, the tagged one says the transport.
    pub(super) fn of(
        index: usize,
        groups: &Groups,
        context: &Context<'_>,
        keys: Keys,
        before: Option<&Self>,
    ) -> Result<Self, Refused> {
        let Context { settings, signal, sdp, .. } = *context;
        let (section, transport) = (&sdp.media[index], groups.transport(sdp, index));
        let remote = remote(transport, signal)?;
        let ice = settings.webrtc.as_ref().and_then(|_| PeerIce::of(&transport.ice));
        Ok(Self {
            remote,
            protocol: section.protocol.clone(),
            rtcp_mux: transport.rtcp_mux,
            direction: section.direction,
            mid: section.mid.as_deref().map(Into::into),
            bundled: bundle::is_bundled(sdp, section),
            membership: groups.membership(sdp, index),
            payload_types: bundle::payload_types(section),
            crypto: keys.crypto,
            dtls: keys.dtls.ok(),
            ice: ice.map(|ice| ice.after(before.and_then(|before| before.ice.as_ref()))),
        })
    }

    /// SRTP under a plain profile, as far as the other side takes it up (OSRTP, RFC 8643).
    pub(super) fn is_opportunistic(&self) -> bool {
        !self.protocol.is_srtp() && (self.dtls.is_some() || !self.crypto.is_empty())
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
        // With ICE the zero address is that of a party that has gathered none yet (RFC 8840
        // section 4.1.1).
        self.direction != Direction::SendRecv || (self.remote.rtp.is_none() && self.ice.is_none())
    }
}

/// A browser's data channel (RFC 8841). Without ICE, which we take out of what passes, it could not
/// work, and a browser that is shown one without ICE refuses the whole body.
fn is_data_channel(section: &MediaSection) -> bool {
    let Protocol::Other(name) = &section.protocol else { return false };
    name.to_ascii_uppercase().ends_with(b"DTLS/SCTP") && section.ice.credentials().is_some()
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

/// The family of the address that a section is to be reached at. A party that has said no address
/// for its ICE has said candidates.
pub(super) fn family(section: &MediaSection, signal: &Signal) -> Option<AddressFamily> {
    let families = || section.ice.candidates.iter().map(|candidate| candidate.address.ip());
    let by_candidates = families().find(IpAddr::is_ipv4).or_else(|| families().next());
    match address(section, signal) {
        Some(said) if !said.is_unspecified() => Some(family_of(said)),
        said => by_candidates.or(said).map(family_of),
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
