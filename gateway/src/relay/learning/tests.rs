//! Hijackers, parties behind NAT and re-INVITEs against one endpoint, on a virtual clock.

use super::*;

const PARTY: &str = "198.51.100.7:4000";
const PARTY_OTHER_PORT: &str = "198.51.100.7:4711";
const HIJACKER: &str = "203.0.113.66:4000";
const PRIVATE: &str = "192.168.1.20:4000";
const NATTED: &str = "198.51.100.7:61000";

struct Leg {
    learner: Learner,
    endpoint: Endpoint,
    proof: Proof,
    start: Instant,
}

impl Leg {
    fn new(mode: EndpointLearning, signalled: &str, proof: Proof) -> Self {
        let mut leg = Self {
            learner: Learner::new(),
            endpoint: Endpoint::default(),
            proof,
            start: Instant::now(),
        };
        leg.learner.policy(mode, Elsewhere::Refused);
        leg.signal(signalled);
        leg
    }

    fn plain(signalled: &str) -> Self {
        Self::new(EndpointLearning::Heuristic, signalled, Proof::None)
    }

    fn srtp(signalled: &str) -> Self {
        Self::new(EndpointLearning::Heuristic, signalled, Proof::Authenticated)
    }

    fn signal(&mut self, signalled: &str) {
        self.learner.signal(&mut self.endpoint, Some(signalled.parse().unwrap()));
    }

    /// Whether a packet goes through, as the path asks: check, then learn.
    fn hears(&mut self, source: &str, ms: u64) -> bool {
        let source = source.parse().unwrap();
        let now = self.start + Duration::from_millis(ms);
        let asked = match self.proof {
            Proof::None => Proof::None,
            _ => Proof::Pending,
        };
        if self.endpoint.confirmed && self.endpoint.address == Some(source) {
            return true;
        }
        let admitted = self.learner.admits(source, asked, now);
        if admitted {
            self.learner.learn(&mut self.endpoint, source, self.proof, now);
        }
        admitted
    }

    /// What an SRTP leg does with a packet that then fails authentication.
    fn hears_forged(&mut self, source: &str, ms: u64) -> bool {
        let now = self.start + Duration::from_millis(ms);
        self.learner.admits(source.parse().unwrap(), Proof::Pending, now)
    }

    fn sends_to(&self, address: &str) -> bool {
        self.endpoint.address == Some(address.parse().unwrap())
    }
}

#[test]
fn replies_before_learning_go_to_the_signalled_address() {
    assert!(Leg::plain(PARTY).sends_to(PARTY));
}

#[test]
fn the_signalled_source_settles_at_once_and_shuts_others_out() {
    let mut leg = Leg::plain(PARTY);
    assert!(leg.hears(PARTY, 0));
    assert!(leg.endpoint.confirmed);
    assert!(!leg.hears(HIJACKER, 10));
    assert!(!leg.hears(HIJACKER, 3_600_000));
    assert!(!leg.hears(PARTY_OTHER_PORT, 3_600_000));
    assert!(leg.sends_to(PARTY));
}

#[test]
fn another_port_of_the_signalled_host_takes_effect_at_once() {
    let mut leg = Leg::plain(PARTY);
    assert!(leg.hears(PARTY_OTHER_PORT, 0));
    assert!(leg.sends_to(PARTY_OTHER_PORT));
    assert!(leg.hears(PARTY, 100), "the exact address is better still");
    assert!(leg.sends_to(PARTY));
}

#[test]
fn another_port_of_the_signalled_host_is_kept_after_the_window() {
    let mut leg = Leg::plain(PARTY);
    assert!(leg.hears(PARTY_OTHER_PORT, 0));
    assert!(leg.hears(PARTY_OTHER_PORT, 3_000));
    assert!(leg.endpoint.confirmed);
    assert!(!leg.hears(PARTY, 3_020));
}

/// CVE-2025-53399, bleed: the hijacker sends first and gets nothing back.
#[test]
fn a_hijacker_who_sends_first_is_sent_nothing_and_yields_to_the_party() {
    let mut leg = Leg::plain(PARTY);
    leg.hears(HIJACKER, 0);
    assert!(leg.sends_to(PARTY));
    assert!(leg.hears(PARTY, 200));
    assert!(!leg.hears(HIJACKER, 220), "nothing is injected beside the party");
    assert!(leg.sends_to(PARTY));
}

/// The caller's port is open for the whole time the phone rings.
#[test]
fn a_hijacker_who_outlasts_the_window_still_yields_to_the_party() {
    let mut leg = Leg::plain(PARTY);
    for ms in (0..30_000).step_by(20) {
        leg.hears(HIJACKER, ms);
    }
    assert!(leg.hears(PARTY, 30_000));
    assert!(leg.sends_to(PARTY));
    assert!(!leg.hears(HIJACKER, 30_020));
}

#[test]
fn forged_packets_teach_an_srtp_leg_nothing() {
    let mut leg = Leg::srtp(PARTY);
    for ms in (0..10_000).step_by(20) {
        assert!(leg.hears_forged(HIJACKER, ms), "the tag decides, not the address");
    }
    assert!(leg.sends_to(PARTY));
    assert!(leg.hears("203.0.113.9:9999", 10_000), "the party, behind NAT");
    assert!(leg.sends_to("203.0.113.9:9999"));
}

#[test]
fn a_settled_srtp_leg_refuses_other_sources_before_any_crypto() {
    let mut leg = Leg::srtp(PARTY);
    assert!(leg.hears(PARTY, 0));
    assert!(!leg.hears_forged(HIJACKER, 20));
}

#[test]
fn a_party_behind_nat_is_answered_at_once() {
    let mut leg = Leg::plain("192.168.1.20:4000");
    assert!(leg.hears("198.51.100.7:61000", 0));
    assert!(leg.sends_to("198.51.100.7:61000"));
    assert!(!leg.hears(HIJACKER, 20), "one source at a time");
}

#[test]
fn an_unlikely_source_is_sent_to_once_the_window_passed_without_a_better_one() {
    let mut leg = Leg::plain(PARTY);
    assert!(leg.hears(HIJACKER, 0));
    assert!(leg.hears(HIJACKER, 2_999));
    assert!(leg.sends_to(PARTY));
    assert!(leg.hears(HIJACKER, 3_000));
    assert!(leg.sends_to(HIJACKER));
}

#[test]
fn signalling_reopens_learning() {
    let mut leg = Leg::plain(PARTY);
    assert!(leg.hears(PARTY, 0));
    leg.signal("192.0.2.5:6000");
    assert!(leg.sends_to("192.0.2.5:6000"));
    assert!(leg.hears("192.0.2.5:6000", 100));
    assert!(!leg.hears(PARTY, 120));
}

#[test]
fn repeated_signalling_keeps_sending_to_what_was_learned() {
    let mut leg = Leg::plain(PARTY);
    assert!(leg.hears(PARTY_OTHER_PORT, 0));
    assert!(leg.hears(PARTY_OTHER_PORT, 3_000));
    leg.signal(PARTY);
    assert!(leg.sends_to(PARTY_OTHER_PORT));
    leg.hears(HIJACKER, 4_000);
    assert!(leg.sends_to(PARTY_OTHER_PORT));
    assert!(leg.hears(PARTY_OTHER_PORT, 4_020));
    assert!(!leg.hears(HIJACKER, 4_040));
}

/// Session timers repeat the offer every few minutes, and a hijacker may wait for that.
#[test]
fn a_reinvite_does_not_give_a_party_behind_nat_away() {
    let mut leg = Leg::plain(PRIVATE);
    assert!(leg.hears(NATTED, 0));
    for start in [2_000, 100_000, 200_000] {
        leg.signal(PRIVATE);
        leg.hears(HIJACKER, start);
        assert!(leg.sends_to(NATTED));
        assert!(leg.hears(NATTED, start + 20));
        assert!(!leg.hears(HIJACKER, start + 40));
        assert!(leg.hears(NATTED, start + 5_000));
        assert!(leg.sends_to(NATTED));
    }
}

#[test]
fn a_party_behind_nat_that_was_silent_after_a_reinvite_takes_its_leg_back() {
    let mut leg = Leg::plain(PRIVATE);
    assert!(leg.hears(NATTED, 0));
    leg.signal(PRIVATE);
    leg.signal(PRIVATE);
    for ms in (1_000..20_000).step_by(20) {
        leg.hears(HIJACKER, ms);
    }
    assert!(leg.hears(NATTED, 20_000));
    assert!(leg.sends_to(NATTED));
    assert!(!leg.hears(HIJACKER, 20_020));
}

#[test]
fn a_party_behind_nat_that_moved_is_followed_after_the_window() {
    let mut leg = Leg::plain(PRIVATE);
    assert!(leg.hears(NATTED, 0));
    leg.signal(PRIVATE);
    assert!(leg.hears("198.51.100.7:62000", 1_000));
    assert!(leg.sends_to(NATTED));
    assert!(leg.hears("198.51.100.7:62000", 4_000));
    assert!(leg.sends_to("198.51.100.7:62000"));
}

#[test]
fn a_held_party_is_heard_but_not_sent_to() {
    let mut leg = Leg::plain(PARTY);
    leg.learner.signal(&mut leg.endpoint, None);
    assert!(leg.hears(PARTY, 0));
    assert!(leg.hears(PARTY, 5_000));
    assert_eq!(leg.endpoint.address, None);
}

#[test]
fn off_never_moves_and_hears_only_the_signalled_source() {
    let mut leg = Leg::new(EndpointLearning::Off, PARTY, Proof::None);
    assert!(!leg.hears(HIJACKER, 0));
    assert!(leg.hears(PARTY, 10));
    assert!(leg.sends_to(PARTY));
}

#[test]
fn off_hears_only_the_signalled_source_of_an_srtp_leg_too() {
    let mut leg = Leg::new(EndpointLearning::Off, PARTY, Proof::Authenticated);
    assert!(!leg.hears(HIJACKER, 0));
    assert!(leg.hears(PARTY, 10));
}

#[test]
fn off_without_strict_source_relays_others_but_never_moves() {
    let mut leg = Leg::new(EndpointLearning::Off, PARTY, Proof::None);
    leg.learner.policy(EndpointLearning::Off, Elsewhere::Relayed);
    assert!(leg.hears(HIJACKER, 0));
    assert!(leg.sends_to(PARTY));
}

#[test]
fn immediate_takes_the_first_source() {
    let mut leg = Leg::new(EndpointLearning::Immediate, PARTY, Proof::None);
    assert!(leg.hears(PARTY_OTHER_PORT, 0));
    assert!(leg.sends_to(PARTY_OTHER_PORT));
    assert!(!leg.hears(PARTY, 20));
}

#[test]
fn delayed_takes_the_first_source_after_three_seconds() {
    let mut leg = Leg::new(EndpointLearning::Delayed, PARTY, Proof::None);
    assert!(leg.hears(HIJACKER, 0));
    assert!(leg.hears(PARTY_OTHER_PORT, 1_000));
    assert!(leg.sends_to(PARTY));
    assert!(leg.hears(PARTY_OTHER_PORT, 3_000));
    assert!(leg.sends_to(PARTY_OTHER_PORT));
    assert!(!leg.hears(HIJACKER, 3_020));
}
