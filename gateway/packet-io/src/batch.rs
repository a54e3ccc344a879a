//! A batch of packets that grow and shrink in place: what TUN reads fill and ESP sockets send, and
//! the other way round.
//!
//! ```text
//! storage  | slot 0                                  | slot 1 …
//!          | HEADROOM | packet        | TAILROOM     |
//!            ^buffer[0]  ^range                       a slot is what the packet may grow into
//! ```
//!
//! The storage is one allocation, made once. A slot holds one packet; only a datagram that the
//! kernel put together from many (UDP_GRO) makes one wide slot into many narrow ones without
//! room of their own: those packets can shrink, as decryption makes them, but not grow.
//! A packet whose range is empty has been dropped: writers and senders pass over it.
//! The batch belongs to one thread and knows nothing of ESP.

use std::net::SocketAddr;
use std::ops::Range;

use crate::address::{self, RawAddress};
use crate::driver::Token;

/// See the module's documentation.
pub struct PacketBatch {
    storage: Box<[u8]>,
    slot: usize,
    slots: usize,
    packets: Vec<Entry>,
}

struct Entry {
    /// The part of the storage that is this packet's alone; ascending and disjoint.
    room: Range<usize>,
    place: Place,
}

/// Where a packet lies in its room, and where it came from or goes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its bytes, as a range of [`PacketMut::buffer`]; empty: dropped.
    pub range: Range<usize>,
    /// The socket it came in on, or is to leave by.
    pub token: Token,
    /// The sender's or receiver's outer address; [`Peer::NONE`] for what came from a TUN device.
    pub peer: Peer,
    /// TOS or traffic class of the outer header (DSCP and ECN): received or to be sent.
    pub traffic_class: u8,
}

impl Place {
    /// Drops the packet: it will be neither written nor sent.
    pub fn discard(&mut self) {
        self.range = 0..0;
    }
}

/// A packet with the room around it.
pub struct PacketMut<'a> {
    /// The whole room.
    pub buffer: &'a mut [u8],
    /// Where in `buffer` the packet lies, and its outer facts; to be changed together with it.
    pub place: &'a mut Place,
}

impl PacketMut<'_> {
    /// The packet's bytes; none for one dropped.
    pub fn bytes(&self) -> &[u8] {
        self.buffer.get(self.place.range.clone()).unwrap_or_default()
    }

    /// The packet's bytes, to be changed; none for one dropped.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.buffer.get_mut(self.place.range.clone()).unwrap_or_default()
    }
}

/// An outer address, laid out once as the kernel reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub(crate) RawAddress);

impl Peer {
    /// Nobody: what a packet from a TUN device has until its SA is known. It cannot be sent to.
    pub const NONE: Self = Self(RawAddress::EMPTY);

    /// The peer at `address`; for raw ESP the port has to be 0.
    pub fn new(address: &SocketAddr) -> Self {
        Self(RawAddress::new(address))
    }

    pub(crate) fn is_ipv4(&self) -> bool {
        self.0.bytes().len() == size_of::<libc::sockaddr_in>()
    }

    /// Its address; port 0 for raw ESP.
    pub fn address(&self) -> Option<SocketAddr> {
        address::parse(self.0.bytes())
    }
}

impl PacketBatch {
    /// Bytes free before a packet in a slot of its own: SPI, sequence number and IV take 16.
    pub const HEADROOM: usize = 64;
    /// Bytes free after it: ESP adds at most 255 of padding, 2 of trailer and 16 of ICV.
    pub const TAILROOM: usize = 320;
    /// The longest IP packet, and the longest datagram that UDP_GRO puts together.
    pub const LONGEST: usize = 65_535;

    /// A batch of up to `slots` packets of up to `packet` bytes each (at most
    /// [`Self::LONGEST`]), with head- and tailroom.
    pub fn new(slots: usize, packet: usize) -> Self {
        let packet = packet.min(Self::LONGEST);
        let slot = (Self::HEADROOM + packet + Self::TAILROOM).next_multiple_of(64);
        Self::with_capacity(slots, slot, slots)
    }

    /// A batch for a socket with UDP_GRO: `slots` datagrams, each of up to [`SEGMENTS`] packets.
    pub(crate) fn wide(slots: usize) -> Self {
        let slot = (Self::HEADROOM + Self::LONGEST + Self::TAILROOM).next_multiple_of(64);
        Self::with_capacity(slots, slot, slots * SEGMENTS)
    }

    fn with_capacity(slots: usize, slot: usize, packets: usize) -> Self {
        let storage = vec![0; slots * slot].into_boxed_slice();
        Self { storage, slot, slots, packets: Vec::with_capacity(packets) }
    }

    /// How many packets it holds, dropped ones included.
    pub fn len(&self) -> usize {
        self.packets.len()
    }

    /// It holds none.
    pub fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    /// How many slots there are: packets that a TUN read or raw receive can fill.
    pub fn slots(&self) -> usize {
        self.slots
    }

    /// The longest packet that fits a slot beside its head- and tailroom.
    pub fn longest(&self) -> usize {
        self.slot - Self::HEADROOM - Self::TAILROOM
    }

    /// How many packets it can ever hold.
    pub(crate) fn capacity(&self) -> usize {
        self.packets.capacity()
    }

    /// Forgets all packets.
    pub fn clear(&mut self) {
        self.packets.clear();
    }

    /// The bytes of packet `at`; none for one dropped.
    ///
    /// # Panics
    /// When there is no packet `at`.
    pub fn packet(&self, at: usize) -> &[u8] {
        bytes(&self.storage, &self.packets[at])
    }

    /// Where packet `at` lies, and its outer facts.
    ///
    /// # Panics
    /// When there is no packet `at`.
    pub fn place(&self, at: usize) -> &Place {
        &self.packets[at].place
    }

    /// Packet `at` with the room around it.
    ///
    /// # Panics
    /// When there is no packet `at`.
    pub fn packet_mut(&mut self, at: usize) -> PacketMut<'_> {
        let Entry { room, place } = &mut self.packets[at];
        PacketMut { buffer: &mut self.storage[room.clone()], place }
    }

    /// All packets in order, each with its bytes.
    pub fn packets(&self) -> impl Iterator<Item = (&Place, &[u8])> {
        self.packets.iter().map(|entry| (&entry.place, bytes(&self.storage, entry)))
    }

    /// All packets in order, each with the room around it.
    pub fn packets_mut(&mut self) -> impl Iterator<Item = PacketMut<'_>> {
        let mut rest = &mut self.storage[..];
        let mut passed = 0;
        self.packets.iter_mut().map(move |Entry { room, place }| {
            let (_, after) = std::mem::take(&mut rest).split_at_mut(room.start - passed);
            let (buffer, after) = after.split_at_mut(room.len());
            (rest, passed) = (after, room.end);
            PacketMut { buffer, place }
        })
    }

    /// Copies `packet` into the next slot, for `peer` by `token`; false when no slot is free or
    /// it is too long. For what is not received: tests, generators.
    pub fn push(&mut self, packet: &[u8], token: Token, peer: Peer) -> bool {
        let Some(area) = self.next_area() else { return false };
        let Some(target) = area.get_mut(..packet.len()) else { return false };
        target.copy_from_slice(packet);
        self.commit(packet.len(), token, peer, 0);
        true
    }

    /// Where the next packet's bytes go; `None` when every slot is taken. Only for batches whose
    /// packets have all been committed singly.
    pub(crate) fn next_area(&mut self) -> Option<&mut [u8]> {
        let at = self.packets.len();
        let longest = self.longest();
        (at < self.slots).then(|| {
            let start = at * self.slot + Self::HEADROOM;
            &mut self.storage[start..start + longest]
        })
    }

    /// The bytes just written to [`Self::next_area`] are a packet of `length`.
    pub(crate) fn commit(&mut self, length: usize, token: Token, peer: Peer, traffic_class: u8) {
        let start = self.packets.len() * self.slot;
        let range = Self::HEADROOM..Self::HEADROOM + length;
        let place = Place { range, token, peer, traffic_class };
        self.packets.push(Entry { room: start..start + self.slot, place });
    }

    /// The areas of all slots, for one recvmmsg into an empty batch.
    pub(crate) fn areas(&mut self) -> impl Iterator<Item = &mut [u8]> {
        let longest = self.longest();
        self.storage
            .chunks_exact_mut(self.slot)
            .map(move |slot| &mut slot[Self::HEADROOM..Self::HEADROOM + longest])
    }

    /// What a receive has written to the area of slot `at`.
    pub(crate) fn area(&self, at: usize, length: usize) -> &[u8] {
        let start = at * self.slot + Self::HEADROOM;
        &self.storage[start..start + length.min(self.longest())]
    }

    /// Bytes `part` of the area of slot `at` are a packet. The first of a slot owns the headroom,
    /// the `last` the tailroom. False when there are more packets than the batch has room to list.
    pub(crate) fn commit_part(&mut self, at: usize, part: Range<usize>, place: Place) -> bool {
        if self.packets.len() == self.packets.capacity() {
            return false;
        }
        let slot = at * self.slot;
        let is_first = self.packets.last().is_none_or(|last| last.room.end <= slot);
        let start = if is_first { slot } else { slot + Self::HEADROOM + part.start };
        let end = slot + Self::HEADROOM + part.end;
        let first = slot + Self::HEADROOM + part.start - start;
        let range = first..first + part.len();
        self.packets.push(Entry { room: start..end, place: Place { range, ..place } });
        true
    }

    /// The last packet committed is the last of slot `at`: what follows it is its tailroom.
    pub(crate) fn close_slot(&mut self, at: usize) {
        if let Some(last) = self.packets.last_mut()
            && last.room.start >= at * self.slot
        {
            last.room.end = (at + 1) * self.slot;
        }
    }
}

fn bytes<'a>(storage: &'a [u8], entry: &Entry) -> &'a [u8] {
    storage[entry.room.clone()].get(entry.place.range.clone()).unwrap_or_default()
}

/// Packets in one datagram at most: the kernel's UDP_GRO_CNT_MAX and least UDP_MAX_SEGMENTS.
pub(crate) const SEGMENTS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn peer() -> Peer {
        Peer::new(&"192.0.2.1:4500".parse().unwrap())
    }

    fn place() -> Place {
        Place { range: 0..0, token: Token(3), peer: peer(), traffic_class: 0xb8 }
    }

    #[test]
    fn a_packet_grows_at_both_ends_in_place() {
        let mut batch = PacketBatch::new(3, 100);
        for byte in 1..=3 {
            assert!(batch.push(&[byte; 100], Token(0), peer()));
        }
        assert!(!batch.push(&[4], Token(0), peer()), "every slot is taken");
        for packet in batch.packets_mut() {
            let Range { start, end } = packet.place.range;
            assert!(start >= PacketBatch::HEADROOM);
            assert!(packet.buffer.len() - end >= PacketBatch::TAILROOM);
            packet.buffer[start - 16..start].fill(0xaa);
            packet.buffer[end..end + 273].fill(0xbb);
            packet.place.range = start - 16..end + 273;
        }
        for (byte, (place, bytes)) in (1..).zip(batch.packets()) {
            assert_eq!(bytes, [&[0xaa; 16][..], &[byte; 100], &[0xbb; 273]].concat());
            assert_eq!(place.peer.address(), Some("192.0.2.1:4500".parse().unwrap()));
        }
    }

    #[test]
    fn what_is_dropped_or_out_of_its_room_has_no_bytes() {
        let mut batch = PacketBatch::new(2, 100);
        assert!(!batch.push(&[0; 200], Token(0), peer()), "longer than a slot");
        assert!(batch.push(&[1; 100], Token(0), peer()));
        assert!(batch.push(&[2; 100], Token(0), peer()));
        batch.packet_mut(0).place.discard();
        batch.packet_mut(1).place.range = 400..4000;
        assert!(batch.packets().all(|(_, bytes)| bytes.is_empty()));
        assert!(batch.packets_mut().all(|mut packet| packet.bytes_mut().is_empty()));
        assert_eq!((batch.packet(0), batch.len()), (&[][..], 2));
        batch.clear();
        assert!(batch.is_empty());
    }

    #[test]
    fn parts_of_a_slot_are_disjoint_and_its_ends_have_room() {
        let mut batch = PacketBatch::wide(2);
        for (byte, area) in (1..).zip(batch.areas()) {
            area[..250].fill(byte);
        }
        for at in 0..2 {
            assert!(
                [0..100, 100..200, 200..250].map(|part| batch.commit_part(at, part, place()))
                    == [true; 3]
            );
            batch.close_slot(at);
        }
        let rooms: Vec<_> = batch.packets_mut().map(|packet| packet.buffer.len()).collect();
        assert_eq!(rooms[..2], [PacketBatch::HEADROOM + 100, 100]);
        assert_eq!(rooms[3..5], rooms[..2]);
        assert!(rooms[2] >= 50 + PacketBatch::TAILROOM && rooms[5] == rooms[2]);
        for (at, (place, bytes)) in batch.packets().enumerate() {
            let (byte, length) = (1 + at as u8 / 3, if at % 3 == 2 { 50 } else { 100 });
            assert_eq!(bytes, vec![byte; length]);
            assert_eq!((place.token, place.traffic_class), (Token(3), 0xb8));
        }
    }

    #[test]
    fn a_part_that_was_passed_over_leaves_the_headroom_to_the_next() {
        let mut batch = PacketBatch::wide(1);
        assert!(batch.commit_part(0, 20..120, place()));
        assert_eq!(batch.place(0).range, PacketBatch::HEADROOM + 20..PacketBatch::HEADROOM + 120);
    }
}
