//! Which stream each section of an offer gets: one of its own, with ports leased for it, or that of
//! the sections that it is bundled with.
//!
//! Nothing changes here. Of an offerer's group the sections have one stream from the offer on; one
//! that had a stream of its own in force goes on with that until the answer. An answerer that has
//! bundled gets a new section in the same bundle; one that has not been heard yet gets a stream for
//! each section, and gives back what it does not need with its answer.

use ng::sdp::MediaSection;

use crate::relay::command::StreamIndex;

use super::Refused;
use super::body;
use super::bundle;
use super::call::{Call, STREAMS_MAX};
use super::dialogue::{Dialogue, Side};
use super::draft::open_stream;
use super::lease::{Lease, Leased};
use super::media::Said;
use super::mux::Settled;
use super::offer::Context;
use super::place::{self, Place, Places};
use super::ports::PortSource;
use super::settings::family_of;

/// Where a section's stream comes from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Seat {
    /// A new one, over ports leased for it.
    New(Leased),
    /// One that the call has.
    At(StreamIndex),
    /// That of another section of its party, which carries it.
    With(usize),
}

impl Seat {
    /// The section that carries it, where that is another.
    pub(super) fn carrier(&self) -> Option<usize> {
        match self {
            Self::With(carrier) => Some(*carrier),
            Self::New(_) | Self::At(_) => None,
        }
    }
}

/// Finds seats for the sections of an offer, one after another.
pub(super) struct Seating<'a, 'l, P: PortSource> {
    context: &'a Context<'a>,
    lease: &'a mut Lease<'l, P>,
    call: &'a Call,
    dialogue: Dialogue,
    places: Places,
    /// The offerer's streams that have a section already.
    offerers: Vec<StreamIndex>,
    /// The answerer's, with the first section of each.
    answerers: Vec<(StreamIndex, usize)>,
}

impl<'a, 'l, P: PortSource> Seating<'a, 'l, P> {
    pub(super) fn new(
        context: &'a Context<'a>,
        lease: &'a mut Lease<'l, P>,
        call: &'a Call,
        dialogue: Dialogue,
        places: Places,
    ) -> Self {
        let (offerers, answerers) = (Vec::new(), Vec::new());
        Self { context, lease, call, dialogue, places, offerers, answerers }
    }

    /// The offerer's. `carrier` is the section whose transport it has, where that is another;
    /// `group` are the sections of its group.
    pub(super) fn offerer(
        &mut self,
        index: usize,
        said: &Said,
        carrier: Option<usize>,
        mut group: impl Iterator<Item = usize>,
    ) -> Result<Seat, Refused> {
        let call = self.call;
        let open = |index| open_stream(call, self.dialogue.offerer, index);
        let own = open(index);
        if let Some(carrier) = carrier {
            let in_force = own.filter(|own| open(carrier) != Some(*own));
            let in_force = in_force.filter(|stream| call.stream(*stream).answered);
            return Ok(in_force.map_or(Seat::With(carrier), Seat::At));
        }
        let place = said.family().map_or(self.places.offerer, |family| {
            place::in_family(self.context.settings, self.places.offerer, family)
        });
        // A socket reaches its own address family.
        let reaches = |stream: &StreamIndex| {
            let bound = call.stream(*stream).ports.bound.ip();
            said.family().is_none() || family_of(bound) == place.family
        };
        let is_free = |stream: &StreamIndex| !self.offerers.contains(stream) && reaches(stream);
        // The tagged section may be a new one of a bundle that goes on.
        match own.filter(is_free).or_else(|| group.find_map(open).filter(is_free)) {
            Some(stream) => {
                self.offerers.push(stream);
                Ok(Seat::At(stream))
            }
            None => self.ports(place).map(Seat::New),
        }
    }

    /// The answerer's. `fits` says whether it may be offered what a section is that has its seat.
    pub(super) fn answerer(
        &mut self,
        index: usize,
        fits: impl Fn(usize) -> bool,
    ) -> Result<Seat, Refused> {
        let own = open_stream(self.call, self.dialogue.answerer, index);
        let first = |stream| self.answerers.iter().find(|(other, _)| *other == stream);
        let shared = own.and_then(first).map(|(_, carrier)| *carrier);
        let is_held = own.is_some_and(|own| self.call.stream(own).answered);
        match (own, shared) {
            (Some(_), Some(carrier)) if is_held && fits(carrier) => Ok(Seat::With(carrier)),
            (Some(stream), None) => {
                self.answerers.push((stream, index));
                Ok(Seat::At(stream))
            }
            (None, _) => match self.bundle_for(index).filter(|carrier| fits(*carrier)) {
                Some(carrier) => Ok(Seat::With(carrier)),
                None => self.ports(self.places.answerer).map(Seat::New),
            },
            (Some(_), Some(_)) => self.ports(self.places.answerer).map(Seat::New),
        }
    }

    /// A section of the answerer's bundle that a new one can join (RFC 9143 section 7.5.1).
    fn bundle_for(&self, index: usize) -> Option<usize> {
        let sdp = self.context.sdp;
        let Side::Known(party) = self.dialogue.answerer else { return None };
        let new = &sdp.media[index];
        let mid = new.mid.clone().or_else(|| body::generated_mid(self.context.signal, index))?;
        let is_its = |(other, section): (usize, &MediaSection)| {
            let known = self.call.parties[party.0].media.get(other);
            let known = known.and_then(|media| media.said.as_ref()?.mid.as_deref());
            other != index && section.mid.as_deref().or(known) == Some(&*mid)
        };
        if sdp.media.iter().enumerate().any(is_its) {
            return None;
        }
        let bundles = |(stream, carrier): &&(StreamIndex, usize)| {
            let said = self.call.parties[party.0].media[*carrier].said.as_ref();
            let stream = self.call.stream(*stream);
            said.is_some_and(|said| said.membership.is_some())
                && stream.answered
                && stream.mux == Settled::OnePort
                && stream.association().is_some()
                && bundle::can_be_told_apart(sdp, new, &sdp.media[*carrier])
        };
        self.answerers.iter().find(bundles).map(|(_, carrier)| *carrier)
    }

    fn ports(&mut self, place: Place) -> Result<Leased, Refused> {
        if self.call.streams.len() + self.lease.len() >= STREAMS_MAX {
            return Err(Refused::TOO_LARGE);
        }
        self.lease.open(place)
    }
}
