//! How sections are written: an offer's for the answerer, an answer's for the offerer. What to
//! write is in the call by then; nothing is decided here but the options' say on form.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use ng::request::{Signal, Transport};
use ng::sdp::{Direction, KeyPadding, LocalMedia, MediaRewrite, MediaSection, Protocol, RtcpLine};

use super::call::Call;
use super::mux::{self, Settled};
use super::party::PartyIndex;
use super::ports::LocalPorts;

/// How a section is written for the answerer.
pub(super) fn for_answerer(
    call: &Call,
    answerer: PartyIndex,
    index: usize,
    section: &MediaSection,
    signal: &Signal,
) -> MediaRewrite {
    let Some(stream) = call.open_stream(answerer, index) else { return REJECTED };
    let stream = call.stream(stream);
    let Some(offered) = &call.parties[answerer.0].media[index].offered else {
        return REJECTED;
    };
    let settled = match signal.rtcp_mux.require {
        true => Settled::OnePort,
        false if offered.rtcp_mux => stream.mux,
        false => Settled::TwoPorts,
    };
    let crypto = offered.crypto.iter().map(|local| local.attribute(&signal.sdes)).collect();
    let ports = shown(&stream.ports, signal);
    MediaRewrite::Relay(Box::new(LocalMedia {
        rtp: ports.rtp(),
        rtcp: mux::rtcp_line(&signal.flags, &ports, settled),
        rtcp_mux: offered.rtcp_mux,
        protocol: offered.protocol.clone(),
        crypto,
        ..written(section, signal, index)
    }))
}

/// How a section is written for the offerer.
pub(super) fn for_offerer(
    call: &Call,
    offerer: PartyIndex,
    index: usize,
    section: &MediaSection,
    signal: &Signal,
) -> MediaRewrite {
    let Some(stream) = call.open_stream(offerer, index) else { return REJECTED };
    let stream = call.stream(stream);
    let Some(offer) = &call.parties[offerer.0].media[index].said else {
        return REJECTED;
    };
    let crypto = stream.local_crypto().map(|local| local.attribute(&signal.sdes));
    let ports = shown(&stream.ports, signal);
    MediaRewrite::Relay(Box::new(LocalMedia {
        rtp: ports.rtp(),
        rtcp: mux::rtcp_line(&signal.flags, &ports, stream.mux),
        rtcp_mux: stream.mux == Settled::OnePort,
        protocol: restored(&offer.protocol, section, signal),
        crypto: crypto.into_iter().collect(),
        ..written(section, signal, index)
    }))
}

/// Our ports as the body shows them: `media-address` stands in for whatever address is ours,
/// because the operator knows a NAT that the configuration does not.
fn shown(ports: &LocalPorts, signal: &Signal) -> LocalPorts {
    LocalPorts { advertised: signal.media_address.unwrap_or(ports.advertised), ..*ports }
}

/// How a section that is rejected is written for the offerer: under the transport that it offered,
/// which the answerer may never have seen.
pub(super) fn rejected(call: &Call, offerer: PartyIndex, index: usize) -> MediaRewrite {
    let said = call.parties[offerer.0].media.get(index).and_then(|media| media.said.as_ref());
    MediaRewrite::Reject { protocol: said.map(|said| said.protocol.clone()) }
}

/// The transport that was offered; with `accept` the one answered, as far as its keys are of the
/// same kind.
fn restored(offered: &Protocol, section: &MediaSection, signal: &Signal) -> Protocol {
    match signal.transport {
        Some(Transport::Accept) if section.protocol.is_srtp() == offered.is_srtp() => {
            section.protocol.clone()
        }
        _ => offered.clone(),
    }
}

/// What an offer and an answer write alike.
fn written(section: &MediaSection, signal: &Signal, index: usize) -> LocalMedia {
    let zero = section.has_zero_address();
    LocalMedia {
        rtp: SocketAddr::from(([0, 0, 0, 0], 0)),
        rtcp: RtcpLine::Omit,
        rtcp_mux: false,
        protocol: Protocol::RtpAvp,
        crypto: Vec::new(),
        key_padding: match signal.sdes.pad {
            true => KeyPadding::Write,
            false => KeyPadding::Omit,
        },
        direction: match section.direction {
            // Hold of the old kind is shown as the new kind, as the incumbent does.
            Direction::SendRecv if zero && !signal.flags.original_sendrecv => Direction::SendOnly,
            Direction::RecvOnly if zero && !signal.flags.original_sendrecv => Direction::Inactive,
            direction => direction,
        },
        keep_zero_address: zero && !signal.replace.zero_address && signal.media_address.is_none(),
        generate_mid: signal
            .flags
            .generate_mid
            .then(|| Bytes::from((index + 1).to_string().into_bytes())),
        bundle_only: false,
        dtls: None,
        ice: None,
    }
}

/// Our address of the first relayed section, for `replace-origin`.
pub(super) fn first_address(rewrites: &[MediaRewrite]) -> Option<IpAddr> {
    rewrites.iter().find_map(|rewrite| match rewrite {
        MediaRewrite::Relay(local) => Some(local.rtp.ip()),
        MediaRewrite::Reject { .. } | MediaRewrite::PassThrough => None,
    })
}

/// Rejected under the transport that it came in.
pub(super) const REJECTED: MediaRewrite = MediaRewrite::Reject { protocol: None };
