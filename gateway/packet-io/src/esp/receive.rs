//! Receiving: one recvmmsg, then every datagram made into the ESP packets that it holds.

use std::io;
use std::ops::Range;
use std::os::fd::AsFd;

use super::{Counters, Encapsulation, EspSocket, KEEPALIVE};
use crate::address::RawAddress;
use crate::ancillary;
use crate::batch::{PacketBatch, Peer, Place};

/// What a UDP payload on the port of ESP is (RFC 3948, 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// An ESP packet: it begins with an SPI, which is not 0.
    Esp,
    /// An IKE message: behind a non-ESP marker of four zero bytes.
    Ike,
    /// A NAT keepalive: the one byte 0xFF.
    Keepalive,
    /// Neither: too short for any.
    Runt,
}

/// Tells what `payload` is.
pub fn classify(payload: &[u8]) -> Payload {
    match payload {
        [KEEPALIVE] => Payload::Keepalive,
        [0, 0, 0, 0, ..] => Payload::Ike,
        // SPI and sequence number (RFC 4303, 2): no shorter packet can be one.
        _ if payload.len() < 8 => Payload::Runt,
        _ => Payload::Esp,
    }
}

impl EspSocket {
    /// Empties `batch` and fills it with ESP packets that wait: how many came; never waits. At
    /// most as many datagrams as the batch has slots, up to 128, are taken: as long as the socket
    /// is readable, there are more. `batch` is one that [`EspSocket::batch`] made: another may be
    /// too small for what the kernel joins, all of which would count as oversize.
    ///
    /// # Errors
    /// ENOBUFS and the like. What ICMP said about packets sent is no error here: see
    /// [`EspSocket::take_path_events`].
    pub fn receive(&mut self, batch: &mut PacketBatch) -> io::Result<usize> {
        batch.clear();
        let mut tries = 0;
        let count = loop {
            match self.incoming.receive(self.socket.as_fd(), batch.areas()) {
                Ok(count) => break count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(0),
                // Each read takes one such error away.
                Err(error) if is_icmp(&error) && tries < 16 => tries += 1,
                Err(error) => return Err(error),
            }
        };
        for at in 0..count {
            self.take(batch, at);
        }
        Ok(batch.len())
    }

    /// Lists what slot `at` holds.
    fn take(&mut self, batch: &mut PacketBatch, at: usize) {
        let datagram = self.incoming.datagram(at);
        let facts = Facts::parse(datagram.control);
        if let Some(drops) = facts.kernel_drops {
            self.counters.kernel_drops = drops;
        }
        if datagram.truncated {
            self.counters.oversize += 1;
            return;
        }
        let peer = Peer(RawAddress::from_kernel(datagram.name));
        let place =
            Place { range: 0..0, token: self.token, peer, traffic_class: facts.traffic_class };
        let length = datagram.length;
        match self.kind {
            Encapsulation::Raw => take_raw(batch, at, length, place, &mut self.counters),
            Encapsulation::Udp => {
                let segment = facts.segment.filter(|&segment| segment > 0).unwrap_or(length);
                let mut start = 0;
                while start < length {
                    let end = length.min(start + segment);
                    take_udp(batch, at, start..end, place.clone(), &mut self.counters);
                    start = end;
                }
                if length == 0 {
                    self.counters.runts += 1;
                }
            }
        }
        batch.close_slot(at);
    }
}

/// A raw IPv4 socket gives the IP header too (raw(7)), an IPv6 one does not.
fn take_raw(
    batch: &mut PacketBatch,
    at: usize,
    length: usize,
    mut place: Place,
    counters: &mut Counters,
) {
    let bytes = batch.area(at, length);
    let mut start = 0;
    if place.peer.is_ipv4() {
        let Some(header) = bytes.first_chunk::<20>() else {
            counters.runts += 1;
            return;
        };
        start = usize::from(header[0] & 0x0f) * 4;
        place.traffic_class = header[1];
    }
    match bytes.get(start..).map(classify) {
        Some(Payload::Esp) => drop(batch.commit_part(at, start..length, place)),
        _ => counters.runts += 1,
    }
}

fn take_udp(
    batch: &mut PacketBatch,
    at: usize,
    part: Range<usize>,
    place: Place,
    counters: &mut Counters,
) {
    match classify(&batch.area(at, part.end)[part.start..]) {
        // There is room to list them: the batch was made for as many as the kernel joins, and a
        // batch made for single packets is not read into by a socket that gets joined ones.
        Payload::Esp => {
            if !batch.commit_part(at, part, place) {
                counters.oversize += 1;
            }
        }
        Payload::Ike => counters.ike += 1,
        Payload::Keepalive => counters.keepalives += 1,
        Payload::Runt => counters.runts += 1,
    }
}

/// What the kernel says beside a datagram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Facts {
    kernel_drops: Option<u32>,
    traffic_class: u8,
    /// UDP_GRO: the length of all packets joined, but the last, which may be shorter.
    segment: Option<usize>,
}

impl Facts {
    fn parse(control: &[u8]) -> Self {
        let mut facts = Self::default();
        for message in ancillary::messages(control) {
            let word = message.data.first_chunk().map(|&word| u32::from_ne_bytes(word));
            match (message.level, message.kind) {
                (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => facts.kernel_drops = word,
                (libc::SOL_UDP, libc::UDP_GRO) => facts.segment = word.map(|word| word as usize),
                // One byte in IPv4, an int in IPv6.
                (libc::IPPROTO_IP, libc::IP_TOS) => {
                    facts.traffic_class = message.data.first().copied().unwrap_or(0);
                }
                (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
                    facts.traffic_class = word.unwrap_or(0) as u8;
                }
                _ => {}
            }
        }
        facts
    }
}

/// What a socket with a queue of errors says of packets that it sent before.
pub(super) fn is_icmp(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::ECONNREFUSED
                | libc::EHOSTUNREACH
                | libc::ENETUNREACH
                | libc::EHOSTDOWN
                | libc::ENONET
                | libc::EMSGSIZE
                | libc::EPROTO
                | libc::ENOPROTOOPT
                | libc::EOPNOTSUPP
                | libc::EACCES
        )
    )
}

/// SO_RXQ_OVFL, TOS or traffic class, UDP_GRO: up to four bytes each.
pub(super) const CONTROL: usize = 3 * ancillary::space(4);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn esp_ike_and_keepalives_are_told_apart() {
        assert_eq!(classify(&[0xff]), Payload::Keepalive);
        assert_eq!(classify(&[0, 0, 0, 0]), Payload::Ike);
        assert_eq!(classify(&[0, 0, 0, 0, 1, 2, 3, 4, 5]), Payload::Ike);
        assert_eq!(classify(&[0, 0, 0, 1, 0, 0, 0, 1]), Payload::Esp);
        assert_eq!(classify(&[0xff; 8]), Payload::Esp);
        for runt in [&[][..], &[0], &[0xff, 0xff], &[0, 0, 0], &[0, 0, 0, 1, 0, 0, 0]] {
            assert_eq!(classify(runt), Payload::Runt, "{runt:?}");
        }
    }

    #[test]
    fn the_kernels_words_are_read() {
        let mut control = [0; CONTROL];
        let used = ancillary::append(
            &mut control,
            0,
            libc::SOL_SOCKET,
            libc::SO_RXQ_OVFL,
            &9_u32.to_ne_bytes(),
        );
        let used = ancillary::append(&mut control, used, libc::IPPROTO_IP, libc::IP_TOS, &[0xb8]);
        let used = ancillary::append(
            &mut control,
            used,
            libc::SOL_UDP,
            libc::UDP_GRO,
            &1400_i32.to_ne_bytes(),
        );
        let facts = Facts { kernel_drops: Some(9), traffic_class: 0xb8, segment: Some(1400) };
        assert_eq!(Facts::parse(&control[..used]), facts);
    }
}
