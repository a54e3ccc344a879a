//! Where a leg's media goes and comes from, as ICE says it.

use std::net::SocketAddr;
use std::time::Duration;

use gateway::relay::command::{
    AgentTap, ComponentPath, IcePath, PortPair, StreamPlan, VALID_SOURCES,
};
use gateway::relay::drop_reason::DropReason;
use gateway::webrtc::plan::IceGeneration;

use crate::agents::*;
use crate::call::*;
use crate::relay_support::*;

fn address(at: &str) -> SocketAddr {
    at.parse().unwrap()
}

#[test]
fn nothing_is_sent_to_a_signalled_address_before_ice_found_it() {
    let mut leg = Leg::new(webrtc());
    leg.secure(FIRST, 1, 2);
    assert_eq!(leg.call.sends(PLAIN, &rtp(SSRC, 1)), None);
    leg.call.assert_only_drops(PLAIN, &[(DropReason::NoDestination, 1)]);
    let packet = leg.call.crypto.protect(&rtp(SSRC, 1));
    assert_eq!(leg.call.sends(SECURE, &packet), None, "nor taken from it");
    leg.call.assert_only_drops(SECURE, &[(DropReason::WrongSource, 1)]);
    leg.follow(path(leg.call.party[SECURE]));
    leg.exchanges(2);
}

#[test]
fn media_is_taken_from_valid_pairs_alone_and_teaches_nothing() {
    let mut leg = Leg::connected();
    let party = leg.call.party[SECURE];
    let other = address("198.51.100.3:7000");
    let component = ComponentPath { sources: vec![party[0], other], destination: Some(party[0]) };
    leg.follow(IcePath { components: [component, ComponentPath::default()] });
    for sequence in 0..10 {
        leg.call.passes(Duration::from_secs(1));
        let packet = leg.call.crypto.protect(&rtp(SSRC, sequence));
        assert_eq!(leg.call.sends_from(hijacker(), SECURE, &packet), None);
        assert!(leg.call.sends_from(other, SECURE, &packet).is_some());
        assert_eq!(leg.call.sends(PLAIN, &rtp(SSRC, sequence)).unwrap().to, party[0]);
    }
    leg.call.assert_only_drops(SECURE, &[(DropReason::WrongSource, 10)]);
}

#[test]
fn a_path_that_moves_in_mid_call_loses_nothing() {
    let mut leg = Leg::connected();
    let (before, after) = (leg.call.party[SECURE][0], address("203.0.113.9:50000"));
    leg.exchanges(1);
    let both = ComponentPath { sources: vec![before, after], destination: Some(after) };
    leg.follow(IcePath { components: [both, ComponentPath::default()] });
    let late = leg.call.crypto.protect(&rtp(SSRC + 1, 2));
    leg.call.party[SECURE][0] = after;
    leg.exchanges(3);
    assert!(leg.call.sends_from(before, SECURE, &late).is_some(), "on its way since before");
    let one = ComponentPath { sources: vec![after], destination: Some(after) };
    leg.follow(IcePath { components: [one, ComponentPath::default()] });
    leg.exchanges(4);
    leg.call.assert_only_drops(SECURE, &[]);
    leg.call.assert_only_drops(PLAIN, &[]);
    assert_eq!(leg.call.report().streams[SECURE].remote_rtp, Some(after));
}

#[test]
fn lost_consent_stops_what_is_sent_and_taken() {
    let mut leg = Leg::connected();
    leg.exchanges(1);
    leg.follow(IcePath::default());
    assert_eq!(leg.call.sends(PLAIN, &rtp(SSRC, 2)), None);
    leg.call.assert_only_drops(PLAIN, &[(DropReason::NoDestination, 1)]);
    let packet = leg.call.crypto.protect(&rtp(SSRC + 1, 2));
    assert_eq!(leg.call.sends(SECURE, &packet), None);
    leg.call.assert_only_drops(SECURE, &[(DropReason::WrongSource, 1)]);
}

#[test]
fn a_plan_that_keeps_ice_keeps_the_path_whatever_it_signals() {
    let mut leg = Leg::connected();
    let elsewhere = ["192.0.2.1:9".parse().unwrap(); 2];
    leg.call.apply([
        unchanged(1),
        StreamPlan { remote: remote(elsewhere), agent: Some(webrtc()), ..unchanged(0) },
    ]);
    leg.exchanges(1);
}

#[test]
fn when_ice_goes_the_signalled_address_rules_and_is_learned_from() {
    let mut leg = Leg::connected();
    let signalled = leg.call.party[SECURE];
    leg.follow(path([address("203.0.113.9:50000"); 2]));
    leg.plan(Some(AgentTap { ice: None, ..webrtc() }));
    assert_eq!(leg.call.sends(PLAIN, &rtp(SSRC, 1)).unwrap().to, signalled[0]);
    let natted = address("192.0.2.77:31000");
    let packet = leg.call.crypto.protect(&rtp(SSRC + 1, 1));
    assert!(leg.call.sends_from(natted, SECURE, &packet).is_some());
    assert_eq!(leg.call.sends(PLAIN, &rtp(SSRC, 2)).unwrap().to, natted);
    leg.follow(path([hijacker(); 2]));
    assert_eq!(leg.call.sends(PLAIN, &rtp(SSRC, 3)).unwrap().to, natted, "no ICE, no path");
}

/// A path that was on its way while ICE was given up and taken up again.
#[test]
fn a_path_of_an_ice_that_is_gone_is_none_of_the_next() {
    let mut leg = Leg::connected();
    leg.plan(Some(AgentTap { ice: None, ..webrtc() }));
    leg.plan(Some(AgentTap { ice: Some(IceGeneration(ICE.0 + 1)), ..webrtc() }));
    leg.follow(path([hijacker(); 2]));
    assert_eq!(leg.call.sends(PLAIN, &rtp(SSRC, 1)), None);
    let packet = leg.call.crypto.protect(&rtp(SSRC + 1, 1));
    assert_eq!(leg.call.sends_from(hijacker(), SECURE, &packet), None);

    // And where the worker had no plan in between, what the one found is forgotten with it.
    let mut leg = Leg::connected();
    leg.plan(Some(AgentTap { ice: Some(IceGeneration(ICE.0 + 1)), ..webrtc() }));
    assert_eq!(leg.call.sends(PLAIN, &rtp(SSRC, 1)), None);
}

/// An agent that takes a second must not cost a running call a second.
#[test]
fn where_a_party_was_confirmed_it_is_reached_until_ice_selects() {
    let mut leg = Leg::new(AgentTap { ice: None, ..webrtc() });
    leg.secure(FIRST, 1, 2);
    leg.exchanges(1);
    leg.plan(Some(webrtc()));
    leg.exchanges(2);
    let sources = vec![leg.call.party[SECURE][0]];
    let valid = ComponentPath { sources, destination: None };
    leg.follow(IcePath { components: [valid.clone(), ComponentPath::default()] });
    leg.exchanges(3);
    leg.follow(path(leg.call.party[SECURE]));
    leg.exchanges(4);
    leg.follow(IcePath { components: [valid, ComponentPath::default()] });
    assert_eq!(leg.call.sends(PLAIN, &rtp(SSRC, 5)), None, "consent was lost");
}

#[test]
fn a_path_of_nothing_ends_what_was_confirmed_before_ice() {
    let mut leg = Leg::new(AgentTap { ice: None, ..webrtc() });
    leg.secure(FIRST, 1, 2);
    leg.exchanges(1);
    leg.plan(Some(webrtc()));
    leg.follow(IcePath::default());
    assert_eq!(leg.call.sends(PLAIN, &rtp(SSRC, 2)), None);
}

#[test]
fn reports_follow_their_own_component_or_the_muxed_one() {
    for rtcp_mux in [false, true] {
        let mut leg = Leg::planned(webrtc(), |plans| plans[SECURE].rtcp_mux = rtcp_mux);
        let party = leg.call.party[SECURE];
        leg.follow(path(party));
        leg.secure(FIRST, 1, 2);
        let at = usize::from(!rtcp_mux);
        let report = leg.call.crypto.protect_rtcp(&receiver_report(1, 2));
        let wrong = leg.call.arrives(party[1 - at], (SECURE, at), &report);
        assert_eq!(wrong, [], "the other component's address");
        assert_eq!(leg.call.arrives(party[at], (SECURE, at), &report).len(), 1);
        let sent = leg.call.arrives(leg.call.party[PLAIN][1], (PLAIN, 1), &receiver_report(1, 2));
        assert_eq!((sent[0].to, sent[0].from), (party[at], leg.call.local[SECURE][at]));
        assert!(leg.call.crypto.open_rtcp(&sent[0].bytes).is_ok());
        leg.call.assert_only_drops(SECURE, &[(DropReason::WrongSource, 1)]);
    }
}

#[test]
fn only_so_many_sources_are_vouched_for() {
    let mut leg = Leg::connected();
    let at = |port| SocketAddr::new([198, 51, 100, 7].into(), port);
    let sources: Vec<_> = (1..=20).map(at).collect();
    let component = ComponentPath { sources, destination: Some(at(1)) };
    leg.follow(IcePath { components: [component, ComponentPath::default()] });
    let taken = (1..=20)
        .filter(|&port| {
            let packet = leg.call.crypto.protect(&rtp(SSRC, port));
            leg.call.sends_from(at(port), SECURE, &packet).is_some()
        })
        .count();
    assert_eq!(taken, VALID_SOURCES);
}

#[test]
fn a_path_over_ipv6_takes_checks_handshake_and_media() {
    let open = || {
        let options = packet_io::SocketOptions::default();
        packet_io::open_media_socket("[::1]:0".parse().unwrap(), options).unwrap()
    };
    let (rtp_socket, rtcp_socket) = (open(), open());
    let local = [rtp_socket.local_addr().unwrap(), rtcp_socket.local_addr().unwrap()];
    let mut leg = Leg::planned(webrtc(), |plans| {
        plans[SECURE].sockets = Some(PortPair { rtp: rtp_socket, rtcp: Some(rtcp_socket) });
    });
    leg.call.local[SECURE] = local;
    let party = ["[2001:db8::2]:6000", "[2001:db8::2]:6001"].map(address);
    leg.call.party[SECURE] = party;
    leg.hears(party[0], &binding_request(1));
    assert_eq!(
        (leg.stun()[0].source, leg.call.drops(SECURE, DropReason::AgentRate)),
        (party[0], 0)
    );
    leg.follow(path(party));
    leg.hears(party[0], &client_hello());
    assert_eq!(leg.dtls()[0].local, local[0]);
    leg.secure(FIRST, 1, 2);
    leg.exchanges(1);
    let packet = leg.call.crypto.protect(&rtp(SSRC + 1, 2));
    assert_eq!(leg.call.sends_from(address("[2001:db8::3]:6000"), SECURE, &packet), None);
}
