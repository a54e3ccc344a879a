//! The same datagrams to rtpengine and to this crate: on an empty relay both must say the same.
//!
//! Debian's rtpengine-daemon is the oracle; without it the test says SKIPPED.
#![expect(clippy::unwrap_used, reason = "helpers of a test may panic as the test does")]

use std::net::{Ipv4Addr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use ng::reply;
use ng::request::Request;
use ng::wire::{DecodeError, Dict, Encoding, Message, encode};

#[test]
fn an_empty_relay_answers_as_the_incumbent_does() {
    let Some(incumbent) = Incumbent::start() else {
        println!("SKIPPED an_empty_relay_answers_as_the_incumbent_does: no rtpengine here");
        return;
    };
    for (number, payload) in PAYLOADS.iter().enumerate() {
        let datagram = Bytes::from(format!("c{number}. {payload}"));
        let theirs = incumbent.ask(&datagram).unwrap_or_else(|| panic!("no reply to {payload}"));
        assert_eq!(sorted(&ours(&datagram)), sorted(&theirs), "{payload}");
    }
    for silent in ["d7:command4:pinge", " d7:command4:pinge"] {
        assert_eq!(incumbent.ask(&Bytes::from(silent)), None, "{silent}");
        let decoded = Message::decode(&Bytes::from(silent));
        assert_eq!(decoded, Err(DecodeError::NoCookie), "{silent}");
    }
}

const PAYLOADS: &[&str] = &[
    // Framing.
    "",
    "q",
    "i5e",
    "l4:pinge",
    "[1]",
    " d7:command4:pinge",
    "d7:command4:pin",
    "d7:command4:ping\n",
    "d7:command4:pinge trailing",
    "di5e4:pinge",
    "de",
    "{}",
    "{\"command\":",
    "{\"command\":\"ping\"} trailing",
    // Commands.
    "d7:command4:pinge",
    "{\"command\":\"ping\"}",
    "d7:commandi3ee",
    "d7:commandl4:pingee",
    "d7:command4:PINGe",
    "d7:command5: pinge",
    "d7:command6:pongeee",
    "d7:command4:ping7:command5:offere",
    "d7:command4:liste",
    "d7:command4:list5:limit1:5e",
    // What commands need, in which order it is missed.
    "d7:command5:offere",
    "d7:command5:offer3:sdp3:v=0e",
    "d7:command5:offer7:call-id1:c3:sdp3:v=0e",
    "d7:command5:offer8:from-tag1:f7:call-id1:ce",
    "d7:command5:offer8:from-tag1:f7:call-idi5e3:sdp3:v=0e",
    "d7:command6:answere",
    "d7:command6:answer3:sdp3:v=0e",
    "d7:command6:answer7:call-id1:c3:sdp3:v=0e",
    "d7:command6:answer8:from-tag1:f7:call-id1:c3:sdp3:v=0e",
    "d7:command6:deletee",
    "d7:command5:querye",
    "{\"command\":\"query\",\"from-tag\":\"f\"}",
    // Calls that are not there.
    "d7:command5:query7:call-id4:nonee",
    "d7:command6:delete7:call-id4:nonee",
    "{\"command\":\"delete\",\"call-id\":\"none\",\"flags\":[\"fatal\"]}",
];

/// The reply of a relay without calls, made with this crate.
fn ours(datagram: &Bytes) -> Bytes {
    let message = match Message::decode(datagram) {
        Ok(message) => message,
        Err(DecodeError::Unreadable { cookie, encoding, reason }) => {
            return encode(&cookie, encoding, &reply::error(reason));
        }
        Err(DecodeError::NoCookie) => panic!("every payload here has a cookie"),
    };
    let dict = match Request::parse(&message.dict).0 {
        Err(refused) => reply::error(refused.to_string()),
        Ok(Request::Ping) => reply::pong(),
        Ok(Request::List { .. }) => reply::list([]),
        Ok(Request::Query(_)) => reply::error("Unknown call-id"),
        Ok(Request::Delete(delete)) if delete.fatal => reply::error(reply::NOT_FOUND),
        Ok(Request::Delete(_)) => reply::warning(reply::NOT_FOUND),
        Ok(other) => panic!("no payload here gets as far as {other:?}"),
    };
    encode(&message.cookie, message.encoding, &dict)
}

/// Cookie, encoding and dictionary without the order of keys.
fn sorted(reply: &Bytes) -> (Bytes, Encoding, Dict) {
    let mut message = Message::decode(reply).unwrap();
    message.dict.0.sort_by(|a, b| a.0.cmp(&b.0));
    (message.cookie, message.encoding, message.dict)
}

/// rtpengine on a loopback port, ended when dropped.
struct Incumbent {
    process: Child,
    socket: UdpSocket,
}

impl Incumbent {
    /// `None` where it is not installed.
    fn start() -> Option<Self> {
        let free = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let process = Command::new("rtpengine")
            .args(["--config-file=none", "--foreground", "--log-stderr", "--table=-1"])
            .args(["--interface=127.0.0.1", "--port-min=45000", "--port-max=45100"])
            .arg(format!("--listen-ng={free}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.connect(free).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        let incumbent = Self { process, socket };
        let up = (0..100).any(|attempt| {
            std::thread::sleep(Duration::from_millis(50));
            incumbent.ask(&Bytes::from(format!("up{attempt}. d7:command4:pinge"))).is_some()
        });
        assert!(up, "rtpengine is installed but does not answer at {free}");
        Some(incumbent)
    }

    fn ask(&self, datagram: &Bytes) -> Option<Bytes> {
        // Refused until it listens.
        self.socket.send(datagram).ok()?;
        let mut buffer = vec![0; 65_536];
        loop {
            let length = self.socket.recv(&mut buffer).ok()?;
            let reply = &buffer[..length];
            // A late reply to an earlier request is not this one's.
            let cookie = datagram.split(|&byte| byte == b' ').next().unwrap_or_default();
            if !datagram.contains(&b' ') || reply.starts_with(cookie) {
                return Some(Bytes::copy_from_slice(reply));
            }
        }
    }
}

impl Drop for Incumbent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
