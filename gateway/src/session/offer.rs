//! An offer: what the callee is shown, and what the call remembers for the answer.
//!
//! 1. The two parties are found, or will come into being ([`Dialogue`]).
//! 2. Each section is drafted: what the offerer said, what the answerer will be offered, the
//!    ports and keys for it. All that can fail is here, and nothing of the call has changed yet.
//! 3. The drafts are committed, which cannot fail, and the body is written from the new state.
//!
//! What the offerer said holds from the answer on: a re-INVITE may yet be refused by the other
//! side. Only a stream that nothing holds for yet takes it at once, so that early media flows.

use std::time::Instant;

use bytes::Bytes;
use ng::request::{AddressFamily, Signal, Transport};
use ng::sdp::{
    Direction, KeyPadding, LocalMedia, MediaRewrite, MediaSection, Protocol, RtcpLine, Sdp,
};
use ring::rand::SystemRandom;

use crate::relay::command::StreamIndex;

use super::call::{Call, PARTIES_MAX, STREAMS_MAX};
use super::crypto::{self, LocalCrypto, PeerCrypto};
use super::dialogue::{Dialogue, Side};
use super::lease::{Lease, Leased, family_on};
use super::media::{self, Kind, Said};
use super::mux::{self, MuxAnswer, Settled};
use super::origin;
use super::party::{Party, PartyIndex, Place};
use super::ports::{InterfaceIndex, PortSource};
use super::settings::{Settings, family_of};
use super::stream::Stream;
use super::{Refused, Warnings};

/// What a request is carried out with.
pub(super) struct Context<'a> {
    pub(super) settings: &'a Settings,
    pub(super) random: &'a SystemRandom,
    pub(super) now: Instant,
}

/// A section on its way through an offer.
enum Draft {
    Relay(Box<RelayDraft>),
    Reject,
    PassThrough,
}

/// What becomes of a section in the body.
#[derive(Clone, Copy)]
enum Fate {
    Relay,
    Reject,
    PassThrough,
}

impl Draft {
    fn fate(&self) -> Fate {
        match self {
            Self::Relay(_) => Fate::Relay,
            Self::Reject => Fate::Reject,
            Self::PassThrough => Fate::PassThrough,
        }
    }
}

/// A section that will be relayed.
struct RelayDraft {
    said: Said,
    protocol: Protocol,
    offered: Vec<LocalCrypto>,
    mux_offered: bool,
    /// Ports for the offerer, where its section has none.
    offerer_ports: Option<Leased>,
    /// Ports for the answerer, where its section has none.
    answerer_ports: Option<Leased>,
}

/// Everything drafted.
struct Drafts {
    dialogue: Dialogue,
    places: Places,
    sections: Vec<Draft>,
}

/// Where the two sides' new ports are opened.
#[derive(Clone, Copy)]
struct Places {
    offerer: Place,
    answerer: Place,
}

/// Takes an offer into the call and returns the body for the answerer.
pub(super) fn offer<P: PortSource>(
    context: &Context<'_>,
    ports: &mut P,
    call: &mut Call,
    signal: &Signal,
    sdp: &Sdp,
    warnings: &mut Warnings,
) -> Result<Bytes, Refused> {
    let mut lease = Lease::new(ports);
    let drafts = draft(context, &mut lease, call, signal, sdp, warnings)?;
    let fates: Vec<Fate> = drafts.sections.iter().map(Draft::fate).collect();
    let answerer = commit(context, &mut lease, call, signal, sdp, drafts);
    let rewrites: Vec<MediaRewrite> = fates
        .into_iter()
        .enumerate()
        .map(|(index, fate)| match fate {
            Fate::Relay => rewrite(call, answerer, index, &sdp.media[index], signal),
            Fate::Reject => MediaRewrite::Reject,
            Fate::PassThrough => MediaRewrite::PassThrough,
        })
        .collect();
    let session = origin::session(signal, first_address(&rewrites), &context.settings.instance);
    let origin = &mut call.parties[answerer.0].origin;
    Ok(origin::write(origin, sdp, session, &rewrites, signal.replace))
}

fn draft<P: PortSource>(
    context: &Context<'_>,
    lease: &mut Lease<'_, P>,
    call: &Call,
    signal: &Signal,
    sdp: &Sdp,
    warnings: &mut Warnings,
) -> Result<Drafts, Refused> {
    let dialogue = Dialogue::of_offer(call, signal)?;
    // Two of each at most: near enough to the limit to refuse.
    if call.parties.len() + 2 > PARTIES_MAX
        || call.streams.len() + 2 * sdp.media.len() > STREAMS_MAX
    {
        return Err(Refused::TOO_LARGE);
    }
    let places = places(context.settings, call, dialogue, signal, sdp, warnings);
    let mut refusal = None;
    let mut sections = Vec::with_capacity(sdp.media.len());
    let mut drafting = Drafting { context, lease, call, signal, dialogue, places };
    for (index, section) in sdp.media.iter().enumerate() {
        let (draft, reason) = drafting.section(index, section)?;
        refusal = refusal.or(reason);
        sections.push(draft);
    }
    if let Some(refusal) = refusal {
        if sections.iter().all(|draft| matches!(draft, Draft::Reject)) {
            return Err(refusal);
        }
        warnings.push(refusal.0);
    }
    Ok(Drafts { dialogue, places, sections })
}

struct Drafting<'a, 'l, P: PortSource> {
    context: &'a Context<'a>,
    lease: &'a mut Lease<'l, P>,
    call: &'a Call,
    signal: &'a Signal,
    dialogue: Dialogue,
    places: Places,
}

impl<P: PortSource> Drafting<'_, '_, P> {
    /// A section's draft, with the reason when it is rejected for what it asks.
    fn section(
        &mut self,
        index: usize,
        section: &MediaSection,
    ) -> Result<(Draft, Option<Refused>), Refused> {
        let crypto = PeerCrypto::usable(&section.crypto);
        let protocol = match &self.signal.transport {
            Some(Transport::To(protocol)) => protocol.clone(),
            Some(Transport::Accept) | None => section.protocol.clone(),
        };
        match Kind::of(section, &crypto) {
            Kind::Foreign => return Ok((Draft::PassThrough, None)),
            Kind::Disabled => return Ok((Draft::Reject, None)),
            Kind::Dtls => return Ok((Draft::Reject, Some(Refused::DTLS))),
            Kind::NoKey => return Ok((Draft::Reject, Some(Refused::NO_KEY))),
            Kind::Relay => {}
        }
        if protocol.is_dtls() || (protocol.is_srtp() && self.signal.sdes.off) {
            return Ok((Draft::Reject, Some(Refused::DTLS)));
        }
        let said = Said::of(section, self.signal, crypto)?;
        let draft = self.relay(index, said, protocol)?;
        Ok((Draft::Relay(Box::new(draft)), None))
    }

    fn relay(
        &mut self,
        index: usize,
        said: Said,
        protocol: Protocol,
    ) -> Result<RelayDraft, Refused> {
        let answerer = open_stream(self.call, self.dialogue.answerer, index);
        let offerer = open_stream(self.call, self.dialogue.offerer, index);
        let stream = answerer.map(|stream| self.call.stream(stream));
        let in_force = match self.signal.flags.reset {
            true => None,
            false => stream.and_then(Stream::local_crypto),
        };
        let (settings, sdes) = (self.context.settings, &self.signal.sdes);
        let offered = match protocol.is_srtp() {
            true => {
                let source = if said.protocol.is_srtp() { &said.crypto[..] } else { &[] };
                crypto::offer(settings, sdes, in_force, source, self.context.random)?
            }
            false => Vec::new(),
        };
        let mux_in_force = stream.map(|stream| stream.mux).unwrap_or_default();
        let mux_offered = mux::offers(self.signal.rtcp_mux, &said, mux_in_force);
        let offerer_ports = match offerer {
            Some(_) => None,
            None => Some(self.lease.open(self.places.offerer)?),
        };
        let answerer_ports = match answerer {
            Some(_) => None,
            None => Some(self.lease.open(self.places.answerer)?),
        };
        Ok(RelayDraft { said, protocol, offered, mux_offered, offerer_ports, answerer_ports })
    }
}

fn open_stream(call: &Call, side: Side, section: usize) -> Option<StreamIndex> {
    match side {
        Side::Known(party) => call.open_stream(party, section),
        Side::New => None,
    }
}

/// Interfaces from `direction`, families from `address-family` and the offerer's addresses; a
/// party that is in the call stays where it is.
fn places(
    settings: &Settings,
    call: &Call,
    dialogue: Dialogue,
    signal: &Signal,
    sdp: &Sdp,
    warnings: &mut Warnings,
) -> Places {
    let mut interface = |name: Option<&Bytes>| {
        // An empty name is one that was not given.
        name.filter(|name| !name.is_empty()).map_or(InterfaceIndex(0), |name| {
            settings.interface(name).unwrap_or_else(|| {
                warnings.push("direction names an unknown interface: the default one is used");
                InterfaceIndex(0)
            })
        })
    };
    let source = sdp
        .media
        .iter()
        .find_map(|section| media::address(section, signal))
        .map_or(AddressFamily::V4, family_of);
    let directions = signal.direction.as_ref();
    let mut place = |side: Side, name: Option<&Bytes>, family: AddressFamily| {
        if let Side::Known(party) = side {
            return call.parties[party.0].place;
        }
        let wanted = Place { interface: interface(name), family };
        Place { family: family_on(settings, wanted), ..wanted }
    };
    Places {
        offerer: place(dialogue.offerer, directions.map(|d| &d.0), source),
        answerer: place(
            dialogue.answerer,
            directions.map(|d| &d.1),
            signal.address_family.unwrap_or(source),
        ),
    }
}

fn commit<P: PortSource>(
    context: &Context<'_>,
    lease: &mut Lease<'_, P>,
    call: &mut Call,
    signal: &Signal,
    sdp: &Sdp,
    drafts: Drafts,
) -> PartyIndex {
    let offerer = enter(call, drafts.dialogue.offerer, drafts.places.offerer, context.now);
    let answerer = enter(call, drafts.dialogue.answerer, drafts.places.answerer, context.now);
    name(call, offerer, answerer, signal);
    for (index, (draft, section)) in drafts.sections.into_iter().zip(&sdp.media).enumerate() {
        for party in [offerer, answerer] {
            call.parties[party.0].section(index).kind = (*section.kind).into();
        }
        match draft {
            Draft::Relay(draft) => {
                commit_section(context, lease, call, (offerer, answerer), index, *draft, signal);
            }
            Draft::Reject | Draft::PassThrough => {
                call.parties[offerer.0].section(index).said = None;
                call.parties[answerer.0].section(index).offered.clear();
            }
        }
    }
    answerer
}

fn enter(call: &mut Call, side: Side, place: Place, now: Instant) -> PartyIndex {
    match side {
        Side::Known(party) => party,
        Side::New => {
            call.parties.push(Party::new(place, now));
            PartyIndex(call.parties.len() - 1)
        }
    }
}

/// Tags, branch, label and partnership.
fn name(call: &mut Call, offerer: PartyIndex, answerer: PartyIndex, signal: &Signal) {
    call.parties[offerer.0].answer_as(&signal.from_tag);
    if let Some(label) = &signal.label {
        call.parties[offerer.0].label = Some((**label).into());
    }
    call.parties[offerer.0].deletion = None;
    let callee = &mut call.parties[answerer.0];
    callee.partner = Some(offerer);
    callee.deletion = None;
    if let Some(tag) = &signal.to_tag {
        callee.answer_as(tag);
    }
    if callee.branch.is_none() && callee.is_anonymous() {
        callee.branch = signal.via_branch.as_deref().map(Into::into);
    }
    let partner = call.parties[offerer.0].partner;
    if partner.is_none_or(|partner| call.parties[partner.0].ended) {
        call.parties[offerer.0].partner = Some(answerer);
    }
}

fn commit_section<P: PortSource>(
    context: &Context<'_>,
    lease: &mut Lease<'_, P>,
    call: &mut Call,
    (offerer, answerer): (PartyIndex, PartyIndex),
    index: usize,
    draft: RelayDraft,
    signal: &Signal,
) {
    let from = stream_for(context, lease, call, offerer, index, draft.offerer_ports);
    let to = stream_for(context, lease, call, answerer, index, draft.answerer_ports);
    let (Some(from), Some(to)) = (from, to) else { return };
    for stream in [from, to] {
        apply_flags(call.stream_mut(stream), signal);
    }
    if signal.flags.asymmetric {
        call.stream_mut(from).learn_nothing();
    }
    if signal.flags.reset {
        call.stream_mut(to).forget_learned();
    }
    let early = call.stream_mut(from);
    if !early.answered {
        early.point_to(draft.said.remote(Settled::TwoPorts));
        early.expect(&draft.said.protocol);
    }
    let callee = call.stream_mut(to);
    if !callee.answered {
        callee.peer = Some(from);
        callee.expect(&draft.protocol);
    }
    let media = call.parties[answerer.0].section(index);
    media.protocol = draft.protocol;
    media.offered = draft.offered;
    media.mux_offered = draft.mux_offered;
    let media = call.parties[offerer.0].section(index);
    media.mux_answer = MuxAnswer::of(signal.rtcp_mux);
    media.protocol = draft.said.protocol.clone();
    media.said = Some(draft.said);
}

/// The section's stream: the one it has, or a new one over the ports leased for it.
fn stream_for<P: PortSource>(
    context: &Context<'_>,
    lease: &mut Lease<'_, P>,
    call: &mut Call,
    party: PartyIndex,
    index: usize,
    leased: Option<Leased>,
) -> Option<StreamIndex> {
    let Some(ports) = leased.and_then(|leased| lease.take(leased)) else {
        return call.open_stream(party, index);
    };
    let mut stream = Stream::new(ports.local, ports.sockets);
    stream.learning = context.settings.learning;
    stream.strict_source = context.settings.strict_source;
    stream.mark(context.settings.tos);
    let stream = call.add_stream(stream);
    call.parties[party.0].section(index).stream = Some(stream);
    Some(stream)
}

/// What the flags of an offer or answer say of a stream. What they leave out stays as it was.
pub(super) fn apply_flags(stream: &mut Stream, signal: &Signal) {
    if let Some(learning) = signal.endpoint_learning {
        stream.learning = learning;
    }
    if signal.flags.strict_source {
        stream.strict_source = true;
    }
    // Negative keeps what the call has.
    stream.mark(signal.tos.and_then(|tos| u8::try_from(tos).ok()));
}

/// How a section is written for the answerer.
fn rewrite(
    call: &Call,
    answerer: PartyIndex,
    index: usize,
    section: &MediaSection,
    signal: &Signal,
) -> MediaRewrite {
    let Some(stream) = call.open_stream(answerer, index) else { return MediaRewrite::Reject };
    let stream = call.stream(stream);
    let media = &call.parties[answerer.0].media[index];
    let settled = match signal.rtcp_mux.require {
        true => Settled::OnePort,
        false if media.mux_offered => stream.mux,
        false => Settled::TwoPorts,
    };
    let crypto = media.offered.iter().map(|local| local.attribute(&signal.sdes)).collect();
    MediaRewrite::Relay(Box::new(LocalMedia {
        rtp: stream.ports.rtp(),
        rtcp: mux::rtcp_line(&signal.flags, &stream.ports, settled),
        rtcp_mux: media.mux_offered,
        protocol: media.protocol.clone(),
        crypto,
        ..written(section, signal, index)
    }))
}

/// What an offer and an answer write alike.
pub(super) fn written(section: &MediaSection, signal: &Signal, index: usize) -> LocalMedia {
    let zero = section.has_zero_address();
    LocalMedia {
        rtp: std::net::SocketAddr::from(([0, 0, 0, 0], 0)),
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
        keep_zero_address: zero && !signal.replace.zero_address,
        generate_mid: signal
            .flags
            .generate_mid
            .then(|| Bytes::from((index + 1).to_string().into_bytes())),
    }
}

/// Our address of the first relayed section, for `replace-origin`.
pub(super) fn first_address(rewrites: &[MediaRewrite]) -> Option<std::net::IpAddr> {
    rewrites.iter().find_map(|rewrite| match rewrite {
        MediaRewrite::Relay(local) => Some(local.rtp.ip()),
        MediaRewrite::Reject | MediaRewrite::PassThrough => None,
    })
}
