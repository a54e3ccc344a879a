//! Several keys of ours against libsrtp, which is given all of them by their MKIs: keymgr has the
//! running gateway change from one to the next in mid-call, while packets flow every 3 ms.
//!
//! Both ways in which a party comes by them: answered to its own line with several keys, and offered
//! by configuration. Every packet must come out as it went in, RTCP too; the MKI on the wire changes
//! once; and what follows opens under the second key alone, in the round that the first one left.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use ng::sdp::{CryptoAttribute, InlineKey, MediaSection, Sdp};
use serde_json::{Value, json};
use srtp::Profile;

use crate::ledger::{Ledger, Tally};
use crate::libsrtp::{Direction, Key, Packet, Session};
use crate::packet::{Origin, Sender};
use crate::party::suite_of;
use crate::relay::{Io, Relay, RunningRelay, ask};
use crate::{fresh_folder, isolation};

#[test]
fn libsrtp_hears_every_packet_over_a_step_to_the_next_key() {
    for io in [Io::Uring, Io::Epoll] {
        let relay = Relay::Gateway(io);
        let lacking = match isolation::unavailable() {
            Some(reason) => Some(reason),
            None => relay.unavailable().unwrap_or_else(|error| panic!("{relay}: {error:#}")),
        };
        if let Some(reason) = lacking {
            println!("SKIPPED real_peers::several_keys::{relay}: {reason}");
            continue;
        }
        isolation::in_own_namespace(|| run(relay)).unwrap_or_else(|e| panic!("{relay}: {e:#}"));
    }
}

fn run(relay: Relay) -> Result<()> {
    let folder = fresh_folder(&format!("several-keys-{relay}"))?;
    let config = folder.join("gateway.toml");
    fs::write(&config, "[srtp]\noffer_mki = true\n")?;
    let relay = relay.start(&folder, &["--config".as_ref(), config.as_os_str()])?;
    for suite in [Profile::AesCm128HmacSha1_80, Profile::AeadAes256Gcm] {
        for secure in [Sender::Caller, Sender::Callee] {
            let call = Call::set_up(suite, secure)?;
            let name = format!("{suite}, the {secure:?} is SRTP");
            call.play(&relay).with_context(|| name.clone())?;
            println!("{name}: {PACKETS} packets each way, none lost");
        }
    }
    Ok(())
}

/// A call between a plain party and one of libsrtp.
struct Call {
    id: String,
    suite: Profile,
    plain: Party,
    secure: Party,
    /// Ours, as the secure party was told them.
    ours: Vec<Key>,
    sealing: Session,
    opening: Session,
}

struct Party {
    origin: Origin,
    rtp: UdpSocket,
    rtcp: UdpSocket,
    relay: SocketAddr,
}

impl Call {
    fn set_up(suite: Profile, secure_side: Sender) -> Result<Self> {
        let id = format!("{suite}-{secure_side:?}");
        let plain_side = match secure_side {
            Sender::Caller => Sender::Callee,
            Sender::Callee => Sender::Caller,
        };
        let (mut plain, mut secure) = (Party::new(plain_side)?, Party::new(secure_side)?);
        let theirs = [1_u8, 2].map(|mki| Key { key: vec![mki; key_len(suite)], mki: vec![mki] });
        let ours = match secure_side {
            Sender::Caller => {
                let offer = secure.sdp("RTP/SAVP", &line(1, suite, &theirs))?;
                plain.relay = remote(&signal("offer", &id, &offer, "RTP/AVP")?)?;
                signal("answer", &id, &plain.sdp("RTP/AVP", "")?, "RTP/SAVP")?
            }
            Sender::Callee => {
                let told = signal("offer", &id, &plain.sdp("RTP/AVP", "")?, "RTP/SAVP")?;
                let tag = crypto(&told, suite)?.tag;
                let answer = secure.sdp("RTP/SAVP", &line(tag, suite, &theirs))?;
                plain.relay = remote(&signal("answer", &id, &answer, "RTP/AVP")?)?;
                told
            }
        };
        secure.relay = remote(&ours)?;
        let ours: Vec<Key> = crypto(&ours, suite)?.keys().map(key).collect();
        ensure!(ours.len() == 2, "{} keys of ours on the line", ours.len());
        let session = |direction, keys: &[Key]| {
            Session::new(direction, suite_of(suite)?, keys)
                .map_err(|status| anyhow!("libsrtp takes no such session: {status:?}"))
        };
        let sealing = session(Direction::Outbound, &theirs)?;
        let opening = session(Direction::Inbound, &ours)?;
        Ok(Self { id, suite, plain, secure, ours, sealing, opening })
    }

    /// Media both ways; in the middle either side goes on under its next key.
    fn play(mut self, relay: &RunningRelay) -> Result<()> {
        let mut books = [Ledger::new(self.plain.origin), Ledger::new(self.secure.origin)];
        let mut wire = Vec::new();
        let report = thread::scope(|scope| -> Result<Value> {
            let mut rekey = None;
            for step in 0..PACKETS {
                if step == MIDDLE {
                    let id = self.id.clone();
                    let ask = move || relay.keymgr(&["srtp", "rekey", "--call", &id]);
                    rekey = Some(scope.spawn(ask));
                    self.sealing.switch_to(1);
                }
                self.send(step, &mut books)?;
                // From now, not from the plan: packets made up for at once would overrun a socket.
                self.receive(Instant::now() + INTERVAL, &mut books, &mut wire)?;
            }
            self.receive_rest(&mut books, &mut wire)?;
            let rekey = rekey.context("it was not asked")?;
            rekey.join().map_err(|_| anyhow!("keymgr's thread"))?
        })?;
        let faults: Vec<String> = books.iter().flat_map(Ledger::verdict).collect();
        ensure!(faults.is_empty(), "{}", faults.join("; "));
        self.check_wire(&wire)?;
        self.check_told(relay, &report)
    }

    fn send(&mut self, step: u16, books: &mut [Ledger; 2]) -> Result<()> {
        let sequence = FIRST_SEQUENCE.wrapping_add(step);
        let packet = self.plain.origin.rtp(books[0].send_rtp(), sequence);
        self.plain.rtp.send_to(&packet, self.plain.relay)?;
        let mut packet = Packet::copy_from(&self.secure.origin.rtp(books[1].send_rtp(), sequence));
        self.sealing.protect_rtp(&mut packet).map_err(|status| anyhow!("{status:?}"))?;
        self.secure.rtp.send_to(packet.as_bytes(), self.secure.relay)?;
        if step.is_multiple_of(REPORT_EVERY) {
            let packet = self.plain.origin.rtcp(books[0].send_rtcp());
            self.plain.rtcp.send_to(&packet, rtcp(self.plain.relay))?;
            let mut packet = Packet::copy_from(&self.secure.origin.rtcp(books[1].send_rtcp()));
            self.sealing.protect_rtcp(&mut packet).map_err(|status| anyhow!("{status:?}"))?;
            self.secure.rtcp.send_to(packet.as_bytes(), rtcp(self.secure.relay))?;
        }
        Ok(())
    }

    /// Takes what comes until then; `wire` is what the secure party got of RTP.
    fn receive(
        &mut self,
        until: Instant,
        books: &mut [Ledger; 2],
        wire: &mut Vec<Vec<u8>>,
    ) -> Result<()> {
        loop {
            while let Some(received) = take(&self.plain.rtp)? {
                books[1].receive_rtp(&received);
            }
            while let Some(received) = take(&self.plain.rtcp)? {
                books[1].receive_rtcp(&received);
            }
            while let Some(received) = take(&self.secure.rtp)? {
                let mut packet = Packet::copy_from(&received);
                match self.opening.unprotect_rtp(&mut packet) {
                    Ok(()) => books[0].receive_rtp(packet.as_bytes()),
                    Err(status) => books[0].fault(format!("RTP: libsrtp says {status:?}")),
                }
                wire.push(received);
            }
            while let Some(received) = take(&self.secure.rtcp)? {
                let mut packet = Packet::copy_from(&received);
                match self.opening.unprotect_rtcp(&mut packet) {
                    Ok(()) => books[0].receive_rtcp(packet.as_bytes()),
                    Err(status) => books[0].fault(format!("RTCP: libsrtp says {status:?}")),
                }
            }
            let now = Instant::now();
            if now >= until {
                return Ok(());
            }
            thread::sleep((until - now).min(POLL));
        }
    }

    /// A packet that a busy machine holds up is not lost: waits for all, and a little for any too many.
    fn receive_rest(&mut self, books: &mut [Ledger; 2], wire: &mut Vec<Vec<u8>>) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let is_there = |tally: Tally| tally.sent == tally.received;
        loop {
            let all = books.iter().all(|book| is_there(book.rtp()) && is_there(book.rtcp()));
            self.receive(Instant::now() + A_LITTLE, books, wire)?;
            if all || Instant::now() > deadline {
                return Ok(());
            }
        }
    }

    /// First the first key, then the second; each packet opens under its own alone.
    fn check_wire(&self, wire: &[Vec<u8>]) -> Result<()> {
        let named: Vec<u8> = wire.iter().map(|packet| self.mki(packet)).collect();
        let [first, second] = [0, 1].map(|at| self.ours[at].mki[0]);
        let changed = named.iter().position(|mki| *mki == second).context("no second key")?;
        ensure!(changed >= usize::from(MIDDLE), "it changed before it was asked, at {changed}");
        ensure!(named[..changed].iter().all(|mki| *mki == first), "{named:?}");
        ensure!(named[changed..].iter().all(|mki| *mki == second), "{named:?}");
        ensure!(wire.len() - changed > 100, "only {} under the second", wire.len() - changed);
        let ssrc = self.plain.origin.ssrc();
        for (key, opens) in [(&self.ours[1], true), (&self.ours[0], false)] {
            let mut alone =
                Session::new(Direction::Of(ssrc), suite_of(self.suite)?, std::slice::from_ref(key))
                    .map_err(|status| anyhow!("{status:?}"))?;
            alone.set_roc(ssrc, 1).map_err(|status| anyhow!("{status:?}"))?;
            for packet in &wire[changed..] {
                let opened = alone.unprotect_rtp(&mut Packet::copy_from(packet));
                ensure!(opened.is_ok() == opens, "under MKI {:?}: {opened:?}", key.mki);
            }
        }
        Ok(())
    }

    /// Where RFC 3711 section 3.1 and RFC 7714 section 8 put it: before the tag that follows the
    /// ciphertext, or behind the one that is part of it.
    fn mki(&self, packet: &[u8]) -> u8 {
        let behind = if self.suite.is_aead() { 0 } else { self.suite.rtp_overhead() };
        packet[packet.len() - behind - 1]
    }

    fn check_told(&self, relay: &RunningRelay, report: &Value) -> Result<()> {
        let leg = &report["legs"][0];
        let second = self.ours[1].mki[0];
        ensure!(leg["result"] == "switched" && leg["own_keys"]["mki"] == second, "{report}");
        let list = relay.keymgr(&["srtp", "list", "--call", &self.id])?;
        let leg = &list["legs"][0];
        ensure!(leg["own_keys"] == json!({"mki": second, "left": 0}), "{list}");
        ensure!(leg["rekey_due"] == false, "{list}");
        let marked = relay.keymgr(&["srtp", "rekey", "--call", &self.id])?;
        ensure!(marked["legs"][0]["result"] == "marked", "{marked}");
        Ok(())
    }
}

impl Party {
    fn new(sender: Sender) -> Result<Self> {
        // RTCP is one port above RTP, and the kernel's choice of the first says nothing of that.
        let mut tries = 0..100;
        loop {
            tries.next().context("no pair of ports")?;
            let rtp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
            let at = rtp.local_addr()?;
            let Ok(rtcp) = UdpSocket::bind(rtcp(at)) else { continue };
            for socket in [&rtp, &rtcp] {
                socket.set_nonblocking(true)?;
            }
            return Ok(Self { origin: Origin { call: 1, sender }, rtp, rtcp, relay: at });
        }
    }

    fn sdp(&self, protocol: &str, attributes: &str) -> Result<String> {
        let port = self.rtp.local_addr()?.port();
        Ok(format!(
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
             m=audio {port} {protocol} 0\r\n{attributes}"
        ))
    }
}

/// Tells the relay of a body; what it makes of it.
fn signal(command: &str, id: &str, sdp: &str, transport: &str) -> Result<MediaSection> {
    let mut request = json!({"command": command, "call-id": id, "from-tag": "a", "sdp": sdp});
    match command {
        "offer" => request["transport-protocol"] = transport.into(),
        _ => request["to-tag"] = "b".into(),
    }
    let reply: Value = serde_json::from_str(&ask(&request.to_string())?)?;
    let body = reply["sdp"].as_str().with_context(|| format!("{command}: {reply}"))?.to_owned();
    let sdp = Sdp::parse(&body.into()).map_err(|error| anyhow!("{error}"))?;
    sdp.media.into_iter().next().context("no section")
}

fn remote(section: &MediaSection) -> Result<SocketAddr> {
    section.remote_rtp().context("no address")
}

fn crypto(section: &MediaSection, suite: Profile) -> Result<&CryptoAttribute> {
    section.crypto.iter().find(|line| line.profile() == suite).context("no such suite")
}

fn key(inline: &InlineKey) -> Key {
    let (key, salt) = (inline.master.key(), inline.master.salt());
    let key = [key.dangerous_bytes(), salt.dangerous_bytes()].concat();
    Key { key, mki: inline.mki.as_bytes().to_vec() }
}

/// `a=crypto` with these keys.
fn line(tag: u32, suite: Profile, keys: &[Key]) -> String {
    use base64::Engine;
    let text = |key: &Key| {
        let inline = base64::engine::general_purpose::STANDARD.encode(&key.key);
        format!("inline:{inline}|{}:1", key.mki[0])
    };
    let keys: Vec<String> = keys.iter().map(text).collect();
    format!("a=crypto:{tag} {suite} {}\r\n", keys.join(";"))
}

fn key_len(suite: Profile) -> usize {
    suite.key_len() + suite.salt_len()
}

fn rtcp(mut rtp: SocketAddr) -> SocketAddr {
    rtp.set_port(rtp.port() + 1);
    rtp
}

/// The next datagram, if there is one.
fn take(socket: &UdpSocket) -> Result<Option<Vec<u8>>> {
    let mut buffer = [0; 1500];
    match socket.recv(&mut buffer) {
        Ok(len) => Ok(Some(buffer[..len].to_vec())),
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Of each party.
const PACKETS: u16 = 800;
/// When new keys are asked for: well into the second round.
const MIDDLE: u16 = 350;
/// The first round ends after 136 packets.
const FIRST_SEQUENCE: u16 = 65_400;
const REPORT_EVERY: u16 = 20;
const PATIENCE: Duration = Duration::from_secs(10);
const A_LITTLE: Duration = Duration::from_millis(200);
const INTERVAL: Duration = Duration::from_millis(3);
/// Shorter than that, and no busy loop.
const POLL: Duration = Duration::from_millis(1);
