//! What the relay's tests share: a driver in memory, plans, and parties that speak RTP or SRTP.
#![allow(dead_code, reason = "each test binary uses its part")]

pub(crate) mod sys;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};

use gateway::relay::command::{CallKey, CallPlan, PortPair, Remote, StreamIndex, StreamPlan};
use gateway::relay::key_plan::{ReceivePlan, SendPlan, SrtpKey, SrtpKeys, Terms};
use ng::request::EndpointLearning;
use packet_io::{Driver, Received, Token, Turn, Verdict};
use srtp::{MasterKey, Mki, Policy, Profile, Weaknesses};

/// The call of every test that has one.
pub(crate) const CALL: CallKey = CallKey(1);

/// A datagram on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Datagram {
    /// Who sent it.
    pub(crate) from: SocketAddr,
    /// Who gets it.
    pub(crate) to: SocketAddr,
    /// What it says.
    pub(crate) bytes: Vec<u8>,
    /// Kernel receive time, nanoseconds.
    pub(crate) timestamp_ns: u64,
    /// SO_RXQ_OVFL as read with it.
    pub(crate) kernel_drops: u32,
}

/// A driver without a network: the second one after those that have it.
pub(crate) struct Wire {
    sockets: HashMap<Token, UdpSocket>,
    anchor: UdpSocket,
    arriving: VecDeque<Datagram>,
    /// What the relay sent, oldest first.
    pub(crate) sent: Vec<Datagram>,
    /// Refuse this many sends.
    pub(crate) refuse_sends: usize,
}

impl Wire {
    /// Nothing on it.
    pub(crate) fn new() -> Self {
        Self {
            sockets: HashMap::new(),
            anchor: UdpSocket::bind("127.0.0.1:0").unwrap(),
            arriving: VecDeque::new(),
            sent: Vec::new(),
            refuse_sends: 0,
        }
    }

    /// The next turn receives it.
    pub(crate) fn deliver(&mut self, datagram: Datagram) {
        self.arriving.push_back(datagram);
    }

    /// How many sockets are open.
    pub(crate) fn open_sockets(&self) -> usize {
        self.sockets.len()
    }

    fn token_at(&self, address: SocketAddr) -> Option<Token> {
        let at = |socket: &UdpSocket| socket.local_addr().unwrap() == address;
        self.sockets.iter().find(|(_, socket)| at(socket)).map(|(token, _)| *token)
    }
}

impl Driver for Wire {
    fn add(&mut self, token: Token, socket: UdpSocket) -> io::Result<()> {
        assert!(self.sockets.insert(token, socket).is_none(), "{token:?} was taken");
        Ok(())
    }

    fn remove(&mut self, token: Token) {
        self.sockets.remove(&token).expect("a token that was added");
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn turn<F>(&mut self, budget: usize, mut relay: F) -> io::Result<Turn>
    where
        F: FnMut(Received<'_>) -> Verdict,
    {
        let mut turn = Turn::default();
        while turn.received < budget {
            let Some(datagram) = self.arriving.pop_front() else { break };
            let Some(token) = self.token_at(datagram.to) else { continue };
            let mut buffer =
                [0xa5_u8; Received::HEADROOM + Received::MAX_PACKET + Received::TAILROOM];
            let length = datagram.bytes.len().min(Received::MAX_PACKET);
            let range = Received::HEADROOM..Received::HEADROOM + length;
            buffer[range.clone()].copy_from_slice(&datagram.bytes[..length]);
            turn.received += 1;
            let verdict = relay(Received {
                token,
                source: datagram.from,
                timestamp_ns: datagram.timestamp_ns,
                kernel_drops: datagram.kernel_drops,
                buffer: &mut buffer,
                range,
                truncated: datagram.bytes.len() > Received::MAX_PACKET,
            });
            let Verdict::Send { from, to, range } = verdict else { continue };
            if self.refuse_sends > 0 {
                self.refuse_sends -= 1;
                turn.send_errors += 1;
                continue;
            }
            turn.sent += 1;
            let from = self.sockets[&from].local_addr().unwrap();
            let bytes = buffer[range].to_vec();
            self.sent.push(Datagram { from, to, bytes, timestamp_ns: 0, kernel_drops: 0 });
        }
        turn.more = !self.arriving.is_empty();
        Ok(turn)
    }

    fn readiness(&self) -> BorrowedFd<'_> {
        self.anchor.as_fd()
    }

    fn socket(&self, token: Token) -> Option<&UdpSocket> {
        self.sockets.get(&token)
    }

    fn send(&mut self, from: Token, to: SocketAddr, bytes: &[u8]) -> io::Result<()> {
        let from = self.sockets[&from].local_addr()?;
        let (bytes, timestamp_ns, kernel_drops) = (bytes.to_vec(), 0, 0);
        self.sent.push(Datagram { from, to, bytes, timestamp_ns, kernel_drops });
        Ok(())
    }

    fn last_send_error(&self) -> Option<io::Error> {
        None
    }
}

/// Two loopback sockets with receive timestamps, and their addresses.
pub(crate) fn open_pair() -> (PortPair, [SocketAddr; 2]) {
    let open = || {
        let any = "127.0.0.1:0".parse().unwrap();
        packet_io::open_media_socket(any, packet_io::SocketOptions::default()).unwrap()
    };
    let (rtp, rtcp) = (open(), open());
    let addresses = [rtp.local_addr().unwrap(), rtcp.local_addr().unwrap()];
    (PortPair { rtp, rtcp: Some(rtcp) }, addresses)
}

/// A plan that changes nothing: sendrecv, strict, heuristic.
pub(crate) fn unchanged(peer: u16) -> StreamPlan {
    StreamPlan {
        sockets: None,
        peer: Some(StreamIndex(peer)),
        routes: Vec::new(),
        remote: None,
        learning: EndpointLearning::Heuristic,
        strict_source: true,
        receive_key: ReceivePlan::Keep,
        send_key: SendPlan::Keep,
        rtcp_mux: false,
        receive: true,
        send: true,
        tos: None,
        closed: false,
        agent: None,
    }
}

/// The plan of a call with these streams.
pub(crate) fn call(streams: impl Into<Vec<StreamPlan>>) -> CallPlan {
    CallPlan { call: CALL, streams: streams.into() }
}

/// Signalled addresses.
pub(crate) fn remote([rtp, rtcp]: [SocketAddr; 2]) -> Option<Remote> {
    Some(Remote { rtp: Some(rtp), rtcp: Some(rtcp) })
}

/// A master key filled with `byte`.
pub(crate) fn master_key(profile: Profile, byte: u8) -> MasterKey {
    let bytes = vec![byte; profile.key_len() + profile.salt_len()];
    MasterKey::from_concatenated(profile, &bytes).unwrap()
}

/// That key for a plan, as the party's.
pub(crate) fn set_receive(profile: Profile, byte: u8) -> ReceivePlan {
    let key = SrtpKey::unnamed(master_key(profile, byte));
    ReceivePlan::Set(Box::new(key.into()), terms(profile))
}

/// That key for a plan, as ours.
pub(crate) fn set_send(profile: Profile, byte: u8) -> SendPlan {
    let key = SrtpKey::unnamed(master_key(profile, byte));
    SendPlan::Set(Box::new(key.into()), terms(profile))
}

/// The key of this number, which is also its MKI.
pub(crate) fn named_key(profile: Profile, number: u8) -> SrtpKey {
    let mki = Mki::new(&[number]).unwrap();
    SrtpKey { mki, ..SrtpKey::unnamed(master_key(profile, number)) }
}

/// Two such keys for a plan, as ours.
pub(crate) fn set_send_either(profile: Profile, numbers: [u8; 2]) -> SendPlan {
    let [first, second] = numbers.map(|number| named_key(profile, number));
    SendPlan::Set(Box::new(SrtpKeys { first, further: vec![second] }), terms(profile))
}

/// Whatever the suite lacks is accepted.
pub(crate) fn terms(profile: Profile) -> Terms {
    Terms {
        accepted: profile.weakness().into_iter().fold(Weaknesses::NONE, Weaknesses::with),
        ..Terms::default()
    }
}

/// The same for the party's own contexts.
pub(crate) fn policy(profile: Profile) -> Policy {
    policy_under(terms(profile))
}

/// A party's policy under these terms.
pub(crate) fn policy_under(terms: Terms) -> Policy {
    let Terms { session: parameters, accepted } = terms;
    Policy { parameters, accepted, ..Policy::default() }
}

/// Both directions of a party's SRTP.
pub(crate) struct Crypto {
    /// Protects what it sends.
    pub(crate) sender: srtp::Sender,
    /// Opens what it is sent.
    pub(crate) receiver: srtp::Receiver,
}

impl Crypto {
    /// A party that sends under key `ours` and is sent under key `theirs`.
    pub(crate) fn new(profile: Profile, ours: u8, theirs: u8) -> Self {
        let policy = policy(profile);
        Self {
            sender: srtp::Sender::new(&master_key(profile, ours), &policy).unwrap(),
            receiver: srtp::Receiver::new(&master_key(profile, theirs), &policy).unwrap(),
        }
    }

    /// An RTP packet as it goes over the wire.
    pub(crate) fn protect(&mut self, packet: &[u8]) -> Vec<u8> {
        let mut buffer = [packet, &[0; Received::TAILROOM]].concat();
        let sealed = self.sender.protect_rtp(&mut buffer, packet.len()).unwrap();
        buffer.truncate(sealed.len);
        buffer
    }

    /// An RTCP packet as it goes over the wire.
    pub(crate) fn protect_rtcp(&mut self, packet: &[u8]) -> Vec<u8> {
        let mut buffer = [packet, &[0; Received::TAILROOM]].concat();
        let sealed = self.sender.protect_rtcp(&mut buffer, packet.len()).unwrap();
        buffer.truncate(sealed.len);
        buffer
    }

    /// What an SRTP packet says.
    pub(crate) fn open(&mut self, packet: &[u8]) -> Result<Vec<u8>, srtp::Refusal> {
        let mut buffer = packet.to_vec();
        let opened = self.receiver.open_rtp(&mut buffer)?;
        buffer.truncate(opened.len);
        Ok(buffer)
    }

    /// What an SRTCP packet says.
    pub(crate) fn open_rtcp(&mut self, packet: &[u8]) -> Result<Vec<u8>, srtp::Refusal> {
        let mut buffer = packet.to_vec();
        let opened = self.receiver.open_rtcp(&mut buffer)?;
        buffer.truncate(opened.len);
        Ok(buffer)
    }
}

/// A G.711 packet: 160 bytes whose content tells its sequence number.
pub(crate) fn rtp(ssrc: u32, sequence: u16) -> Vec<u8> {
    let mut packet = vec![0x80, 8];
    packet.extend(sequence.to_be_bytes());
    packet.extend((u32::from(sequence) * 160).to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    packet.extend((0..160_u16).map(|at| (sequence.wrapping_mul(31) ^ at) as u8));
    packet
}

/// `packet` under another sequence number.
pub(crate) fn renumbered(mut packet: Vec<u8>, sequence: u16) -> Vec<u8> {
    packet[2..4].copy_from_slice(&sequence.to_be_bytes());
    packet
}

/// A receiver report with one block about `about`.
pub(crate) fn receiver_report(about: u32, highest: u32) -> Vec<u8> {
    let words = [0x81c9_0007, 0x0bad_cafe, about, 0, highest, 3, 4, 5];
    words.iter().flat_map(|word: &u32| word.to_be_bytes()).collect()
}
