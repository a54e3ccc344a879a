//! What signalling knows of a call, for `query`, `delete` and the admin API: who its parties are
//! and which stream is whose. What packets did is the worker's report; [`StreamIndex`] joins the
//! two.

use std::time::Instant;

use bytes::Bytes;
use ng::reply::{DtlsState, DtlsStatistics, IceState, IceStatistics, Side};
use ng::sdp::{Direction, Protocol};
use srtp::{Profile, Weaknesses};

use crate::relay::command::{CallKey, Remote, StreamIndex};
use crate::webrtc::plan::{DtlsRole, IceAgent, IceRole};

use super::call::Call;
use super::leg::Handshake;
use super::mux::Settled;
use super::party::Party;
use super::ports::PortSource;
use super::stream::Stream;

/// One call.
#[derive(Clone, Debug)]
pub struct CallView {
    /// `call-id`.
    pub id: Bytes,
    /// When its first offer came.
    pub created: Instant,
    /// When its last offer or answer came.
    pub last_signal: Instant,
    /// Its parties, those who left included.
    pub parties: Vec<PartyView>,
}

/// One party.
#[derive(Clone, Debug)]
pub struct PartyView {
    /// Its tag, once known.
    pub tag: Option<Bytes>,
    /// Further tags that it has answered under.
    pub aliases: Vec<Bytes>,
    /// `via-branch`.
    pub branch: Option<Bytes>,
    /// `label`.
    pub label: Option<Bytes>,
    /// When it came.
    pub created: Instant,
    /// Tag of the party it talks with; empty while that has none.
    pub partner: Option<Bytes>,
    /// Its media sections in order.
    pub media: Vec<MediaView>,
}

/// One media section of a party.
#[derive(Clone, Debug)]
pub struct MediaView {
    /// `audio`, `video`, …
    pub kind: Bytes,
    /// The transport we speak with it.
    pub protocol: Protocol,
    /// Its stream, once it has one.
    pub stream: Option<StreamIndex>,
    /// The section before it that has the same stream, from 0: it is bundled with that one.
    pub bundled_with: Option<usize>,
    /// Where the party said it receives.
    pub signalled: Option<Remote>,
    /// SRTP suite of what the party sends, where it is SRTP.
    pub suite: Option<&'static str>,
    /// The parties share keys of their own, which pass through.
    pub shared: bool,
    /// What the protection lacks.
    pub weaknesses: Weaknesses,
    /// The direction that the party signalled last, once it has said anything.
    pub direction: Option<Direction>,
    /// RTCP shares the RTP port.
    pub rtcp_mux: bool,
    /// Packets from elsewhere are dropped.
    pub strict_source: bool,
    /// ICE, where the leg has it.
    pub ice: Option<IceStatistics>,
    /// DTLS, where it keys the leg.
    pub dtls: Option<DtlsStatistics>,
}

impl<P: PortSource> super::Calls<P> {
    /// What signalling knows of a call, also of one that has ended and is not closed yet.
    pub fn view(&self, call: CallKey) -> Option<CallView> {
        let call = self.of_key(call)?;
        Some(CallView {
            id: Bytes::copy_from_slice(&call.id),
            created: call.created,
            last_signal: call.last_signal,
            parties: call.parties.iter().map(|party| party_view(call, party)).collect(),
        })
    }
}

fn party_view(call: &Call, party: &Party) -> PartyView {
    let partner = party.partner.map(|partner| {
        call.parties[partner.0].tag.as_deref().map_or_else(Bytes::new, Bytes::copy_from_slice)
    });
    PartyView {
        tag: party.tag.as_deref().map(Bytes::copy_from_slice),
        aliases: party.aliases.iter().map(|tag| Bytes::copy_from_slice(tag)).collect(),
        branch: party.branch.as_deref().map(Bytes::copy_from_slice),
        label: party.label.as_deref().map(Bytes::copy_from_slice),
        created: party.created,
        partner,
        media: (0..party.media.len()).map(|index| media_view(call, party, index)).collect(),
    }
}

pub(super) fn media_view(call: &Call, party: &Party, index: usize) -> MediaView {
    let media = &party.media[index];
    let stream = media.stream.map(|stream| call.stream(stream));
    MediaView {
        kind: Bytes::copy_from_slice(&media.kind),
        protocol: media.protocol().cloned().unwrap_or(Protocol::RtpAvp),
        stream: media.stream,
        bundled_with: party.carrier(index),
        signalled: stream.and_then(|stream| stream.remote),
        suite: stream.and_then(Stream::suite).map(Profile::name),
        shared: stream.and_then(Stream::local_crypto).is_some_and(|local| local.shared),
        weaknesses: stream.map_or(Weaknesses::NONE, Stream::weaknesses),
        direction: media.said.as_ref().map(|said| said.direction),
        rtcp_mux: stream.is_some_and(|stream| stream.mux == Settled::OnePort),
        strict_source: stream.is_some_and(|stream| stream.strict_source),
        ice: stream.and_then(ice_view),
        dtls: stream.and_then(dtls_view),
    }
}

fn ice_view(stream: &Stream) -> Option<IceStatistics> {
    let leg = stream.leg()?;
    let ice = leg.ice.as_ref()?;
    let state = match (leg.ice_failed(), &leg.selected, ice.peer_agent()) {
        (Some(_), ..) => IceState::Failed,
        (None, Some(_), _) => IceState::Connected,
        (None, None, Some(_)) => IceState::Checking,
        (None, None, None) => IceState::Waiting,
    };
    Some(IceStatistics {
        state,
        controlling: match ice.role() {
            IceRole::Controlling => Side::Us,
            IceRole::Controlled => Side::Peer,
        },
        lite: ice.own.agent == IceAgent::Lite,
        peer_lite: ice.peer_agent() == Some(IceAgent::Lite),
        trickle: ice.own.options.trickle,
        selected: leg.selected.map(|pair| (pair.local, pair.remote)),
        reason: leg.ice_failed().map(str::to_owned),
    })
}

fn dtls_view(stream: &Stream) -> Option<DtlsStatistics> {
    let association = stream.association()?;
    let handshake = stream.leg().and_then(|leg| leg.handshake(association.epoch));
    let (state, reason) = match (handshake, association.role()) {
        (Some(Handshake::Secured(_)), _) => (DtlsState::Secured, None),
        (Some(Handshake::Failed(reason)), _) => (DtlsState::Failed, Some(reason.clone())),
        (None, Some(_)) => (DtlsState::Handshaking, None),
        (None, None) => (DtlsState::Waiting, None),
    };
    Some(DtlsStatistics {
        state,
        client: association.role().map(|role| match role {
            DtlsRole::Client => Side::Us,
            DtlsRole::Server => Side::Peer,
        }),
        profile: stream.suite().map(Profile::name),
        reason,
    })
}
