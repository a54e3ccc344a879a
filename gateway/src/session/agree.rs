//! What an answer makes of its sections together: the first half of an answer, which changes nothing.
//!
//! 1. The answerer's sections are heard and weighed: those that carry a transport first, then those
//!    that share it. The tagged section of a group carries it (RFC 9143 section 7.4).
//! 2. The offerer's sections are weighed in the order of its groups, for what is left of them: the
//!    first that has a transport of its own carries that of the others (section 7.3.1).
//! 3. A section is rejected where what carries it, on either side, is.
//!
//! A section that shared a transport and no longer says so has none: it is rejected, as its ports
//! were given back when it joined.

use crate::relay::command::StreamIndex;

use super::bundle::Groups;
use super::call::Call;
use super::media::Said;
use super::mux::Settled;
use super::offer::Context;
use super::party::PartyIndex;
use super::weigh::{Agreement, Heard, Leg, Unfit, Weighing};
use super::{Refused, Warnings};

/// A section on its way through an answer.
pub(super) enum Draft {
    Relay(Box<Agreed>),
    /// The answerer does not take it.
    Declined,
    Reject,
    PassThrough,
}

/// What a section comes to.
pub(super) struct Agreed {
    pub(super) offerer: Seat,
    pub(super) answerer: Seat,
    pub(super) said: Said,
}

/// One side of a section.
pub(super) enum Seat {
    /// Its transport is said with it.
    Carries(Box<Leg>),
    /// It shares that of another section.
    Rides(usize),
}

impl Seat {
    fn leg(&self) -> Option<&Leg> {
        match self {
            Self::Carries(leg) => Some(leg),
            Self::Rides(_) => None,
        }
    }
}

/// The answerer's side of a section.
struct Theirs {
    said: Said,
    seat: Seat,
}

/// Weighs every section.
pub(super) fn sections(
    context: &Context<'_>,
    call: &Call,
    parties: (PartyIndex, PartyIndex),
    warnings: &mut Warnings,
) -> Result<Vec<Draft>, Refused> {
    let count = context.sdp.media.len();
    let mut agreeing = Agreeing {
        context,
        call,
        parties,
        groups: Groups::of_answer(context, call, parties.1),
        theirs: (0..count).map(|_| None).collect(),
        drafts: (0..count).map(|_| Draft::Reject).collect(),
    };
    for index in agreeing.groups.order() {
        agreeing.hear(index, warnings)?;
    }
    for index in agreeing.offerers_order() {
        agreeing.answer(index, warnings)?;
    }
    Ok(without_stranded(agreeing.drafts, warnings))
}

/// The two streams of each section that is relayed, offerer's first.
pub(super) fn streams(drafts: &[Draft]) -> Vec<Option<(StreamIndex, StreamIndex)>> {
    let of = |seat: &Seat, side: fn(&Agreed) -> &Seat| match seat {
        Seat::Carries(leg) => Some(leg.stream),
        Seat::Rides(carrier) => match drafts.get(*carrier)? {
            Draft::Relay(agreed) => side(agreed).leg().map(|leg| leg.stream),
            Draft::Declined | Draft::Reject | Draft::PassThrough => None,
        },
    };
    let of_both = |draft: &Draft| match draft {
        Draft::Relay(agreed) => of(&agreed.offerer, |agreed| &agreed.offerer)
            .zip(of(&agreed.answerer, |agreed| &agreed.answerer)),
        Draft::Declined | Draft::Reject | Draft::PassThrough => None,
    };
    drafts.iter().map(of_both).collect()
}

struct Agreeing<'a> {
    context: &'a Context<'a>,
    call: &'a Call,
    /// Offerer and answerer.
    parties: (PartyIndex, PartyIndex),
    groups: Groups,
    /// By index; those that may be relayed.
    theirs: Vec<Option<Theirs>>,
    /// By index; rejected until agreed.
    drafts: Vec<Draft>,
}

impl Agreeing<'_> {
    fn weighing(&self, index: usize) -> Weighing<'_> {
        let (offerer, answerer) = self.parties;
        Weighing { context: self.context, call: self.call, offerer, answerer, index }
    }

    /// The answerer's side of a section.
    fn hear(&mut self, index: usize, warnings: &mut Warnings) -> Result<(), Refused> {
        let section = &self.context.sdp.media[index];
        let said = match self.weighing(index).hear(section, &self.groups, warnings)? {
            Heard::Relay(said) => *said,
            Heard::Declined => {
                self.drafts[index] = Draft::Declined;
                return Ok(());
            }
            Heard::PassThrough => {
                self.drafts[index] = Draft::PassThrough;
                return Ok(());
            }
            Heard::Reject => return Ok(()),
        };
        let seat = self.answerers_seat(index, &said);
        if let Some(seat) = fit(seat, warnings)? {
            self.theirs[index] = Some(Theirs { said, seat });
        }
        Ok(())
    }

    fn answerers_seat(&self, index: usize, said: &Said) -> Result<Seat, Unfit> {
        let weighing = self.weighing(index);
        weighing.offered()?;
        let legs = || self.theirs.iter().flatten().filter_map(|theirs| theirs.seat.leg());
        match self.groups.carrier(index) {
            Some(carrier) => {
                let theirs = self.theirs.get(carrier).and_then(Option::as_ref);
                let leg = theirs.and_then(|theirs| theirs.seat.leg());
                leg.filter(|leg| can_be_shared(leg)).ok_or(Unfit::Section(NO_CARRIER))?;
                Ok(Seat::Rides(carrier))
            }
            None => {
                let leg = weighing.answerer_leg(said)?;
                match legs().any(|other| other.stream == leg.stream) {
                    true => Err(Unfit::Section(NO_CARRIER)),
                    false => Ok(Seat::Carries(Box::new(leg))),
                }
            }
        }
    }

    /// Sections as the offerer's groups have them, first those that can carry the others; then all
    /// that are in no group.
    fn offerers_order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.drafts.len()).collect();
        let media = &self.call.parties[self.parties.0.0].media;
        order.sort_by_key(|index| {
            let said = media.get(*index).and_then(|media| media.said.as_ref());
            let of = said.and_then(|said| said.membership.as_ref());
            let key = of.map(|of| (of.place.group, of.bundle_only, of.place.at));
            (key.is_none(), key)
        });
        order
    }

    /// The offerer's side of a section that the answerer takes.
    fn answer(&mut self, index: usize, warnings: &mut Warnings) -> Result<(), Refused> {
        let Some(theirs) = self.theirs.get(index).and_then(Option::as_ref) else { return Ok(()) };
        let seat = match self.protection(&theirs.seat) {
            Some(protection) => self.offerers_seat(index, protection),
            None => Err(Unfit::Section(NO_CARRIER)),
        };
        let seat = fit(seat, warnings)?;
        let theirs = self.theirs[index].take();
        if let (Some(offerer), Some(Theirs { said, seat: answerer })) = (seat, theirs) {
            self.drafts[index] = Draft::Relay(Box::new(Agreed { offerer, answerer, said }));
        }
        Ok(())
    }

    /// How the answerer's leg of a section is protected.
    fn protection<'a>(&'a self, seat: &'a Seat) -> Option<&'a Agreement> {
        let carrier = match seat {
            Seat::Carries(leg) => return Some(&leg.protection),
            Seat::Rides(carrier) => *carrier,
        };
        let unanswered = self.theirs[carrier].as_ref().map(|theirs| &theirs.seat);
        let seat = unanswered.or(match &self.drafts[carrier] {
            Draft::Relay(agreed) => Some(&agreed.answerer),
            Draft::Declined | Draft::Reject | Draft::PassThrough => None,
        });
        seat.and_then(Seat::leg).map(|leg| &leg.protection)
    }

    fn offerers_seat(&self, index: usize, theirs: &Agreement) -> Result<Seat, Unfit> {
        let weighing = self.weighing(index);
        let (offer, _) = weighing.offered()?;
        let carried = || self.drafts.iter().enumerate().filter_map(carried_by_offerer);
        if let Some(membership) = &offer.membership {
            let in_group = |(carrier, _): &(usize, &Leg)| {
                let media = &self.call.parties[self.parties.0.0].media[*carrier];
                let of = media.said.as_ref().and_then(|said| said.membership.as_ref());
                of.is_some_and(|of| of.place.group == membership.place.group)
            };
            match carried().find(in_group) {
                Some((carrier, leg)) if can_be_shared(leg) => return Ok(Seat::Rides(carrier)),
                Some(_) => return Err(Unfit::Section(NO_CARRIER)),
                None if membership.bundle_only => return Err(Unfit::Section(NO_CARRIER)),
                None => {}
            }
        }
        let leg = weighing.offerer_leg(theirs)?;
        match carried().any(|(_, other)| other.stream == leg.stream) {
            true => Err(Unfit::Section(NO_CARRIER)),
            false => Ok(Seat::Carries(Box::new(leg))),
        }
    }
}

fn carried_by_offerer((index, draft): (usize, &Draft)) -> Option<(usize, &Leg)> {
    match draft {
        Draft::Relay(agreed) => agreed.offerer.leg().map(|leg| (index, leg)),
        Draft::Declined | Draft::Reject | Draft::PassThrough => None,
    }
}

/// Keys that pass as they are belong to one section, and RTCP of several to one port (RFC 9143
/// section 9.3).
fn can_be_shared(leg: &Leg) -> bool {
    let shared = match &leg.protection {
        Agreement::Dtls(_) => false,
        Agreement::Sdes(keys) => keys.local.shared,
        Agreement::Clear => true,
    };
    !shared && leg.mux == Settled::OnePort
}

/// A section that cannot be had leaves the others as they are.
fn fit<T>(outcome: Result<T, Unfit>, warnings: &mut Warnings) -> Result<Option<T>, Refused> {
    match outcome {
        Ok(fits) => Ok(Some(fits)),
        Err(Unfit::Section(reason)) => {
            warnings.push(reason);
            Ok(None)
        }
        Err(Unfit::Request(refused)) => Err(refused),
    }
}

/// Rejects what rides with a section that came to nothing.
fn without_stranded(mut drafts: Vec<Draft>, warnings: &mut Warnings) -> Vec<Draft> {
    loop {
        let streams = streams(&drafts);
        let stranded = |(draft, streams): (&Draft, &Option<_>)| {
            matches!(draft, Draft::Relay(_)) && streams.is_none()
        };
        let Some(lost) = drafts.iter().zip(&streams).position(stranded) else { return drafts };
        drafts[lost] = Draft::Reject;
        warnings.push(NO_CARRIER);
    }
}

const NO_CARRIER: &str =
    "media rejected: it has no transport of its own, and the bundle none for it";
