//! An offer: what the callee is shown, and what the call remembers for the answer.
//!
//! 1. The two parties are found, or will come into being (`dialogue`).
//! 2. Each section is drafted (`draft`): what the offerer said, what the answerer will be offered,
//!    the ports and keys for it. All that can fail is there, and nothing of the call has changed yet.
//! 3. The drafts are committed, which cannot fail, and the body is written from the new state.
//!
//! What the offerer said holds from the answer on: a re-INVITE may yet be refused by the other
//! side. Only a stream that nothing holds for yet takes it at once, so that early media flows.

use std::time::Instant;

use bytes::Bytes;
use ng::request::{DtlsRole as Wanted, Signal};
use ng::sdp::{MediaRewrite, Sdp, SessionRewrite};
use ring::rand::SystemRandom;

use crate::relay::command::StreamIndex;
use crate::webrtc::plan::DtlsRole;

use super::body;
use super::bundle;
use super::call::Call;
use super::dialogue::Side;
use super::draft::{self, Draft, Drafts, Fate, RelayDraft};
use super::ice::{self, IceLeg, OwnIce};
use super::lease::Lease;
use super::mux::{MuxAnswer, Settled};
use super::origin;
use super::party::{Party, PartyIndex};
use super::place::Place;
use super::ports::{LocalPorts, PortSource};
use super::seat::Seat;
use super::settings::Settings;
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

/// Takes an offer into the call and returns the body for the answerer.
pub(super) fn offer<P: PortSource>(
    context: &Context<'_>,
    ports: &mut P,
    call: &mut Call,
    warnings: &mut Warnings,
    freed: &mut Vec<LocalPorts>,
) -> Result<Bytes, Refused> {
    let mut lease = Lease::new(ports);
    let drafts = draft::draft(context, &mut lease, call, warnings)?;
    let fates: Vec<Fate> = drafts.sections.iter().map(Draft::fate).collect();
    let answerer = commit(context, &mut lease, call, drafts, freed);
    let (signal, sdp) = (context.signal, context.sdp);
    let mut rewrites: Vec<MediaRewrite> = fates
        .into_iter()
        .enumerate()
        .map(|(index, fate)| match fate {
            Fate::Relay => body::for_answerer(call, answerer, index, &sdp.media[index], signal),
            Fate::Reject => body::REJECTED,
            Fate::PassThrough => MediaRewrite::PassThrough,
        })
        .collect();
    let group = bundle::offered(call, answerer, sdp, &rewrites);
    for (index, media) in call.parties[answerer.0].media.iter_mut().enumerate() {
        if let Some(offered) = &mut media.offered {
            offered.bundled = group.contains(&index);
        }
    }
    let session = SessionRewrite {
        ice_lite: body::offers_lite(call, answerer),
        bundles: bundle::write(sdp, &mut rewrites, &[group]),
        ..origin::session(signal, body::first_address(&rewrites), context.instance)
    };
    let origin = &mut call.parties[answerer.0].origin;
    Ok(origin::write(origin, sdp, session, &rewrites, signal.replace))
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
    for (index, section) in sdp.media.iter().enumerate() {
        for party in [offerer, answerer] {
            call.parties[party.0].section(index).kind = (*section.kind).into();
        }
    }
    let mut sections: Vec<Option<Draft>> = drafts.sections.into_iter().map(Some).collect();
    for index in drafts.order {
        match sections[index].take() {
            Some(Draft::Relay(draft)) => {
                let parties = (offerer, answerer);
                let seats = [(offerer, draft.offerer), (answerer, draft.answerer)];
                let streams = seats.map(|(party, seat)| {
                    take_seat(context, lease, call, (party, index), seat, freed)
                });
                let [Some(from), Some(to)] = streams else { continue };
                commit_section(call, parties, (from, to), index, *draft, signal);
            }
            Some(Draft::Reject | Draft::PassThrough) | None => {
                withdraw(call, offerer, answerer, index, freed);
            }
        }
    }
    // RFC 3264 section 8 has no way to leave a section out: one that is missing is withdrawn.
    for index in sdp.media.len()..call.parties[offerer.0].media.len() {
        withdraw(call, offerer, answerer, index, freed);
    }
    answerer
}

/// Nothing of a section is offered any more; its streams stay until the answer. One that it shares
/// and that no answer holds for is now what the other sections make of it.
fn withdraw(
    call: &mut Call,
    offerer: PartyIndex,
    answerer: PartyIndex,
    index: usize,
    freed: &mut Vec<LocalPorts>,
) {
    let stream = call.open_stream(offerer, index);
    let unheld = stream.is_some_and(|stream| !call.stream(stream).answered);
    if unheld && call.shares(offerer, index) {
        call.leave(offerer, index, freed);
    }
    let media = call.parties[offerer.0].section(index);
    if let Some(said) = media.said.take().filter(|said| said.membership.is_some()) {
        media.withdrawn = Some(Box::new(said));
    }
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

/// What carries a section is what its transport, keys and addresses are said with.
fn commit_section(
    call: &mut Call,
    (offerer, answerer): (PartyIndex, PartyIndex),
    (from, to): (StreamIndex, StreamIndex),
    index: usize,
    draft: RelayDraft,
    signal: &Signal,
) {
    let carries = [draft.offerer, draft.answerer].map(|seat| seat.carrier().is_none());
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
    commit_ice(call, (from, to), draft.offered.ice.as_ref(), signal);
    call.parties[answerer.0].section(index).offered = Some(draft.offered);
    let media = call.parties[offerer.0].section(index);
    media.mux_answer = MuxAnswer::of(signal.rtcp_mux);
    let remote = draft.said.remote(Settled::TwoPorts);
    media.said = Some(draft.said);
    media.withdrawn = None;
    if !call.stream(from).answered && carries[0] {
        call.stream_mut(from).point_to(remote);
        prepare(call, offerer, index, from);
    }
    if !call.stream(to).answered {
        call.parties[answerer.0].section(index).peer = Some(from);
        prepare(call, answerer, index, to);
    }
}

/// What we are towards both sides. An answerer that has yet to speak may check at once; one that
/// has goes on with what is in force until it answers.
fn commit_ice(
    call: &mut Call,
    (from, to): (StreamIndex, StreamIndex),
    offered: Option<&OwnIce>,
    signal: &Signal,
) {
    let sides = [
        (from, ice::towards_offerer(signal.ice.lite)),
        (to, ice::towards_answerer(signal.ice.lite)),
    ];
    for (stream, agent) in sides {
        if agent.is_some() {
            call.stream_mut(stream).leg_mut().agent = agent;
        }
    }
    let to = call.stream_mut(to);
    if signal.flags.reset && to.leg().is_some() {
        to.leg_mut().declined_ice = false;
    }
    if !to.answered && (offered.is_some() || to.leg().is_some()) {
        to.leg_mut().ice = offered.cloned().map(IceLeg::offered);
    }
}

/// Before the answer plain RTP can flow at once, while SRTP waits for its keys.
fn prepare(call: &mut Call, party: PartyIndex, index: usize, stream: StreamIndex) {
    match call.parties[party.0].section(index).is_plain() {
        true => call.stream_mut(stream).clear(),
        false => call.stream_mut(stream).unsettle(),
    }
}

/// The section's stream from now on.
fn take_seat<P: PortSource>(
    context: &Context<'_>,
    lease: &mut Lease<'_, P>,
    call: &mut Call,
    (party, index): (PartyIndex, usize),
    seat: Seat,
    freed: &mut Vec<LocalPorts>,
) -> Option<StreamIndex> {
    let stream = match seat {
        Seat::At(stream) => stream,
        Seat::With(carrier) => call.open_stream(party, carrier)?,
        Seat::New(leased) => {
            let ports = lease.take(leased)?;
            let mut stream = Stream::new(ports.local, ports.sockets);
            stream.learning = context.settings.learning;
            stream.strict_source = context.settings.strict_source;
            stream.mark(context.settings.tos);
            call.add_stream(stream)
        }
    };
    call.sit((party, index), stream, freed);
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
    if let Some(role) = signal.dtls.role {
        stream.leg_mut().preference = Some(match role {
            Wanted::Active => DtlsRole::Client,
            Wanted::Passive => DtlsRole::Server,
        });
    }
}
