//! Reports on several sections of a bundle: a packet has one way out with its batch, so all but the
//! first part of it leave by themselves after the turn.
//!
//! Rare (a few in a second, of the parties that send such reports at all), so each costs a system
//! call; bounded, and made beforehand, between batches.

use std::net::SocketAddr;

use packet_io::{Driver, Received, Token};

use super::bundle::reports::{About, each_subject, extract, packets, sender};
use super::command::MAX_ROUTES;
use super::demultiplex::Media;
use super::drop_reason::DropReason;
use super::path::{Batch, Onward};
use super::stats::Tally;
use super::stream::Slot;

/// What leaves after the turn.
#[derive(Debug, Default)]
pub(super) struct Copies(Vec<Departure>);

#[derive(Debug)]
struct Departure {
    from: Token,
    to: SocketAddr,
    length: usize,
    bytes: [u8; ROOM],
}

/// The longest packet, protected.
const ROOM: usize = Received::MAX_PACKET + Received::TAILROOM;
/// Most copies of a turn: parties report a few times in a second, and a turn takes less than a
/// millisecond.
const MOST: usize = 32;

impl Copies {
    /// There are bundles now: nothing is allocated for them later.
    pub(super) fn make_room(&mut self) {
        self.0.reserve_exact(MOST - self.0.len());
    }

    /// The turn is over.
    pub(super) fn send(&mut self, driver: &mut impl Driver, tally: &mut Tally) {
        for Departure { from, to, length, bytes } in self.0.drain(..) {
            match driver.send(from, to, &bytes[..length]) {
                Ok(()) => tally.packets_out += 1,
                Err(_) => tally.drops[DropReason::SendFailed as usize] += 1,
            }
        }
    }
}

/// Whom each packet of a compound speaks of: a bit for each of the bundle's peers.
struct Subjects {
    peers: [Slot; MAX_ROUTES],
    /// By packet; none for those that go along with the others.
    of_packets: [u32; MOST_PACKETS],
    /// Of all packets together.
    all: u32,
}

/// A packet of a compound has four bytes at least.
const MOST_PACKETS: usize = Received::MAX_PACKET / 4;

impl Subjects {
    fn peers(&self) -> impl Iterator<Item = (u32, Slot)> + '_ {
        let bits = (0..MAX_ROUTES as u32).filter(|bit| self.all >> bit & 1 == 1);
        bits.map(|bit| (bit, self.peers[bit as usize]))
    }

    /// The part of `compound` for the peer of this bit, and its length.
    fn part(&self, bit: u32, compound: &[u8], into: &mut [u8]) -> usize {
        extract(compound, into, |at| {
            let subjects = self.of_packets.get(at).copied().unwrap_or(0);
            subjects == 0 || subjects >> bit & 1 == 1
        })
    }
}

impl Batch<'_> {
    /// Whose a packet of a bundle is. Of a report on several sections, what is left in `opened` is
    /// the first one's; its new length.
    #[inline(never)]
    pub(super) fn route(
        &mut self,
        slot: Slot,
        media: Media,
        opened: &mut [u8],
    ) -> Result<(Slot, usize), DropReason> {
        if media == Media::Rtp {
            let routes = self.streams[slot.key()].cold.routes.as_mut();
            let peer = routes.ok_or(DropReason::NoRoute)?.of_rtp(opened)?;
            return Ok((peer, opened.len()));
        }
        let subjects = self.subjects(slot, opened).ok_or(DropReason::NoRoute)?;
        let mut peers = subjects.peers();
        let (bit, first) = peers.next().ok_or(DropReason::NoRoute)?;
        if subjects.all.count_ones() == 1 {
            return Ok((first, opened.len()));
        }
        for (bit, peer) in peers {
            let mut part = [0; ROOM];
            let length = subjects.part(bit, opened, &mut part[..Received::MAX_PACKET]);
            if let Err(reason) = self.copy(peer, part, length) {
                self.tally.drops[reason as usize] += 1;
                let component = self.streams[slot.key()].component(media);
                self.streams[slot.key()].note_drop(component, reason, 1);
            }
        }
        let mut part = [0; Received::MAX_PACKET];
        let length = subjects.part(bit, opened, &mut part).min(opened.len());
        opened[..length].copy_from_slice(&part[..length]);
        Ok((first, length))
    }

    fn copy(&mut self, to: Slot, mut bytes: [u8; ROOM], length: usize) -> Result<(), DropReason> {
        if self.copies.0.len() == self.copies.0.capacity() {
            return Err(DropReason::Flood);
        }
        let Onward { from, to, range } = self.depart(to, Media::Rtcp, &mut bytes, length)?;
        self.copies.0.push(Departure { from, to, length: range.end, bytes });
        Ok(())
    }

    /// Whom the stream at `slot`, a bundle, speaks of.
    fn subjects(&self, slot: Slot, compound: &[u8]) -> Option<Subjects> {
        let routes = self.streams.get(slot.key())?.cold.routes.as_ref()?;
        let mut peers = [slot; MAX_ROUTES];
        let mut count = 0;
        for (peer, place) in routes.peers().zip(&mut peers) {
            *place = peer;
            count += 1;
        }
        let known = &peers[..count];
        let bit_of = |about| {
            let is_meant = |peer: &Slot| match about {
                About::Theirs(ssrc) => routes.of_source(ssrc) == Some(*peer),
                About::Received(ssrc) => routes.owner(ssrc) == Some(*peer),
            };
            known.iter().position(is_meant).map_or(0, |bit| 1_u32 << bit)
        };
        let mut of_packets = [0; MOST_PACKETS];
        let mut somebody = false;
        for (packet, bits) in packets(compound).zip(&mut of_packets) {
            each_subject(packet, |about| {
                somebody = true;
                *bits |= bit_of(about);
            });
        }
        let mut all = of_packets.iter().fold(0, |all, bits| all | bits);
        if !somebody {
            // Only what goes along with others: by who sent it.
            all = sender(compound).map_or(0, bit_of);
        }
        Some(Subjects { peers, of_packets, all })
    }
}
