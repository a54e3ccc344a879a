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
use ng::request::{IceMode, Signal, Transport};
use ng::sdp::{MediaRewrite, MediaSection, Protocol, Sdp};
use ring::rand::SystemRandom;

use crate::relay::command::StreamIndex;

use super::body;
use super::call::{Call, PARTIES_MAX, STREAMS_MAX};
use super::crypto::{self, PeerCrypto, Sharing, Shown};
use super::dialogue::{Dialogue, Side};
use super::lease::{Lease, Leased};
use super::media::{Kind, Said};
use super::mux::{self, MuxAnswer, Settled};
use super::origin;
use super::party::{Offered, Party, PartyIndex};
use super::place::{self, Place, Places};
use super::ports::{LocalPorts, PortSource};
use super::settings::{Compat, Settings, family_of};
use super::stream::Stream;
use super::{Refused, Warnings};

/// A request with what it is carried out with.
pub(super) struct Context<'a> {
    pub(super) signal: &'a Signal,
    pub(super) sdp: &'a Sdp,
    pub(super) settings: &'a Settings,
    pub(super) random: &'a SystemRandom,
    /// Our name in the loop protection mark.
    pub(super) instance: &'a str,
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
    offered: Offered,
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

/// Takes an offer into the call and returns the body for the answerer.
pub(super) fn offer<P: PortSource>(
    context: &Context<'_>,
    ports: &mut P,
    call: &mut Call,
    warnings: &mut Warnings,
    freed: &mut Vec<LocalPorts>,
) -> Result<Bytes, Refused> {
    let mut lease = Lease::new(ports);
    let drafts = draft(context, &mut lease, call, warnings)?;
    let fates: Vec<Fate> = drafts.sections.iter().map(Draft::fate).collect();
    let answerer = commit(context, &mut lease, call, drafts, freed);
    let (signal, sdp) = (context.signal, context.sdp);
    let rewrites: Vec<MediaRewrite> = fates
        .into_iter()
        .enumerate()
        .map(|(index, fate)| match fate {
            Fate::Relay => body::for_answerer(call, answerer, index, &sdp.media[index], signal),
            Fate::Reject => body::REJECTED,
            Fate::PassThrough => MediaRewrite::PassThrough,
        })
        .collect();
    let session = origin::session(signal, body::first_address(&rewrites), context.instance);
    let origin = &mut call.parties[answerer.0].origin;
    Ok(origin::write(origin, sdp, session, &rewrites, signal.replace))
}

fn draft<P: PortSource>(
    context: &Context<'_>,
    lease: &mut Lease<'_, P>,
    call: &Call,
    warnings: &mut Warnings,
) -> Result<Drafts, Refused> {
    let dialogue = Dialogue::of_offer(call, context.signal)?;
    let joins = |side| usize::from(side == Side::New);
    let joining = joins(dialogue.offerer) + joins(dialogue.answerer);
    if call.parties.len() + joining > PARTIES_MAX {
        return Err(Refused::TOO_LARGE);
    }
    if matches!(context.signal.ice.mode, IceMode::Force | IceMode::Optional | IceMode::ForceRelay) {
        warnings.push("ICE is not supported yet: its attributes are taken out");
    }
    let weaken = context.signal.sdes.weaken;
    if weaken.weaknesses().any(|weakness| !context.settings.accepted.contains(weakness)) {
        warnings.push(NOT_ACCEPTED);
    }
    let places = place::of(context, call, dialogue, warnings);
    let mut refusal = None;
    let mut sections = Vec::with_capacity(context.sdp.media.len());
    let mut drafting = Drafting { context, lease, call, dialogue, places };
    for (index, section) in context.sdp.media.iter().enumerate() {
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
    dialogue: Dialogue,
    places: Places,
}

impl<'a, P: PortSource> Drafting<'a, '_, P> {
    /// A section's draft, with the reason when it is rejected for what it asks.
    fn section(
        &mut self,
        index: usize,
        section: &MediaSection,
    ) -> Result<(Draft, Option<Refused>), Refused> {
        let crypto = PeerCrypto::usable(self.context.settings, &section.crypto);
        let protocol = match &self.context.signal.transport {
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
        if protocol.is_dtls() || (protocol.is_srtp() && self.context.signal.sdes.off) {
            return Ok((Draft::Reject, Some(Refused::DTLS)));
        }
        let said = Said::of(section, self.context.signal, crypto)?;
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
        let stream = answerer.map(|stream| self.call.stream(stream));
        let shown = match self.context.signal.flags.reset {
            true => Shown { in_force: None, offered: &[] },
            false => self.shown(index, stream),
        };
        let Context { settings, random, signal, .. } = self.context;
        let crypto = match protocol.is_srtp() {
            true => {
                let source = if said.protocol.is_srtp() { &said.crypto[..] } else { &[] };
                let sharing = self.sharing(index, stream);
                crypto::offer(settings, &signal.sdes, shown, (source, sharing), random)?
            }
            false => Vec::new(),
        };
        let mux_in_force = stream.map(|stream| stream.mux).unwrap_or_default();
        let rtcp_mux = mux::offers(signal.rtcp_mux, &said, mux_in_force);
        let offered = Offered { protocol, crypto, rtcp_mux };
        let offerer_ports = self.offerer_ports(index, &said)?;
        let answerer_ports = self.ports(answerer, self.places.answerer)?;
        Ok(RelayDraft { said, offered, offerer_ports, answerer_ports })
    }

    /// Whether the answerer gets the offerer's keys. Not where either leg has a key of ours in
    /// force: its packet indexes are known to us alone and cannot be handed over.
    fn sharing(&self, index: usize, answerer: Option<&Stream>) -> Sharing {
        let flags = &self.context.signal.flags;
        let offerer = open_stream(self.call, self.dialogue.offerer, index);
        let mut legs = offerer.map(|stream| self.call.stream(stream)).into_iter().chain(answerer);
        let wanted = self.context.settings.compat == Compat::Rtpengine
            && !flags.recrypt
            && !flags.no_passthrough;
        match wanted && !legs.any(|leg| leg.own_crypto().is_some()) {
            true => Sharing::OfferersKeys,
            false => Sharing::Never,
        }
    }

    /// The keys that the answerer has seen of a section.
    fn shown(&self, index: usize, stream: Option<&'a Stream>) -> Shown<'a> {
        let party = match self.dialogue.answerer {
            Side::Known(party) => self.call.parties.get(party.0),
            Side::New => None,
        };
        let offered = party.and_then(|party| party.media.get(index)?.offered.as_ref());
        Shown {
            in_force: stream.and_then(Stream::own_crypto),
            offered: offered.map_or(&[], |offered| &offered.crypto),
        }
    }

    /// Ports for the offerer's section. One that it has is of no use once its party has moved to
    /// the other address family: a socket reaches its own.
    fn offerer_ports(&mut self, index: usize, said: &Said) -> Result<Option<Leased>, Refused> {
        let stream = open_stream(self.call, self.dialogue.offerer, index);
        let Some(family) = said.family() else { return self.ports(stream, self.places.offerer) };
        let place = place::in_family(self.context.settings, self.places.offerer, family);
        let call = self.call;
        let bound = |stream: StreamIndex| call.stream(stream).ports.bound.ip();
        self.ports(stream.filter(|stream| family_of(bound(*stream)) == place.family), place)
    }

    /// Ports for a section that has none.
    fn ports(
        &mut self,
        stream: Option<StreamIndex>,
        place: Place,
    ) -> Result<Option<Leased>, Refused> {
        if stream.is_some() {
            return Ok(None);
        }
        if self.call.streams.len() + self.lease.len() >= STREAMS_MAX {
            return Err(Refused::TOO_LARGE);
        }
        self.lease.open(place).map(Some)
    }
}

fn open_stream(call: &Call, side: Side, section: usize) -> Option<StreamIndex> {
    match side {
        Side::Known(party) => call.open_stream(party, section),
        Side::New => None,
    }
}

fn commit<P: PortSource>(
    context: &Context<'_>,
    lease: &mut Lease<'_, P>,
    call: &mut Call,
    drafts: Drafts,
    freed: &mut Vec<LocalPorts>,
) -> PartyIndex {
    let (signal, sdp) = (context.signal, context.sdp);
    let offerer = enter(call, drafts.dialogue.offerer, drafts.places.offerer, context.now);
    let answerer = enter(call, drafts.dialogue.answerer, drafts.places.answerer, context.now);
    name(call, offerer, answerer, signal);
    for (index, (draft, section)) in drafts.sections.into_iter().zip(&sdp.media).enumerate() {
        for party in [offerer, answerer] {
            call.parties[party.0].section(index).kind = (*section.kind).into();
        }
        match draft {
            Draft::Relay(draft) => {
                if draft.offerer_ports.is_some() {
                    end_stream(call, offerer, index, freed);
                }
                commit_section(context, lease, call, (offerer, answerer), index, *draft);
            }
            Draft::Reject | Draft::PassThrough => withdraw(call, offerer, answerer, index),
        }
    }
    // RFC 3264 section 8 has no way to leave a section out: one that is missing is withdrawn.
    for index in sdp.media.len()..call.parties[offerer.0].media.len() {
        withdraw(call, offerer, answerer, index);
    }
    answerer
}

/// Ends the stream that new ports take the place of.
fn end_stream(call: &mut Call, party: PartyIndex, index: usize, freed: &mut Vec<LocalPorts>) {
    if let Some(stream) = call.open_stream(party, index) {
        call.end_stream(stream, freed);
    }
}

/// Nothing of a section is offered any more; its streams stay until the answer.
fn withdraw(call: &mut Call, offerer: PartyIndex, answerer: PartyIndex, index: usize) {
    call.parties[offerer.0].section(index).said = None;
    call.parties[answerer.0].section(index).offered = None;
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
) {
    let signal = context.signal;
    let from = stream_for(context, lease, call, offerer, index, draft.offerer_ports);
    let to = stream_for(context, lease, call, answerer, index, draft.answerer_ports);
    let (Some(from), Some(to)) = (from, to) else { return };
    for stream in [from, to] {
        if call.stream(stream).answered {
            // A re-INVITE may say, with the same address, that the NAT in front of a party moved.
            call.stream_mut(stream).relearn();
        }
        apply_flags(call.stream_mut(stream), signal);
        // Negative keeps what the call has.
        call.stream_mut(stream).mark(signal.tos.and_then(|tos| u8::try_from(tos).ok()));
    }
    if signal.flags.asymmetric {
        call.stream_mut(from).learn_nothing();
    }
    if signal.flags.reset {
        call.stream_mut(to).relearn();
    }
    call.parties[answerer.0].section(index).offered = Some(draft.offered);
    let media = call.parties[offerer.0].section(index);
    media.mux_answer = MuxAnswer::of(signal.rtcp_mux);
    let remote = draft.said.remote(Settled::TwoPorts);
    media.said = Some(draft.said);
    if !call.stream(from).answered {
        call.stream_mut(from).point_to(remote);
        prepare(call, offerer, index, from);
    }
    if !call.stream(to).answered {
        call.stream_mut(to).peer = Some(from);
        prepare(call, answerer, index, to);
    }
}

/// Before the answer plain RTP can flow at once, while SRTP waits for its keys.
fn prepare(call: &mut Call, party: PartyIndex, index: usize, stream: StreamIndex) {
    match call.parties[party.0].section(index).is_plain() {
        true => call.stream_mut(stream).clear(),
        false => call.stream_mut(stream).unsettle(),
    }
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
}

const NOT_ACCEPTED: &str = "SDES-unencrypted_srtp, -unencrypted_srtcp or -unauthenticated_srtp is \
                            ignored: srtp.accept does not name it";
