//! One connection from its first byte to its last, cut into pieces by somebody who may hold back,
//! split and glue together whatever is on the wire. Each side sends bytes whose values follow from
//! their positions: a lost, doubled or swapped byte is seen at once.

use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use kernel_tls::{AskPeer, Policy, Reading, Received, Support};
use rustix::net::{RecvFlags, SendFlags};
use rustls::{ClientConfig, ProtocolVersion, ServerConfig};

use super::end::{End, Talk};

/// Decides what happens next.
pub trait Choose {
    /// One of the numbers below `bound`, which is not zero.
    fn below(&mut self, bound: usize) -> usize;
}

/// Decisions that follow from a seed (xorshift64*).
pub struct Seeded(pub u64);

impl Choose for Seeded {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let value = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        usize::try_from(value).expect("32 bits") % bound
    }
}

/// Decisions that are bytes, and behind the last one those of a seed.
pub struct Bytes<'a> {
    bytes: &'a [u8],
    behind: Seeded,
}

impl<'a> Bytes<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, behind: Seeded(1) }
    }
}

impl Choose for Bytes<'_> {
    fn below(&mut self, bound: usize) -> usize {
        match self.bytes.split_first() {
            Some((byte, rest)) => {
                self.bytes = rest;
                usize::from(*byte) * bound / 256
            }
            None => self.behind.below(bound),
        }
    }
}

/// A connection to be made.
pub struct Case {
    pub server: Arc<ServerConfig>,
    pub client: Arc<ClientConfig>,
    /// How each of them reads its handshake.
    pub reading: [Reading; 2],
    /// Bytes that each of them sends.
    pub amounts: [usize; 2],
    /// Whether they renew their keys now and then (TLS 1.3).
    pub updates: bool,
    pub support: Support,
    pub policy: Policy,
}

/// What became of it, when all bytes had arrived.
#[derive(Debug)]
pub struct Outcome {
    pub resumed: bool,
    pub version: ProtocolVersion,
    pub updates: usize,
}

/// Makes the connection over two pairs of sockets, with `choose` between them.
pub fn exchange(
    case: &Case,
    mut pair: impl FnMut() -> (OwnedFd, OwnedFd),
    choose: &mut impl Choose,
) -> Outcome {
    let (server, server_wire) = pair();
    let (client, client_wire) = pair();
    let server = End::server(server, Arc::clone(&case.server), case.reading[0]);
    let client = End::client(client, Arc::clone(&case.client), case.reading[1]);
    let mut sides = [Side::new(server, 0, case), Side::new(client, 1, case)];
    let mut wires = [Wire::new(&client_wire, &server_wire), Wire::new(&server_wire, &client_wire)];
    for _ in 0..MAX_TURNS {
        if sides.iter().all(|side| side.ended) {
            return outcome(&sides);
        }
        match choose.below(4) {
            0 => sides[0].turn(case, choose),
            1 => sides[1].turn(case, choose),
            wire => wires[wire - 2].turn(choose),
        }
    }
    panic!("the connection never ended: {:?}", sides.map(|side| (side.sent, side.received)));
}

fn outcome(sides: &[Side; 2]) -> Outcome {
    let [server, client] = sides;
    assert_eq!(server.received, client.sent, "all that the client sent");
    assert_eq!(client.received, server.sent, "all that the server sent");
    let Phase::Talking(talk) = &client.phase else { panic!("the client has talked") };
    Outcome {
        resumed: talk.resumed,
        version: talk.stream.version(),
        updates: server.updates + client.updates,
    }
}

struct Side {
    phase: Phase,
    number: usize,
    amount: usize,
    sent: usize,
    received: usize,
    updates: usize,
    closed: bool,
    ended: bool,
}

enum Phase {
    Shaking(Option<End>),
    Talking(Box<Talk>),
}

impl Side {
    fn new(end: End, number: usize, case: &Case) -> Self {
        Self {
            phase: Phase::Shaking(Some(end)),
            number,
            amount: case.amounts[number],
            sent: 0,
            received: 0,
            updates: 0,
            closed: false,
            ended: false,
        }
    }

    fn turn(&mut self, case: &Case, choose: &mut impl Choose) {
        match &mut self.phase {
            Phase::Shaking(end) => {
                let over = end.as_mut().is_some_and(|end| end.advance().expect("a handshake"));
                if over && let Some(end) = end.take() {
                    let talk = Talk::new(end, &case.support, &case.policy);
                    self.phase = Phase::Talking(Box::new(talk));
                }
            }
            Phase::Talking(_) => match choose.below(8) {
                0..3 => self.read(),
                3..6 => self.write(choose),
                6 if case.updates => self.update(choose),
                _ => self.close(),
            },
        }
    }

    fn read(&mut self) {
        let Phase::Talking(talk) = &mut self.phase else { return };
        match talk.read() {
            Ok(Received::Data(data)) => {
                for byte in data {
                    assert_eq!(*byte, pattern(1 - self.number, self.received), "a byte's place");
                    self.received += 1;
                }
            }
            Ok(Received::Nothing) => {}
            Ok(Received::CloseNotify) => self.ended = true,
            Ok(Received::Alert(alert)) => panic!("an alert: {alert:?}"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}"),
        }
    }

    fn write(&mut self, choose: &mut impl Choose) {
        let Phase::Talking(talk) = &mut self.phase else { return };
        if self.closed || self.sent == self.amount {
            return self.close();
        }
        let most = (self.amount - self.sent).min([1, 100, 5_000, 100_000][choose.below(4)]);
        let end = self.sent + 1 + choose.below(most);
        let data: Vec<u8> = (self.sent..end).map(|place| pattern(self.number, place)).collect();
        match talk.write(&data) {
            Ok(taken) => self.sent += taken,
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}"),
        }
    }

    fn update(&mut self, choose: &mut impl Choose) {
        let Phase::Talking(talk) = &mut self.phase else { return };
        if self.closed || talk.stream.version() != ProtocolVersion::TLSv1_3 || self.updates == 8 {
            return;
        }
        let ask = [AskPeer::Renew, AskPeer::Nothing][choose.below(2)];
        talk.stream.update_keys(&talk.socket, ask).expect("new keys");
        self.updates += 1;
    }

    /// Says close_notify behind the last byte, and sends what was left over.
    fn close(&mut self) {
        let Phase::Talking(talk) = &mut self.phase else { return };
        if self.sent == self.amount && !self.closed {
            talk.stream.close_write(&talk.socket).expect("closed");
            self.closed = true;
        } else if talk.stream.wants_flush()
            && let Err(error) = talk.stream.flush(&talk.socket)
        {
            assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}");
        }
    }
}

/// One direction between the two pairs.
struct Wire<'a> {
    from: &'a OwnedFd,
    to: &'a OwnedFd,
    held: Vec<u8>,
}

impl<'a> Wire<'a> {
    fn new(from: &'a OwnedFd, to: &'a OwnedFd) -> Self {
        Self { from, to, held: Vec::new() }
    }

    /// Takes all there is, and lets none, some or all of it go on.
    fn turn(&mut self, choose: &mut impl Choose) {
        let mut buffer = [0; 16 << 10];
        if self.held.len() < MAX_HELD
            && let Ok((read, _)) = rustix::net::recv(self.from, &mut buffer, RecvFlags::DONTWAIT)
        {
            self.held.extend_from_slice(&buffer[..read]);
        }
        let length = self.held.len();
        let piece = match choose.below(5) {
            _ if length == 0 => return,
            0 => return,
            1 => 1,
            2 => 1 + choose.below(length.min(40)),
            3 => 1 + choose.below(length),
            _ => length,
        };
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        if let Ok(sent) = rustix::net::send(self.to, &self.held[..piece], flags) {
            self.held.drain(..sent);
        }
    }
}

/// The byte at a place of what a side sends.
fn pattern(side: usize, place: usize) -> u8 {
    let mixed = (place ^ side << 20).wrapping_mul(0x9e37_79b1);
    (mixed >> 13) as u8
}

/// Enough for the most unlucky choices of the tests' amounts.
const MAX_TURNS: usize = 1_000_000;

/// What may be on the wire: so that both ends meet sockets that take no more.
const MAX_HELD: usize = 256 << 10;
