//! Messages that are not authentic, and authentic parties that mean harm: neither changes what it
//! must not, and everything stays within its bounds.

use std::net::SocketAddr;
use std::time::Duration;

use is::stun::{StunMessage, TransId};
use is::{DefaultSha1HmacProvider, Sha1HmacProvider};
use webrtc::ice::{AgentError, Component, MAX_REMOTE_CANDIDATES, Output, Refusal, Role, State};

use crate::network::Datagram;
use crate::world::{A, B, Made, World};

const SOON: Duration = Duration::from_millis(500);
const SECOND: Duration = Duration::from_secs(1);

fn connected(seed: u64) -> World {
    let mut world = World::plain(seed);
    world.signal();
    assert!(world.run_until(SOON, World::is_connected));
    world
}

/// A nominating check of a controlling party, written by another implementation.
pub(crate) fn check(username: &str, password: Option<&str>) -> Vec<u8> {
    let request = StunMessage::binding_request(username, TransId::new(), true, 1, 7, true);
    let mut bytes = vec![0; 1500];
    let hmac = |key: &[u8], parts: &[&[u8]]| DefaultSha1HmacProvider.sha1_hmac(key, parts);
    let length = request.to_bytes(password.map(str::as_bytes), &mut bytes, hmac).unwrap();
    bytes.truncate(length);
    bytes
}

fn username(world: &World) -> String {
    format!("{}:{}", world.ends[B].credentials.ufrag, world.ends[A].credentials.ufrag)
}

fn password(world: &World) -> String {
    world.ends[B].credentials.pwd.to_string()
}

/// Gives `bytes` to B and says how it was taken and what B then sent.
fn give(world: &mut World, from: &str, bytes: &[u8]) -> (Result<(), Refusal>, usize) {
    let (now, local) = (world.now, world.ends[B].locals[0].address);
    let agent = &mut world.ends[B].agent;
    let taken = agent.receive(Component::Rtp, local, from.parse().unwrap(), bytes, now);
    let sent = std::iter::from_fn(|| Some(agent.poll()).filter(|one| !is_timeout(one)));
    (taken, sent.count())
}

fn is_timeout(output: &Output) -> bool {
    matches!(output, Output::Timeout(_))
}

const STRANGER: &str = "203.0.113.66:6666";

#[test]
fn from_where_a_check_was_answered_media_may_come_before_our_own_check_is_and_nothing_goes_there() {
    let mut world = World::plain(22);
    world.tell_credentials(B);
    let source = STRANGER.parse().unwrap();
    let bytes = check(&username(&world), Some(&password(&world)));
    let (now, local) = (world.now, world.ends[B].locals[0].address);
    let World { network, ends, .. } = &mut world;
    ends[B].agent.receive(Component::Rtp, local, source, &bytes, now).unwrap();
    ends[B].drain(network, now);
    assert_eq!(ends[B].heard[0], [source]);
    assert!(ends[B].valid[0].is_empty() && ends[B].selected[0].is_none());
    // Nobody answers there.
    world.run(Duration::from_secs(200));
    assert!(world.ends[B].heard[0].is_empty());
}

#[test]
fn a_party_that_checks_on_under_another_password_than_signalled_keeps_no_hope_alive() {
    let mut world = World::plain(21);
    world.tell(A);
    let mut signalled = world.ends[A].parameters();
    signalled.credentials.pwd = "notThePasswordThatItHas0".into();
    world.ends[B].agent.set_remote(signalled, world.now).unwrap();
    world.tell_candidates(B);
    let failed = |world: &World| world.ends[B].agent.state() == State::Failed;
    assert!(world.run_until(Duration::from_secs(60), failed));
    assert_eq!(world.ends[A].agent.state(), State::Connected, "A knows nothing of it");
    assert!(world.now - world.start >= Duration::from_millis(39_500), "RFC 8863 section 4");
}

/// A Binding indication with FINGERPRINT (RFC 8489 section 14.7), as anybody can write it.
fn indication() -> Vec<u8> {
    let mut bytes = vec![0, 0x11, 0, 8, 0x21, 0x12, 0xa4, 0x42];
    bytes.extend([9; 12]);
    let bit = |crc: u32, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
    let byte = |crc: u32, byte: &u8| (0..8).fold(crc ^ u32::from(*byte), bit);
    let checksum = !bytes.iter().fold(u32::MAX, byte) ^ 0x5354_554e;
    bytes.extend([0x80, 0x28, 0, 4]);
    bytes.extend(checksum.to_be_bytes());
    bytes
}

#[test]
fn a_keepalive_is_taken_and_nothing_is_done_for_it_not_even_what_is_due() {
    let mut world = World::plain(20);
    world.tell(B);
    world.now += SECOND;
    assert_eq!(give(&mut world, STRANGER, &indication()), (Ok(()), 0));
    let now = world.now;
    world.ends[B].agent.handle_timeout(now);
    assert!(!is_timeout(&world.ends[B].agent.poll()), "a check was due");
}

#[test]
fn what_is_not_authentic_is_counted_and_gets_no_answer() {
    let mut world = connected(1);
    let (username, password) = (username(&world), password(&world));
    let mut bad_checksum = check(&username, Some(&password));
    *bad_checksum.last_mut().unwrap() ^= 1;
    let cases = [
        (check(&username, Some("not the password at all")), Refusal::WrongPassword),
        (check(&username, None), Refusal::WrongPassword),
        (check("nobody:knows", Some(&password)), Refusal::UnknownUfrag),
        (check(&format!("{}:other", &username[..8]), Some(&password)), Refusal::UnknownUfrag),
        (bad_checksum, Refusal::Fingerprint),
        (b"not STUN at all".to_vec(), Refusal::Malformed),
        (Vec::new(), Refusal::Malformed),
        (vec![0; 65_000], Refusal::Malformed),
    ];
    for (bytes, refusal) in cases {
        let before = world.ends[B].agent.counters().refused(refusal);
        assert_eq!(give(&mut world, STRANGER, &bytes), (Err(refusal), 0));
        assert_eq!(world.ends[B].agent.counters().refused(refusal), before + 1);
    }
    let authentic = check(&username, Some(&password));
    assert_eq!(give(&mut world, "192.0.2.1:4000", &authentic), (Ok(()), 1));
}

#[test]
fn no_single_bit_of_a_check_can_be_changed_on_the_way() {
    let mut world = connected(2);
    let authentic = check(&username(&world), Some(&password(&world)));
    for bit in 0..authentic.len() * 8 {
        let mut forged = authentic.clone();
        forged[bit / 8] ^= 1 << (bit % 8);
        let (taken, sent) = give(&mut world, STRANGER, &forged);
        assert!(taken.is_err(), "bit {bit}");
        assert_eq!(sent, 0, "bit {bit}");
    }
}

#[test]
fn a_datagram_to_an_address_that_is_no_candidate_is_refused() {
    let mut world = connected(3);
    let authentic = check(&username(&world), Some(&password(&world)));
    let now = world.now;
    let elsewhere: SocketAddr = "192.0.2.2:5002".parse().unwrap();
    let agent = &mut world.ends[B].agent;
    let taken = agent.receive(Component::Rtp, elsewhere, elsewhere, &authentic, now);
    assert_eq!(taken, Err(Refusal::UnknownLocal));
}

/// A lite agent asks nobody back.
#[test]
fn a_check_repeated_from_elsewhere_does_not_move_a_lite_agents_path() {
    let party = "192.0.2.1:4000";
    let rtp = [party];
    let a = Made::full(Role::Controlling, &rtp);
    let mut world = World::new(21, a, Made::lite(&["192.0.2.2:5000"]));
    world.signal();
    assert!(world.run_until(SOON, World::is_connected));
    let nominates = check(&username(&world), Some(&password(&world)));
    assert_eq!(give(&mut world, party, &nominates), (Ok(()), 1));
    assert_eq!(give(&mut world, STRANGER, &nominates), (Err(Refusal::Replayed), 0));
    assert_eq!(give(&mut world, party, &nominates), (Ok(()), 1), "its answer may have been lost");
    let moved = check(&username(&world), Some(&password(&world)));
    let (taken, outputs) = give(&mut world, "203.0.113.9:7000", &moved);
    assert!(taken.is_ok() && outputs > 1, "the party itself may move");
    assert_eq!(give(&mut world, STRANGER, &moved), (Err(Refusal::Replayed), 0));
}

#[test]
fn an_authentic_check_replayed_from_elsewhere_does_not_move_the_path() {
    let mut world = connected(4);
    let before = (world.ends[B].selected, world.ends[B].valid.clone());
    let replayed = check(&username(&world), Some(&password(&world)));
    let (from, to) = (STRANGER.parse().unwrap(), world.ends[B].locals[0].address);
    let asked_before = world.ends[B].sent.len();
    for _ in 0..1000 {
        let now = world.now;
        world.network.send(Datagram { from, to, bytes: replayed.clone() }, now);
    }
    world.run(120 * SECOND);
    assert_eq!((world.ends[B].selected, world.ends[B].valid.clone()), before);
    let to_stranger = |(_, to, _): &&(_, SocketAddr, usize)| *to == from;
    let asked = world.ends[B].sent[asked_before..].iter().filter(to_stranger).count();
    // One answer for each, and the requests of one check.
    assert!(asked <= 1000 + 7 + 1, "{asked}");
    assert!(world.is_connected());
}

#[test]
fn a_flood_of_candidates_is_cut_at_the_bound_and_the_true_one_still_found() {
    let mut world = World::plain(5);
    let now = world.now;
    let mut refused = 0;
    let true_one = world.ends[B].locals[0];
    for host in 0..5000_u32 {
        let mut candidate = true_one.to_sdp(true_one.address);
        if host != 20 {
            candidate.address = SocketAddr::new((0xC633_6400 + host).to_be_bytes().into(), 9);
        }
        if let Err(error) = world.ends[A].agent.add_candidate(&candidate, now) {
            assert_eq!(error, AgentError::TooMany);
            refused += 1;
        }
    }
    assert_eq!(refused, 5000 - MAX_REMOTE_CANDIDATES);
    world.tell_credentials(A);
    world.tell(B);
    assert!(world.run_until(5 * SECOND, World::is_connected));
    world.assert_agreed(Component::Rtp);
}

#[test]
fn an_authentic_flood_from_many_addresses_is_bounded_and_leaves_the_path_alone() {
    let mut world = connected(6);
    let before = world.ends[B].selected;
    let (username, password) = (username(&world), password(&world));
    let checks = world.ends[B].agent.counters().checks_sent;
    for host in 0..20_000_u32 {
        let source = format!("198.51.{}.{}:{}", host / 256 % 256, host % 256, 1000 + host);
        let (_, sent) = give(&mut world, &source, &check(&username, Some(&password)));
        assert!(sent <= 3);
    }
    world.run(60 * SECOND);
    assert_eq!(world.ends[B].selected, before);
    assert!(world.ends[B].agent.counters().refused(Refusal::TooMany) > 19_000);
    let checks = world.ends[B].agent.counters().checks_sent - checks;
    assert!(checks <= 16 * 7 + 40, "{checks}");
}

#[test]
fn a_flood_before_the_answer_is_bounded_and_the_party_still_found() {
    let mut world = World::plain(7);
    let (ours, password) = (world.ends[B].credentials.ufrag.clone(), password(&world));
    world.tell_candidates(B);
    for host in 0..20_000_u32 {
        let username = format!("{ours}:{host:04}");
        let source = format!("198.51.100.1:{}", 1 + host);
        let _ = give(&mut world, &source, &check(&username, Some(&password)));
    }
    assert!(world.ends[B].agent.counters().refused(Refusal::TooMany) > 19_000);
    world.tell(A);
    world.run(SOON);
    world.tell_credentials(B);
    assert!(world.run_until(5 * SECOND, World::is_connected));
    world.assert_agreed(Component::Rtp);
}

#[test]
fn a_stranger_at_the_true_address_cannot_end_or_fail_anything() {
    let mut world = connected(8);
    let noise: [Vec<u8>; 3] = [
        check(&username(&world), Some("0123456789012345678901")),
        vec![1, 0x11, 0, 0, 0x21, 0x12, 0xA4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12],
        vec![0x80; 172],
    ];
    for turn in 0..3000 {
        let _ = give(&mut world, "192.0.2.1:4000", &noise[turn % 3]);
        world.run(Duration::from_millis(10));
    }
    world.run(60 * SECOND);
    assert!(world.is_connected());
    assert!(world.ends.iter().all(|end| end.lost.is_none() && end.failed.is_none()));
}

#[test]
fn unusable_candidates_are_refused_one_by_one() {
    let mut world = World::plain(9);
    let now = world.now;
    let good = world.ends[B].locals[0];
    for address in ["0.0.0.0:5000", "224.0.0.1:5000", "192.0.2.9:0", "[::]:1", "[ff02::1]:9"] {
        let candidate = good.to_sdp(address.parse().unwrap());
        let taken = world.ends[A].agent.add_candidate(&candidate, now);
        assert_eq!(taken, Err(AgentError::Candidate), "{address}");
    }
    world.signal();
    assert!(world.run_until(SOON, World::is_connected));
}

#[test]
fn the_longest_credentials_are_spoken_and_longer_ones_refused() {
    let mut world = World::plain(10);
    let long = |letter: &str, length| letter.repeat(length).into_boxed_str();
    let mut theirs = world.ends[B].parameters();
    theirs.credentials.ufrag = long("u", 257);
    let now = world.now;
    let taken = world.ends[A].agent.set_remote(theirs.clone(), now);
    assert_eq!(taken, Err(AgentError::Credentials));
    assert_eq!(world.ends[A].agent.state(), State::New);
    theirs.credentials.ufrag = long("u", 256);
    theirs.credentials.pwd = long("p", 256);
    world.ends[A].agent.set_remote(theirs, now).unwrap();
    world.tell_candidates(A);
    assert!(world.ends[A].sent[0].2 > 256);
}

#[test]
fn a_lite_agent_takes_no_path_from_a_check_without_nomination() {
    let full = Made::full(Role::Controlling, &["192.0.2.1:4000"]);
    let mut world = World::new(11, full, Made::lite(&["192.0.2.2:5000"]));
    world.tell_credentials(B);
    let (username, password) = (username(&world), password(&world));
    let plain = StunMessage::binding_request(&username, TransId::new(), true, 1, 7, false);
    let mut bytes = vec![0; 1500];
    let hmac = |key: &[u8], parts: &[&[u8]]| DefaultSha1HmacProvider.sha1_hmac(key, parts);
    let length = plain.to_bytes(Some(password.as_bytes()), &mut bytes, hmac).unwrap();
    assert_eq!(give(&mut world, "192.0.2.1:4000", &bytes[..length]), (Ok(()), 1));
    assert_eq!(world.ends[B].agent.state(), State::Checking);
    let nominating = check(&username, Some(&password));
    let (taken, outputs) = give(&mut world, "192.0.2.1:4000", &nominating);
    assert_eq!((taken, outputs), (Ok(()), 3));
    assert_eq!(world.ends[B].agent.state(), State::Connected);
}
