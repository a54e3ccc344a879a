//! New keys for legs: those that a party knows already ([`own_keys`](super::own_keys)), at once; for
//! others the mark that makes the next offer to a leg's party bring them.
//!
//! Keys on one line are gone through in its order, each once: after a step the worker seals under the
//! next one, in the same indexes, and we never step back. Nothing is signalled, since packets name
//! their key. Once the last is in use the leg is marked like others. Where a key is exhausted and no
//! step was taken in time, the worker goes on to the next one by itself, which its limit then tells.
//! After the last it goes back to those before that may seal more, as they do under the same indexes:
//! then the last still counts as the one in use, and only an offer brings others.
//!
//! A relay has no offers of its own, so a marked leg waits for one. Not for an answer: a key that an
//! answer brings would be in use before its party has read it, and packets would be lost. The offer
//! shows another SDES key, or another tls-id and, to a party that knows no tls-id, other ICE
//! credentials (an ICE restart without tls-id begins DTLS anew, RFC 8842 section 4). Once other keys
//! are in force, by an SDES answer or by a handshake that is done, the mark is gone and their age
//! begins; until then the old ones go on, and beyond that the worker takes what was sealed under
//! them for a while. A party that goes on with its association over the ICE restart leaves the leg
//! marked, and each further offer asks it again.

use std::time::{Duration, Instant};

use bytes::Bytes;
use srtp::Mki;

use crate::relay::command::{CallKey, StreamIndex};

use super::call::Call;
use super::dtls::Association;
use super::own_keys::OwnMki;
use super::party::Party;
use super::ports::PortSource;
use super::stream::Stream;
use super::view::{MediaView, media_view};

/// Which legs of a call should have new keys.
#[derive(Clone, Copy, Debug)]
pub struct Wish<'a> {
    /// Of the party of this tag alone.
    pub tag: Option<&'a [u8]>,
    /// Whose keys are at least so old.
    pub older_than: Duration,
    /// Whether to mark or to switch them.
    pub act: Act,
}

/// Whether to do a thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Do it.
    Mark,
    /// Only tell what would be done.
    Tell,
}

/// An SRTP leg, for the operator.
#[derive(Clone, Debug)]
pub struct SrtpLeg {
    /// Its stream.
    pub stream: StreamIndex,
    /// Its party's tag, once known.
    pub tag: Option<Bytes>,
    /// The section's place in the party's SDP, from 1; of a bundle the first section's.
    pub media: usize,
    /// The section.
    pub view: MediaView,
    /// Since when its keys are in force.
    pub since: Option<Instant>,
    /// Our keys, where its party knows several.
    pub own_keys: Option<OwnKeys>,
    /// How it comes by new ones.
    pub way: Way,
}

/// Where we are among keys of ours that a party tells apart by MKI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnKeys {
    /// The one in use.
    pub mki: OwnMki,
    /// How many there are to go on to.
    pub left: usize,
}

/// A step from one of our keys to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Switch {
    /// The key in use before.
    pub from: OwnMki,
    /// Where we are from then on.
    pub to: OwnKeys,
}

/// How a leg comes by new keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// At once, under a key that its party knows already; its worker is to be told.
    AtOnce(Switch),
    /// By the next offer to its party, once it is marked.
    NextOffer,
    /// It is marked.
    Due,
    /// Not by us, and why.
    NotPossible(&'static str),
}

/// A leg's keys: since when they are in force, which of ours is in use, and whether others are due.
#[derive(Debug, Default)]
pub(super) struct Renewal {
    since: Option<Instant>,
    /// Its place among those on our line.
    place: usize,
    due: bool,
}

impl Renewal {
    /// Whether the next offer is to bring other keys.
    pub(super) fn is_due(&self) -> bool {
        self.due
    }

    /// Other keys have come into force; [`Renewal::date`] says when.
    pub(super) fn done(&mut self) {
        *self = Self::default();
    }

    /// A handshake has brought other keys into force.
    pub(super) fn secured(&mut self, now: Instant) {
        *self = Self { since: Some(now), ..Self::default() };
    }

    fn date(&mut self, now: Instant) {
        self.since.get_or_insert(now);
    }
}

impl Call {
    /// Dates the keys that the last exchange brought into force.
    pub(super) fn date_keys(&mut self, now: Instant) {
        let keyed = self.streams.iter_mut().filter(|stream| stream.keying().is_some());
        keyed.for_each(|stream| stream.renewal.date(now));
    }

    fn srtp_legs(&self) -> impl Iterator<Item = SrtpLeg> {
        self.parties.iter().filter(|party| !party.ended).flat_map(|party| self.legs_of(party))
    }

    fn legs_of<'a>(&'a self, party: &'a Party) -> impl Iterator<Item = SrtpLeg> + 'a {
        party.media.iter().enumerate().filter_map(move |(index, media)| {
            let stream = self.stream(media.stream?);
            // Of a bundle the first section tells of the leg that all of them share.
            let first = party.carrier(index).is_none();
            (first && !stream.ended() && stream.keying().is_some()).then(|| SrtpLeg {
                stream: media.stream.unwrap_or(StreamIndex(0)),
                tag: party.tag.as_deref().map(Bytes::copy_from_slice),
                media: index + 1,
                view: media_view(self, party, index),
                since: stream.renewal.since,
                own_keys: stream.own_keys(stream.renewal.place),
                way: stream.way(),
            })
        })
    }
}

impl Stream {
    /// Goes on to the next key that the party knows. Where there is none, marks the leg if an offer
    /// could bring it others.
    fn rekey(&mut self, now: Instant) -> Way {
        let way = self.way();
        match way {
            Way::AtOnce(_) => {
                self.renewal.place += 1;
                self.renewal.since = Some(now);
            }
            Way::NextOffer => self.renewal.due = true,
            Way::Due | Way::NotPossible(_) => {}
        }
        way
    }

    /// Where we are with the key at this place in use.
    fn own_keys(&self, place: usize) -> Option<OwnKeys> {
        let local = self.own_crypto()?;
        Some(OwnKeys { mki: local.mki(place)?, left: local.count() - 1 - place })
    }

    /// Whether our packets name the key in use by `mki`. Where that is one further on in the line,
    /// the worker has gone there: it is in use from now on.
    fn is_under(&mut self, mki: &Mki, now: Instant) -> bool {
        let Some(local) = self.own_crypto().filter(|local| local.count() > 1) else {
            return *mki == Mki::none();
        };
        let place =
            (0..local.count()).find(|place| local.mki(*place).is_some_and(|own| own.mki() == *mki));
        let Some(place) = place.filter(|place| *place >= self.renewal.place) else { return false };
        if place > self.renewal.place {
            self.renewal.place = place;
            self.renewal.since = Some(now);
        }
        true
    }

    fn next_key(&self) -> Option<Switch> {
        let place = self.renewal.place;
        Some(Switch { from: self.own_keys(place)?.mki, to: self.own_keys(place + 1)? })
    }

    /// Whether the next offer to the party is to begin another association. Not while the last
    /// one's handshake is under way: that brings other keys by itself.
    pub(super) fn begins_anew(&self) -> bool {
        let has_ended = |association: &Association| {
            self.leg().is_some_and(|leg| leg.handshake(association.epoch).is_some())
        };
        self.renewal.due && self.association().is_some_and(has_ended)
    }

    /// Whether that offer restarts ICE for it.
    pub(super) fn restarts_ice(&self) -> bool {
        self.begins_anew() && self.association().is_some_and(Association::renews_with_ice)
    }

    fn way(&self) -> Way {
        if self.local_crypto().is_some_and(|local| local.shared) {
            return Way::NotPossible("the parties share keys of their own, which pass through");
        }
        if let Some(switch) = self.next_key() {
            return Way::AtOnce(switch);
        }
        let ice = self.leg().and_then(|leg| leg.ice.as_ref());
        match self.association().is_some_and(|association| !association.can_renew(ice)) {
            true => Way::NotPossible(
                "the party knows no tls-id and has no ICE: only another certificate would begin a \
                 new handshake",
            ),
            false if self.renewal.due => Way::Due,
            false => Way::NextOffer,
        }
    }
}

impl<P: PortSource> super::Calls<P> {
    /// A call's SRTP legs.
    pub fn srtp_legs(&self, call: CallKey) -> Vec<SrtpLeg> {
        self.of_key(call).map(|call| call.srtp_legs().collect()).unwrap_or_default()
    }

    /// Switches legs of a call to keys that their parties know, and marks others for new ones. Returns
    /// those that are meant, each as it was before; the worker of a call is to be told each [`Switch`].
    pub fn rekey(&mut self, call: CallKey, wish: Wish<'_>, now: Instant) -> Vec<SrtpLeg> {
        let mut legs = self.srtp_legs(call);
        legs.retain(|leg| {
            let age =
                leg.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
            wish.tag.is_none_or(|tag| leg.tag.as_deref() == Some(tag)) && age >= wish.older_than
        });
        if wish.act == Act::Mark {
            for leg in &legs {
                if let Some(stream) = self.stream_mut(call, leg.stream) {
                    stream.rekey(now);
                }
            }
        }
        legs
    }

    /// The same for one leg: our key under `mki` nears its limit. `None`: there is no such leg, or
    /// that key is not the one in use there (any more).
    pub fn rekey_leg(
        &mut self,
        call: CallKey,
        stream: StreamIndex,
        mki: &Mki,
        now: Instant,
    ) -> Option<Way> {
        let stream = self.stream_mut(call, stream)?;
        stream.is_under(mki, now).then(|| stream.rekey(now))
    }

    /// A stream that has not ended.
    fn stream_mut(&mut self, call: CallKey, stream: StreamIndex) -> Option<&mut Stream> {
        let stream = self.of_key_mut(call)?.streams.get_mut(usize::from(stream.0))?;
        Some(stream).filter(|stream| !stream.ended())
    }

    /// Calls that are up, oldest first: at most `limit` of those after `after`.
    pub fn keys_after(&self, after: Option<CallKey>, limit: usize) -> Vec<CallKey> {
        let is_after = |key: &CallKey| after.is_none_or(|after| key.0 > after.0);
        let mut keys: Vec<CallKey> = self.keys().filter(is_after).collect();
        keys.sort_unstable_by_key(|key| key.0);
        keys.truncate(limit);
        keys
    }
}
