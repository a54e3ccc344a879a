//! Packets of one flow made into super-packets before they are written: what a NIC does for LRO,
//! by the rules of the kernel's GRO, so that splitting gives back the same packets.
//!
//! 1. Each packet of a batch is looked at once: whole TCP with ACK and data, or whole UDP with data
//!    and a checksum, may be joined; anything else stays alone, and is overtaken by nothing.
//! 2. It joins the latest run of its flow when it continues it: headers alike, sequence number
//!    next, no longer than the first. A shorter one, or one with PSH, ends the run.
//! 3. Checksums are verified before anything is joined, because the kernel computes those of a
//!    super-packet anew: a packet that was damaged before it was sealed must not be made good.
//!
//! Packets of a flow keep their order; those of different flows may change theirs. A plan is only
//! indices: packets stay where they are, headers are rewritten in a copy.

use super::segment::{addresses, version};
use super::virtio::{Header, Partial, Segmentation, Version};
use super::{Level, segment::Transport};
use crate::batch::{PacketBatch, SEGMENTS};
use crate::checksum::Sum;

/// The runs of a batch; kept from batch to batch, so that nothing is allocated.
#[derive(Default)]
pub(crate) struct Plan {
    runs: Vec<Run>,
    /// For each packet of the batch the next of its run.
    next: Vec<Option<u32>>,
}

/// Packets that are written together; one, as a rule.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    first: u32,
    last: u32,
    /// How many packets.
    pub(crate) packets: usize,
    /// The first one's shape, if others may join it.
    shape: Option<Segment>,
    /// Payload so far, in bytes.
    payload: usize,
    state: State,
    ends_with_push: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// One packet, its checksum not looked at yet.
    Unverified,
    /// All checksums verified.
    Open,
    /// Nothing joins it any more.
    Closed,
}

/// Where things are in a packet of a flow: of TCP or UDP, and not a fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Segment {
    version: Version,
    transport: Transport,
    joins: Joins,
    /// Offset of the transport header.
    start: usize,
    /// Offset of the payload.
    headers: usize,
    /// Length of the packet.
    total: usize,
}

/// Whether a packet may be part of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Joins {
    /// If it continues one.
    Yes,
    /// TCP without data or with flags that mean something; UDP without checksum; padding.
    Never,
}

/// The longest headers of a run: IPv6 without extensions, TCP with 40 bytes of options.
pub(crate) const HEADERS: usize = 40 + 60;

impl Plan {
    /// Plans the writes of `batch`; with `level` says what may be joined.
    pub(crate) fn make(&mut self, batch: &PacketBatch, level: Level) {
        self.runs.clear();
        self.next.clear();
        // All that this batch will ever need: later rounds allocate nothing.
        self.runs.reserve(batch.capacity());
        self.next.reserve(batch.capacity());
        self.next.resize(batch.len(), None);
        for (at, (_, packet)) in (0..).zip(batch.packets()) {
            if packet.is_empty() {
                continue;
            }
            let shape = Segment::parse(packet, level);
            let is_joined = match shape {
                Some(shape) => self.join(batch, at, packet, shape),
                None => self.close(),
            };
            if !is_joined {
                self.runs.push(Run::new(at, packet, shape));
            }
        }
    }

    /// The runs, in the order of their first packets.
    pub(crate) fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// The packets of `run`, in order.
    pub(crate) fn members(&self, run: &Run) -> impl Iterator<Item = usize> {
        std::iter::successors(Some(run.first), |&at| self.next[at as usize]).map(|at| at as usize)
    }

    /// A packet of some flow, which is not known, is next: nothing is to overtake it.
    fn close(&mut self) -> bool {
        self.runs.iter_mut().rev().take(WINDOW).for_each(|run| run.state = State::Closed);
        false
    }

    /// Puts packet `at` behind the run that it continues, if there is one.
    fn join(&mut self, batch: &PacketBatch, at: u32, packet: &[u8], shape: Segment) -> bool {
        let is_of_flow = |run: &&mut Run| {
            run.shape.is_some_and(|other| shape.is_of_flow(packet, other, run.head(batch)))
        };
        let Some(run) = self.runs.iter_mut().rev().take(WINDOW).find(is_of_flow) else {
            return false;
        };
        if !run.takes(batch, packet, shape) {
            // What follows belongs behind this packet.
            run.state = State::Closed;
            return false;
        }
        self.next[run.last as usize] = Some(at);
        run.last = at;
        run.packets += 1;
        run.payload += shape.payload();
        run.ends_with_push = shape.pushes(packet);
        let is_short = run.shape.is_some_and(|first| shape.payload() < first.payload());
        let is_last = is_short || run.ends_with_push || run.packets == SEGMENTS;
        run.state = if is_last { State::Closed } else { State::Open };
        true
    }
}

impl Run {
    fn new(at: u32, packet: &[u8], shape: Option<Segment>) -> Self {
        let ends_with_push = shape.is_some_and(|shape| shape.pushes(packet));
        let state =
            if ends_with_push || shape.is_none() { State::Closed } else { State::Unverified };
        let payload = shape.map_or(0, |shape| shape.payload());
        Self { first: at, last: at, packets: 1, shape, payload, state, ends_with_push }
    }

    fn head<'a>(&self, batch: &'a PacketBatch) -> &'a [u8] {
        batch.packet(self.first as usize)
    }

    /// `packet` continues this run, which is of its flow.
    fn takes(&mut self, batch: &PacketBatch, packet: &[u8], shape: Segment) -> bool {
        let (head, Some(first)) = (self.head(batch), self.shape) else { return false };
        if self.state == State::Closed
            || shape.joins == Joins::Never
            || shape.payload() > first.payload()
            || first.headers + self.payload + shape.payload() > PacketBatch::LONGEST
            || !first.is_continued_by(head, packet, self.packets, self.payload)
        {
            return false;
        }
        if self.state == State::Unverified && !first.verifies(head) {
            return false;
        }
        shape.verifies(packet)
    }

    /// The headers of the run as one packet, written to `headers`: their length, and what the
    /// kernel is told. `None` for a single packet, which is written as it is.
    pub(crate) fn headers(
        &self,
        batch: &PacketBatch,
        headers: &mut [u8; HEADERS],
    ) -> Option<(usize, Header, Version)> {
        let shape = self.shape.filter(|_| self.packets > 1)?;
        let copy = headers.get_mut(..shape.headers)?;
        copy.copy_from_slice(&self.head(batch)[..shape.headers]);
        shape.widen(copy, self.payload, self.ends_with_push);
        let size = shape.payload() as u16;
        let segmentation = match shape.transport {
            Transport::Tcp => Segmentation::Tcp(size),
            Transport::Udp => Segmentation::Udp(size),
        };
        let offset = shape.transport.checksum() as u16;
        let checksum = Some(Partial { start: shape.start as u16, offset });
        let header = Header { checksum, segmentation, headers: shape.headers as u16 };
        Some((shape.headers, header, shape.version))
    }

    /// The payload of `packet`, a member of this run.
    pub(crate) fn payload_of<'a>(&self, packet: &'a [u8]) -> &'a [u8] {
        self.shape.and_then(|shape| packet.get(shape.headers..)).unwrap_or_default()
    }
}

impl Segment {
    /// The shape of `packet`; `None` for what belongs to no flow, or when `level` joins none.
    fn parse(packet: &[u8], level: Level) -> Option<Self> {
        let version = version(packet).filter(|_| level >= Level::Tcp)?;
        let (start, protocol, total) = match version {
            // Without options; not a fragment (MF and offset zero).
            Version::V4 if packet[0] == 0x45 && u16_at(packet, 6) & 0x3fff == 0 => {
                (20, packet[9], usize::from(u16_at(packet, 2)))
            }
            Version::V4 => return None,
            Version::V6 => (40, packet[6], 40 + usize::from(u16_at(packet, 4))),
        };
        let transport = match protocol {
            6 => Transport::Tcp,
            17 if level >= Level::TcpAndUdp => Transport::Udp,
            _ => return None,
        };
        let header = packet.get(start..)?;
        let headers = start + transport.header_length(header).ok()?;
        let is_plain = match transport {
            Transport::Tcp => header[13] & !(PSH | ECE) == ACK,
            // A checksum of zero is none (RFC 768), and joining would make one.
            Transport::Udp => {
                usize::from(u16_at(header, 4)) == header.len() && u16_at(header, 6) != 0
            }
        };
        let is_whole = total == packet.len() && headers < total;
        let joins = if is_plain && is_whole { Joins::Yes } else { Joins::Never };
        Some(Self { version, transport, joins, start, headers, total })
    }

    fn payload(&self) -> usize {
        self.total.saturating_sub(self.headers)
    }

    /// It is TCP with PSH.
    fn pushes(&self, packet: &[u8]) -> bool {
        self.transport == Transport::Tcp && packet[self.start + 13] & PSH != 0
    }

    /// Same protocol, addresses and ports.
    fn is_of_flow(&self, packet: &[u8], other: Self, others: &[u8]) -> bool {
        self.version == other.version
            && self.transport == other.transport
            && packet[self.start..self.start + 4] == others[other.start..other.start + 4]
            && addresses(packet, self.version) == addresses(others, other.version)
    }

    /// `packet`, of the same flow, follows `before` packets of `payload` bytes that begin with
    /// `head`, and splitting would give it these very headers.
    fn is_continued_by(&self, head: &[u8], packet: &[u8], before: usize, payload: usize) -> bool {
        let is_alike = |from: usize, to: usize| head[from..to] == packet[from..to];
        let ip = match self.version {
            // Version, TOS; flags; TTL. The identification of what is never fragmented (DF) says
            // nothing (RFC 6864, 4.1); any other has to be the one that splitting gives.
            Version::V4 => {
                let identification = u16_at(head, 4).wrapping_add(before as u16);
                is_alike(0, 2)
                    && is_alike(6, 9)
                    && (head[6] & DF != 0 || u16_at(packet, 4) == identification)
            }
            // Version, traffic class, flow label; hop limit.
            Version::V6 => is_alike(0, 4) && is_alike(7, 8),
        };
        let start = self.start;
        ip && match self.transport {
            // Acknowledgement and header length; flags but PSH, and window; urgent pointer and
            // options (a newer timestamp is another header).
            Transport::Tcp => {
                packet.len() >= self.headers
                    && is_alike(start + 8, start + 13)
                    && head[start + 13] | PSH == packet[start + 13] | PSH
                    && is_alike(start + 14, start + 16)
                    && is_alike(start + 18, self.headers)
                    && sequence(packet, start) == sequence(head, start).wrapping_add(payload as u32)
            }
            Transport::Udp => true,
        }
    }

    /// Its checksums fit.
    fn verifies(&self, packet: &[u8]) -> bool {
        let length = packet.len() - self.start;
        let transport = Sum::default()
            .pseudo_header(addresses(packet, self.version), self.transport.protocol(), length)
            .add(&packet[self.start..])
            .verifies();
        transport && (self.version == Version::V6 || Sum::default().add(&packet[..20]).verifies())
    }

    /// Makes `headers` those of a super-packet with `payload`: lengths, flags, sums; the
    /// transport's as far as the kernel wants it, the pseudo-header's.
    fn widen(&self, headers: &mut [u8], payload: usize, ends_with_push: bool) {
        let length = headers.len() - self.start + payload;
        match self.version {
            Version::V4 => {
                put(headers, 2, (self.start + length) as u16);
                put(headers, 10, 0);
                let checksum = Sum::default().add(&headers[..20]).checksum();
                put(headers, 10, checksum);
            }
            Version::V6 => put(headers, 4, length as u16),
        }
        match self.transport {
            Transport::Tcp if ends_with_push => headers[self.start + 13] |= PSH,
            Transport::Tcp => {}
            Transport::Udp => put(headers, self.start + 4, length as u16),
        }
        let partial = Sum::default()
            .pseudo_header(addresses(headers, self.version), self.transport.protocol(), length)
            .folded();
        put(headers, self.start + self.transport.checksum(), partial);
    }
}

fn sequence(packet: &[u8], start: usize) -> u32 {
    u32::from(u16_at(packet, start + 4)) << 16 | u32::from(u16_at(packet, start + 6))
}

fn u16_at(packet: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([packet[at], packet[at + 1]])
}

fn put(packet: &mut [u8], at: usize, value: u16) {
    packet[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

/// How many of the latest runs are searched for a packet's flow: more flows than these, mixed
/// packet by packet, are not worth joining.
const WINDOW: usize = 8;

const PSH: u8 = 0x08;
const ACK: u8 = 0x10;
const ECE: u8 = 0x40;
/// In the upper byte of flags and fragment offset.
const DF: u8 = 0x40;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::super::segment::Split;
    use super::*;
    use crate::batch::Peer;
    use crate::driver::Token;

    /// What a packet is made of.
    #[derive(Clone, Debug)]
    struct Spec {
        version: Version,
        transport: Transport,
        flow: u8,
        sequence: u32,
        identification: u16,
        fragment: u16,
        flags: u8,
        options: Vec<u8>,
        payload: Vec<u8>,
        damage: u8,
    }

    fn spec(transport: Transport, sequence: u32, payload: &[u8]) -> Spec {
        Spec {
            version: Version::V4,
            transport,
            flow: 1,
            sequence,
            identification: 0,
            fragment: 0x4000,
            flags: ACK,
            options: Vec::new(),
            payload: payload.to_vec(),
            damage: 0,
        }
    }

    impl Spec {
        fn build(&self) -> Vec<u8> {
            let mut header = vec![1, self.flow, 2, 2];
            match self.transport {
                Transport::Tcp => {
                    header.extend(self.sequence.to_be_bytes());
                    header.extend([0, 0, 0, 7, (20 + self.options.len() as u8) << 2, self.flags]);
                    header.extend([1, 0, 0, 0, 0, 0]);
                    header.extend(&self.options);
                }
                Transport::Udp => {
                    header.extend((8 + self.payload.len() as u16).to_be_bytes());
                    header.extend([0, 0]);
                }
            }
            header.extend(&self.payload);
            let (mut packet, length) = match self.version {
                Version::V4 => (vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 0, 0, 0], header.len() + 20),
                Version::V6 => (vec![0x60, 0, 0, 0, 0, 0, 0, 64], header.len()),
            };
            match self.version {
                Version::V4 => {
                    put(&mut packet, 2, length as u16);
                    put(&mut packet, 4, self.identification);
                    put(&mut packet, 6, self.fragment);
                    packet[9] = self.transport.protocol();
                    packet.extend([10, 0, 0, 1, 10, 0, 0, 2]);
                    let checksum = Sum::default().add(&packet).checksum();
                    put(&mut packet, 10, checksum);
                }
                Version::V6 => {
                    put(&mut packet, 4, length as u16);
                    packet[6] = self.transport.protocol();
                    packet.extend([0xfd; 32]);
                }
            }
            let pseudo = Sum::default().pseudo_header(
                addresses(&packet_of_forty(&packet), self.version),
                self.transport.protocol(),
                header.len(),
            );
            let checksum = crate::checksum::nonzero(pseudo.add(&header).checksum());
            put(&mut header, self.transport.checksum(), checksum);
            *header.last_mut().unwrap() ^= self.damage;
            packet.extend(header);
            packet
        }
    }

    fn packet_of_forty(packet: &[u8]) -> Vec<u8> {
        let mut long = packet.to_vec();
        long.resize(40, 0);
        long
    }

    fn batch(packets: &[Vec<u8>]) -> PacketBatch {
        let mut batch = PacketBatch::new(packets.len(), 2000);
        for packet in packets {
            assert!(batch.push(packet, Token(0), Peer::NONE));
        }
        batch
    }

    fn plan(packets: &[Vec<u8>], level: Level) -> Plan {
        let mut plan = Plan::default();
        plan.make(&batch(packets), level);
        plan
    }

    /// How many packets each run has.
    fn runs(specs: &[Spec]) -> Vec<usize> {
        let packets: Vec<_> = specs.iter().map(Spec::build).collect();
        plan(&packets, Level::TcpAndUdp).runs().iter().map(|run| run.packets).collect()
    }

    /// What the kernel would make of the writes of `packets`: joined, then split.
    fn through(packets: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let (batch, plan) = (batch(packets), plan(packets, Level::TcpAndUdp));
        let mut out = Vec::new();
        for run in plan.runs() {
            let mut headers = [0; HEADERS];
            let Some((length, header, version)) = run.headers(&batch, &mut headers) else {
                out.extend(plan.members(run).map(|at| batch.packet(at).to_vec()));
                continue;
            };
            let mut whole = headers[..length].to_vec();
            plan.members(run).for_each(|at| whole.extend(run.payload_of(batch.packet(at))));
            let header = Header::parse(header.encode(version));
            let mut split = Split::new(&whole, header).unwrap();
            let mut area = vec![0; split.longest()];
            while let Some(length) = split.write_next(&whole, &mut area) {
                out.push(area[..length].to_vec());
            }
        }
        out
    }

    #[test]
    fn what_continues_is_joined_and_a_shorter_one_ends_the_run() {
        let tcp = |sequence, payload| spec(Transport::Tcp, sequence, payload);
        assert_eq!(runs(&[tcp(0, b"abc"), tcp(3, b"def"), tcp(6, b"g"), tcp(7, b"hij")]), [3, 1]);
        assert_eq!(runs(&[tcp(u32::MAX - 1, b"abc"), tcp(1, b"def")]), [2]);
        let udp = |payload| spec(Transport::Udp, 0, payload);
        assert_eq!(runs(&[udp(b"abc"), udp(b"def"), udp(b"gh"), udp(b"ijk"), udp(b"lmn")]), [3, 2]);
        assert_eq!(runs(&vec![udp(b"abc"); 130]), [64, 64, 2]);
    }

    #[test]
    fn flows_are_joined_apart() {
        let of = |flow, sequence| Spec { flow, ..spec(Transport::Tcp, sequence, b"abc") };
        assert_eq!(runs(&[of(1, 0), of(2, 0), of(1, 3), of(2, 3), of(3, 0)]), [2, 2, 1]);
    }

    #[test]
    fn what_splitting_would_not_give_back_is_not_joined() {
        let first = spec(Transport::Tcp, 0, b"abc");
        let next = Spec { sequence: 3, ..first.clone() };
        assert_eq!(runs(&[first.clone(), next.clone()]), [2]);
        for other in [
            Spec { sequence: 4, ..next.clone() },
            Spec { payload: b"long".to_vec(), ..next.clone() },
            Spec { payload: Vec::new(), ..next.clone() },
            Spec { flags: ACK | 0x01, ..next.clone() },
            Spec { flags: ACK | 0x80, ..next.clone() },
            Spec { flags: ACK | ECE, ..next.clone() },
            Spec { flags: 0x02, ..next.clone() },
            Spec { options: vec![1; 4], ..next.clone() },
            Spec { fragment: 0x2000, ..next.clone() },
            Spec { fragment: 0, ..next.clone() },
            Spec { damage: 1, ..next.clone() },
        ] {
            assert_eq!(runs(&[first.clone(), other.clone()]), [1, 1], "{other:?}");
            // And what follows does not overtake it.
            let after = Spec { sequence: 3, ..next.clone() };
            assert_eq!(runs(&[first.clone(), other.clone(), after])[0], 1, "{other:?}");
        }
        let damaged = Spec { damage: 1, ..first.clone() };
        assert_eq!(runs(&[damaged, next.clone()]), [1, 1]);
        let pushed = Spec { flags: ACK | PSH, ..first.clone() };
        assert_eq!(runs(&[pushed.clone(), next.clone()]), [1, 1]);
        let last = Spec { sequence: 3, ..pushed };
        assert_eq!(runs(&[first, last, Spec { sequence: 6, ..next }]), [2, 1]);
    }

    #[test]
    fn identifications_count_where_fragments_are_allowed() {
        let of = |identification, sequence| Spec {
            identification,
            fragment: 0,
            ..spec(Transport::Tcp, sequence, b"abc")
        };
        assert_eq!(runs(&[of(9, 0), of(10, 3), of(12, 6)]), [2, 1]);
    }

    #[test]
    fn udp_without_a_checksum_and_what_is_not_offloaded_stays_alone() {
        let udp = spec(Transport::Udp, 0, b"abc");
        let mut without = udp.build();
        put(&mut without, 26, 0);
        assert_eq!(plan(&[without.clone(), without], Level::TcpAndUdp).runs().len(), 2);
        let both = [udp.build(), udp.build()];
        assert_eq!(plan(&both, Level::TcpAndUdp).runs().len(), 1);
        assert_eq!(plan(&both, Level::Tcp).runs().len(), 2);
        assert_eq!(plan(&both, Level::None).runs().len(), 2);
    }

    fn specs() -> impl Strategy<Value = Vec<Spec>> {
        let one = (0_u8..3, 0_u8..8, 0_usize..3, any::<bool>(), any::<bool>());
        prop::collection::vec(one, 1..80).prop_map(|choices| {
            let mut sequences = [u32::MAX - 50; 3];
            let made =
                choices.into_iter().enumerate().map(|(at, (flow, what, short, push, v6))| {
                    let length = if what == 0 { short } else { 20 };
                    let transport = if flow == 2 { Transport::Udp } else { Transport::Tcp };
                    let sequence = &mut sequences[usize::from(flow)];
                    let this = *sequence;
                    *sequence = sequence.wrapping_add(length as u32 + u32::from(what == 1));
                    let flags = if push && what == 2 { ACK | PSH } else { ACK };
                    Spec {
                        version: if v6 && what == 3 || flow == 1 {
                            Version::V6
                        } else {
                            Version::V4
                        },
                        flow,
                        flags,
                        // In step, so that splitting gives the very same.
                        identification: at as u16,
                        fragment: 0,
                        payload: (0..length).map(|byte| (byte + at) as u8).collect(),
                        ..spec(transport, this, &[])
                    }
                });
            made.collect()
        })
    }

    proptest! {
        #[test]
        fn joined_and_split_again_every_flow_is_what_it_was(specs in specs()) {
            let packets: Vec<_> = specs.iter().map(Spec::build).collect();
            let by_flow = |packets: &[Vec<u8>]| {
                let mut flows = BTreeMap::<_, Vec<Vec<u8>>>::new();
                for packet in packets {
                    let start = if packet[0] >> 4 == 4 { 20 } else { 40 };
                    let flow = (start, packet[start + 1]);
                    flows.entry(flow).or_default().push(packet.clone());
                }
                flows
            };
            prop_assert_eq!(by_flow(&through(&packets)), by_flow(&packets));
        }

        #[test]
        fn no_packet_makes_it_panic(
            packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 0..8),
            first in prop_oneof![Just(0x45_u8), Just(0x60_u8)],
            protocol in prop_oneof![Just(6_u8), Just(17_u8)],
        ) {
            let packets: Vec<_> = packets.into_iter().map(|mut packet| {
                for (at, value) in [(0, first), (9, protocol), (6, protocol)] {
                    if let Some(byte) = packet.get_mut(at) { *byte = value; }
                }
                packet
            }).collect();
            plan(&packets, Level::TcpAndUdp);
        }
    }
}
