//! Legs against a peer made of the same agents, in virtual time.

mod connectivity;
mod forgeries;
mod renewal;

use std::time::{Duration, SystemTime};

use ng::sdp::{Fingerprint, HashFunction};
use srtp::Profile;
use webrtc::dtls::{Association, Output, Role, SrtpKeys};

use super::*;
use crate::relay::key_plan::{Handover, HandshakeKeys};
use crate::webrtc::effect::{FailureClass, HandshakeEnd, HandshakeResult, Place};
use crate::webrtc::plan::{DtlsRole, Renewal};

const PROFILE: Profile = Profile::AeadAes128Gcm;

fn ours() -> SocketAddr {
    "192.0.2.1:30000".parse().unwrap()
}

fn theirs() -> SocketAddr {
    "198.51.100.7:40000".parse().unwrap()
}

fn seed() -> Seed {
    Seed::new(&[1; 32])
}

fn identity() -> Identity {
    Identity::generate(SystemTime::now(), Duration::from_secs(3600)).unwrap()
}

fn fingerprint(identity: &Identity) -> Vec<Fingerprint> {
    vec![identity.fingerprint(HashFunction::Sha256)]
}

/// A leg and its party, and the time between them.
struct World {
    leg: Leg,
    identity: Identity,
    settings: DtlsSettings,
    peer_identity: Identity,
    peer: Option<Association>,
    peer_keys: Option<(Profile, SrtpKeys)>,
    now: Instant,
    /// What the leg wanted, but for datagrams.
    effects: Vec<Effect>,
}

impl World {
    fn new(role: DtlsRole) -> Self {
        let (identity, peer_identity) = (identity(), identity());
        let leg = Leg::new(plan(role, 1, &peer_identity));
        let mut world = Self {
            leg,
            identity,
            settings: DtlsSettings::default(),
            peer_identity,
            peer: None,
            peer_keys: None,
            now: Instant::now(),
            effects: Vec::new(),
        };
        world.with(|leg, now, out| leg.lent(None, [Some(ours()), None], seed(), now, out));
        world
    }

    fn peer(&mut self, role: Role) {
        let fingerprints = fingerprint(&self.identity);
        let peer = Association::new(
            &self.peer_identity,
            &DtlsSettings::default(),
            role,
            &fingerprints,
            &[PROFILE],
            self.now,
        );
        self.peer = Some(peer.unwrap());
    }

    fn begin(&mut self) {
        let (identity, settings) = (self.identity.clone(), self.settings.clone());
        self.with(|leg, now, out| leg.begin(&identity, &settings, now, out));
    }

    fn with(&mut self, work: impl FnOnce(&mut Leg, Instant, &mut Vec<Effect>)) {
        let mut out = Vec::new();
        work(&mut self.leg, self.now, &mut out);
        for effect in out {
            match (effect, &mut self.peer) {
                (Effect::Send { component, to, bytes }, peer) => {
                    assert_eq!((component, to), (Component::Rtp, theirs()));
                    if let Some(peer) = peer {
                        peer.receive(&bytes, self.now);
                    }
                }
                (other, _) => self.effects.push(other),
            }
        }
    }

    /// Until the handshake is over and neither side has anything to say. Takes a retransmission
    /// where a server may not send much before it knows the address.
    fn settle(&mut self) {
        for _ in 0..4 {
            while let Some(bytes) = self.peer_says() {
                self.hears(&bytes);
            }
            if self.leg.deadline().is_none() {
                return;
            }
            self.now += Duration::from_millis(500);
            self.with(|leg, now, out| leg.handle_timeout(now, out));
            if let Some(peer) = &mut self.peer {
                peer.handle_timeout(self.now);
            }
        }
    }

    /// The same, begun by whoever is the client.
    fn settle_from_the_start(&mut self) {
        if self.leg.is_client_to_begin() {
            self.begin();
        }
        self.settle();
    }

    /// Takes a datagram as the leg's thread would, if time and places were no matter.
    fn hears(&mut self, bytes: &[u8]) {
        match self.cost(bytes) {
            Cost::Handshake => self.begin(),
            Cost::Answer => self.leg.take_place(self.now),
            Cost::Step | Cost::Little => {}
            Cost::Useless => return,
        }
        self.with(|leg, now, out| leg.dtls(arrival(bytes), now, out));
    }

    fn peer_says(&mut self) -> Option<Vec<u8>> {
        loop {
            match self.peer.as_mut()?.poll() {
                Output::Transmit(bytes) => return Some(bytes.to_vec()),
                Output::Secured { profile, keys } => self.peer_keys = Some((profile, keys)),
                Output::Timeout(_) => return None,
                Output::Sign(_) | Output::Failed(_) | Output::Closed => {}
            }
        }
    }

    fn cost(&self, bytes: &[u8]) -> Cost {
        self.leg.cost(arrival(bytes))
    }

    fn secured(&mut self) -> Option<(Epoch, Box<SrtpKeys>)> {
        let at = self.effects.iter().position(|one| matches!(one, Effect::Secure { .. }))?;
        match self.effects.remove(at) {
            Effect::Secure { epoch, keys } => {
                let HandshakeKeys { receive, send, .. } = *keys;
                let keys = SrtpKeys { receive: receive.master, send: send.master };
                Some((epoch, Box::new(keys)))
            }
            _ => None,
        }
    }

    fn handover(&self) -> Option<Handover> {
        self.effects.iter().find_map(|effect| match effect {
            Effect::Secure { keys, .. } => Some(keys.handover),
            _ => None,
        })
    }

    fn ended(&self) -> Vec<HandshakeResult> {
        let result = |effect: &Effect| match effect {
            Effect::Handshake(HandshakeEnd { result, .. }) => Some(*result),
            _ => None,
        };
        self.effects.iter().filter_map(result).collect()
    }

    /// Whether the handshakes that ended had a place.
    fn places(&self) -> Vec<Place> {
        let place = |effect: &Effect| match effect {
            Effect::Handshake(end) => Some(end.place),
            _ => None,
        };
        self.effects.iter().filter_map(place).collect()
    }

    /// Plays the handshake up to the peer's first datagram that answers the leg.
    fn first_answer(&mut self) -> Vec<u8> {
        for _ in 0..4 {
            while let Some(bytes) = self.peer_says() {
                match self.cost(&bytes) {
                    Cost::Handshake => self.begin(),
                    Cost::Answer => return bytes,
                    cost => assert_eq!(cost, Cost::Step, "a ClientHello again"),
                }
                self.with(|leg, now, out| leg.dtls(arrival(&bytes), now, out));
            }
            self.now += Duration::from_millis(500);
            self.with(|leg, now, out| leg.handle_timeout(now, out));
            if let Some(peer) = &mut self.peer {
                peer.handle_timeout(self.now);
            }
        }
        panic!("no answer");
    }

    fn news(&self) -> Vec<&LegNewsKind> {
        let mut news = Vec::new();
        for effect in &self.effects {
            if let Effect::News(kind) = effect {
                news.push(kind);
            }
        }
        news
    }
}

fn plan(role: DtlsRole, epoch: u32, peer: &Identity) -> LegPlan {
    let dtls = DtlsPlan {
        epoch: Epoch(epoch),
        certificate: CertificateSerial(0),
        renewal: Renewal::Certain,
        role,
        fingerprints: fingerprint(peer),
        profiles: vec![PROFILE],
    };
    let signalled = [Some(theirs()), None];
    LegPlan { ice: None, dtls: Some(dtls), rtcp_mux: true, signalled, socket: ours() }
}

fn arrival(bytes: &[u8]) -> Datagram<'_> {
    Datagram { component: Component::Rtp, local: ours(), source: theirs(), bytes }
}

/// Of several in a datagram.
fn first_record(datagram: &[u8]) -> &[u8] {
    &datagram[..13 + usize::from(u16::from_be_bytes([datagram[11], datagram[12]]))]
}

fn assert_fit((ours, theirs): (&SrtpKeys, &SrtpKeys)) {
    assert!(ours.send == theirs.receive && ours.receive == theirs.send);
}

#[test]
fn a_client_begins_towards_the_signalled_address_and_both_have_the_same_keys() {
    let mut world = World::new(DtlsRole::Client);
    assert!(world.leg.is_client_to_begin());
    world.peer(Role::Server);
    world.begin();
    assert!(!world.leg.is_client_to_begin());
    world.settle();
    let (epoch, keys) = world.secured().unwrap();
    let (profile, peer_keys) = world.peer_keys.take().unwrap();
    assert_eq!((epoch, profile), (Epoch(1), PROFILE));
    assert_fit((&keys, &peer_keys));
    assert_eq!(world.ended(), [HandshakeResult::Secured(PROFILE)]);
    assert_eq!(world.news(), [&LegNewsKind::Secured { epoch, profile }]);
    assert_eq!(world.leg.keying_state(), Some(KeyingState::Secured));
    assert_eq!(world.leg.deadline(), None, "an idle leg wants nothing");
}

#[test]
fn a_server_waits_for_a_client_hello_and_takes_nothing_else_for_one() {
    let mut world = World::new(DtlsRole::Server);
    assert!(!world.leg.is_client_to_begin());
    for junk in [&[22, 254, 253, 0, 0][..], &[20; 40], &[22; 40], &[23, 254, 253, 0, 1, 0, 0]] {
        assert_eq!(world.cost(junk), Cost::Useless);
    }
    world.peer(Role::Client);
    world.settle();
    let (_, keys) = world.secured().unwrap();
    assert_fit((&keys, &world.peer_keys.take().unwrap().1));
    assert_eq!(world.cost(&[21, 254, 253, 0, 1]), Cost::Little);
}

#[test]
fn a_new_epoch_is_a_new_handshake_beside_the_old_association() {
    let mut world = World::new(DtlsRole::Server);
    world.peer(Role::Client);
    world.settle();
    let (_, first) = world.secured().unwrap();
    let mut old_peer = world.peer.take().unwrap();

    let next = plan(DtlsRole::Server, 2, &world.peer_identity);
    world.with(|leg, now, out| leg.update(next, now, out));
    assert_eq!(world.leg.keying_state(), Some(KeyingState::Waiting));
    // The old association is still spoken to.
    assert_eq!(world.cost(&[21, 254, 253, 0, 1]), Cost::Little);

    world.peer(Role::Client);
    world.settle();
    let (epoch, second) = world.secured().unwrap();
    assert_eq!(epoch, Epoch(2));
    assert!(first.send != second.send);
    // What the party says under the old one changes nothing any more.
    old_peer.close(world.now);
    while let Output::Transmit(bytes) = old_peer.poll() {
        let bytes = bytes.to_vec();
        world.with(|leg, now, out| leg.dtls(arrival(&bytes), now, out));
    }
    assert_eq!(world.leg.keying_state(), Some(KeyingState::Secured));
}

#[test]
fn a_party_that_moved_is_spoken_to_where_it_is_now() {
    let mut world = World::new(DtlsRole::Client);
    world.peer(Role::Server);
    world.begin();
    world.settle();
    assert!(world.secured().is_some(), "it was heard at its first address");

    let elsewhere = "203.0.113.9:50000".parse().unwrap();
    let signalled = [Some(elsewhere), None];
    let moved = LegPlan { signalled, ..plan(DtlsRole::Client, 2, &world.peer_identity) };
    let mut out = Vec::new();
    world.leg.update(moved, world.now, &mut out);
    world.leg.begin(&world.identity, &world.settings, world.now, &mut out);
    let sent: Vec<_> = out
        .iter()
        .filter_map(|effect| match effect {
            Effect::Send { to, .. } => Some(*to),
            _ => None,
        })
        .collect();
    assert_eq!(sent, [elsewhere]);
}

#[test]
fn the_same_epoch_again_disturbs_nothing() {
    let mut world = World::new(DtlsRole::Client);
    world.peer(Role::Server);
    world.begin();
    let again = plan(DtlsRole::Client, 1, &world.peer_identity);
    world.with(|leg, now, out| leg.update(again, now, out));
    world.settle();
    assert_eq!(world.ended(), [HandshakeResult::Secured(PROFILE)]);
}

#[test]
fn a_wrong_fingerprint_fails_the_leg_until_the_next_epoch() {
    let mut world = World::new(DtlsRole::Client);
    let right = plan(DtlsRole::Client, 3, &world.peer_identity);
    let wrong = plan(DtlsRole::Client, 2, &identity());
    world.with(|leg, now, out| leg.update(wrong, now, out));
    world.peer(Role::Server);
    world.begin();
    world.settle();
    assert!(world.secured().is_none());
    let class = FailureClass::WrongFingerprint;
    assert_eq!(world.ended(), [HandshakeResult::Failed(class)]);
    let news = world.news();
    let [LegNewsKind::Unsecured { epoch: Epoch(2), reason }] = news[..] else { panic!("{news:?}") };
    assert!(reason.contains("fingerprint"), "{reason}");
    assert!(!world.leg.is_client_to_begin(), "not again with the same fingerprint");
    assert_eq!(world.cost(&[22; 60]), Cost::Useless);

    world.with(|leg, now, out| leg.update(right, now, out));
    world.peer(Role::Server);
    world.begin();
    world.settle();
    assert!(world.secured().is_some());
}

#[test]
fn a_silent_party_costs_retransmissions_and_then_the_handshake() {
    let mut world = World::new(DtlsRole::Client);
    world.begin();
    let bound = world.now + world.settings.handshake_timeout;
    let mut looks = 0;
    while let Some(deadline) = world.leg.deadline() {
        assert!(deadline > world.now && deadline <= bound, "look {looks}");
        world.now = deadline;
        world.with(|leg, now, out| leg.handle_timeout(now, out));
        looks += 1;
    }
    assert!((4..20).contains(&looks), "{looks}");
    assert_eq!(world.ended(), [HandshakeResult::Failed(FailureClass::TimedOut)]);
    assert_eq!(world.places(), [Place::None], "it kept nobody out");
    assert_eq!(world.leg.keying_state(), Some(KeyingState::Failed));
}

#[test]
fn a_handshake_has_no_place_before_the_party_answers() {
    for (ours, theirs) in [(DtlsRole::Client, Role::Server), (DtlsRole::Server, Role::Client)] {
        let mut world = World::new(ours);
        world.peer(theirs);
        if ours == DtlsRole::Client {
            world.begin();
        }
        let answer = world.first_answer();
        assert_eq!(world.cost(&[21, 254, 253, 0, 0, 0]), Cost::Step, "an alert is no answer");
        world.leg.take_place(world.now);
        assert_eq!(world.cost(&answer), Cost::Step);
        world.with(|leg, now, out| leg.dtls(arrival(&answer), now, out));
        world.settle();
        assert!(world.secured().is_some(), "{ours:?}");
        assert_eq!(world.places(), [Place::Held]);
    }
}

#[test]
fn who_answers_and_then_falls_silent_gives_the_place_back_and_may_go_on() {
    let mut world = World::new(DtlsRole::Server);
    world.peer(Role::Client);
    let answer = world.first_answer();
    let since = world.now;
    world.leg.take_place(world.now);
    world.with(|leg, now, out| leg.dtls(arrival(first_record(&answer)), now, out));
    while !world.effects.iter().any(|one| matches!(one, Effect::PlaceFree)) {
        assert_eq!(world.cost(&answer), Cost::Step);
        world.now = world.leg.deadline().unwrap();
        world.with(|leg, now, out| leg.handle_timeout(now, out));
    }
    assert_eq!(world.now, since + Duration::from_secs(5));
    assert_eq!(world.leg.keying_state(), Some(KeyingState::Handshaking));
    assert_eq!(world.cost(&answer), Cost::Answer, "it waits for a place like others");

    world.hears(&answer);
    world.settle();
    assert!(world.secured().is_some());
    assert_eq!(world.places(), [Place::Held]);
    let given_back = world.effects.iter().filter(|one| matches!(one, Effect::PlaceFree));
    assert_eq!(given_back.count(), 1);
}

#[test]
fn a_leg_that_ends_says_so_and_gives_its_place_back() {
    let mut world = World::new(DtlsRole::Client);
    world.peer(Role::Server);
    world.begin();
    world.settle();
    world.with(|leg, now, out| leg.close(now, out));
    assert_eq!(world.leg.keying_state(), None);
    assert!(matches!(world.peer.as_mut().unwrap().poll(), Output::Transmit(_)), "close_notify");

    let mut world = World::new(DtlsRole::Client);
    world.begin();
    world.with(|leg, now, out| leg.close(now, out));
    assert_eq!(world.ended(), [HandshakeResult::Abandoned]);
    assert_eq!(world.leg.deadline(), None);
}

#[test]
fn a_certificate_that_is_gone_fails_the_leg_with_the_reason() {
    let mut world = World::new(DtlsRole::Client);
    world.with(|leg, now, out| leg.refuse_handshake("gone", now, out));
    assert_eq!(world.leg.keying_state(), Some(KeyingState::Failed));
    let reason = "gone".to_owned();
    assert_eq!(world.news(), [&LegNewsKind::Unsecured { epoch: Epoch(1), reason }]);
}
