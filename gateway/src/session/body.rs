//! How sections are written: an offer's for the answerer, an answer's for the offerer. What to
//! write is in the call by then; nothing is decided here but the options' say on form.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use ng::request::{Signal, Transport};
use ng::sdp::{
    Direction, KeyPadding, LocalIce, LocalMedia, MediaRewrite, MediaSection, Protocol,
    RemoteCandidate, RtcpLine, Setup,
};

use crate::webrtc::plan::IceAgent;

use super::call::Call;
use super::dtls::ShowTlsId;
use super::ice::OwnIce;
use super::mux::{self, Settled};
use super::party::PartyIndex;
use super::ports::LocalPorts;
use super::stream::Stream;

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
    let written = written(section, signal, index);
    let crypto = offered.crypto.iter().map(|local| local.attribute(&signal.sdes)).collect();
    let ports = shown(&stream.ports, signal);
    MediaRewrite::Relay(Box::new(LocalMedia {
        rtp: ports.rtp(),
        rtcp: mux::rtcp_line(&signal.flags, &ports, settled),
        rtcp_mux: offered.rtcp_mux,
        protocol: offered.protocol.clone(),
        crypto,
        // RFC 5763 section 5 and the incumbent: the answerer chooses, in every offer.
        dtls: offered.dtls.as_ref().map(|own| own.written(Setup::ActPass, tls_id(signal))),
        ice: offered.ice.as_ref().map(|own| LocalIce {
            remote_candidates: remote_candidates(stream, own, settled),
            ..own.written(&ports, settled)
        }),
        generate_mid: bundled_mid(call, answerer, index).or(written.generate_mid.clone()),
        ..written
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
    let written = written(section, signal, index);
    let crypto = stream.local_crypto().map(|local| local.attribute(&signal.sdes));
    let ice = stream.leg().and_then(|leg| leg.ice.as_ref());
    let ports = shown(&stream.ports, signal);
    MediaRewrite::Relay(Box::new(LocalMedia {
        rtp: ports.rtp(),
        rtcp: mux::rtcp_line(&signal.flags, &ports, stream.mux),
        rtcp_mux: stream.mux == Settled::OnePort,
        protocol: restored(&offer.protocol, section, signal),
        crypto: crypto.into_iter().collect(),
        dtls: stream
            .association()
            .map(|association| association.own.written(association.setup(), tls_id(signal))),
        ice: ice.map(|ice| ice.own.written(&ports, stream.mux)),
        generate_mid: bundled_mid(call, offerer, index).or(written.generate_mid.clone()),
        ..written
    }))
}

/// The `a=mid` that a party bundles by: it knows the section by no other, and a party that bundles
/// nothing may leave it out.
fn bundled_mid(call: &Call, party: PartyIndex, index: usize) -> Option<Bytes> {
    let said = call.parties[party.0].media.get(index)?.said.as_ref()?;
    said.mid.as_deref().filter(|_| said.bundled).map(Bytes::copy_from_slice)
}

/// Which of the party's addresses we have chosen, in an offer that goes on with the ICE in force.
fn remote_candidates(stream: &Stream, own: &OwnIce, mux: Settled) -> Vec<RemoteCandidate> {
    let leg = stream.leg();
    let in_force = leg.and_then(|leg| leg.ice.as_ref()).filter(|ice| ice.own == *own);
    let selected = leg.and_then(|leg| leg.selected);
    in_force.map(|ice| ice.remote_candidates(selected, mux)).unwrap_or_default()
}

fn tls_id(signal: &Signal) -> ShowTlsId {
    if signal.flags.no_tls_id { ShowTlsId::No } else { ShowTlsId::Yes }
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
    // With ICE the zero address is no hold: the party has gathered none yet.
    let zero = section.has_zero_address() && section.ice.credentials().is_none();
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
        generate_mid: generated_mid(signal, index),
        bundle_only: false,
        dtls: None,
        ice: None,
    }
}

/// The `a=mid` of a section that has none, where one is wanted.
pub(super) fn generated_mid(signal: &Signal, index: usize) -> Option<Bytes> {
    let wanted = signal.flags.generate_mid;
    wanted.then(|| Bytes::from((index + 1).to_string().into_bytes()))
}

/// Whether we are lite in what a party is offered: `a=ice-lite` is said for the whole session.
pub(super) fn offers_lite(call: &Call, answerer: PartyIndex) -> bool {
    let offered = call.parties[answerer.0].media.iter().filter_map(|media| media.offered.as_ref());
    offered.filter_map(|offered| offered.ice.as_ref()).any(|own| own.agent == IceAgent::Lite)
}

/// Whether we are lite in what a party is answered.
pub(super) fn answers_lite(call: &Call, offerer: PartyIndex) -> bool {
    let media = call.parties[offerer.0].media.iter();
    let legs = media.filter_map(|media| call.stream(media.stream?).leg()?.ice.as_ref());
    legs.into_iter().any(|ice| ice.own.agent == IceAgent::Lite)
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
