//! What the tests play against: counted ports, a worker's view of the plans, and phones' SDP.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ng::request::{AddressFamily, Delete, Signal, Transport};
use ng::sdp::{MediaSection, Protocol, Sdp};
use srtp::{MasterKey, Mki, Profile};

use crate::relay::command::{
    AgentTap, CallKey, CallPlan, PortPair, Remote, Route, StreamIndex, StreamPlan,
};
use crate::relay::key_plan::{ReceivePlan, SendPlan, SrtpKey, SrtpKeys, Terms};
use crate::session::ports::{InterfaceIndex, LocalPorts, OpenPorts, PortError, PortSource};
use crate::session::rekey::{Act, Switch, Way, Wish};
use crate::session::{
    BranchEnd, Calls, DeleteEffect, Deleted, Expired, Interface, LocalAddress, Outcome, Refused,
    Settings,
};
use crate::webrtc::plan::{IceGeneration, LegNews, LegNewsKind, LegPlan, LegUpdate};

/// Ports that are only counted: its sockets lead nowhere.
#[derive(Debug)]
pub(super) struct CountedPorts {
    pub(super) open: BTreeSet<(u16, SocketAddr)>,
    pub(super) capacity: usize,
    next: u16,
}

impl PortSource for CountedPorts {
    fn open(
        &mut self,
        interface: InterfaceIndex,
        family: AddressFamily,
    ) -> Result<OpenPorts, PortError> {
        if self.open.len() >= self.capacity {
            return Err(PortError::Exhausted { interface: interface.0.to_string() });
        }
        let (address, advertised): (IpAddr, IpAddr) = match (interface.0, family) {
            (1, AddressFamily::V4) => ([10, 0, 0, 1].into(), [192, 0, 2, 1].into()),
            (_, AddressFamily::V4) => ([10, 0, 0, 2].into(), [10, 0, 0, 2].into()),
            (_, AddressFamily::V6) => (OURS_V6.into(), OURS_V6.into()),
        };
        self.next = if self.next >= 60_000 { 30_000 } else { self.next + 2 };
        while !self.open.insert((interface.0, SocketAddr::new(address, self.next))) {
            self.next += 2;
        }
        let socket = || UdpSocket::from(OwnedFd::from(File::open("/dev/null").unwrap()));
        Ok(OpenPorts {
            sockets: PortPair { rtp: socket(), rtcp: Some(socket()) },
            local: LocalPorts { interface, bound: SocketAddr::new(address, self.next), advertised },
        })
    }

    fn release(&mut self, ports: LocalPorts) {
        assert!(self.open.remove(&(ports.interface.0, ports.bound)), "{ports:?} released twice");
    }
}

const OURS_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);

/// The calls under test with the time and what the worker would have.
pub(super) struct World {
    pub(super) calls: Calls<CountedPorts>,
    pub(super) now: Instant,
    pub(super) worker: HashMap<CallKey, Vec<WorkerStream>>,
    /// What the agents have.
    pub(super) legs: HashMap<(CallKey, StreamIndex), LegPlan>,
    /// The last ICE of those that were given up.
    given_up: HashMap<(CallKey, StreamIndex), IceGeneration>,
}

/// A stream as the worker would have it.
#[derive(Debug)]
pub(super) struct WorkerStream {
    pub(super) peer: Option<usize>,
    pub(super) routes: Vec<Route>,
    pub(super) remote: Option<Remote>,
    pub(super) receive_key: Key,
    /// All of the party's keys, where it is SRTP.
    pub(super) receive_keys: Option<SrtpKeys>,
    pub(super) send_key: Key,
    /// The MKI of the key in use.
    pub(super) send_mki: Mki,
    /// All of our keys, where it is SRTP.
    pub(super) send_keys: Option<SrtpKeys>,
    /// What was agreed to be left out.
    pub(super) terms: Terms,
    /// Every key that we were ever to protect with towards the party.
    sealed_under: Vec<MasterKey>,
    pub(super) sends: bool,
    pub(super) rtcp_mux: bool,
    pub(super) tos: Option<u8>,
    pub(super) closed: bool,
    pub(super) tap: Option<AgentTap>,
    /// How often each direction's keys were set.
    pub(super) keyed: (usize, usize),
    pub(super) plan: String,
}

/// A direction's key at the worker.
#[derive(Debug, PartialEq)]
pub(super) enum Key {
    None,
    Clear,
    Srtp(MasterKey),
}

impl Key {
    pub(super) fn is_srtp(&self) -> bool {
        matches!(self, Self::Srtp(_))
    }
}

impl World {
    pub(super) fn new() -> Self {
        Self::with(settings())
    }

    pub(super) fn with(settings: Settings) -> Self {
        let ports = CountedPorts { open: BTreeSet::new(), capacity: 10_000, next: 30_000 };
        let calls = Calls::new(settings, ports);
        Self {
            calls,
            now: Instant::now(),
            worker: HashMap::new(),
            legs: HashMap::new(),
            given_up: HashMap::new(),
        }
    }

    pub(super) fn offer(&mut self, signal: &Signal) -> Result<Outcome, Refused> {
        let outcome = self.calls.offer(signal, self.now)?;
        Ok(self.carry_out(outcome))
    }

    pub(super) fn answer(&mut self, signal: &Signal) -> Result<Outcome, Refused> {
        let outcome = self.calls.answer(signal, self.now)?;
        Ok(self.carry_out(outcome))
    }

    fn carry_out(&mut self, mut outcome: Outcome) -> Outcome {
        if let Some(plan) = outcome.plan.take() {
            self.apply(plan);
        }
        self.tell(&outcome.legs);
        outcome
    }

    /// Plays the agents' part.
    fn tell(&mut self, legs: &[LegUpdate]) {
        for LegUpdate { call, stream, plan } in legs {
            let leg = (*call, *stream);
            assert_ne!(self.legs.get(&leg), plan.as_ref(), "no news");
            let before = match plan {
                Some(plan) => self.legs.insert(leg, plan.clone()),
                None => self.legs.remove(&leg),
            };
            let dtls = |plan: Option<&LegPlan>| plan?.dtls.clone();
            if let (Some(old), Some(new)) = (dtls(before.as_ref()), dtls(plan.as_ref())) {
                assert!(old == new || old.epoch < new.epoch, "{old:?} became {new:?}");
            }
            let ice = |plan: Option<&LegPlan>| plan?.footing().ice;
            match (ice(before.as_ref()), ice(plan.as_ref())) {
                (Some(old), Some(new)) => assert_eq!(old, new, "restarts are the same ICE"),
                (None, Some(new)) => assert!(self.given_up.get(&leg).is_none_or(|old| *old < new)),
                (Some(old), None) => {
                    self.given_up.insert(leg, old);
                }
                (None, None) => {}
            }
        }
    }

    /// A stream's leg as its agents have it.
    pub(super) fn leg(&self, stream: u16) -> Option<&LegPlan> {
        let (call, _) = self.worker.iter().next().unwrap();
        self.legs.get(&(*call, StreamIndex(stream)))
    }

    /// What the agents say of a stream's leg.
    pub(super) fn hear(&mut self, stream: u16, kind: LegNewsKind) {
        let call = *self.worker.keys().next().unwrap();
        self.calls.leg_news(LegNews { call, stream: StreamIndex(stream), kind }, self.now);
    }

    /// New keys as an operator wishes them; plays the worker's part, and tells how each leg was before.
    pub(super) fn rekey(&mut self, wish: Wish<'_>) -> Vec<(StreamIndex, Way)> {
        let Some(call) = self.worker.keys().next().copied() else { return Vec::new() };
        let legs = self.calls.rekey(call, wish, self.now);
        for leg in legs.iter().filter(|_| wish.act == Act::Mark) {
            if let Way::AtOnce(switch) = leg.way {
                let streams = self.worker.get_mut(&call).expect("a call that is up");
                streams[usize::from(leg.stream.0)].switch(switch);
            }
        }
        legs.into_iter().map(|leg| (leg.stream, leg.way)).collect()
    }

    /// Deletes, and plays the worker's part where it comes to that.
    pub(super) fn delete(&mut self, delete: &Delete) -> Result<Deleted, Refused> {
        let deleted = self.calls.delete(delete, self.now)?;
        match deleted.effect {
            DeleteEffect::Close => {
                self.close(deleted.call);
                Ok(Deleted { effect: DeleteEffect::Close, ..deleted })
            }
            DeleteEffect::Branch(BranchEnd { plan, legs }) => {
                let told = CallPlan { call: plan.call, streams: Vec::new() };
                self.apply(plan);
                self.tell(&legs);
                let effect = DeleteEffect::Branch(BranchEnd { plan: told, legs });
                Ok(Deleted { effect, ..deleted })
            }
            DeleteEffect::Later => Ok(deleted),
        }
    }

    /// Lets time pass.
    pub(super) fn wait(&mut self, time: Duration) -> Vec<CallKey> {
        self.now += time;
        let mut ended = Vec::new();
        for expired in self.calls.expire(self.now) {
            match expired {
                Expired::Call { call, .. } => {
                    self.close(call);
                    ended.push(call);
                }
                Expired::Branch(end) => {
                    self.apply(end.plan);
                    self.tell(&end.legs);
                }
            }
        }
        ended
    }

    pub(super) fn close(&mut self, call: CallKey) {
        self.worker.remove(&call);
        self.legs.retain(|(of, _), _| *of != call);
        self.calls.closed(call);
    }

    fn apply(&mut self, plan: CallPlan) {
        let streams = self.worker.entry(plan.call).or_default();
        assert!(plan.streams.len() >= streams.len(), "a plan got shorter");
        let count = plan.streams.len();
        for (index, plan) in plan.streams.into_iter().enumerate() {
            assert!(plan.peer.is_none() || plan.routes.is_empty(), "one way, or one a section");
            for peer in plan.peer.into_iter().chain(plan.routes.iter().map(|route| route.peer)) {
                assert!(usize::from(peer.0) < count && usize::from(peer.0) != index);
            }
            if index == streams.len() {
                streams.push(WorkerStream::new(plan));
            } else {
                streams[index].apply(plan);
            }
        }
        let closed: Vec<bool> = streams.iter().map(|stream| stream.closed).collect();
        for stream in streams {
            assert!(stream.ways().all(|peer| !closed[peer]), "sends to a closed stream");
        }
    }

    /// The one call's streams.
    pub(super) fn streams(&self) -> &[WorkerStream] {
        assert_eq!(self.worker.len(), 1);
        self.worker.values().next().unwrap()
    }

    pub(super) fn ports_open(&self) -> usize {
        self.calls.ports().open.len()
    }
}

impl WorkerStream {
    fn new(plan: StreamPlan) -> Self {
        assert!(plan.closed || plan.sockets.is_some(), "a new stream has no sockets");
        let mut stream = Self {
            peer: None,
            routes: Vec::new(),
            remote: None,
            receive_key: Key::None,
            receive_keys: None,
            send_key: Key::None,
            send_mki: Mki::none(),
            send_keys: None,
            terms: Terms::default(),
            sealed_under: Vec::new(),
            sends: false,
            rtcp_mux: false,
            tos: None,
            closed: false,
            tap: None,
            keyed: (0, 0),
            plan: String::new(),
        };
        stream.take(plan);
        stream
    }

    /// The streams that its packets go to.
    pub(super) fn ways(&self) -> impl Iterator<Item = usize> + '_ {
        self.routes.iter().map(|route| usize::from(route.peer.0)).chain(self.peer)
    }

    fn apply(&mut self, plan: StreamPlan) {
        assert!(plan.sockets.is_none(), "sockets for a stream that has some");
        assert!(!self.closed || plan.closed, "a closed stream came back");
        self.take(plan);
    }

    fn take(&mut self, plan: StreamPlan) {
        self.plan = format!("{plan:?}");
        self.peer = plan.peer.map(|peer| usize::from(peer.0));
        self.routes = plan.routes;
        self.remote = plan.remote.or(self.remote);
        self.tos = plan.tos.or(self.tos);
        self.keyed.0 += self.set_receive(plan.receive_key);
        self.keyed.1 += self.set_send(plan.send_key);
        self.rtcp_mux = plan.rtcp_mux;
        self.sends = plan.send;
        self.closed = plan.closed;
        self.tap = plan.agent;
        // Where the agents bring the keys, what needs them is dropped until then.
        let awaits = self.tap.is_some_and(|tap| tap.dtls.is_some());
        assert!(!plan.send || awaits || self.send_key != Key::None, "sends without being told how");
        assert!(!plan.receive || awaits || self.receive_key != Key::None, "receives without a key");
        let clear = self.send_key == Key::Clear || self.receive_key == Key::Clear;
        assert!(!(awaits && clear), "DTLS-SRTP and clear at once");
        assert_eq!(
            matches!(self.receive_key, Key::Srtp(_)),
            matches!(self.send_key, Key::Srtp(_)),
            "one direction in clear, one not"
        );
    }

    fn set_receive(&mut self, plan: ReceivePlan) -> usize {
        self.receive_keys = match plan {
            ReceivePlan::Keep => return 0,
            ReceivePlan::Clear => None,
            ReceivePlan::Await if self.receive_key == Key::Clear => {
                self.receive_key = Key::None;
                return 1;
            }
            ReceivePlan::Await => return 0,
            ReceivePlan::Set(keys, terms) => {
                self.terms = terms;
                Some(*keys)
            }
            ReceivePlan::Change(change) => {
                let keys = self.receive_keys.take().expect("a change of keys that are there");
                let stay = |key: &SrtpKey| !change.retire.contains(&key.mki);
                let mut all = std::iter::once(keys.first).chain(keys.further).filter(stay);
                let first = all.next().expect("a key that stays");
                Some(SrtpKeys { first, further: all.chain(change.install).collect() })
            }
        };
        self.receive_key = match &self.receive_keys {
            None => Key::Clear,
            Some(keys) => Key::Srtp(keys.first.master.dangerous_duplicate()),
        };
        1
    }

    fn set_send(&mut self, plan: SendPlan) -> usize {
        self.send_key = match plan {
            SendPlan::Keep => return 0,
            SendPlan::Clear => Key::Clear,
            SendPlan::Await if self.send_key == Key::Clear => Key::None,
            SendPlan::Await => return 0,
            SendPlan::Set(keys, terms) => {
                assert_eq!(self.terms, terms, "both directions are agreed alike");
                for key in keys.iter() {
                    assert!(!self.sealed_under.contains(&key.master), "indexes would start over");
                    assert!(key.mki.is_empty() || !keys.further.is_empty(), "named for nothing");
                    self.sealed_under.push(key.master.dangerous_duplicate());
                }
                self.send_mki = keys.first.mki.clone();
                let key = Key::Srtp(keys.first.master.dangerous_duplicate());
                self.send_keys = Some(*keys);
                key
            }
        };
        1
    }

    /// Goes on to the next key of those that it was given.
    fn switch(&mut self, switch: Switch) {
        let keys: Vec<&SrtpKey> = self.send_keys.iter().flat_map(SrtpKeys::iter).collect();
        let at = |mki: &Mki| keys.iter().position(|key| key.mki == *mki).expect("a key it has");
        assert_eq!(switch.from.mki(), self.send_mki);
        let (from, to) = (at(&self.send_mki), at(&switch.to.mki.mki()));
        assert_eq!((to, switch.to.left), (from + 1, keys.len() - 1 - to), "each once, in order");
        self.send_mki = keys[to].mki.clone();
        self.send_key = Key::Srtp(keys[to].master.dangerous_duplicate());
    }
}

/// Two interfaces, `pub` with an advertised address.
pub(super) fn settings() -> Settings {
    let v4 = |bind: [u8; 4], advertised: Option<[u8; 4]>| LocalAddress {
        bind: Ipv4Addr::from(bind).into(),
        advertised: advertised.map(|address| Ipv4Addr::from(address).into()),
    };
    let v6 = LocalAddress { bind: OURS_V6.into(), advertised: None };
    Settings {
        interfaces: vec![
            Interface { name: "priv".into(), addresses: vec![v4([10, 0, 0, 2], None), v6] },
            Interface {
                name: "pub".into(),
                addresses: vec![v4([10, 0, 0, 1], Some([192, 0, 2, 1]))],
            },
        ],
        // Four, so that tests know their tags by heart.
        suites: Profile::COMMON.to_vec(),
        ..Settings::default()
    }
}

/// A request without options.
pub(super) fn signal(from: &str, to: Option<&str>, sdp: &str) -> Signal {
    let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    Signal {
        call_id: bytes("call"),
        from_tag: bytes(from),
        to_tag: to.map(bytes),
        sdp: bytes(sdp),
        ..Signal::default()
    }
}

/// The same with a transport towards the other side.
pub(super) fn towards(signal: Signal, protocol: Protocol) -> Signal {
    Signal { transport: Some(Transport::To(protocol)), ..signal }
}

/// A delete that takes effect at once.
pub(super) fn delete(from: Option<&str>, branch: Option<&str>) -> Delete {
    let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    Delete {
        call_id: bytes("call"),
        from_tag: from.map(bytes),
        to_tag: None,
        via_branch: branch.map(bytes),
        delete_delay: Some(Duration::ZERO),
        fatal: false,
        fast: false,
    }
}

/// One audio section of this transport at this address.
pub(super) fn audio(address: &str, port: u16, transport: &str, attributes: &[&str]) -> String {
    let family = if address.contains(':') { "IP6" } else { "IP4" };
    let mut sdp = format!(
        "v=0\r\no=- 5 7 IN {family} {address}\r\ns=-\r\nc=IN {family} {address}\r\nt=0 0\r\n\
         m=audio {port} {transport} 0 101\r\n"
    );
    for attribute in attributes {
        sdp.push_str(&format!("a={attribute}\r\n"));
    }
    sdp
}

/// A phone's `a=crypto` of AES_CM_128_HMAC_SHA1_80 with a key made of one letter.
pub(super) fn crypto(tag: u32, letter: char) -> String {
    let key: String = std::iter::repeat_n(letter, 40).collect();
    format!("crypto:{tag} AES_CM_128_HMAC_SHA1_80 inline:{key}")
}

/// A phone's line with a key of one letter for each MKI.
pub(super) fn rotating(tag: u32, keys: &[(u8, char)]) -> String {
    let keys: Vec<String> = keys
        .iter()
        .map(|(mki, letter)| format!("inline:{}|{mki}:2", letter.to_string().repeat(40)))
        .collect();
    format!("crypto:{tag} AES_CM_128_HMAC_SHA1_80 {}", keys.join(";"))
}

/// What was written, parsed again.
pub(super) fn read(outcome: &Outcome) -> Sdp {
    Sdp::parse(&outcome.sdp).unwrap()
}

/// The first section of what was written.
pub(super) fn section(outcome: &Outcome) -> MediaSection {
    read(outcome).media.remove(0)
}

/// What was written, as text.
pub(super) fn text(outcome: &Outcome) -> String {
    String::from_utf8(outcome.sdp.to_vec()).unwrap()
}

/// The same on a via-branch.
pub(super) fn branch(signal: Signal, name: &'static str) -> Signal {
    Signal { via_branch: Some(Bytes::from_static(name.as_bytes())), ..signal }
}

/// A caller's first offer, plain RTP.
pub(super) fn offer_of(from: &str, port: u16) -> Signal {
    signal(from, None, &audio(A, port, "RTP/AVP", &[]))
}

/// A callee's answer, plain RTP.
pub(super) fn answer_of(from: &str, to: &str, port: u16) -> Signal {
    signal(from, Some(to), &audio(B, port, "RTP/AVP", &[]))
}

/// A delete that waits for the default delay.
pub(super) fn later() -> Delete {
    Delete { delete_delay: None, ..delete(Some("a"), None) }
}

/// Where callers are.
pub(super) const A: &str = "198.51.100.1";

/// Where callees are.
pub(super) const B: &str = "203.0.113.9";
