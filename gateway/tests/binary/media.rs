//! Parties of a call: SDP, RTP, and SRTP by our own crate (peers' tests use libsrtp).

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use ng::sdp::{CryptoAttribute, InlineKey, KeyPadding, Sdp};
use serde_json::{Value, json};
use srtp::{
    Lifetimes, MasterKey, Policy, Profile, Receiver, Sender, SessionParameters, Weaknesses,
};

use crate::process::Ng;

/// Someone with an RTP socket.
pub(crate) struct Party {
    pub(crate) socket: UdpSocket,
    ssrc: u32,
    sequence: u16,
}

/// An SRTP party's two directions.
pub(crate) struct Protection {
    pub(crate) sender: Sender,
    pub(crate) receiver: Receiver,
}

impl Party {
    pub(crate) fn new(address: Ipv4Addr, ssrc: u32) -> Self {
        let socket = UdpSocket::bind((address, 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        Self { socket, ssrc, sequence: 100 }
    }

    /// A body that offers or answers PCMU here, with more attribute lines.
    pub(crate) fn sdp(&self, protocol: &str, attributes: &str) -> String {
        let address = self.socket.local_addr().unwrap();
        format!(
            "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n\
             m=audio {port} {protocol} 0\r\n{attributes}",
            ip = address.ip(),
            port = address.port(),
        )
    }

    /// The next RTP packet of its source.
    pub(crate) fn packet(&mut self) -> Vec<u8> {
        self.sequence = self.sequence.wrapping_add(1);
        let timestamp = u32::from(self.sequence) * 160;
        let mut packet = vec![0x80, 0];
        packet.extend(self.sequence.to_be_bytes());
        packet.extend(timestamp.to_be_bytes());
        packet.extend(self.ssrc.to_be_bytes());
        packet.extend((0..160).map(|byte| byte as u8 ^ self.sequence as u8));
        packet
    }

    /// The next packet that arrives.
    pub(crate) fn receive(&self) -> Vec<u8> {
        self.try_receive().expect("no packet arrived")
    }

    pub(crate) fn try_receive(&self) -> Option<Vec<u8>> {
        let mut buffer = vec![0; 2048];
        let length = self.socket.recv(&mut buffer).ok()?;
        buffer.truncate(length);
        Some(buffer)
    }
}

impl Protection {
    pub(crate) fn protect(&mut self, packet: &[u8]) -> Vec<u8> {
        let mut buffer = packet.to_vec();
        buffer.resize(packet.len() + 64, 0);
        let sealed = self.sender.protect_rtp(&mut buffer, packet.len()).unwrap();
        buffer.truncate(sealed.len);
        buffer
    }

    pub(crate) fn open(&mut self, mut packet: Vec<u8>) -> Vec<u8> {
        let opened = self.receiver.open_rtp(&mut packet).unwrap();
        packet.truncate(opened.len);
        packet
    }
}

/// What a reply's SDP says: where to send, and the keys.
pub(crate) struct Told {
    pub(crate) rtp: SocketAddr,
    pub(crate) crypto: Vec<CryptoAttribute>,
}

pub(crate) fn told(reply: &Value) -> Told {
    let body = reply["sdp"].as_str().unwrap_or_else(|| panic!("no SDP in {reply}"));
    let sdp = Sdp::parse(&Bytes::copy_from_slice(body.as_bytes())).unwrap();
    let media = sdp.media.into_iter().next().unwrap();
    Told { rtp: media.remote_rtp().unwrap(), crypto: media.crypto }
}

/// A call between two plain parties: where each sends to.
pub(crate) fn plain_call(ng: &mut Ng, id: &str, caller: &Party, callee: &Party) -> [SocketAddr; 2] {
    let offer = ng.ask(&json!({
        "command": "offer", "call-id": id, "from-tag": "a", "sdp": caller.sdp("RTP/AVP", ""),
    }));
    let answer = ng.ask(&json!({
        "command": "answer", "call-id": id, "from-tag": "a", "to-tag": "b",
        "sdp": callee.sdp("RTP/AVP", ""),
    }));
    [told(&answer).rtp, told(&offer).rtp]
}

/// A call from a plain caller to an SRTP callee whose key may protect so many packets.
pub(crate) fn limited_call(
    ng: &mut Ng,
    id: &str,
    [caller, callee]: [&Party; 2],
    packets: u64,
) -> ([SocketAddr; 2], Protection) {
    let lifetimes = Lifetimes::from_sdes(packets).ok();
    keyed_call(ng, id, [caller, callee], Profile::AeadAes128Gcm, lifetimes)
}

/// A call from a plain caller to an SRTP callee under one suite.
pub(crate) fn secure_call(
    ng: &mut Ng,
    id: &str,
    caller: &Party,
    callee: &Party,
    profile: Profile,
) -> ([SocketAddr; 2], Protection) {
    keyed_call(ng, id, [caller, callee], profile, None)
}

/// The same call offered again, to which the callee answers with another key.
pub(crate) fn rekeyed_call(
    ng: &mut Ng,
    id: &str,
    caller: &Party,
    callee: &Party,
    profile: Profile,
) -> Protection {
    let again = json!({
        "command": "offer", "call-id": id, "from-tag": "a", "to-tag": "b",
        "sdp": caller.sdp("RTP/AVP", ""), "transport-protocol": "RTP/SAVP",
    });
    let offer = ng.ask(&again);
    answered(ng, id, callee, &told(&offer), (callee_key(profile, 0xa5), None)).1
}

fn keyed_call(
    ng: &mut Ng,
    id: &str,
    [caller, callee]: [&Party; 2],
    profile: Profile,
    lifetimes: Option<Lifetimes>,
) -> ([SocketAddr; 2], Protection) {
    let offer = ng.ask(&json!({
        "command": "offer", "call-id": id, "from-tag": "a", "sdp": caller.sdp("RTP/AVP", ""),
        "transport-protocol": "RTP/SAVP",
    }));
    let offered = told(&offer);
    let (told, protection) =
        answered(ng, id, callee, &offered, (callee_key(profile, 0x5a), lifetimes));
    ([told.rtp, offered.rtp], protection)
}

/// The callee answers with this key, and takes ours of its suite.
fn answered(
    ng: &mut Ng,
    id: &str,
    callee: &Party,
    offered: &Told,
    (theirs, lifetimes): (MasterKey, Option<Lifetimes>),
) -> (Told, Protection) {
    let profile = theirs.profile();
    let ours = offered.crypto.iter().find(|line| line.profile() == profile).unwrap();
    let line = CryptoAttribute {
        tag: ours.tag,
        key: InlineKey { lifetimes, ..theirs.dangerous_duplicate().into() },
        further: Vec::new(),
        session: SessionParameters::default(),
        parameters: Vec::new(),
    };
    let mut crypto = BytesMut::new();
    line.print(KeyPadding::Omit, &mut crypto);
    crypto.extend_from_slice(b"\r\n");
    let crypto = String::from_utf8(crypto.to_vec()).unwrap();
    let answer = ng.ask(&json!({
        "command": "answer", "call-id": id, "from-tag": "a", "to-tag": "b",
        "sdp": callee.sdp("RTP/SAVP", &crypto),
    }));
    let accepted = profile.weakness().into_iter().fold(Weaknesses::NONE, Weaknesses::with);
    let policy = Policy { accepted, ..Policy::default() };
    let mut receiver = Receiver::new(ours.key.parameters(), &policy).unwrap();
    for key in &ours.further {
        receiver.install(&key.parameters()).unwrap();
    }
    let protection = Protection { sender: Sender::new(&theirs, &policy).unwrap(), receiver };
    (told(&answer), protection)
}

/// Any key will do, as long as it is not ours.
fn callee_key(profile: Profile, mask: u8) -> MasterKey {
    let bytes: Vec<u8> =
        (1..).take(profile.key_len() + profile.salt_len()).map(|n: u8| n ^ mask).collect();
    MasterKey::from_concatenated(profile, &bytes).unwrap()
}
