//! Who talks to whom: from tags and via-branch to the two parties of an offer or answer.

use ng::request::Signal;

use super::Refused;
use super::call::Call;
use super::party::{Party, PartyIndex};

/// One of the two parties of an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// In the call already.
    Known(PartyIndex),
    /// Comes into it with this offer.
    New,
}

/// The two parties of an offer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dialogue {
    pub(super) offerer: Side,
    pub(super) answerer: Side,
}

impl Dialogue {
    /// The parties of an offer. A callee that has not answered is anonymous; each via-branch has
    /// its own.
    pub(super) fn of_offer(call: &Call, signal: &Signal) -> Result<Self, Refused> {
        if signal.to_tag.as_ref() == Some(&signal.from_tag) {
            return Err(Refused::BAD_DIALOGUE);
        }
        let callee = signal.to_tag.as_deref().and_then(|tag| call.party(tag));
        let offerer = call
            .party(&signal.from_tag)
            // The callee's own offer before its answer was seen (PRACK, UPDATE).
            .or_else(|| anonymous_of(call, callee?, signal));
        let Some(offerer) = offerer else {
            return Ok(Self { offerer: Side::New, answerer: known_or_new(callee) });
        };
        let answerer = match (&signal.to_tag, callee) {
            (Some(_), Some(callee)) if callee == offerer => return Err(Refused::BAD_DIALOGUE),
            (Some(_), Some(callee)) => Some(callee),
            (None, _) if signal.flags.new_branch => None,
            _ => branch_of(call, offerer, signal).or_else(|| anonymous_of(call, offerer, signal)),
        };
        Ok(Self { offerer: Side::Known(offerer), answerer: known_or_new(answerer) })
    }
}

/// Offerer and answerer of an answer. It names an anonymous callee; under one more tag it is an
/// alias of the callee that has answered before.
pub(super) fn of_answer(call: &Call, signal: &Signal) -> Result<(PartyIndex, PartyIndex), Refused> {
    let offerer = call.party(&signal.from_tag).ok_or(Refused::BAD_DIALOGUE)?;
    let answerer = signal
        .to_tag
        .as_deref()
        .and_then(|tag| call.party(tag))
        .or_else(|| branch_of(call, offerer, signal))
        .or_else(|| last(call, |party| party.is_anonymous() && party.partner == Some(offerer)))
        .or_else(|| call.parties[offerer.0].partner)
        .filter(|answerer| *answerer != offerer && !call.parties[answerer.0].ended);
    Ok((offerer, answerer.ok_or(Refused::BAD_DIALOGUE)?))
}

/// The callee that the offerer's branch of this name made.
fn branch_of(call: &Call, offerer: PartyIndex, signal: &Signal) -> Option<PartyIndex> {
    let branch = signal.via_branch.as_deref()?;
    last(call, |party| {
        !party.ended && party.partner == Some(offerer) && party.branch.as_deref() == Some(branch)
    })
}

/// The callee without name or branch that an offer without a branch means.
fn anonymous_of(call: &Call, offerer: PartyIndex, signal: &Signal) -> Option<PartyIndex> {
    if signal.via_branch.is_some() {
        return None;
    }
    last(call, |party| {
        party.is_anonymous() && party.branch.is_none() && party.partner == Some(offerer)
    })
}

fn last(call: &Call, is_wanted: impl Fn(&Party) -> bool) -> Option<PartyIndex> {
    call.parties.iter().rposition(is_wanted).map(PartyIndex)
}

fn known_or_new(party: Option<PartyIndex>) -> Side {
    party.map_or(Side::New, Side::Known)
}
