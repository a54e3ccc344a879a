//! Datagrams that are not the party's, though they come from its address, before there are keys.

use super::*;

/// Fatal handshake_failure in the clear.
const ALERT: [u8; 15] = [21, 254, 253, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 2, 40];

/// A ServerHello of four bytes, of which each is wrong.
const MALFORMED: [u8; 29] = [
    22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 9, 0, 16, // the record
    2, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 4, // the message
    9, 9, 9, 9,
];

impl World {
    /// A ClientHello of somebody else's.
    fn hears_a_stray_hello(&mut self) {
        let party = self.peer.take();
        self.peer(Role::Client);
        let hello = self.peer_says().unwrap();
        self.peer = party;
        self.hears(&hello);
    }
}

#[test]
fn a_forged_alert_ends_no_handshake_that_the_party_goes_on_with() {
    for (ours, theirs) in [(DtlsRole::Client, Role::Server), (DtlsRole::Server, Role::Client)] {
        let mut world = World::new(ours);
        world.peer(theirs);
        if ours == DtlsRole::Client {
            world.begin();
        }
        let answer = world.first_answer();
        world.hears(&ALERT);
        world.hears(&answer);
        world.hears(&ALERT);
        world.settle();
        assert!(world.secured().is_some(), "{ours:?}");
        assert_eq!(world.ended(), [HandshakeResult::Secured(PROFILE)]);
    }
}

#[test]
fn an_alert_that_nothing_follows_ends_the_handshake_with_its_reason() {
    let mut world = World::new(DtlsRole::Client);
    world.begin();
    let start = world.now;
    world.hears(&ALERT);
    world.now += Duration::from_secs(1);
    world.hears(&ALERT);
    while world.leg.keying_state() == Some(KeyingState::Handshaking) {
        world.now = world.leg.deadline().unwrap();
        world.with(|leg, now, out| leg.handle_timeout(now, out));
    }
    assert_eq!(world.now, start + Duration::from_secs(2), "a second one prolongs nothing");
    assert_eq!(world.ended(), [HandshakeResult::Failed(FailureClass::Alert)]);
    let news = world.news();
    let [LegNewsKind::Unsecured { reason, .. }] = news[..] else { panic!("{news:?}") };
    assert_eq!(reason, "the peer sent the TLS alert 40");
}

#[test]
fn a_client_hello_that_is_not_the_partys_keeps_it_out_for_no_moment() {
    let mut world = World::new(DtlsRole::Server);
    world.hears_a_stray_hello();
    world.peer(Role::Client);
    let start = world.now;
    world.settle();
    assert!(world.secured().is_some());
    assert!(world.now - start < Duration::from_secs(2));
    let (abandoned, secured) = (HandshakeResult::Abandoned, HandshakeResult::Secured(PROFILE));
    assert_eq!(world.ended(), [abandoned, secured]);
}

#[test]
fn a_handshake_that_begins_anew_does_so_in_the_same_place() {
    let mut world = World::new(DtlsRole::Server);
    world.peer(Role::Client);
    let answer = world.first_answer();
    world.hears(first_record(&answer));
    world.hears_a_stray_hello();
    assert_eq!(world.places(), [Place::None], "it goes on");
    world.with(|leg, now, out| leg.close(now, out));
    assert_eq!(world.places(), [Place::None, Place::Held]);
}

#[test]
fn client_hellos_of_others_begin_so_many_handshakes_and_no_more() {
    let mut world = World::new(DtlsRole::Server);
    for _ in 0..10 {
        world.hears_a_stray_hello();
    }
    assert_eq!(world.ended().len(), 3, "and the fourth is under way");
    world.peer(Role::Client);
    let hello = world.peer_says().unwrap();
    assert_eq!(world.cost(&hello), Cost::Useless);
}

#[test]
fn a_client_that_hears_something_malformed_begins_anew_so_many_times() {
    let mut world = World::new(DtlsRole::Client);
    world.begin();
    world.hears(&MALFORMED);
    assert_eq!(world.ended(), [HandshakeResult::Failed(FailureClass::Protocol)]);
    assert!(world.leg.is_client_to_begin() && world.news().is_empty(), "no news yet");
    world.peer(Role::Server);
    world.begin();
    world.settle();
    assert!(world.secured().is_some());

    let mut world = World::new(DtlsRole::Client);
    while world.leg.is_client_to_begin() {
        world.begin();
        world.hears(&MALFORMED);
    }
    assert_eq!(world.ended().len(), 4);
    assert_eq!(world.leg.keying_state(), Some(KeyingState::Failed));
    assert_eq!(world.news().len(), 1);
}

#[test]
fn a_server_whose_handshake_a_malformed_datagram_ended_takes_the_partys_next_hello() {
    let mut world = World::new(DtlsRole::Server);
    world.hears_a_stray_hello();
    // The message after a ClientHello, or libssl takes it for a repeated one.
    let mut second = MALFORMED;
    second[18] = 1;
    world.hears(&second);
    assert_eq!(world.ended(), [HandshakeResult::Failed(FailureClass::Protocol)]);
    assert_eq!(world.leg.keying_state(), Some(KeyingState::Failed), "and said so");
    world.peer(Role::Client);
    world.settle();
    assert!(world.secured().is_some());
    assert_eq!(world.leg.keying_state(), Some(KeyingState::Secured));
}
