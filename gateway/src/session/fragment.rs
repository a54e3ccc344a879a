//! Trickled candidates (RFC 8838, RFC 8840): fragments of SDP that come between offers and answers.
//!
//! A fragment adds to what its party said and to the ICE in force, and to nothing else. There is
//! nothing to say back: all candidates of ours are in the SDP that we write. Candidates of another
//! generation than the party's last offer or answer are late, or early, and left out.

use bytes::Bytes;
use ng::request::Signal;
use ng::sdp::{Fragment, IceDescription};

use super::call::Call;
use super::party::{Media, PartyIndex};
use super::{Refused, Warnings};

/// Who sent a fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sender {
    /// It came with `offer`: the party of the from-tag.
    Offerer,
    /// It came with `answer`: the party of the to-tag.
    Answerer,
}

/// Reads a fragment's body.
pub(super) fn parse(body: &Bytes) -> Result<Fragment, Refused> {
    Fragment::parse(body).map_err(|error| {
        tracing::debug!(%error, "fragment refused");
        Refused(error.incumbent())
    })
}

/// Takes a fragment's candidates into the call.
pub(super) fn take(
    call: &mut Call,
    signal: &Signal,
    sender: Sender,
    fragment: &Fragment,
    warnings: &mut Warnings,
) {
    let party = match sender {
        Sender::Offerer => call.party(&signal.from_tag),
        Sender::Answerer => signal.to_tag.as_deref().and_then(|tag| call.party(tag)),
    };
    let Some(party) = party else { return warnings.push(UNKNOWN_PARTY) };
    if fragment.sections.is_empty() {
        for index in 0..call.parties[party.0].media.len() {
            trickle(call, party, index, &fragment.ice);
        }
    }
    for (place, section) in fragment.sections.iter().enumerate() {
        let is_it = |media: &Media| {
            media.said.as_ref().is_some_and(|said| said.mid.as_deref() == section.mid.as_deref())
        };
        let index = match section.mid {
            Some(_) => call.parties[party.0].media.iter().position(is_it),
            None => Some(place),
        };
        if let Some(index) = index {
            trickle(call, party, index, &section.ice);
        }
    }
}

/// Takes candidates of one section.
fn trickle(call: &mut Call, party: PartyIndex, index: usize, said: &IceDescription) {
    let media = call.parties[party.0].media.get_mut(index);
    if let Some(ice) = media.and_then(|media| media.said.as_mut()?.ice.as_mut()) {
        ice.trickle(said);
    }
    if let Some(stream) = call.open_stream(party, index) {
        call.stream_mut(stream).trickle(said);
    }
}

const UNKNOWN_PARTY: &str = "candidates of a party that has said nothing yet are left out";
