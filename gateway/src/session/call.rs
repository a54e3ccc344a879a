//! A call: its parties, their streams, and its times.

use std::time::{Duration, Instant};

use crate::relay::command::{CallKey, CallPlan, Route, StreamIndex, StreamPlan};
use crate::webrtc::plan::LegUpdate;

use super::fragment::Early;
use super::party::{Media, Party, PartyIndex};
use super::ports::LocalPorts;
use super::stream::Stream;
use super::{EndReason, Weakened};

/// Everything known of one call-id.
#[derive(Debug)]
pub(super) struct Call {
    /// Its name towards the worker.
    pub(super) key: CallKey,
    /// The agents' thread that has its legs.
    pub(super) uplink: u16,
    /// `call-id`.
    pub(super) id: Box<[u8]>,
    /// Its parties; an index stays for life.
    pub(super) parties: Vec<Party>,
    /// Their streams; an index stays for life.
    pub(super) streams: Vec<Stream>,
    /// Trickled candidates that came ahead of their parties' words.
    pub(super) early: Early,
    /// When its first offer came.
    pub(super) created: Instant,
    /// When its last offer or answer came.
    pub(super) last_signal: Instant,
    /// It has been answered.
    pub(super) answered: bool,
    /// When it is to end (a delayed `delete`).
    pub(super) deletion: Option<Instant>,
    /// `delete-delay` of an offer: for a `delete` that does not say.
    pub(super) delete_delay: Option<Duration>,
    /// It has ended and waits for its worker's report.
    pub(super) ended: Option<EndReason>,
    /// The deadline it is scheduled under.
    pub(super) scheduled: Option<Instant>,
}

impl Call {
    /// A call without parties.
    pub(super) fn new(key: CallKey, uplink: u16, id: &[u8], now: Instant) -> Self {
        Self {
            key,
            uplink,
            id: id.into(),
            parties: Vec::with_capacity(2),
            streams: Vec::with_capacity(2),
            early: Early::default(),
            created: now,
            last_signal: now,
            answered: false,
            deletion: None,
            delete_delay: None,
            ended: None,
            scheduled: None,
        }
    }

    /// The party that goes by this tag.
    pub(super) fn party(&self, tag: &[u8]) -> Option<PartyIndex> {
        self.parties.iter().position(|party| party.is(tag)).map(PartyIndex)
    }

    /// The stream of a party's section, while it is open.
    pub(super) fn open_stream(&self, party: PartyIndex, section: usize) -> Option<StreamIndex> {
        let stream = self.parties[party.0].media.get(section)?.stream?;
        (!self.streams[usize::from(stream.0)].ended()).then_some(stream)
    }

    /// A stream.
    pub(super) fn stream(&self, stream: StreamIndex) -> &Stream {
        &self.streams[usize::from(stream.0)]
    }

    /// A stream.
    pub(super) fn stream_mut(&mut self, stream: StreamIndex) -> &mut Stream {
        &mut self.streams[usize::from(stream.0)]
    }

    /// Adds a stream. The caller has checked that there is room ([`STREAMS_MAX`]).
    pub(super) fn add_stream(&mut self, stream: Stream) -> StreamIndex {
        let index = u16::try_from(self.streams.len()).unwrap_or(u16::MAX);
        self.streams.push(stream);
        StreamIndex(index)
    }

    /// The whole call as it should be, each piece of news once.
    pub(super) fn plan(&mut self) -> CallPlan {
        let uplink = self.uplink;
        let plans = self.streams.iter_mut().map(|stream| stream.plan(uplink));
        let mut streams: Vec<StreamPlan> = plans.collect();
        for party in &self.parties {
            for (index, media) in party.media.iter().enumerate() {
                let (Some(stream), Some(peer)) = (media.stream, media.peer) else { continue };
                if !self.stream(stream).mirrors(self.stream(peer)) {
                    continue;
                }
                let plan = &mut streams[usize::from(stream.0)];
                let mut sharers = party.media.iter().filter(|other| other.stream == Some(stream));
                // Both sides may bundle alike: then there is one way, and nothing to tell apart.
                match sharers.all(|other| other.peer == Some(peer)) {
                    true => plan.peer = Some(peer),
                    false => plan.routes.push(self.route(index, media, peer)),
                }
            }
        }
        CallPlan { call: self.key, streams }
    }

    /// The way of one section of a bundle. What its party sends are the payload types that the
    /// other one takes.
    fn route(&self, index: usize, media: &Media, peer: StreamIndex) -> Route {
        let is_peers = |other: &&Media| other.stream == Some(peer);
        let sections = self.parties.iter().filter_map(|party| party.media.get(index));
        let taken = sections.filter(is_peers).find_map(|other| other.said.as_ref());
        let said = media.said.as_ref().or(media.withdrawn.as_deref());
        let membership = said.and_then(|said| said.membership.as_ref());
        Route {
            peer,
            mid: said.and_then(|said| said.mid.clone()).unwrap_or_default(),
            mid_extension: membership.map_or(0, |membership| membership.mid_extension),
            payload_types: taken.or(said).map_or(0, |said| said.payload_types),
            ssrcs: membership.map(|membership| membership.ssrcs.to_vec()).unwrap_or_default(),
        }
    }

    /// Which legs' ICE or DTLS is other than the agents were told. Ask after the plan.
    pub(super) fn legs(&mut self) -> Vec<LegUpdate> {
        let call = self.key;
        let streams = (0..).map(StreamIndex).zip(&mut self.streams);
        let news = |(stream, it): (StreamIndex, &mut Stream)| {
            it.leg_news().map(|plan| LegUpdate { call, stream, plan })
        };
        streams.filter_map(news).collect()
    }

    /// Which legs' protection lacks something that it did not lack before.
    pub(super) fn weakened(&mut self) -> Vec<Weakened> {
        let streams = (0..).map(StreamIndex).zip(&mut self.streams);
        let news = |(stream, it): (StreamIndex, &mut Stream)| {
            it.weakened().map(|weaknesses| Weakened { stream, weaknesses })
        };
        streams.filter_map(news).collect()
    }

    /// Ends a stream; whoever sent to it sends nowhere until told.
    fn end_stream(&mut self, stream: StreamIndex, freed: &mut Vec<LocalPorts>) {
        freed.extend(self.stream_mut(stream).end());
        for media in self.parties.iter_mut().flat_map(|party| &mut party.media) {
            if media.stream == Some(stream) || media.peer == Some(stream) {
                media.peer = None;
            }
        }
    }

    /// Gives a section this stream, and what it had before back.
    pub(super) fn sit(
        &mut self,
        (party, index): (PartyIndex, usize),
        stream: StreamIndex,
        freed: &mut Vec<LocalPorts>,
    ) {
        if self.open_stream(party, index) != Some(stream) {
            self.leave(party, index, freed);
            self.parties[party.0].section(index).stream = Some(stream);
        }
    }

    /// Whether other sections of the party have a section's stream, too.
    pub(super) fn shares(&self, party: PartyIndex, index: usize) -> bool {
        let media = &self.parties[party.0].media;
        let Some(stream) = media.get(index).and_then(|media| media.stream) else { return false };
        media.iter().filter(|media| media.stream == Some(stream)).count() > 1
    }

    /// Takes a section's stream away. It ends, unless other sections of a bundle go on with it.
    pub(super) fn leave(&mut self, party: PartyIndex, index: usize, freed: &mut Vec<LocalPorts>) {
        let Some(stream) = self.open_stream(party, index) else { return };
        if !self.shares(party, index) {
            return self.end_stream(stream, freed);
        }
        let media = self.parties[party.0].section(index);
        (media.stream, media.peer, media.withdrawn) = (None, None, None);
        let sections = self.parties.iter_mut().filter_map(|party| party.media.get_mut(index));
        for other in sections.filter(|other| other.peer == Some(stream)) {
            other.peer = None;
        }
    }

    /// Who leaves when this party does: it, and whoever is left without anyone to talk to.
    pub(super) fn leaving_with(&self, party: PartyIndex) -> Vec<PartyIndex> {
        let mut leaving = vec![party];
        let mut at = 0;
        while let Some(&gone) = leaving.get(at) {
            at += 1;
            for other in self.present() {
                if self.parties[other.0].partner == Some(gone)
                    && !leaving.contains(&other)
                    && self.branch_of(other, &leaving).is_none()
                {
                    leaving.push(other);
                }
            }
        }
        leaving
    }

    /// Ends parties with their streams. A caller who stays goes on with the last branch that has
    /// answered.
    pub(super) fn end_parties(&mut self, leaving: &[PartyIndex], freed: &mut Vec<LocalPorts>) {
        for party in leaving {
            self.parties[party.0].ended = true;
            for section in 0..self.parties[party.0].media.len() {
                if let Some(stream) = self.parties[party.0].media[section].stream {
                    self.end_stream(stream, freed);
                }
            }
        }
        let left: Vec<PartyIndex> = self
            .present()
            .filter(|other| self.parties[other.0].partner.is_some_and(|p| leaving.contains(&p)))
            .collect();
        for party in left {
            if let Some(branch) = self.branch_of(party, leaving) {
                self.join(party, branch);
            }
        }
    }

    /// Parties that have not left.
    pub(super) fn present(&self) -> impl Iterator<Item = PartyIndex> {
        (0..self.parties.len()).map(PartyIndex).filter(|party| !self.parties[party.0].ended)
    }

    /// Makes two parties each other's, section by section.
    pub(super) fn join(&mut self, party: PartyIndex, partner: PartyIndex) {
        self.parties[party.0].partner = Some(partner);
        let sections = self.parties[party.0].media.len();
        for section in 0..sections {
            let here = self.open_stream(party, section);
            let there = self.open_stream(partner, section);
            if let (Some(_), Some(there)) = (here, there) {
                let takes = self.parties[partner.0].media[section].said.is_some();
                let answered = self.stream(there).answered;
                self.parties[party.0].media[section].peer = (answered && takes).then_some(there);
            }
        }
    }

    /// Whoever has this party for a partner and does not leave, one that has answered before one
    /// that has not.
    fn branch_of(&self, party: PartyIndex, leaving: &[PartyIndex]) -> Option<PartyIndex> {
        let is_branch = |other: &PartyIndex| {
            self.parties[other.0].partner == Some(party) && !leaving.contains(other)
        };
        self.present()
            .filter(is_branch)
            .max_by_key(|other| (self.parties[other.0].tag.is_some(), other.0))
    }

    /// The ports of all open streams; each is told once.
    pub(super) fn end_streams(&mut self) -> impl Iterator<Item = LocalPorts> {
        self.streams.iter_mut().filter_map(Stream::end)
    }
}

/// Most streams a call may have in its life: far beyond any real call, so that a controller gone
/// wild does not make every plan grow.
pub(super) const STREAMS_MAX: usize = 1024;

/// Most parties a call may have in its life.
pub(super) const PARTIES_MAX: usize = 128;
