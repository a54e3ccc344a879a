//! An answer: what both sides have said comes into force.
//!
//! Each section of the answer is weighed against what its party was offered. Where the
//! protection agreed on is not to be had (no usable key, another suite than offered, plain RTP
//! where SRTP was offered) the section is rejected: silence is better than media in clear.
//! An answer may come again (183, then 200): it is weighed against the same offer, and what it
//! repeats changes nothing.

use bytes::Bytes;
use ng::request::Signal;
use ng::sdp::{MediaRewrite, MediaSection};
use srtp::Profile;

use crate::relay::command::{Remote, StreamIndex};

use super::body;
use super::call::Call;
use super::crypto::{self, LocalCrypto, PeerCrypto};
use super::dialogue;
use super::media::{Kind, Said};
use super::mux::{self, Settled};
use super::offer::{Context, apply_flags};
use super::origin;
use super::party::PartyIndex;
use super::ports::LocalPorts;
use super::stream::SdesKeys;
use super::{Refused, Warnings, terms};

/// A section on its way through an answer.
enum Draft {
    Relay(Box<Agreed>),
    /// The answerer does not take it.
    Declined,
    Reject,
    PassThrough,
}

/// What a section comes to.
struct Agreed {
    offerer: Leg,
    answerer: Leg,
    said: Said,
}

/// A section as both sides have it, or why it is rejected.
type Weighed = Result<Agreed, &'static str>;

/// One side of it.
struct Leg {
    stream: StreamIndex,
    /// `None` is plain RTP.
    keys: Option<SdesKeys>,
    mux: Settled,
}

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
    let session = origin::session(signal, body::first_address(&rewrites), context.instance);
    let origin = &mut call.parties[offerer.0].origin;
    Ok(origin::write(origin, sdp, session, &rewrites, signal.replace))
}

struct Weighing<'a> {
    context: &'a Context<'a>,
    call: &'a Call,
    offerer: PartyIndex,
    answerer: PartyIndex,
    index: usize,
}

impl Weighing<'_> {
    fn section(&self, section: &MediaSection, warnings: &mut Warnings) -> Result<Draft, Refused> {
        let crypto = PeerCrypto::usable(self.context.settings, &section.crypto);
        match Kind::of(section, &crypto) {
            Kind::Foreign => return Ok(self.foreign()),
            Kind::Disabled => return Ok(Draft::Declined),
            Kind::Dtls | Kind::NoKey => {
                warnings.push(NO_KEY);
                return Ok(Draft::Reject);
            }
            Kind::Relay => {}
        }
        let said = Said::of(section, self.context.signal, crypto)?;
        match self.relay(said)? {
            Ok(agreed) => Ok(Draft::Relay(Box::new(agreed))),
            Err(reason) => {
                warnings.push(reason);
                Ok(Draft::Reject)
            }
        }
    }

    /// What was offered as RTP cannot be answered as something else.
    fn foreign(&self) -> Draft {
        let media = self.call.parties[self.offerer.0].media.get(self.index);
        match media.is_some_and(|media| media.said.is_none()) {
            true => Draft::PassThrough,
            false => Draft::Reject,
        }
    }

    /// Weighs a section that both sides may have. An error is the request's, not the section's.
    fn relay(&self, said: Said) -> Result<Weighed, Refused> {
        let (parties, index) = (&self.call.parties, self.index);
        let from = self.call.open_stream(self.offerer, index);
        let to = self.call.open_stream(self.answerer, index);
        let (Some(from), Some(to)) = (from, to) else { return Ok(Err(NOT_OFFERED)) };
        let (offerer, answerer) =
            (&parties[self.offerer.0].media[index], &parties[self.answerer.0].media[index]);
        let (Some(offer), Some(offered)) = (&offerer.said, &answerer.offered) else {
            return Ok(Err(NOT_OFFERED));
        };
        if said.protocol.is_srtp() != offered.protocol.is_srtp() {
            return Ok(Err(OTHER_PROTECTION));
        }
        let answerer_keys = match offered.protocol.is_srtp() {
            true => match self.answerer_keys(&offered.crypto, to, &said.crypto) {
                Some(keys) => Some(keys),
                None => return Ok(Err(OTHER_SUITE)),
            },
            false => None,
        };
        let other_leg = answerer_keys.as_ref().map(|keys| keys.local.key.profile());
        let shared = answerer_keys.as_ref().filter(|keys| keys.local.shared);
        let offerer_keys = match (offer.protocol.is_srtp(), shared) {
            (true, Some(keys)) => match shared_keys(&offer.crypto, keys) {
                Some(keys) => Some(keys),
                None => return Ok(Err(NOT_SHARED)),
            },
            (false, Some(_)) => return Ok(Err(NOT_SHARED)),
            (true, None) => match self.offerer_keys(&offer.crypto, from, other_leg)? {
                Some(keys) => Some(keys),
                None => return Ok(Err(NO_SUITE)),
            },
            (false, None) => None,
        };
        let to_mux = mux::answerer_leg(offered, &said);
        let from_mux = mux::offerer_leg(offerer, offer, to_mux);
        Ok(Ok(Agreed {
            offerer: Leg { stream: from, keys: offerer_keys, mux: from_mux },
            answerer: Leg { stream: to, keys: answerer_keys, mux: to_mux },
            said,
        }))
    }

    /// The key pair for the answerer: the one that it chose of ours, and its own. What its answer
    /// leaves out is left out both ways.
    fn answerer_keys(
        &self,
        offered: &[LocalCrypto],
        stream: StreamIndex,
        answered: &[PeerCrypto],
    ) -> Option<SdesKeys> {
        let (settings, agreed) = (self.context.settings, self.agreed(stream));
        let (local, peer) = crypto::accepted(settings, offered, agreed, answered)?;
        let local = LocalCrypto { session: peer.session, ..local.dangerous_duplicate() };
        Some(SdesKeys { peer: peer.dangerous_duplicate(), local })
    }

    /// The key pair for the offerer: its key of the suite chosen, and ours, which stays while the
    /// suite does.
    fn offerer_keys(
        &self,
        offered: &[PeerCrypto],
        stream: StreamIndex,
        other_leg: Option<Profile>,
    ) -> Result<Option<SdesKeys>, Refused> {
        let in_force = self.in_force(stream);
        let profile = in_force.map(|local| local.key.profile());
        let sdes = &self.context.signal.sdes;
        let Some(peer) = crypto::choose(self.context.settings, sdes, offered, profile, other_leg)
        else {
            return Ok(None);
        };
        let session = terms::to_answer(self.context.settings, sdes, peer.session);
        let goes_on = |local: &&LocalCrypto| {
            // Under other terms its packet indexes would start over.
            local.key.profile() == peer.profile() && local.session == session
        };
        let key = match in_force.filter(goes_on) {
            Some(local) => local.key.dangerous_duplicate(),
            None => crypto::generate(peer.profile(), self.context.random)?,
        };
        let local = LocalCrypto { tag: peer.tag, key, session, used: true, shared: false };
        Ok(Some(SdesKeys { peer: peer.dangerous_duplicate(), local }))
    }

    /// Our key in force towards a party.
    fn in_force(&self, stream: StreamIndex) -> Option<&LocalCrypto> {
        self.call.stream(stream).own_crypto()
    }

    /// The key that a party holds, be it ours or the other party's.
    fn agreed(&self, stream: StreamIndex) -> Option<&LocalCrypto> {
        self.call.stream(stream).local_crypto()
    }
}

/// The offerer's pair where the answerer chose the offerer's own key: that key, and the
/// answerer's. None where a later offer took that key back, or where the answerer's packets carry
/// an MKI, which we do not print.
fn shared_keys(offered: &[PeerCrypto], answerer: &SdesKeys) -> Option<SdesKeys> {
    let own = |peer: &&PeerCrypto| peer.unnamed() == Some(&answerer.local.key);
    let peer = offered.iter().find(own)?;
    let key = answerer.peer.unnamed()?.dangerous_duplicate();
    let session = answerer.peer.session;
    let local = LocalCrypto { tag: peer.tag, key, session, used: true, shared: true };
    Some(SdesKeys { peer: peer.dangerous_duplicate(), local })
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
    let chosen = to.keys.as_ref().map(|keys| keys.local.tag);
    bring_into_force(call, to, Some(remote), streams.0);
    let media = call.parties[answerer.0].section(index);
    media.said = Some(said);
    let offered = media.offered.iter_mut().flat_map(|offered| &mut offered.crypto);
    offered.filter(|local| Some(local.tag) == chosen).for_each(|local| local.used = true);
}

fn bring_into_force(call: &mut Call, leg: Leg, remote: Option<Remote>, peer: StreamIndex) {
    let stream = call.stream_mut(leg.stream);
    if let Some(remote) = remote {
        stream.point_to(remote);
    }
    match leg.keys {
        Some(keys) if keys.local.shared => stream.share(keys),
        Some(keys) => stream.protect(keys),
        None => stream.clear(),
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

const NO_KEY: &str = "media rejected: the answer has SRTP without a usable a=crypto";
const NOT_OFFERED: &str = "media rejected: the answer has a section that was not offered";
const OTHER_PROTECTION: &str = "media rejected: SRTP offered and RTP answered, or the reverse";
const OTHER_SUITE: &str = "media rejected: the answer's a=crypto is none of those offered";
const NOT_SHARED: &str =
    "media rejected: the key passed through was withdrawn or answered with an MKI";
const NO_SUITE: &str = "media rejected: no suite offered is allowed by SDES options";
