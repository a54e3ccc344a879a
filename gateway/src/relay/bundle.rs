//! Which section of a bundle a packet belongs to, and so whose it is (RFC 9143 section 9.2).
//!
//! An RTP packet says it by its MID header extension, else by an SSRC that was heard before or
//! announced, else by a payload type that one section alone has. What it says is remembered for
//! its SSRC, since a sender leaves the MID out once it has been heard. RTCP names the SSRCs it
//! speaks of ([`reports`]). What says nothing goes nowhere: it is never guessed at.
//!
//! Learned from packets that were opened and admitted only; the table is bounded, and the SSRC
//! longest silent makes room. A worker owns it with its stream. The other way [`owners`] keeps the
//! sources of several far streams apart.

pub(super) mod extension;
mod owners;
pub(super) mod reports;

use srtp::rtp;

use super::command::{MAX_ROUTES, Route};
use super::drop_reason::DropReason;
use super::stream::Slot;
use owners::Owners;

/// A bundled stream's sections.
#[derive(Debug)]
pub(super) struct Routes {
    /// Those of the plan, then those that it leaves out and whose sources are remembered.
    sections: Box<[Section]>,
    /// Which section's packets with an SSRC are; heard last first.
    sources: Vec<(u32, Index)>,
    /// Whose packets the party is sent are.
    owners: Owners,
}

/// A section's place among the sections, of which there are at most [`MAX_ROUTES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Index(u8);

#[derive(Debug)]
struct Section {
    /// `None`: not in the plan, which may be put right by the next.
    peer: Option<Slot>,
    mid: Box<[u8]>,
    mid_extension: u8,
    payload_types: u128,
}

impl Routes {
    /// Most SSRCs remembered: simulcast with retransmissions is six to a section.
    const SOURCES: usize = 64;
    /// Most of them that a plan announces for one section.
    const ANNOUNCED: usize = 16;

    /// Sections of a plan, among the call's streams `slots`. What `before` had learned stays with
    /// the section's MID, whoever its peer is now and where it has none for a while: a sender that
    /// was heard says its MID no more.
    pub(super) fn new(routes: Vec<Route>, slots: &[Slot], before: Option<Box<Self>>) -> Box<Self> {
        let (past, sources, owners) = match before.map(|before| *before) {
            Some(Self { sections, sources, owners }) => (sections, sources, Some(owners)),
            None => (Box::default(), Vec::new(), None),
        };
        let mut announced = Vec::new();
        let mut sections = Vec::with_capacity(routes.len().min(MAX_ROUTES));
        for route in routes.into_iter().take(MAX_ROUTES) {
            let Some(&peer) = slots.get(usize::from(route.peer.0)) else { continue };
            let Route { mid, mid_extension, payload_types, ssrcs, .. } = route;
            let index = Index(sections.len() as u8);
            announced.extend(ssrcs.iter().take(Self::ANNOUNCED).map(|ssrc| (*ssrc, index)));
            sections.push(Section { peer: Some(peer), mid, mid_extension, payload_types });
        }
        let owners = Owners::new(owners, |peer| {
            sections.iter().any(|section: &Section| section.peer == Some(peer))
        });
        let sources = carried_over(past, sources, &mut sections);
        let mut routes = Self { sections: sections.into(), sources, owners };
        for (ssrc, index) in announced {
            routes.announce(ssrc, index);
        }
        Box::new(routes)
    }

    /// Whose an RTP packet is.
    pub(super) fn of_rtp(&mut self, packet: &[u8]) -> Result<Slot, DropReason> {
        let header = rtp::Header::new_checked(packet).map_err(|_| DropReason::Malformed)?;
        let index = match self.named_by_mid(&header) {
            Some(named) => named,
            None => self.known(header.ssrc()).or_else(|| self.alone(header.payload_type())),
        };
        let index = index.ok_or(DropReason::NoRoute)?;
        let peer = self.section(index).peer.ok_or(DropReason::NoRoute)?;
        self.learn(header.ssrc(), index);
        Ok(peer)
    }

    /// Whose packets with this SSRC of the party are.
    pub(super) fn of_source(&self, ssrc: u32) -> Option<Slot> {
        self.known(ssrc).and_then(|index| self.section(index).peer)
    }

    /// Who sends a source to the party.
    pub(super) fn owner(&self, ssrc: u32) -> Option<Slot> {
        self.owners.of(ssrc)
    }

    /// Everybody that packets go to, each once.
    pub(super) fn peers(&self) -> impl Iterator<Item = Slot> + '_ {
        let first = |(at, section): &(usize, &Section)| {
            self.sections[..*at].iter().all(|earlier| earlier.peer != section.peer)
        };
        self.sections.iter().enumerate().filter(first).filter_map(|(_, section)| section.peer)
    }

    fn section(&self, index: Index) -> &Section {
        &self.sections[usize::from(index.0)]
    }

    fn known(&self, ssrc: u32) -> Option<Index> {
        self.sources.iter().find(|(known, _)| *known == ssrc).map(|(_, index)| *index)
    }

    /// What the packet's MID says; `None` without one. A MID that nobody has is of nobody.
    fn named_by_mid(&self, header: &rtp::Header<'_>) -> Option<Option<Index>> {
        let (profile, data) = header.extension()?;
        let is_mid =
            |id| id != 0 && self.sections.iter().any(|section| section.mid_extension == id);
        let (id, mid) = extension::Elements::new(profile, data).find(|(id, _)| is_mid(*id))?;
        let has = |section: &Section| section.mid_extension == id && *section.mid == *mid;
        Some(self.sections.iter().position(has).map(|at| Index(at as u8)))
    }

    /// The one section of the plan that has this payload type.
    fn alone(&self, payload_type: u8) -> Option<Index> {
        let has = |(_, section): &(usize, &Section)| {
            section.peer.is_some() && section.payload_types >> payload_type & 1 == 1
        };
        let mut sections = self.sections.iter().enumerate().filter(has);
        let (only, _) = sections.next()?;
        sections.next().is_none().then_some(Index(only as u8))
    }

    fn learn(&mut self, ssrc: u32, index: Index) {
        match self.sources.iter().position(|(known, _)| *known == ssrc) {
            Some(0) => {}
            Some(at) => self.sources[..=at].rotate_right(1),
            None => {
                self.sources.truncate(Self::SOURCES - 1);
                self.sources.insert(0, (ssrc, index));
            }
        }
        self.sources[0].1 = index;
    }

    /// What was heard of a section in the plan counts more than what is announced.
    fn announce(&mut self, ssrc: u32, index: Index) {
        match self.sources.iter().position(|(known, _)| *known == ssrc) {
            Some(at) if self.section(self.sources[at].1).peer.is_none() => {
                self.sources[at].1 = index;
            }
            Some(_) => {}
            None if self.sources.len() < Self::SOURCES => self.sources.push((ssrc, index)),
            None => {}
        }
    }
}

/// The sources of sections that were, by where their sections are now. What of those the plan
/// leaves out has sources is added to `sections`, as far as there is room.
fn carried_over(
    past: Box<[Section]>,
    mut sources: Vec<(u32, Index)>,
    sections: &mut Vec<Section>,
) -> Vec<(u32, Index)> {
    let mut now = [None; MAX_ROUTES];
    for ((at, section), now) in past.into_vec().into_iter().enumerate().zip(&mut now) {
        let place = sections.iter().position(|other| other.mid == section.mid);
        let is_heard = sources.iter().any(|(_, index)| usize::from(index.0) == at);
        if place.is_none() && is_heard && sections.len() < MAX_ROUTES {
            sections.push(Section { peer: None, ..section });
            *now = Some(Index(sections.len() as u8 - 1));
        } else {
            *now = place.map(|place| Index(place as u8));
        }
    }
    sources.retain_mut(|(_, index)| match now[usize::from(index.0)] {
        Some(place) => {
            *index = place;
            true
        }
        None => false,
    });
    sources.reserve_exact(Routes::SOURCES.saturating_sub(sources.len()));
    sources
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::command::StreamIndex;

    const AUDIO: Slot = Slot(11);
    const VIDEO: Slot = Slot(12);
    const SLOTS: [Slot; 3] = [Slot(10), AUDIO, VIDEO];

    fn section(peer: u16, mid: &[u8], payload_types: &[u8]) -> Route {
        Route {
            peer: StreamIndex(peer),
            mid: mid.into(),
            mid_extension: 4,
            payload_types: payload_types.iter().map(|payload_type| 1_u128 << payload_type).sum(),
            ssrcs: Vec::new(),
        }
    }

    fn routes() -> Box<Routes> {
        let sections = vec![section(1, b"a", &[96, 111]), section(2, b"v1", &[96, 97])];
        Routes::new(sections, &SLOTS, None)
    }

    fn packet(ssrc: u32, payload_type: u8, mid: Option<&[u8]>) -> Vec<u8> {
        let mut packet = vec![0x80, payload_type, 0, 1, 0, 0, 0, 1];
        packet.extend(ssrc.to_be_bytes());
        if let Some(mid) = mid {
            packet[0] |= 0x10;
            let mut data = vec![0x30, 0xff, 0x40 | (mid.len() as u8 - 1)];
            data.extend(mid);
            data.resize(data.len().next_multiple_of(4), 0);
            packet.extend([0xbe, 0xde, 0, (data.len() / 4) as u8]);
            packet.extend(data);
        }
        packet
    }

    #[test]
    fn a_mid_is_believed_and_its_source_remembered_without_it() {
        let mut routes = routes();
        assert_eq!(routes.of_rtp(&packet(1, 96, None)), Err(DropReason::NoRoute), "96 is of both");
        assert_eq!(routes.of_rtp(&packet(1, 96, Some(b"v1"))), Ok(VIDEO));
        assert_eq!(routes.of_rtp(&packet(1, 96, None)), Ok(VIDEO));
        assert_eq!(routes.of_rtp(&packet(1, 96, Some(b"a"))), Ok(AUDIO), "the party moved it");
        assert_eq!(routes.of_rtp(&packet(1, 96, None)), Ok(AUDIO));
    }

    #[test]
    fn a_mid_that_no_section_has_goes_nowhere_and_teaches_nothing() {
        let mut routes = routes();
        assert_eq!(routes.of_rtp(&packet(1, 111, Some(b"v"))), Err(DropReason::NoRoute));
        assert_eq!(routes.of_source(1), None);
    }

    #[test]
    fn a_payload_type_of_one_section_alone_decides() {
        let mut routes = routes();
        assert_eq!(routes.of_rtp(&packet(1, 111, None)), Ok(AUDIO));
        assert_eq!(routes.of_rtp(&packet(2, 0x80 | 97, None)), Ok(VIDEO), "marker and all");
        assert_eq!(routes.of_rtp(&packet(3, 0, None)), Err(DropReason::NoRoute));
        assert_eq!(routes.of_rtp(&packet(1, 96, None)), Ok(AUDIO), "by its SSRC now");
    }

    #[test]
    fn announced_sources_are_known_before_they_are_heard() {
        let mut video = section(2, b"v1", &[96]);
        video.ssrcs = (1000..1100).collect();
        let routes = Routes::new(vec![section(1, b"a", &[96]), video], &SLOTS, None);
        let known = (1000..1100).filter(|ssrc| routes.of_source(*ssrc) == Some(VIDEO)).count();
        assert_eq!(known, Routes::ANNOUNCED);
    }

    #[test]
    fn sources_are_bounded_and_the_longest_silent_makes_room() {
        let mut routes = routes();
        routes.of_rtp(&packet(7, 111, None)).unwrap();
        let room = routes.sources.capacity();
        for ssrc in 1000..2000 {
            routes.of_rtp(&packet(ssrc, 97, None)).unwrap();
            assert_eq!(routes.of_rtp(&packet(7, 96, None)), Ok(AUDIO), "heard all the while");
        }
        assert_eq!((routes.sources.len(), routes.sources.capacity()), (Routes::SOURCES, room));
        assert_eq!(routes.of_source(1000), None);
    }

    #[test]
    fn a_new_plan_keeps_what_was_learned_of_sections_that_stay() {
        let mut before = routes();
        before.of_rtp(&packet(1, 111, None)).unwrap();
        before.of_rtp(&packet(2, 97, None)).unwrap();
        let mut after = Routes::new(vec![section(1, b"a", &[0, 97])], &SLOTS, Some(before));
        assert_eq!(after.of_rtp(&packet(1, 111, None)), Ok(AUDIO));
        assert_eq!(after.of_rtp(&packet(2, 97, None)), Err(DropReason::NoRoute), "another's");
        assert_eq!(after.peers().collect::<Vec<_>>(), [AUDIO]);
    }

    #[test]
    fn what_was_learned_of_a_section_outlives_its_peer() {
        let mut routes = routes();
        routes.of_rtp(&packet(1, 96, Some(b"a"))).unwrap();
        routes.of_rtp(&packet(2, 96, Some(b"v1"))).unwrap();
        // A fork's next branch has other streams, and the sections another order.
        let slots = [Slot(10), Slot(21), Slot(22)];
        let sections = vec![section(2, b"v1", &[96]), section(1, b"a", &[96])];
        let mut routes = Routes::new(sections, &slots, Some(routes));
        assert_eq!(routes.of_rtp(&packet(1, 96, None)), Ok(Slot(21)));
        assert_eq!(routes.of_rtp(&packet(2, 96, None)), Ok(Slot(22)));
        // One is set aside, then all are.
        for sections in [vec![section(1, b"a", &[96])], vec![]] {
            routes = Routes::new(sections, &SLOTS, Some(routes));
            assert_eq!(routes.of_rtp(&packet(2, 96, None)), Err(DropReason::NoRoute));
        }
        assert_eq!((routes.peers().count(), routes.of_source(1)), (0, None));
        let sections = vec![section(1, b"a", &[96]), section(2, b"v1", &[96])];
        let mut routes = Routes::new(sections, &SLOTS, Some(routes));
        assert_eq!(routes.of_rtp(&packet(1, 96, None)), Ok(AUDIO));
        assert_eq!(routes.of_rtp(&packet(2, 96, None)), Ok(VIDEO));
    }

    #[test]
    fn an_announced_source_is_no_more_of_a_section_that_went() {
        let mut before = routes();
        before.of_rtp(&packet(2, 97, None)).unwrap();
        let mut audio = section(1, b"a", &[96]);
        audio.ssrcs = vec![2];
        let after = Routes::new(vec![audio], &SLOTS, Some(before));
        assert_eq!(after.of_source(2), Some(AUDIO));
    }

    #[test]
    fn sections_of_one_peer_are_one_way_and_those_beyond_the_call_none() {
        let sections = vec![
            section(1, b"a", &[]),
            section(9, b"x", &[]),
            section(1, b"b", &[]),
            section(2, b"v", &[]),
        ];
        let routes = Routes::new(sections, &SLOTS, None);
        assert_eq!(routes.peers().collect::<Vec<_>>(), [AUDIO, VIDEO]);
        let many = (0..1000).map(|_| section(1, b"a", &[])).collect();
        assert_eq!(Routes::new(many, &SLOTS, None).sections.len(), MAX_ROUTES);
    }
}
