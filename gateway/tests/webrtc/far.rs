//! The far end of a call: plain RTP by our own sockets.
//!
//! One thread sends and receives for all sections. Every packet that it sends carries its number,
//! every packet that it receives is counted by SSRC and sequence number, so that one that is lost,
//! comes twice or comes from elsewhere is seen.

use std::collections::{BTreeMap, HashSet};
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::sdp::{Section, sections};

/// A kind of section and the one codec that it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// PCMU, 50 packets a second.
    Audio,
    /// VP8, of which no frame is whole: it is counted, not shown.
    Video,
}

/// A far end that runs; dropping it ends it.
pub(crate) struct Far {
    shared: Arc<Mutex<Shared>>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    address: &'static str,
    streams: Vec<Stream>,
    speaks: bool,
    ended: bool,
}

/// One section.
struct Stream {
    kind: Kind,
    payload_type: u8,
    rtp: UdpSocket,
    rtcp: UdpSocket,
    /// The relay's, once it said so: RTP, RTCP.
    relay: Option<[SocketAddr; 2]>,
    mid: Option<String>,
    /// What its description says.
    direction: &'static str,
    due: Instant,
    sent: u32,
    heard: Heard,
}

/// What came to one section.
#[derive(Default)]
struct Heard {
    /// Of each SSRC: extended sequence numbers.
    sources: BTreeMap<u32, Source>,
    repeated: u32,
    numbered: HashSet<u32>,
    readable: u32,
    reports: u32,
    strangers: u32,
}

#[derive(Default)]
struct Source {
    highest: u64,
    seen: HashSet<u64>,
}

/// The account of one section.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) sent: u32,
    /// Different packets that came.
    pub(crate) received: u32,
    /// Holes between the first and the last of each SSRC.
    pub(crate) missing: u32,
    pub(crate) repeated: u32,
    /// Of those that came: as another far end writes them, byte for byte.
    pub(crate) numbered: u32,
    /// Of those that came: in the clear, as far as one can see ([`is_readable`]).
    pub(crate) readable: u32,
    /// RTCP packets that came.
    pub(crate) reports: u32,
    /// What came from another address than the relay's, or was no RTP.
    pub(crate) strangers: u32,
}

impl Far {
    /// Sockets for these sections; nothing is sent before [`Self::speak`].
    pub(crate) fn new(address: &'static str, kinds: &[Kind]) -> Result<Self> {
        let streams =
            kinds.iter().map(|kind| Stream::new(address, *kind)).collect::<Result<_>>()?;
        let shared = Arc::new(Mutex::new(Shared { address, streams, speaks: false, ended: false }));
        let own = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            while lock(&own).turn() {
                thread::sleep(TURN);
            }
        });
        Ok(Self { shared, thread: Some(thread) })
    }

    /// What it has sections of.
    pub(crate) fn kinds(&self) -> Vec<Kind> {
        lock(&self.shared).streams.iter().map(|stream| stream.kind).collect()
    }

    /// Its offer, to send and to receive.
    pub(crate) fn offer(&self) -> String {
        let mut shared = lock(&self.shared);
        shared.streams.iter_mut().for_each(|stream| stream.direction = SENDRECV);
        shared.describe()
    }

    /// Takes the relay's offer and answers it.
    pub(crate) fn answer(&self, offer: &str) -> Result<String> {
        let mut shared = lock(&self.shared);
        shared.meet(offer)?;
        Ok(shared.describe())
    }

    /// Takes the relay's answer.
    pub(crate) fn accept(&self, answer: &str) -> Result<()> {
        lock(&self.shared).meet(answer)
    }

    /// Begins to send.
    pub(crate) fn speak(&self) {
        let mut shared = lock(&self.shared);
        shared.speaks = true;
        let now = Instant::now();
        shared.streams.iter_mut().for_each(|stream| stream.due = now);
    }

    /// Stops sending, and goes on receiving.
    pub(crate) fn hush(&self) {
        lock(&self.shared).speaks = false;
    }

    /// The account of each section.
    pub(crate) fn tallies(&self) -> Vec<Tally> {
        lock(&self.shared).streams.iter().map(Stream::tally).collect()
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        lock(&self.shared).ended = true;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was printed; the test that counts packets fails by itself.
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// Sends what is due, takes what came; false when it is over.
    fn turn(&mut self) -> bool {
        let speaks = self.speaks;
        for stream in &mut self.streams {
            while speaks && stream.due <= Instant::now() {
                stream.send();
            }
            stream.receive();
        }
        !self.ended
    }

    fn meet(&mut self, sdp: &str) -> Result<()> {
        let theirs = sections(sdp)?;
        ensure!(theirs.len() == self.streams.len(), "{} sections:\n{sdp}", theirs.len());
        for (stream, section) in self.streams.iter_mut().zip(&theirs) {
            stream.meet(section).with_context(|| sdp.to_owned())?;
        }
        Ok(())
    }

    fn describe(&self) -> String {
        let family = if self.address.contains(':') { "IP6" } else { "IP4" };
        let own = format!("IN {family} {}", self.address);
        let head = format!("v=0\r\no=- 1 1 {own}\r\ns=-\r\nc={own}\r\nt=0 0\r\n");
        self.streams.iter().fold(head, |text, stream| text + &stream.describe())
    }
}

impl Stream {
    fn new(address: &str, kind: Kind) -> Result<Self> {
        let (rtp, rtcp) = socket_pair(address)?;
        let payload_type = if kind == Kind::Audio { 0 } else { 96 };
        let (relay, mid, due) = (None, None, Instant::now());
        let (direction, heard) = (SENDRECV, Heard::default());
        Ok(Self { kind, payload_type, rtp, rtcp, relay, mid, direction, due, sent: 0, heard })
    }

    fn describe(&self) -> String {
        let port = self.rtp.local_addr().map(|address| address.port()).unwrap_or_default();
        let (kind, map) = match self.kind {
            Kind::Audio => ("audio", "PCMU/8000"),
            Kind::Video => ("video", "VP8/90000"),
        };
        let number = self.payload_type;
        let mid = self.mid.as_ref().map(|mid| format!("a=mid:{mid}\r\n")).unwrap_or_default();
        // Janus takes no packet of an SSRC that was not announced (RFC 5576).
        let ssrc = format!("a=ssrc:{} cname:far\r\n", self.ssrc());
        format!(
            "m={kind} {port} RTP/AVP {number}\r\na=rtpmap:{number} {map}\r\n{mid}a={}\r\n\
             {ssrc}",
            self.direction
        )
    }

    fn meet(&mut self, section: &Section) -> Result<()> {
        let (name, codec) = match self.kind {
            Kind::Audio => ("audio", "PCMU"),
            Kind::Video => ("video", "VP8"),
        };
        ensure!(section.kind == name, "m={} where m={name} should be", section.kind);
        ensure!(section.profile == "RTP/AVP", "the far end got {}", section.profile);
        self.payload_type = section.payload_type(codec).with_context(|| format!("no {codec}"))?;
        self.mid = section.value("mid").map(str::to_owned);
        self.direction = mirrored(section);
        self.relay = Some([section.address()?, section.rtcp_address()?]);
        Ok(())
    }

    fn send(&mut self) {
        let Some([rtp, rtcp]) = self.relay else { return };
        // A send that fails is a packet that does not come: the account shows it.
        let _ = self.rtp.send_to(&self.packet(self.sent), rtp);
        self.sent += 1;
        self.due += PACE;
        if self.sent.is_multiple_of(50) {
            let _ = self.rtcp.send_to(&self.report(), rtcp);
        }
    }

    /// Packet `number` (RFC 3550 section 5.1).
    fn packet(&self, number: u32) -> Vec<u8> {
        let step = if self.kind == Kind::Audio { 160 } else { 1800 };
        let mut packet = vec![0x80, self.payload_type];
        packet.extend((number as u16).wrapping_add(FIRST_SEQUENCE).to_be_bytes());
        packet.extend(number.wrapping_mul(step).to_be_bytes());
        packet.extend(self.ssrc().to_be_bytes());
        packet.extend(payload(number));
        packet
    }

    /// A sender report and a CNAME (RFC 3550 sections 6.4.1, 6.5).
    fn report(&self) -> Vec<u8> {
        let mut packet = vec![0x80, 200, 0, 6];
        packet.extend(self.ssrc().to_be_bytes());
        packet.extend([0; 12]);
        packet.extend(self.sent.to_be_bytes());
        packet.extend((self.sent * PAYLOAD as u32).to_be_bytes());
        packet.extend([0x81, 202, 0, 3]);
        packet.extend(self.ssrc().to_be_bytes());
        packet.extend([1, 3, b'f', b'a', b'r', 0, 0, 0]);
        packet
    }

    fn ssrc(&self) -> u32 {
        let port = self.rtp.local_addr().map(|address| address.port()).unwrap_or_default();
        0x0fa2_0000 | u32::from(port)
    }

    fn receive(&mut self) {
        let mut buffer = [0; 2048];
        while let Some((length, from)) = take(&self.rtp, &mut buffer) {
            let stranger = self.relay.is_some_and(|[rtp, _]| rtp != from);
            self.heard.rtp(&buffer[..length], stranger);
        }
        while let Some((length, from)) = take(&self.rtcp, &mut buffer) {
            let stranger = self.relay.is_some_and(|[_, rtcp]| rtcp != from);
            self.heard.rtcp(&buffer[..length], stranger);
        }
    }

    fn tally(&self) -> Tally {
        let mut tally = Tally {
            sent: self.sent,
            repeated: self.heard.repeated,
            numbered: self.heard.numbered.len() as u32,
            readable: self.heard.readable,
            reports: self.heard.reports,
            strangers: self.heard.strangers,
            ..Tally::default()
        };
        for source in self.heard.sources.values() {
            let lowest = source.seen.iter().min().copied().unwrap_or(source.highest);
            let received = source.seen.len() as u32;
            tally.received += received;
            tally.missing += (source.highest - lowest + 1) as u32 - received;
        }
        tally
    }
}

impl Heard {
    fn rtp(&mut self, packet: &[u8], stranger: bool) {
        let Some((header, _)) = packet.split_first_chunk::<12>() else {
            self.strangers += 1;
            return;
        };
        if stranger || header[0] >> 6 != 2 {
            self.strangers += 1;
            return;
        }
        let sequence = u16::from_be_bytes([header[2], header[3]]);
        let ssrc = u32::from_be_bytes([header[8], header[9], header[10], header[11]]);
        if !self.sources.entry(ssrc).or_default().take(sequence) {
            self.repeated += 1;
        }
        self.readable += u32::from(is_readable(&packet[12..]));
        if let Some(number) = number(&packet[12..]) {
            self.numbered.insert(number);
        }
    }

    fn rtcp(&mut self, packet: &[u8], stranger: bool) {
        // Types 200 to 207 (RFC 5761 section 4).
        if stranger || !packet.get(1).is_some_and(|kind| (200..=207).contains(kind)) {
            self.strangers += 1;
        } else {
            self.reports += 1;
        }
    }
}

impl Source {
    /// Enters a sequence number; false for one that was there before.
    fn take(&mut self, sequence: u16) -> bool {
        if self.seen.is_empty() {
            self.highest = 1 << 16 | u64::from(sequence);
        }
        let ahead = sequence.wrapping_sub(self.highest as u16) as i16;
        let extended = self.highest.wrapping_add_signed(i64::from(ahead));
        self.highest = self.highest.max(extended);
        self.seen.insert(extended)
    }
}

/// 20 ms of a square wave in PCMU, with the packet's number at its start.
pub(crate) fn payload(number: u32) -> [u8; PAYLOAD] {
    let mut payload = [0; PAYLOAD];
    for (at, byte) in payload.iter_mut().enumerate() {
        *byte = if at / 10 % 2 == 0 { 0x9f } else { 0x1f };
    }
    payload[..4].copy_from_slice(&number.to_be_bytes());
    payload
}

/// Whether equal bytes follow each other as they do in PCMU of silence or of a square wave. In what
/// is encrypted they do once in 2^40 packets.
pub(crate) fn is_readable(bytes: &[u8]) -> bool {
    bytes.windows(8).any(|run| run.iter().all(|byte| *byte == run[0]))
}

/// What an answer to this section says (RFC 3264 section 6.1).
fn mirrored(section: &Section) -> &'static str {
    let says = |name: &str| section.value(name).is_some();
    match (says("sendonly"), says("recvonly"), says("inactive")) {
        (true, _, _) => "recvonly",
        (_, true, _) => "sendonly",
        (_, _, true) => "inactive",
        _ => SENDRECV,
    }
}

/// The number in a payload, if the whole of it is as a far end writes it.
pub(crate) fn number(bytes: &[u8]) -> Option<u32> {
    let number = u32::from_be_bytes(*bytes.first_chunk()?);
    (bytes == payload(number)).then_some(number)
}

fn take(socket: &UdpSocket, buffer: &mut [u8]) -> Option<(usize, SocketAddr)> {
    loop {
        match socket.recv_from(buffer) {
            Ok(received) => return Some(received),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
            // A relay that closed its port answers by ICMP; what was lost is counted elsewhere.
            Err(_) => {}
        }
    }
}

/// Two sockets, the second on the next port.
fn socket_pair(address: &str) -> Result<(UdpSocket, UdpSocket)> {
    for _ in 0..100 {
        let rtp = UdpSocket::bind((address, 0))?;
        let port = rtp.local_addr()?.port();
        let Some(next) = port.checked_add(1).filter(|_| port.is_multiple_of(2)) else { continue };
        let Ok(rtcp) = UdpSocket::bind((address, next)) else { continue };
        rtp.set_nonblocking(true)?;
        rtcp.set_nonblocking(true)?;
        // What is lost here would count against the relay.
        rustix::net::sockopt::set_socket_recv_buffer_size_force(&rtp, RECEIVE_BUFFER)?;
        return Ok((rtp, rtcp));
    }
    anyhow::bail!("no pair of ports")
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) const PAYLOAD: usize = 160;
/// A test's thread may have to wait for a second.
const RECEIVE_BUFFER: usize = 4 << 20;
const SENDRECV: &str = "sendrecv";
const PACE: Duration = Duration::from_millis(20);
const TURN: Duration = Duration::from_millis(2);
/// Near the end, so that every call of some seconds passes a rollover.
const FIRST_SEQUENCE: u16 = 65_400;

#[test]
fn holes_and_repeats_are_counted_over_a_rollover() {
    let mut source = Source::default();
    let mut heard = Heard::default();
    assert!([65_534, 65_535, 1, 0].into_iter().all(|sequence| source.take(sequence)));
    assert!(!source.take(65_535));
    assert_eq!((source.seen.len(), source.highest), (4, (2 << 16) + 1));
    heard.rtp(&[0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1], false);
    heard.rtp(&[0; 12], false);
    assert_eq!((heard.strangers, heard.repeated, heard.sources.len()), (1, 0, 1));
}

#[test]
fn a_payload_is_known_by_its_whole() {
    let mut bytes = payload(70_000);
    assert_eq!(number(&bytes), Some(70_000));
    bytes[PAYLOAD - 1] ^= 1;
    assert_eq!(number(&bytes), None);
}
