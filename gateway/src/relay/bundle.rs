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
    sections: Box<[Section]>,
    /// Whose packets with an SSRC are; heard last first.
    sources: Vec<(u32, Slot)>,
    /// Whose packets the party is sent are.
    owners: Owners,
}

#[derive(Debug)]
struct Section {
    peer: Slot,
    mid: Box<[u8]>,
    mid_extension: u8,
    payload_types: u128,
}

impl Routes {
    /// Most SSRCs remembered: simulcast with retransmissions is six to a section.
    const SOURCES: usize = 64;
    /// Most of them that a plan announces for one section.
    const ANNOUNCED: usize = 16;

    /// Sections of a plan, among the call's streams `slots`; what `before` had learned stays, as far
    /// as its peers do.
    pub(super) fn new(routes: Vec<Route>, slots: &[Slot], before: Option<Box<Self>>) -> Box<Self> {
        let before = before.map(|before| *before);
        let (mut sources, owners) = before
            .map_or_else(|| (Vec::new(), None), |before| (before.sources, Some(before.owners)));
        sources.reserve_exact(Self::SOURCES.saturating_sub(sources.len()));
        let mut sections = Vec::with_capacity(routes.len().min(MAX_ROUTES));
        for route in routes.into_iter().take(MAX_ROUTES) {
            let Some(&peer) = slots.get(usize::from(route.peer.0)) else { continue };
            for &ssrc in route.ssrcs.iter().take(Self::ANNOUNCED) {
                let is_new = sources.iter().all(|(known, _)| *known != ssrc);
                if is_new && sources.len() < Self::SOURCES {
                    sources.push((ssrc, peer));
                }
            }
            let Route { mid, mid_extension, payload_types, .. } = route;
            sections.push(Section { peer, mid, mid_extension, payload_types });
        }
        let is_a_peer = |peer| sections.iter().any(|section: &Section| section.peer == peer);
        sources.retain(|(_, peer)| is_a_peer(*peer));
        let owners = Owners::new(owners, is_a_peer);
        Box::new(Self { sections: sections.into(), sources, owners })
    }

    /// Whose an RTP packet is.
    pub(super) fn of_rtp(&mut self, packet: &[u8]) -> Result<Slot, DropReason> {
        let header = rtp::Header::new_checked(packet).map_err(|_| DropReason::Malformed)?;
        let peer = match self.named_by_mid(&header) {
            Some(named) => named,
            None => self.of_source(header.ssrc()).or_else(|| self.alone(header.payload_type())),
        };
        let peer = peer.ok_or(DropReason::NoRoute)?;
        self.learn(header.ssrc(), peer);
        Ok(peer)
    }

    /// Whose packets with this SSRC of the party are.
    pub(super) fn of_source(&self, ssrc: u32) -> Option<Slot> {
        self.sources.iter().find(|(known, _)| *known == ssrc).map(|(_, peer)| *peer)
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
        self.sections.iter().enumerate().filter(first).map(|(_, section)| section.peer)
    }

    /// What the packet's MID says; `None` without one. A MID that nobody has is of nobody.
    fn named_by_mid(&self, header: &rtp::Header<'_>) -> Option<Option<Slot>> {
        let (profile, data) = header.extension()?;
        let is_mid =
            |id| id != 0 && self.sections.iter().any(|section| section.mid_extension == id);
        let (id, mid) = extension::Elements::new(profile, data).find(|(id, _)| is_mid(*id))?;
        let has = |section: &&Section| section.mid_extension == id && *section.mid == *mid;
        Some(self.sections.iter().find(has).map(|section| section.peer))
    }

    /// The peer of the one section that has this payload type.
    fn alone(&self, payload_type: u8) -> Option<Slot> {
        let has = |section: &&Section| section.payload_types >> payload_type & 1 == 1;
        let mut sections = self.sections.iter().filter(has);
        let only = sections.next()?;
        sections.next().is_none().then_some(only.peer)
    }

    fn learn(&mut self, ssrc: u32, peer: Slot) {
        match self.sources.iter().position(|(known, _)| *known == ssrc) {
            Some(0) => {}
            Some(at) => self.sources[..=at].rotate_right(1),
            None => {
                self.sources.truncate(Self::SOURCES - 1);
                self.sources.insert(0, (ssrc, peer));
            }
        }
        self.sources[0].1 = peer;
    }
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
    fn a_new_plan_keeps_what_was_learned_of_peers_that_stay() {
        let mut before = routes();
        before.of_rtp(&packet(1, 111, None)).unwrap();
        before.of_rtp(&packet(2, 97, None)).unwrap();
        let mut after = Routes::new(vec![section(1, b"a", &[0])], &SLOTS, Some(before));
        assert_eq!(after.of_rtp(&packet(1, 111, None)), Ok(AUDIO));
        assert_eq!(after.of_rtp(&packet(2, 97, None)), Err(DropReason::NoRoute));
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
