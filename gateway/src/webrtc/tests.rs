//! A browser's like, made of the same sans-IO agents, through a running worker and a running agents'
//! thread to a plain party and back, over real sockets.

use std::net::{SocketAddr, UdpSocket};
use std::time::SystemTime;

use ::webrtc::dtls::{Association, Output, Role, SrtpKeys};
use ::webrtc::ice;
use ::webrtc::identity::Identity;
use ng::request::EndpointLearning;
use ng::sdp::{Fingerprint, HashFunction, IceCredentials};
use packet_io::{SocketOptions, open_media_socket};

use super::plan::{
    DtlsPlan, DtlsRole, Epoch, IceGeneration, IcePlan, IceRole, LegNewsKind, LegPlan, Renewal,
};
use super::*;
use crate::config;
use crate::events::Events;
use crate::relay::command::{
    AgentTap, CallPlan, Command, NamedSources, PortPair, Remote, StreamIndex, StreamPlan,
};
use crate::relay::key_plan::{ReceivePlan, SendPlan};
use crate::workers::{self, Started};

const CALL: CallKey = CallKey(7);
const BROWSER: StreamIndex = StreamIndex(0);
const PLAIN: StreamIndex = StreamIndex(1);
const PROFILE: Profile = Profile::AeadAes256Gcm;
const ICE: IceGeneration = IceGeneration(0);

/// A gateway without signalling: tests say what it would.
struct Gateway {
    agents: Agents,
    started: Started,
    news: mpsc::UnboundedReceiver<LegNews>,
    /// Its end of each stream.
    addresses: [SocketAddr; 2],
    _runtime: tokio::runtime::Runtime,
}

/// What the gateway's SDP would say.
struct Told {
    address: SocketAddr,
    credentials: IceCredentials,
    fingerprint: Fingerprint,
}

impl Gateway {
    fn start(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = config::Config::default();
        config.relay.workers = 1;
        change(&mut config.webrtc);
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let ways = Ways::new(&config.webrtc);
        let started = workers::start(&config, &ways.uplinks(), &Events::new()).unwrap();
        let (news_in, news) = mpsc::unbounded_channel();
        let workers = started.workers.clone();
        let neighbours = Neighbours { workers, news: news_in, runtime: runtime.handle().clone() };
        let agents = Agents::start(&config.webrtc, ways, &neighbours).unwrap();
        let addresses = ["127.0.0.1:0".parse().unwrap(); 2];
        Self { agents, started, news, addresses, _runtime: runtime }
    }

    /// Sets up the call between these two.
    fn connect(&mut self, browser: &Browser, plain: &UdpSocket, role: DtlsRole) -> Told {
        let sockets = [(); 2].map(|()| {
            open_media_socket("127.0.0.1:0".parse().unwrap(), SocketOptions::default()).unwrap()
        });
        self.addresses = [0, 1].map(|at: usize| sockets[at].local_addr().unwrap());
        let [ours, far] = sockets.map(|rtp| PortPair { rtp, rtcp: None });
        let terms = self.agents.terms().unwrap();
        let uplink = (CALL.0 % u64::from(terms.threads)) as u16;
        let tap = AgentTap {
            uplink,
            ice: Some(ICE),
            dtls: Some(Epoch(1)),
            named: NamedSources::default(),
        };
        let at = Some(plain.local_addr().unwrap());
        let browsers = StreamPlan {
            receive_key: ReceivePlan::Await,
            send_key: SendPlan::Await,
            agent: Some(tap),
            ..stream(ours, PLAIN)
        };
        let plains =
            StreamPlan { remote: Some(Remote { rtp: at, rtcp: at }), ..stream(far, BROWSER) };
        let plan = CallPlan { call: CALL, streams: vec![browsers, plains] };
        self.started.inlets[0].outbox.send(Command::Apply(plan));
        let credentials = credentials("gateway");
        let dtls = DtlsPlan {
            epoch: Epoch(1),
            certificate: terms.certificate.serial,
            renewal: Renewal::Certain,
            role,
            fingerprints: vec![browser.identity.fingerprint(HashFunction::Sha256)],
            profiles: terms.profiles.to_vec(),
        };
        let ice = browser.ice_plan(credentials.clone());
        let plan = LegPlan {
            ice: Some(ice),
            dtls: Some(dtls),
            rtcp_mux: true,
            signalled: [None; 2],
            socket: self.addresses[0],
        };
        let update = LegUpdate { call: CALL, stream: BROWSER, plan: Some(plan) };
        self.agents.plan(0, vec![update]);
        let fingerprint = terms.certificate.fingerprint(HashFunction::Sha256).unwrap().clone();
        Told { address: self.addresses[0], credentials, fingerprint }
    }

    /// What was said of the leg so far, or is soon.
    fn next_news(&mut self) -> LegNewsKind {
        let end = Instant::now() + LONG;
        loop {
            match self.news.try_recv() {
                Ok(news) => {
                    assert_eq!((news.call, news.stream), (CALL, BROWSER));
                    return news.kind;
                }
                Err(_) => assert!(Instant::now() < end, "no news"),
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.agents.stop();
        self.started.workers.stop();
    }
}

fn stream(sockets: PortPair, peer: StreamIndex) -> StreamPlan {
    StreamPlan {
        sockets: Some(sockets),
        peer: Some(peer),
        routes: Vec::new(),
        remote: None,
        learning: EndpointLearning::Off,
        strict_source: true,
        receive_key: ReceivePlan::Clear,
        send_key: SendPlan::Clear,
        rtcp_mux: true,
        receive: true,
        send: true,
        tos: None,
        closed: false,
        agent: None,
    }
}

fn credentials(word: &str) -> IceCredentials {
    let pwd = format!("{word}+and+a+password+of+enough+letters");
    IceCredentials { ufrag: word.into(), pwd: pwd.into() }
}

/// ICE, DTLS and SRTP of a party on one socket.
struct Browser {
    socket: UdpSocket,
    identity: Identity,
    ice: ice::Agent,
    path: Option<SocketAddr>,
    dtls: Option<Association>,
    keys: Option<(Profile, SrtpKeys)>,
    closed: bool,
    /// SRTP that came.
    media: Vec<Vec<u8>>,
}

impl Browser {
    fn new() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(2))).unwrap();
        let local = ice::LocalCandidate {
            component: ice::Component::Rtp,
            address: socket.local_addr().unwrap(),
            preference: u16::MAX,
        };
        let settings = ice::Settings {
            implementation: ice::Implementation::Full,
            role: ice::Role::Controlling,
            local: credentials("browser"),
            candidates: vec![local],
            seed: ice::Seed::new(&[9; 32]),
        };
        Self {
            socket,
            identity: Identity::generate(SystemTime::now(), LONG).unwrap(),
            ice: ice::Agent::new(settings, Instant::now()).unwrap(),
            path: None,
            dtls: None,
            keys: None,
            closed: false,
            media: Vec::new(),
        }
    }

    /// As the gateway would learn of it.
    fn ice_plan(&self, local: IceCredentials) -> IcePlan {
        IcePlan {
            generation: ICE,
            local,
            remote: Some(credentials("browser")),
            agent: IceAgent::Full,
            peer: IceAgent::Full,
            role: IceRole::Controlled,
            // None: the gateway finds out by the browser's checks.
            candidates: Vec::new(),
            complete: true,
        }
    }

    fn begin(&mut self, told: &Told, role: Role) {
        let now = Instant::now();
        let (credentials, implementation) = (told.credentials.clone(), ice::Implementation::Full);
        self.ice.set_remote(ice::RemoteParameters { credentials, implementation }, now).unwrap();
        let (component, preference) = (ice::Component::Rtp, u16::MAX);
        let theirs = ice::LocalCandidate { component, address: told.address, preference };
        self.ice.add_candidate(&theirs.to_sdp(told.address), now).unwrap();
        let association = Association::new(
            &self.identity,
            &DtlsSettings::default(),
            role,
            std::slice::from_ref(&told.fingerprint),
            &[PROFILE],
            now,
        );
        self.dtls = Some(association.unwrap());
    }

    /// Until `done`, at most for [`LONG`].
    fn run(&mut self, done: impl Fn(&Self) -> bool) {
        let end = Instant::now() + LONG;
        while !done(self) {
            assert!(Instant::now() < end, "nothing came of it");
            self.receive();
            self.drain();
        }
    }

    fn receive(&mut self) {
        let mut buffer = [0; 2048];
        let now = Instant::now();
        let local = self.socket.local_addr().unwrap();
        if let Ok((length, source)) = self.socket.recv_from(&mut buffer) {
            let datagram = &buffer[..length];
            match datagram[0] {
                0..=3 => {
                    self.ice.receive(ice::Component::Rtp, local, source, datagram, now).unwrap();
                }
                20..=63 => self.dtls.as_mut().unwrap().receive(datagram, now),
                _ => self.media.push(datagram.to_vec()),
            }
        }
        self.ice.handle_timeout(now);
        if let Some(dtls) = &mut self.dtls {
            dtls.handle_timeout(now);
        }
    }

    fn drain(&mut self) {
        loop {
            match self.ice.poll() {
                ice::Output::Transmit(sent) => {
                    self.socket.send_to(&sent.bytes, sent.to).unwrap();
                }
                ice::Output::Selected { remote, .. } => self.path = Some(remote),
                ice::Output::Timeout(_) => break,
                _ => {}
            }
        }
        let (Some(path), Some(dtls)) = (self.path, &mut self.dtls) else { return };
        dtls.address_proven();
        loop {
            match dtls.poll() {
                Output::Transmit(bytes) => {
                    self.socket.send_to(bytes, path).unwrap();
                }
                Output::Secured { profile, keys } => self.keys = Some((profile, keys)),
                Output::Closed => self.closed = true,
                Output::Timeout(_) => break,
                other => panic!("{other:?}"),
            }
        }
    }
}

fn rtp(sequence: u16) -> Vec<u8> {
    let [high, low] = sequence.to_be_bytes();
    let mut packet = vec![0x80, 0, high, low, 0, 0, 0, 160, 0xca, 0xfe, 0xba, 0xbe];
    packet.extend([sequence as u8; 160]);
    packet
}

/// Ten packets each way, each as it was.
fn assert_media_flows(gateway: &Gateway, browser: &mut Browser, plain: &UdpSocket) {
    let keys = browser.keys.take().unwrap().1;
    let policy = srtp::Policy::default();
    let mut sender = srtp::Sender::new(&keys.send, &policy).unwrap();
    let mut receiver = srtp::Receiver::new(&keys.receive, &policy).unwrap();
    for sequence in 1..=10 {
        let packet = rtp(sequence);
        let mut sealed = [packet.as_slice(), &[0; 64]].concat();
        let length = sender.protect_rtp(&mut sealed, packet.len()).unwrap().len;
        browser.socket.send_to(&sealed[..length], browser.path.unwrap()).unwrap();
        let mut buffer = [0; 2048];
        let (length, from) = plain.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..length], from), (packet.as_slice(), gateway.addresses[1]));

        plain.send_to(&packet, from).unwrap();
        browser.run(|browser| !browser.media.is_empty());
        let mut sealed = browser.media.remove(0);
        let length = receiver.open_rtp(&mut sealed).unwrap().len;
        assert_eq!(&sealed[..length], packet.as_slice());
    }
}

/// A call between a browser and a plain party, up.
fn up(change: impl FnOnce(&mut Config), role: DtlsRole) -> (Gateway, Browser, UdpSocket) {
    let mut gateway = Gateway::start(change);
    let mut browser = Browser::new();
    let plain = UdpSocket::bind("127.0.0.1:0").unwrap();
    plain.set_read_timeout(Some(LONG)).unwrap();
    let told = gateway.connect(&browser, &plain, role);
    browser.begin(
        &told,
        match role {
            DtlsRole::Client => Role::Server,
            DtlsRole::Server => Role::Client,
        },
    );
    browser.run(|browser| browser.keys.is_some());
    let (local, remote) = (told.address, browser.socket.local_addr().unwrap());
    assert_eq!(gateway.next_news(), LegNewsKind::Connected { local, remote });
    let secured = LegNewsKind::Secured { epoch: Epoch(1), profile: PROFILE };
    assert_eq!(gateway.next_news(), secured);
    (gateway, browser, plain)
}

#[test]
fn a_browser_that_sends_the_client_hello_is_heard_and_hears() {
    let (gateway, mut browser, plain) = up(|_| {}, DtlsRole::Server);
    assert_media_flows(&gateway, &mut browser, &plain);
}

#[test]
fn a_browser_that_waits_for_the_client_hello_is_heard_and_hears() {
    let (gateway, mut browser, plain) = up(|_| {}, DtlsRole::Client);
    assert_media_flows(&gateway, &mut browser, &plain);
}

#[test]
fn the_end_of_a_call_is_told_to_the_party_and_counted() {
    let (gateway, mut browser, _plain) = up(|config| config.threads = 3, DtlsRole::Server);
    gateway.agents.end(CALL);
    browser.run(|browser| browser.closed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let figures = runtime.block_on(gateway.agents.figures(LONG));
    assert_eq!(figures.len(), 3);
    let all: Vec<_> = figures.into_iter().flatten().collect();
    assert_eq!(all.iter().map(|one| one.handshake_time.len()).sum::<u64>(), 1);
    assert_eq!(all.iter().map(|one| one.dtls["secured"]).sum::<u64>(), 0);
    assert!(all.iter().map(|one| one.checks.answered).sum::<u64>() > 0);
    assert!(runtime.block_on(gateway.agents.problems(LONG)).is_empty());
}

#[test]
fn a_certificate_is_renewed_when_it_is_due_and_an_old_leg_keeps_its_own() {
    let gateway = Gateway::start(|_| {});
    let before = gateway.agents.terms().unwrap().certificate;
    let renew_after = Config::default().renew_after.0;
    let soon = Instant::now() + renew_after - LONG;
    assert!(!gateway.agents.recertify(soon).unwrap());
    let later = Instant::now() + renew_after;
    assert!(gateway.agents.is_stale(later) && gateway.agents.recertify(later).unwrap());
    let after = gateway.agents.terms().unwrap().certificate;
    assert_eq!(after.serial.0, before.serial.0 + 1);
    assert_ne!(after.fingerprints, before.fingerprints);
}

#[test]
fn a_certificate_that_is_due_is_renewed_once_however_many_see_to_it() {
    let gateway = Gateway::start(|_| {});
    let before = gateway.agents.terms().unwrap().certificate;
    let later = Instant::now() + Config::default().renew_after.0;
    let together = std::sync::Barrier::new(8);
    let renewed = std::thread::scope(|scope| {
        let renew = || {
            together.wait();
            gateway.agents.recertify(later).unwrap()
        };
        let all: Vec<_> = (0..8).map(|_| scope.spawn(renew)).collect();
        all.into_iter().map(|one| one.join().unwrap()).filter(|new| *new).count()
    });
    assert_eq!(renewed, 1, "two would have the same serial");
    assert_eq!(gateway.agents.terms().unwrap().certificate.serial.0, before.serial.0 + 1);
}

#[test]
fn without_agents_there_is_neither_dtls_nor_ice() {
    let config = Config { enabled: false, ..Config::default() };
    assert!(Ways::new(&config).uplinks().is_empty());
    assert!(Agents::none().terms().is_none());
    Agents::none().end(CALL);
}

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(20);
