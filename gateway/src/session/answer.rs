//! An answer: what both sides have said comes into force.
//!
//! Each section of the answer is weighed against what its party was offered (`agree`, `weigh`), then
//! all of them are committed, which cannot fail. An answer may come again (183, then 200): it is weighed
//! against the same offer, and what it repeats changes nothing.

use bytes::Bytes;
use ng::request::Signal;
use ng::sdp::{MediaRewrite, SessionRewrite};

use crate::relay::command::{Remote, StreamIndex};

use super::agree::{self, Agreed, Draft, Seat};
use super::body;
use super::bundle;
use super::call::Call;
use super::dialogue;
use super::draft::Fate;
use super::offer::{Context, apply_flags};
use super::origin;
use super::party::PartyIndex;
use super::ports::LocalPorts;
use super::weigh::{Agreement, Leg};
use super::{Refused, Warnings};

/// Takes an answer into the call and returns the body for the offerer.
pub(super) fn answer(
    context: &Context<'_>,
    call: &mut Call,
    warnings: &mut Warnings,
    freed: &mut Vec<LocalPorts>,
) -> Result<Bytes, Refused> {
    let (signal, sdp) = (context.signal, context.sdp);
    let (offerer, answerer) = dialogue::of_answer(call, signal)?;
    let drafts = agree::sections(context, call, (offerer, answerer), warnings)?;
    let streams = agree::streams(&drafts);

    name(call, offerer, answerer, signal);
    let answered = drafts.len();
    let mut fates = Vec::with_capacity(answered);
    for (index, (draft, streams)) in drafts.into_iter().zip(streams).enumerate() {
        fates.push(match (draft, streams) {
            (Draft::Relay(agreed), Some(streams)) => {
                commit(call, (offerer, answerer), index, *agreed, streams, signal, freed);
                Fate::Relay
            }
            (Draft::Declined, _) => {
                set_aside(call, offerer, answerer, index, freed);
                Fate::Reject
            }
            (Draft::PassThrough, _) => {
                end_section(call, offerer, answerer, index, freed);
                Fate::PassThrough
            }
            (Draft::Relay(_) | Draft::Reject, _) => {
                end_section(call, offerer, answerer, index, freed);
                Fate::Reject
            }
        });
    }
    // RFC 3264 section 6 wants a section for each one offered; one left out is one refused.
    for index in answered..call.parties[offerer.0].media.len() {
        set_aside(call, offerer, answerer, index, freed);
    }
    call.answered = true;
    // Once all is in force: a section may share the transport of one that comes after it.
    let rewrite = |(index, fate): (usize, Fate)| match fate {
        Fate::Relay => body::for_offerer(call, offerer, index, &sdp.media[index], signal),
        Fate::Reject => body::rejected(call, offerer, index),
        Fate::PassThrough => MediaRewrite::PassThrough,
    };
    let mut rewrites: Vec<MediaRewrite> = fates.into_iter().enumerate().map(rewrite).collect();
    let groups = bundle::answered(call, offerer, sdp, &rewrites);
    let session = SessionRewrite {
        ice_lite: body::answers_lite(call, offerer),
        bundles: bundle::write(sdp, &mut rewrites, &groups),
        ..origin::session(signal, body::first_address(&rewrites), context.instance)
    };
    let origin = &mut call.parties[offerer.0].origin;
    Ok(origin::write(origin, sdp, session, &rewrites, signal.replace))
}

/// The answerer gets its name, and the two are each other's now.
fn name(call: &mut Call, offerer: PartyIndex, answerer: PartyIndex, signal: &Signal) {
    let party = &mut call.parties[answerer.0];
    if let Some(tag) = &signal.to_tag {
        party.answer_as(tag);
    }
    if let Some(label) = &signal.label {
        party.label = Some((**label).into());
    }
    party.partner = Some(offerer);
    call.parties[offerer.0].partner = Some(answerer);
}

/// Both sides of a section. The transports come into force with the sections that carry them.
fn commit(
    call: &mut Call,
    (offerer, answerer): (PartyIndex, PartyIndex),
    index: usize,
    agreed: Agreed,
    (from, to): (StreamIndex, StreamIndex),
    signal: &Signal,
    freed: &mut Vec<LocalPorts>,
) {
    call.sit((offerer, index), from, freed);
    call.sit((answerer, index), to, freed);
    let callee = call.stream_mut(to);
    apply_flags(callee, signal);
    if signal.flags.asymmetric {
        callee.learn_nothing();
    }
    if let Seat::Carries(leg) = agreed.offerer {
        let offer = call.parties[offerer.0].media[index].said.as_ref();
        let remote = offer.map(|offer| offer.remote(leg.mux));
        bring_into_force(call, *leg, remote);
    }
    if let Seat::Carries(leg) = agreed.answerer {
        note_choice(call, answerer, index, &leg);
        let remote = agreed.said.remote(leg.mux);
        bring_into_force(call, *leg, Some(remote));
    }
    call.parties[offerer.0].section(index).peer = Some(to);
    let media = call.parties[answerer.0].section(index);
    media.peer = Some(from);
    media.said = Some(agreed.said);
}

/// What the answerer has chosen of what it was offered.
fn note_choice(call: &mut Call, answerer: PartyIndex, index: usize, leg: &Leg) {
    let chosen = match &leg.protection {
        Agreement::Sdes(keys) => Some(keys.local.tag),
        Agreement::Clear | Agreement::Dtls(_) => None,
    };
    let media = call.parties[answerer.0].section(index);
    let offered_ice = media.offered.as_ref().is_some_and(|offered| offered.ice.is_some());
    let offered = media.offered.iter_mut().flat_map(|offered| &mut offered.crypto);
    offered.filter(|local| Some(local.tag) == chosen).for_each(|local| local.used = true);
    if offered_ice && leg.ice.is_none() {
        call.stream_mut(leg.stream).leg_mut().declined_ice = true;
    }
}

fn bring_into_force(call: &mut Call, leg: Leg, remote: Option<Remote>) {
    let stream = call.stream_mut(leg.stream);
    if let Some(remote) = remote {
        stream.point_to(remote);
    }
    match leg.protection {
        Agreement::Sdes(keys) if keys.local.shared => stream.share(*keys),
        Agreement::Sdes(keys) => stream.protect(*keys),
        Agreement::Dtls(association) => stream.associate(*association),
        Agreement::Clear => stream.clear(),
    }
    if leg.ice.is_some() || stream.leg().is_some() {
        stream.leg_mut().ice = leg.ice;
    }
    stream.mux = leg.mux;
    stream.answered = true;
}

/// A section that this answer does not take. While the offer of it stands another answer may (the
/// callee after an announcement, or another one): its ports stay, and nothing flows.
fn set_aside(
    call: &mut Call,
    offerer: PartyIndex,
    answerer: PartyIndex,
    index: usize,
    freed: &mut Vec<LocalPorts>,
) {
    let streams = (call.open_stream(offerer, index), call.open_stream(answerer, index));
    let offer = call.parties[offerer.0].section(index).said.is_some();
    let media = call.parties[answerer.0].section(index);
    let stands = offer && media.offered.is_some();
    media.said = None;
    match streams {
        (Some(_), Some(to)) if stands => {
            media.peer = None;
            let media = call.parties[offerer.0].section(index);
            media.peer = media.peer.filter(|peer| *peer != to);
        }
        _ => end_section(call, offerer, answerer, index, freed),
    }
}

/// A section refused or taken away. The offerer's stream stays while another branch may use it.
fn end_section(
    call: &mut Call,
    offerer: PartyIndex,
    answerer: PartyIndex,
    index: usize,
    freed: &mut Vec<LocalPorts>,
) {
    call.leave(answerer, index, freed);
    let wanted_by_another = (0..call.parties.len()).map(PartyIndex).any(|other| {
        other != answerer
            && call.parties[other.0].partner == Some(offerer)
            && call.open_stream(other, index).is_some()
    });
    if !wanted_by_another {
        call.leave(offerer, index, freed);
    }
}
