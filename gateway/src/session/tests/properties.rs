//! Random sequences of requests: nothing panics, no port leaks, nothing is sent in clear that
//! should not be, and a refused request changes nothing. The worker's view ([`WorkerStream`])
//! asserts most of it with each plan.
//!
//! [`WorkerStream`]: super::world::WorkerStream

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use ng::request::{AddressFamily, IceMode, RtcpMux, Sdes, Signal, Transport};
use ng::sdp::{HashFunction, MediaSection, Protocol, Sdp};
use proptest::prelude::*;
use srtp::{Profile, SessionParameters};

use super::browser::{print, with_agents};
use super::world::{Key, World, crypto, delete, read, rotating, settings, signal};
use crate::relay::command::StreamIndex;
use crate::session::rekey::{Act, Wish};
use crate::session::settings::INCUMBENTS_SUITES;
use crate::session::{Compat, Refused, Settings};
use crate::weakness;
use crate::webrtc::plan::LegPlan;

/// One thing that happens to a call.
#[derive(Clone, Debug)]
enum Step {
    Offer(Request),
    Answer(Request),
    Delete { from: Option<usize>, branch: Option<usize>, later: bool },
    Wait(u64),
    Ports(usize),
    Rekey,
}

#[derive(Clone, Debug)]
struct Request {
    from: usize,
    to: Option<usize>,
    branch: Option<usize>,
    sections: Vec<Section>,
    transport: Option<usize>,
    options: u16,
    /// A bit for each section that is bundled; 8: in reverse order.
    group: u8,
}

#[derive(Clone, Debug)]
struct Section {
    transport: usize,
    port: u16,
    address: usize,
    crypto: Vec<(u32, usize)>,
    rtcp_mux: bool,
    direction: usize,
    /// Bits: a fingerprint, another one, ICE, restarted, a tls-id.
    web: u8,
    setup: usize,
}

const TAGS: [&str; 3] = ["a", "b", "c"];
const BRANCHES: [&str; 2] = ["v1", "v2"];
const TRANSPORTS: [&str; 6] =
    ["RTP/AVP", "RTP/AVPF", "RTP/SAVP", "RTP/SAVPF", "UDP/TLS/RTP/SAVPF", "udptl"];
const ADDRESSES: [&str; 4] =
    ["IP4 198.51.100.1", "IP4 203.0.113.9", "IP4 0.0.0.0", "IP6 2001:db8::9"];
const SETUPS: [&str; 4] = ["actpass", "active", "passive", "holdconn"];
const MODES: [IceMode; 4] =
    [IceMode::Default, IceMode::Remove, IceMode::Force, IceMode::ForceRelay];
const DIRECTIONS: [&str; 4] = ["sendrecv", "sendonly", "recvonly", "inactive"];

/// New keys for every leg, now.
const ALL: Wish<'_> = Wish { tag: None, older_than: Duration::ZERO, act: Act::Mark };

/// Lines as peers write them: one key, a short tag, several keys in sets that overlap, and less
/// protection than there could be.
fn line(tag: u32, kind: usize) -> String {
    let several = |mkis: [u8; 2]| rotating(tag, &mkis.map(|mki| (mki, char::from(b'A' + mki))));
    match kind {
        0 => crypto(tag, 'L'),
        1 => crypto(tag, 'S').replace("_80", "_32"),
        2 => several([1, 2]),
        3 => several([2, 3]),
        4 => format!("{} UNENCRYPTED_SRTCP", crypto(tag, 'L')),
        _ => crypto(tag, 'N').replace("AES_CM_128", "NULL"),
    }
}

/// Kinds of [`line`].
const LINES: usize = 6;

fn section() -> impl Strategy<Value = Section> {
    let port = prop_oneof![1 => Just(0), 1 => Just(65_535), 8 => 1024..60_000u16];
    let crypto = prop::collection::vec((1..5u32, 0..LINES), 0..3);
    // Mostly what gets far: plain RTP and SDES at real addresses.
    let transport = prop_oneof![8 => 0..4usize, 1 => 4..6usize];
    let address = prop_oneof![6 => 0..2usize, 1 => 2..4usize];
    let web = (prop_oneof![Just(0), 0..32u8], 0..4usize);
    (transport, port, address, crypto, any::<bool>(), 0..4usize, web).prop_map(
        |(transport, port, address, crypto, rtcp_mux, direction, (web, setup))| Section {
            transport,
            port,
            address,
            crypto,
            rtcp_mux,
            direction,
            web,
            setup,
        },
    )
}

fn request() -> impl Strategy<Value = Request> {
    let branch = prop::option::weighted(0.3, 0..2usize);
    let sections = prop::collection::vec(section(), 1..4);
    let transport = prop::option::of(0..5usize);
    let group = (prop_oneof![Just(0), 0..16u8], any::<bool>());
    let parties = (0..3usize, prop::option::of(0..3usize), branch);
    (parties, sections, transport, any::<u16>(), group).prop_map(
        |((from, to, branch), mut sections, transport, options, (group, browser))| {
            if group != 0 && browser {
                sections.iter_mut().for_each(Section::become_a_browsers);
            }
            Request { from, to, branch, sections, transport, options, group }
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let branch = prop::option::weighted(0.3, 0..2usize);
    prop_oneof![
        5 => request().prop_map(Step::Offer),
        5 => request().prop_map(|mut request| {
            request.to = request.to.or(Some((request.from + 1) % 3));
            Step::Answer(request)
        }),
        1 => (prop::option::of(0..3usize), branch, any::<bool>())
            .prop_map(|(from, branch, later)| Step::Delete { from, branch, later }),
        1 => (1..4000u64).prop_map(Step::Wait),
        1 => (0..12usize).prop_map(Step::Ports),
        1 => Just(Step::Rekey),
    ]
}

impl Request {
    fn signal(&self) -> Signal {
        let bit = |bit: u16| self.options & (1 << bit) != 0;
        let mut signal = signal(TAGS[self.from], self.to.map(|to| TAGS[to]), &self.sdp());
        signal.via_branch = self.branch.map(|b| Bytes::from_static(BRANCHES[b].as_bytes()));
        signal.transport = self.transport.map(|transport| {
            Transport::To(Protocol::from_name(&Bytes::from_static(
                TRANSPORTS[transport].as_bytes(),
            )))
        });
        signal.rtcp_mux = RtcpMux { offer: bit(0), accept: bit(1), ..RtcpMux::default() };
        let clear = |clear| SessionParameters { unencrypted_rtcp: clear, ..Default::default() };
        let (weaken, strengthen) = (clear(bit(8)), clear(bit(9) && bit(10)));
        signal.sdes = Sdes { no_new: bit(2), weaken, strengthen, ..Sdes::default() };
        if bit(3) {
            signal.sdes.no = vec![Profile::AeadAes256Gcm];
        }
        signal.address_family = bit(4).then_some(AddressFamily::V6);
        signal.flags.new_branch = bit(5) && bit(6);
        signal.flags.reset = bit(6);
        signal.replace.sdp_version = bit(7);
        signal.ice.mode = MODES[usize::from(self.options >> 11 & 3)];
        signal.dtls.off = bit(13) && bit(14);
        signal.sdes.prefer = bit(14) && !bit(13);
        signal.sdes.off = bit(15) && bit(13);
        signal.osrtp.offer = bit(15) && !bit(13);
        signal.osrtp.accept = bit(14) && bit(15);
        signal
    }

    fn sdp(&self) -> String {
        let mut sdp = String::from("v=0\r\no=- 1 1 IN IP4 1.1.1.1\r\ns=-\r\nt=0 0\r\n");
        let mut bundled: Vec<usize> = (0..3).filter(|mid| self.group & 1 << mid != 0).collect();
        if self.group & 8 != 0 {
            bundled.reverse();
        }
        if !bundled.is_empty() {
            sdp += "a=group:BUNDLE";
            bundled.iter().for_each(|mid| sdp += &format!(" {mid}"));
            sdp += "\r\n";
        }
        for (mid, section) in self.sections.iter().enumerate() {
            let (transport, address) = (TRANSPORTS[section.transport], ADDRESSES[section.address]);
            sdp += &format!("m=audio {} {transport} 0\r\nc=IN {address}\r\n", section.port);
            for (tag, kind) in &section.crypto {
                sdp += &format!("a={}\r\n", line(*tag, *kind));
            }
            if section.rtcp_mux {
                sdp += "a=rtcp-mux\r\n";
            }
            if self.group != 0 {
                sdp += &format!("a=mid:{mid}\r\n");
                sdp += if section.port == 0 { "a=bundle-only\r\n" } else { "" };
            }
            sdp += &format!("a={}\r\n", DIRECTIONS[section.direction]);
            sdp += &section.web();
        }
        sdp
    }
}

impl Section {
    /// What most bundles have: chance alone makes few of them.
    fn become_a_browsers(&mut self) {
        self.transport = 4;
        self.rtcp_mux = true;
        self.web |= 0b101;
    }

    /// Its DTLS and ICE.
    fn web(&self) -> String {
        let bit = |bit: u8| self.web & (1 << bit) != 0;
        let mut lines = String::new();
        if bit(0) {
            let print = print(HashFunction::Sha256, u8::from(bit(1)));
            lines += &format!("a=setup:{}\r\na=fingerprint:{print}\r\n", SETUPS[self.setup]);
        }
        if bit(2) {
            let letter = if bit(3) { "r" } else { "a" };
            let (ufrag, pwd) = (letter.repeat(4), letter.repeat(24));
            lines += &format!("a=ice-ufrag:{ufrag}\r\na=ice-pwd:{pwd}\r\n");
        }
        if bit(4) {
            lines += "a=tls-id:01234567890123456789\r\n";
        }
        lines
    }
}

/// What the operator wants.
#[derive(Clone, Copy, Debug)]
enum Ways {
    Ours,
    /// Ours, accepting everything.
    Lenient,
    Incumbents,
    /// Ours, with agents.
    Agents,
    /// The incumbent's, with agents.
    IncumbentsAgents,
    /// The incumbent's, offering several keys.
    IncumbentsSeveral,
}

impl Ways {
    fn settings(self) -> Settings {
        match self {
            Self::Ours => settings(),
            Self::Lenient => Settings {
                accepted: weakness::every(),
                keys_a_line: 3,
                offer_several_keys: true,
                ..settings()
            },
            Self::Incumbents => Settings {
                compat: Compat::Rtpengine,
                suites: INCUMBENTS_SUITES.to_vec(),
                accepted: weakness::every(),
                ..settings()
            },
            Self::Agents => with_agents(),
            Self::IncumbentsSeveral => {
                Settings { offer_several_keys: true, ..Self::Incumbents.settings() }
            }
            Self::IncumbentsAgents => {
                Settings { webrtc: with_agents().webrtc, ..Self::Incumbents.settings() }
            }
        }
    }
}

impl World {
    fn step(&mut self, step: &Step) {
        let before = (format!("{:?}", self.calls.call(b"call")), self.calls.ports().open.clone());
        let refused: Option<Refused> = match step {
            Step::Offer(request) => self.offer(&request.signal()).err(),
            Step::Answer(request) => match self.answer(&request.signal()) {
                Ok(answered) => {
                    self.check_answer(request, &read(&answered));
                    None
                }
                Err(refused) => Some(refused),
            },
            Step::Delete { from, branch, later } => {
                let mut delete = delete(from.map(|f| TAGS[f]), branch.map(|b| BRANCHES[b]));
                if *later {
                    delete.delete_delay = None;
                }
                self.delete(&delete).err()
            }
            Step::Wait(seconds) => {
                self.wait(Duration::from_secs(*seconds));
                None
            }
            Step::Ports(capacity) => {
                self.calls.ports_mut().capacity = *capacity;
                None
            }
            Step::Rekey => {
                self.rekey(ALL);
                None
            }
        };
        if refused.is_some() {
            let after =
                (format!("{:?}", self.calls.call(b"call")), self.calls.ports().open.clone());
            assert_eq!(before, after, "refused, but not without consequences");
        }
        let open = self.worker.values().flatten().filter(|stream| !stream.closed).count();
        assert_eq!(self.ports_open(), open, "ports leaked or freed early");
        assert_eq!(self.calls.len(), self.worker.len());
        self.check_waiting();
        self.check_legs();
    }

    /// The worker hands up what the agents have, and nothing that has ended.
    fn check_legs(&self) {
        for (call, streams) in &self.worker {
            for (index, stream) in (0..).zip(streams) {
                let leg = self.legs.get(&(*call, StreamIndex(index)));
                assert!(leg.is_none() || !stream.closed, "an ended stream's leg");
                let footing = leg.map(LegPlan::footing);
                let footing = footing.map_or((None, None), |footing| (footing.ice, footing.dtls));
                let tap = stream.tap.map_or((None, None), |tap| (tap.ice, tap.dtls));
                assert_eq!(tap, footing, "the agents wait for what the worker never gets");
            }
        }
    }

    /// A leg that waits for its SRTP keys is sent nothing.
    fn check_waiting(&self) {
        let Some(call) = self.calls.call(b"call") else { return };
        for media in call.parties.iter().flat_map(|party| &party.media) {
            let Some(stream) = media.stream else { continue };
            if !media.is_plain() && !call.stream(stream).answered {
                assert!(!self.worker[&call.key][usize::from(stream.0)].sends);
            }
        }
    }

    /// The sections of a group share a stream, and those of no group have one each.
    fn check_bundles(&self, written: &Sdp) {
        for group in &written.session.bundles {
            let is_in = |section: &&MediaSection| {
                section.mid.as_ref().is_some_and(|mid| group.mids.contains(mid))
            };
            let ports = written.media.iter().filter(is_in).map(|section| section.port);
            let ports: BTreeSet<u16> = ports.collect();
            assert!(ports.len() == 1 && !ports.contains(&0), "a group of {ports:?}");
        }
        let call = self.calls.call(b"call").unwrap();
        for stream in &self.worker[&call.key] {
            let mids: BTreeSet<&[u8]> = stream.routes.iter().map(|route| &*route.mid).collect();
            assert_eq!(mids.len(), stream.routes.len(), "two sections with one mid");
        }
    }

    /// A section accepted has on both legs the protection that its transport says.
    fn check_answer(&self, request: &Request, written: &Sdp) {
        self.check_bundles(written);
        let call = self.calls.call(b"call").unwrap();
        let tags = [request.from, request.to.unwrap()].map(|tag| TAGS[tag].as_bytes());
        for (index, section) in written.media.iter().enumerate().filter(|(_, s)| s.is_relayed()) {
            let keyings = (section.crypto.len(), section.dtls.fingerprints.len());
            let wanted = usize::from(section.protocol.is_srtp());
            assert!(matches!(keyings, (0, 0) | (1, 0) | (0, 1)), "one key of one kind");
            assert!(keyings.0 + keyings.1 >= wanted, "SRTP without a key");
            for tag in tags {
                let media = &call.parties[call.party(tag).unwrap().0].media[index];
                let stream = &self.worker[&call.key][usize::from(media.stream.unwrap().0)];
                assert!(stream.ways().next().is_some());
                let secure = media.protocol().unwrap().is_srtp();
                let state = call.stream(media.stream.unwrap());
                match (state.local_crypto(), state.association()) {
                    // Passed as it is, from one who holds the other's key.
                    (Some(local), _) if local.shared => {
                        let peer = &self.worker[&call.key][stream.peer.unwrap()];
                        let keys = [&stream.send_key, &stream.receive_key, &peer.send_key];
                        assert!(
                            !media.is_plain() && keys.into_iter().all(|key| *key == Key::Clear)
                        );
                        assert_eq!(local.count(), 1, "a key that passes is alone");
                    }
                    (Some(_), _) => assert!(!media.is_plain() && stream.send_key.is_srtp()),
                    (None, Some(_)) => {
                        assert!(!media.is_plain() && stream.send_key != Key::Clear);
                        assert_eq!(stream.sends, stream.tap.is_some_and(|tap| tap.dtls.is_some()));
                    }
                    (None, None) => assert!(!secure && stream.send_key == Key::Clear),
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1200,
        rng_seed: proptest::test_runner::RngSeed::Fixed(0x5eed),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_sequence_of_requests_leaks_ports_or_sends_in_clear(
        ways in prop::sample::select(vec![
            Ways::Ours,
            Ways::Lenient,
            Ways::Incumbents,
            Ways::Agents,
            Ways::IncumbentsAgents,
            Ways::IncumbentsSeveral,
        ]),
        steps in prop::collection::vec(step(), 1..40)
    ) {
        let mut world = World::with(ways.settings());
        for step in &steps {
            world.step(step);
        }
        world.calls.ports_mut().capacity = 100;
        if world.delete(&delete(None, None)).is_ok() {
            world.wait(Duration::from_secs(60));
        }
        prop_assert_eq!(world.ports_open(), 0);
        prop_assert_eq!(world.calls.len(), 0);
        prop_assert_eq!(world.calls.next_deadline(), None);
    }
}
