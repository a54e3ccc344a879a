//! A thread's queues, places and loans, with a worker that does what tests say. What is sent goes
//! nowhere.

use std::net::{SocketAddr, UdpSocket};
use std::time::SystemTime;

use ng::sdp::HashFunction;
use srtp::Profile;
use webrtc::identity::Identity;

use super::*;
use crate::config::WebRtc as Config;
use crate::relay::command::StreamIndex;
use crate::relay::uplink;
use crate::webrtc::keying::Cost;
use crate::webrtc::plan::{CertificateSerial, DtlsPlan, DtlsRole, LegPlan, Renewal};
use crate::workers;

/// A thread that is not run: tests take its steps.
struct World {
    thread: AgentThread,
    peer: Identity,
    /// Of its worker.
    inbox: mpsc::Receiver<Command>,
    _runtime: tokio::runtime::Runtime,
    _news: mpsc::UnboundedReceiver<LegNews>,
}

impl World {
    fn new(max_handshakes: usize) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (uplink, intake) = uplink::uplink();
        let (_, orders) = std::sync::mpsc::channel();
        let (workers, _, mut inboxes) = workers::idle(1);
        let (news, heard) = mpsc::unbounded_channel();
        let limits = Limits { dtls: DtlsSettings::default(), max_handshakes, share: 1.0 };
        let runtime_handle = runtime.handle().clone();
        let mut thread = AgentThread::new(Setup {
            intake,
            uplink,
            orders,
            workers: workers.outboxes(),
            news,
            runtime: runtime_handle,
            limits,
        });
        thread.shelf.put(Shown::load(&Config::default(), CertificateSerial(0)).unwrap());
        let peer = Identity::generate(SystemTime::now(), Duration::from_secs(3600)).unwrap();
        Self { thread, peer, inbox: inboxes.remove(0), _runtime: runtime, _news: heard }
    }

    /// A leg whose worker has its plan.
    fn plan(&mut self, stream: u16, role: DtlsRole) {
        let plan = self.leg(role, Epoch(1));
        self.update(stream, Some(plan));
        assert_eq!(self.lend(), 1);
    }

    fn leg(&self, role: DtlsRole, epoch: Epoch) -> LegPlan {
        let dtls = DtlsPlan {
            epoch,
            certificate: CertificateSerial(0),
            renewal: Renewal::Certain,
            role,
            fingerprints: vec![self.peer.fingerprint(HashFunction::Sha256)],
            profiles: vec![Profile::AeadAes128Gcm],
        };
        let signalled = [Some(theirs()), None];
        LegPlan { ice: None, dtls: Some(dtls), rtcp_mux: true, signalled, socket: ours() }
    }

    /// The worker lends what it was asked for. So many asked.
    fn lend(&mut self) -> usize {
        let mut lent = 0;
        loop {
            self.thread.setup.workers[0].flush();
            let Ok(command) = self.inbox.try_recv() else { break };
            if let Command::Lend { reply, .. } = command {
                let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
                // Whoever asked may have gone.
                let _ = reply.send(Ok([Some(socket), None]));
                lent += 1;
            }
        }
        self.thread.take_loans();
        lent
    }

    fn update(&mut self, stream: u16, plan: Option<LegPlan>) {
        let (call, stream) = (CALL, StreamIndex(stream));
        self.thread.plan(0, LegUpdate { call, stream, plan });
    }

    /// Datagrams that wanted to leave.
    fn sent(&self) -> u64 {
        let Figures { sent, drops, .. } = self.figures();
        sent + drops[AgentDrop::NoSocket as usize] + drops[AgentDrop::SendFailed as usize]
    }

    fn figures(&self) -> Figures {
        let legs = self.thread.seats.values().map(|seat| &seat.leg);
        self.thread.tally.figures(self.thread.budget.running(), legs)
    }
}

fn key(stream: u16) -> LegKey {
    LegKey::new(CALL, StreamIndex(stream))
}

fn ours() -> SocketAddr {
    "127.0.0.1:30000".parse().unwrap()
}

fn theirs() -> SocketAddr {
    "198.51.100.7:40000".parse().unwrap()
}

const CALL: CallKey = CallKey(7);

#[test]
fn a_leg_that_went_and_came_while_it_waited_begins_once() {
    let mut world = World::new(2);
    world.plan(0, DtlsRole::Client);
    world.update(0, None);
    world.plan(0, DtlsRole::Client);
    world.thread.shake_hands();
    assert!(world.thread.clients.is_empty());
    assert_eq!(world.sent(), 1, "one ClientHello");
    assert_eq!(world.figures().dtls["handshaking"], 1);
    world.thread.end_call(CALL);

    // And a client's turn is none of the server's that came after it.
    world.plan(1, DtlsRole::Client);
    world.update(1, None);
    world.plan(1, DtlsRole::Server);
    world.thread.shake_hands();
    assert_eq!(world.figures().dtls["waiting"], 1);
    assert_eq!(world.thread.budget.running(), 0);
}

#[test]
fn parties_that_are_not_there_take_no_place_from_others() {
    let mut world = World::new(1);
    for stream in 0..3 {
        world.plan(stream, DtlsRole::Client);
    }
    world.thread.shake_hands();
    assert_eq!(world.sent(), 3, "each ClientHello left");
    assert_eq!(world.figures().dtls["handshaking"], 3);
    assert!(world.thread.budget.has_place());
}

/// Control and agents reach a worker by two ways: keys that come before their plan would be lost.
#[test]
fn a_new_association_begins_only_when_the_worker_has_its_plan() {
    let mut world = World::new(2);
    world.plan(0, DtlsRole::Client);
    world.thread.shake_hands();
    assert_eq!(world.sent(), 1);
    let next = world.leg(DtlsRole::Client, Epoch(2));
    world.update(0, Some(next));
    world.thread.take_loans();
    world.thread.shake_hands();
    assert_eq!(world.sent(), 1, "the worker would not know its keys");
    assert_eq!(world.lend(), 1);
    world.thread.shake_hands();
    assert_eq!(world.sent(), 2);
}

#[test]
fn the_last_plan_counts_however_many_come_before_the_worker_has_one() {
    let mut world = World::new(2);
    for epoch in 1..=3 {
        let next = world.leg(DtlsRole::Client, Epoch(epoch));
        world.update(0, Some(next));
    }
    world.lend();
    world.thread.shake_hands();
    assert_eq!(world.sent(), 1);
    let seat = &world.thread.seats[&key(0)];
    assert_eq!(seat.leg.epoch(), Some(Epoch(3)));
}

#[test]
fn sockets_are_lent_again_only_where_the_streams_are_others() {
    let mut world = World::new(2);
    world.plan(0, DtlsRole::Server);
    let plan = world.leg(DtlsRole::Server, Epoch(1));
    let elsewhere = LegPlan { signalled: [None; 2], rtcp_mux: false, ..plan.clone() };
    world.update(0, Some(elsewhere));
    assert_eq!(world.lend(), 0);
    world.update(0, Some(LegPlan { socket: "127.0.0.1:30002".parse().unwrap(), ..plan }));
    assert_eq!(world.lend(), 1);
}

#[test]
fn a_place_that_is_given_back_is_there_for_others() {
    let mut world = World::new(1);
    world.plan(0, DtlsRole::Server);
    assert!(world.thread.budget.begin(CALL) && !world.thread.budget.has_place());
    world.thread.carry_out(key(0), Effect::PlaceFree);
    assert!(world.thread.budget.has_place());
}

/// As much of a ClientHello as is looked at before libssl does.
fn hello(n: u8) -> Vec<u8> {
    let mut record = vec![0; 60];
    (record[0], record[1], record[2], record[13]) = (22, 254, 253, 1);
    record[27..].fill(n);
    record
}

#[test]
fn a_leg_that_repeats_client_hellos_leaves_others_their_turn() {
    let mut world = World::new(2);
    world.plan(0, DtlsRole::Server);
    world.plan(1, DtlsRole::Server);
    for n in 0..=255 {
        world.thread.wait(AgentPacket::of(CALL, StreamIndex(0), &hello(n)), Cost::Handshake);
    }
    world.thread.wait(AgentPacket::of(CALL, StreamIndex(1), &hello(0)), Cost::Handshake);
    assert_eq!(world.thread.fresh.len(), 2);
    assert_eq!(world.figures().drops[AgentDrop::Busy as usize], 252);
}

#[test]
fn fragments_of_a_client_hello_that_wait_begin_one_handshake() {
    let mut world = World::new(2);
    world.plan(0, DtlsRole::Server);
    let mut second = hello(1);
    second[21] = 33;
    for fragment in [hello(1), second] {
        let packet = AgentPacket::of(CALL, StreamIndex(0), &fragment);
        assert_eq!(world.thread.seats[&key(0)].leg.cost((&packet).into()), Cost::Handshake);
        world.thread.wait(packet, Cost::Handshake);
    }
    world.thread.shake_hands();
    assert_eq!(world.figures().dtls["handshaking"], 1);
    assert_eq!(world.figures().drops[AgentDrop::Busy as usize], 0);
}
