//! A thread's queues and places, without a worker and without sockets: what it would send is counted
//! as dropped for want of one.

use std::net::SocketAddr;
use std::time::SystemTime;

use ng::sdp::HashFunction;
use srtp::Profile;
use webrtc::identity::Identity;

use super::*;
use crate::config::WebRtc as Config;
use crate::relay::command::StreamIndex;
use crate::relay::uplink;
use crate::webrtc::plan::{CertificateSerial, DtlsPlan, DtlsRole, LegPlan, Renewal};

/// A thread that is not run: tests take its steps.
struct World {
    thread: AgentThread,
    peer: Identity,
    _runtime: tokio::runtime::Runtime,
    _news: mpsc::UnboundedReceiver<LegNews>,
}

impl World {
    fn new(max_handshakes: usize) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (uplink, intake) = uplink::uplink();
        let (_, orders) = std::sync::mpsc::channel();
        let (news, heard) = mpsc::unbounded_channel();
        let limits = Limits { dtls: DtlsSettings::default(), max_handshakes, share: 1.0 };
        let runtime_handle = runtime.handle().clone();
        let mut thread = AgentThread::new(Setup {
            intake,
            uplink,
            orders,
            workers: Vec::new(),
            news,
            runtime: runtime_handle,
            limits,
        });
        thread.shelf.put(Shown::load(&Config::default(), CertificateSerial(0)).unwrap());
        let peer = Identity::generate(SystemTime::now(), Duration::from_secs(3600)).unwrap();
        Self { thread, peer, _runtime: runtime, _news: heard }
    }

    /// A leg whose sockets would be there.
    fn plan(&mut self, stream: u16, role: DtlsRole) {
        let dtls = DtlsPlan {
            epoch: Epoch(1),
            certificate: CertificateSerial(0),
            renewal: Renewal::Certain,
            role,
            fingerprints: vec![self.peer.fingerprint(HashFunction::Sha256)],
            profiles: vec![Profile::AeadAes128Gcm],
        };
        let signalled = [Some(theirs()), None];
        let plan = LegPlan { ice: None, dtls: Some(dtls), rtcp_mux: true, signalled };
        self.update(stream, Some(plan));
        self.thread.with_leg(key(stream), |_, _| ());
    }

    fn update(&mut self, stream: u16, plan: Option<LegPlan>) {
        let (call, stream) = (CALL, StreamIndex(stream));
        self.thread.plan(0, LegUpdate { call, stream, plan });
    }

    /// Datagrams that wanted to leave.
    fn sent(&self) -> u64 {
        self.figures().drops[AgentDrop::NoSocket as usize]
    }

    fn figures(&self) -> Figures {
        let legs = self.thread.seats.values().map(|seat| &seat.leg);
        self.thread.tally.figures(self.thread.budget.running(), legs)
    }
}

fn key(stream: u16) -> LegKey {
    LegKey::new(CALL, StreamIndex(stream))
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
