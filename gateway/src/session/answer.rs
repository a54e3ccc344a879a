//! An answer: what both sides have said comes into force.
//!
//! Each section of the answer is weighed against what its party was offered (`weigh`), then all of
//! them are committed, which cannot fail. An answer may come again (183, then 200): it is weighed
//! against the same offer, and what it repeats changes nothing.

use bytes::Bytes;
use ng::request::Signal;
use ng::sdp::{MediaRewrite, SessionRewrite};

use crate::relay::command::{Remote, StreamIndex};

use super::body;
use super::bundle;
use super::call::Call;
use super::dialogue;
use super::offer::{Context, apply_flags};
use super::origin;
use super::party::PartyIndex;
use super::ports::LocalPorts;
use super::weigh::{Agreed, Agreement, Draft, Leg, Weighing};
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
    let mut drafts = Vec::with_capacity(sdp.media.len());
    for (index, section) in sdp.media.iter().enumerate() {
        let weighing = Weighing { context, call, offerer, answerer, index };
        drafts.push(weighing.section(section, warnings)?);
    }

    name(call, offerer, answerer, signal);
    let mut rewrites = Vec::with_capacity(drafts.len());
    let answered = drafts.len();
    for (index, (draft, section)) in drafts.into_iter().zip(&sdp.media).enumerate() {
        rewrites.push(match draft {
            Draft::Relay(agreed) => {
                commit(call, offerer, answerer, index, *agreed, signal);
                body::for_offerer(call, offerer, index, section, signal)
            }
            Draft::Declined => {
                set_aside(call, offerer, answerer, index, freed);
                body::rejected(call, offerer, index)
            }
            Draft::Reject => {
                end_section(call, offerer, answerer, index, freed);
                body::rejected(call, offerer, index)
            }
            Draft::PassThrough => {
                end_section(call, offerer, answerer, index, freed);
                MediaRewrite::PassThrough
            }
        });
    }
    // RFC 3264 section 6 wants a section for each one offered; one left out is one refused.
    for index in answered..call.parties[offerer.0].media.len() {
        set_aside(call, offerer, answerer, index, freed);
    }
    call.answered = true;
    let session = SessionRewrite {
        ice_lite: body::answers_lite(call, offerer),
        bundles: bundle::answered(call, offerer, sdp, &rewrites),
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

fn commit(
    call: &mut Call,
    offerer: PartyIndex,
    answerer: PartyIndex,
    index: usize,
    agreed: Agreed,
    signal: &Signal,
) {
    let Agreed { offerer: from, answerer: to, said } = agreed;
    let streams = (from.stream, to.stream);
    let callee = call.stream_mut(to.stream);
    apply_flags(callee, signal);
    if signal.flags.asymmetric {
        callee.learn_nothing();
    }
    let offered = call.parties[offerer.0].media[index].said.as_ref();
    let offered = offered.map(|offer| offer.remote(from.mux));
    bring_into_force(call, from, offered, streams.1);
    let remote = said.remote(to.mux);
    let chosen = match &to.protection {
        Agreement::Sdes(keys) => Some(keys.local.tag),
        Agreement::Clear | Agreement::Dtls(_) => None,
    };
    let declined_ice = to.ice.is_none();
    bring_into_force(call, to, Some(remote), streams.0);
    let media = call.parties[answerer.0].section(index);
    media.said = Some(said);
    let declined_ice =
        declined_ice && media.offered.as_ref().is_some_and(|offered| offered.ice.is_some());
    let offered = media.offered.iter_mut().flat_map(|offered| &mut offered.crypto);
    offered.filter(|local| Some(local.tag) == chosen).for_each(|local| local.used = true);
    if declined_ice {
        call.stream_mut(streams.1).leg_mut().declined_ice = true;
    }
}

fn bring_into_force(call: &mut Call, leg: Leg, remote: Option<Remote>, peer: StreamIndex) {
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
    stream.peer = Some(peer);
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
        (Some(from), Some(to)) if stands => {
            call.stream_mut(to).peer = None;
            let from = call.stream_mut(from);
            from.peer = from.peer.filter(|peer| *peer != to);
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
    if let Some(stream) = call.open_stream(answerer, index) {
        call.end_stream(stream, freed);
    }
    let wanted_by_another = (0..call.parties.len()).map(PartyIndex).any(|other| {
        other != answerer
            && call.parties[other.0].partner == Some(offerer)
            && call.open_stream(other, index).is_some()
    });
    if let Some(stream) = call.open_stream(offerer, index).filter(|_| !wanted_by_another) {
        call.end_stream(stream, freed);
    }
}
