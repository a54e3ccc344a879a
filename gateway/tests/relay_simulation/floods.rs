//! Spoofed checks and ClientHellos, many of them: what goes up is bounded, what is live loses
//! nothing. The clock stands still or runs as fast as 100,000 packets a second do.

use std::net::SocketAddr;
use std::time::Duration;

use gateway::relay::command::{AgentTap, CallKey, CallPlan, IcePath, StreamIndex, StreamPlan};
use gateway::relay::drop_reason::DropReason;

use crate::agents::*;
use crate::call::*;
use crate::relay_support::*;

const FLOOD: u32 = 100_000;
const BETWEEN: Duration = Duration::from_micros(10);

fn spoofed(n: u32) -> SocketAddr {
    SocketAddr::from(((0xcb00_0000 + n).to_be_bytes(), 1024 + (n % 60_000) as u16))
}

impl Leg {
    /// A flood of checks from one address, and what `meanwhile` does after every thousand.
    fn flooded_from(&mut self, source: SocketAddr, mut meanwhile: impl FnMut(&mut Self)) {
        for n in 0..FLOOD {
            self.call.passes(BETWEEN);
            self.hears(source, &binding_request(n));
            if n % 1000 == 0 {
                meanwhile(self);
            }
        }
    }

    /// The flood, with a packet each way after every thousand, and what `meanwhile` does.
    fn flooded(&mut self, flood: impl Fn(u32) -> Vec<u8>, mut meanwhile: impl FnMut(&mut Self)) {
        for n in 0..FLOOD {
            self.call.passes(BETWEEN);
            self.hears(spoofed(n), &flood(n));
            if n % 1000 == 0 {
                self.exchanges((n / 1000) as u16);
                meanwhile(self);
            }
        }
    }
}

#[test]
fn a_flood_of_checks_fills_no_more_than_its_share_and_consent_gets_through() {
    let mut leg = Leg::connected();
    let party = leg.call.party[SECURE][0];
    let mut consented = 0;
    // Nobody takes anything: the agents' thread is busy all the while.
    leg.flooded(binding_request, |leg| leg.hears(party, &binding_request(u32::MAX)));
    let waiting = leg.stun();
    for packet in &waiting {
        consented += usize::from(packet.source == party);
    }
    assert_eq!(consented, 100, "every consent check of the party");
    // 200 at once and 200 in the second that it took.
    assert!((300..=401).contains(&(waiting.len() - consented)), "{} waited", waiting.len());
    let report = &leg.call.report().streams[SECURE];
    assert_eq!(report.agent.stun, waiting.len() as u64);
    let refused = u64::from(FLOOD) + 100 - report.agent.stun;
    leg.call.assert_only_drops(SECURE, &[(DropReason::AgentRate, refused)]);
    leg.call.assert_only_drops(PLAIN, &[]);
}

/// Set-up too must not depend on luck: there is no path yet, and the party is one among many.
#[test]
fn before_any_path_a_flood_of_checks_leaves_room_for_the_candidates_that_were_named() {
    let mut leg = Leg::new(webrtc());
    let party = leg.call.party[SECURE][0];
    leg.plan(Some(AgentTap { named: [party].into_iter().collect(), ..webrtc() }));
    for n in 0..FLOOD {
        leg.call.passes(BETWEEN);
        leg.hears(spoofed(n), &binding_request(n));
        if n % 1000 == 0 {
            leg.hears(party, &binding_request(n));
        }
    }
    let waiting = leg.stun();
    let partys = waiting.iter().filter(|packet| packet.source == party).count();
    assert_eq!(partys, 100, "every check of the party");
    assert!((300..=401).contains(&(waiting.len() - partys)), "{} waited", waiting.len());
    leg.hears(party, &client_hello());
    assert!(leg.dtls().is_empty(), "no handshake before ICE vouches for it");
}

#[test]
fn who_floods_from_a_named_candidate_delays_no_consent() {
    let mut leg = Leg::connected();
    let party = leg.call.party[SECURE][0];
    leg.plan(Some(AgentTap { named: [spoofed(0)].into_iter().collect(), ..webrtc() }));
    leg.flooded_from(spoofed(0), |leg| leg.hears(party, &binding_request(u32::MAX)));
    let waiting = leg.stun();
    let partys = waiting.iter().filter(|packet| packet.source == party).count();
    assert_eq!(partys, 100, "every consent check of the party");
    assert!((300..=401).contains(&(waiting.len() - partys)), "{} waited", waiting.len());
}

#[test]
fn a_flood_of_client_hellos_does_not_go_up_at_all() {
    let mut leg = Leg::connected();
    let party = leg.call.party[SECURE][0];
    leg.flooded(|_| client_hello(), |leg| leg.hears(party, &client_hello()));
    let heard = leg.dtls();
    assert_eq!((heard.len(), heard.iter().all(|packet| packet.source == party)), (100, true));
    leg.call.assert_only_drops(SECURE, &[(DropReason::AgentSource, u64::from(FLOOD))]);
}

#[test]
fn who_floods_from_the_partys_own_address_is_bounded_too() {
    let mut leg = Leg::connected();
    let party = leg.call.party[SECURE][0];
    for n in 0..FLOOD {
        leg.call.passes(BETWEEN);
        leg.hears(party, &client_hello());
        leg.hears(party, &binding_request(n));
        if n % 1000 == 0 {
            leg.exchanges((n / 1000) as u16);
        }
    }
    let (stun, dtls) = (leg.stun().len(), leg.dtls().len());
    // A second's worth and the burst: 100 + 100, 64 + 100.
    assert!((195..=201).contains(&stun), "{stun} checks");
    assert!((160..=165).contains(&dtls), "{dtls} records");
}

/// Many legs flooded at once: the queue stays bounded, and a leg that is not flooded is heard.
#[test]
fn a_flood_over_many_streams_leaves_the_queue_to_the_known() {
    const LEGS: u64 = 20;
    let mut leg = Leg::connected();
    let mut ports = Vec::new();
    for n in 2..2 + LEGS {
        let (pair, local) = open_pair();
        let stream =
            StreamPlan { sockets: Some(pair), peer: None, agent: Some(webrtc()), ..unchanged(0) };
        let plan = CallPlan { call: CallKey(n), streams: vec![stream] };
        let now = leg.call.now;
        leg.call.table.apply(plan, &mut leg.call.wire, now).unwrap();
        ports.push(local[0]);
    }
    for n in 0..FLOOD / 10 {
        let to = ports[n as usize % ports.len()];
        leg.call.passes(BETWEEN);
        leg.call.wire.deliver(Datagram {
            from: spoofed(n),
            to,
            bytes: binding_request(n),
            timestamp_ns: 0,
            kernel_drops: 0,
        });
        leg.call.turn();
    }
    let party = leg.call.party[SECURE][0];
    leg.hears(party, &binding_request(0));
    leg.exchanges(1);
    let waiting = leg.stun();
    assert_eq!(waiting.len(), 512 + 1, "half the queue, and the one that is known");
    assert_eq!(waiting.last().unwrap().source, party);
    leg.call.table.follow(CallKey(2), StreamIndex(0), ICE, IcePath::default());
    assert_eq!(leg.call.drops(SECURE, DropReason::AgentQueue), 0);
}

#[test]
fn without_ice_a_flood_of_checks_is_refused_before_it_is_looked_at() {
    let mut leg = Leg::new(AgentTap { ice: None, ..webrtc() });
    leg.secure(FIRST, 1, 2);
    leg.flooded(binding_request, |_| {});
    assert!(leg.stun().is_empty());
    leg.call.assert_only_drops(SECURE, &[(DropReason::UnexpectedProtocol, u64::from(FLOOD))]);
}
