//! Who is heard by a leg's ICE and DTLS agents, and the keys that come of it: the WebRTC party is
//! [`SECURE`], the trunk [`PLAIN`].

use std::net::SocketAddr;
use std::time::Duration;

use gateway::relay::command::{
    AgentTap, ComponentPath, IcePath, NamedSources, StreamIndex, StreamPlan,
};
use gateway::relay::drop_reason::DropReason;
use gateway::relay::key_plan::{Handover, HandshakeKeys, ReceivePlan, SendPlan, SrtpKey};
use gateway::relay::table::Table;
use gateway::relay::uplink::{AgentPacket, Component, Intake, uplink};
use gateway::webrtc::plan::{Epoch, IceGeneration};
use ng::request::EndpointLearning;

use crate::call::*;
use crate::relay_support::*;

/// A leg with both, and the agents' end.
pub(crate) struct Leg {
    pub(crate) call: Call,
    pub(crate) intake: Intake,
}

impl Leg {
    /// The secure party speaks what `tap` says and has no keys yet.
    pub(crate) fn new(tap: AgentTap) -> Self {
        Self::planned(tap, |_| {})
    }

    pub(crate) fn planned(tap: AgentTap, change: impl FnOnce(&mut [StreamPlan; 2])) -> Self {
        let (uplink, intake) = uplink();
        let table = Table::new(1024, vec![uplink]);
        let call = Call::planned_on(table, PROFILE, |plans| {
            plans[SECURE].agent = Some(tap);
            plans[SECURE].receive_key = ReceivePlan::Await;
            plans[SECURE].send_key = SendPlan::Await;
            change(plans);
        });
        Self { call, intake }
    }

    /// Both found each other, at the party's usual address, and have keys.
    pub(crate) fn connected() -> Self {
        let mut leg = Self::new(webrtc());
        let party = leg.call.party[SECURE];
        leg.follow(path(party));
        leg.secure(FIRST, 1, 2);
        leg
    }

    pub(crate) fn follow(&mut self, path: IcePath) {
        self.call.table.follow(CALL, StreamIndex(SECURE as u16), ICE, path);
    }

    /// Keys of the association `epoch`, in which we were the client: the party's and ours.
    pub(crate) fn secure(&mut self, epoch: Epoch, party: u8, ours: u8) {
        self.secure_with(epoch, (party, ours), Handover::AtOnce);
    }

    pub(crate) fn secure_with(&mut self, epoch: Epoch, keys: (u8, u8), handover: Handover) {
        let key = |byte| SrtpKey::unnamed(master_key(PROFILE, byte));
        let keys = HandshakeKeys { receive: key(keys.0), send: key(keys.1), handover };
        self.call.table.secure(CALL, StreamIndex(SECURE as u16), epoch, keys);
    }

    pub(crate) fn plan(&mut self, tap: Option<AgentTap>) {
        self.call.apply([unchanged(1), StreamPlan { agent: tap, ..unchanged(0) }]);
    }

    /// `bytes` come from `from`; nothing may leave because of it.
    #[track_caller]
    pub(crate) fn hears(&mut self, from: SocketAddr, bytes: &[u8]) {
        assert_eq!(self.call.arrives(from, (SECURE, 0), bytes), []);
    }

    pub(crate) fn stun(&self) -> Vec<AgentPacket> {
        std::iter::from_fn(|| self.intake.stun()).collect()
    }

    pub(crate) fn dtls(&self) -> Vec<AgentPacket> {
        std::iter::from_fn(|| self.intake.dtls()).collect()
    }

    /// One packet each way, byte for byte.
    #[track_caller]
    pub(crate) fn exchanges(&mut self, sequence: u16) {
        assert_eq!(self.call.secured(&rtp(SSRC, sequence)), Some(rtp(SSRC, sequence)));
        let protected = self.call.crypto.protect(&rtp(SSRC + 1, sequence));
        let arrived = self.call.sends(SECURE, &protected).expect("relayed");
        assert_eq!(arrived.bytes, rtp(SSRC + 1, sequence));
    }
}

pub(crate) const FIRST: Epoch = Epoch(1);

/// The ICE of [`webrtc`].
pub(crate) const ICE: IceGeneration = IceGeneration(1);

/// ICE and DTLS.
pub(crate) fn webrtc() -> AgentTap {
    AgentTap { uplink: 0, ice: Some(ICE), dtls: Some(FIRST), named: NamedSources::default() }
}

/// A path that is the same addresses both ways.
pub(crate) fn path(addresses: [SocketAddr; 2]) -> IcePath {
    IcePath {
        components: addresses.map(|at| ComponentPath { sources: vec![at], destination: Some(at) }),
    }
}

/// A binding request without attributes: what no agent believes, but every worker hands up.
pub(crate) fn binding_request(transaction: u32) -> Vec<u8> {
    let mut message = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
    message.extend([0; 8]);
    message.extend(transaction.to_be_bytes());
    message
}

/// A record that begins as a ClientHello does.
pub(crate) fn client_hello() -> Vec<u8> {
    let mut record = vec![22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 20, 1];
    record.resize(33, 0);
    record
}

#[test]
fn checks_are_heard_from_anywhere_and_say_where_they_came() {
    let mut leg = Leg::new(webrtc());
    let message = binding_request(7);
    leg.hears(hijacker(), &message);
    let [packet] = leg.stun().try_into().unwrap();
    assert_eq!((packet.call, packet.stream), (CALL, StreamIndex(SECURE as u16)));
    assert_eq!((packet.source, packet.local), (hijacker(), leg.call.local[SECURE][0]));
    assert_eq!((packet.component, packet.bytes()), (Component::Rtp, &message[..]));
    leg.call.arrives(hijacker(), (SECURE, 1), &message);
    assert_eq!(leg.stun()[0].component, Component::Rtcp);
    let report = &leg.call.report().streams[SECURE];
    assert_eq!((report.agent.stun, report.agent.dtls), (2, 0));
    assert_eq!((report.rtp_in.packets, report.last_packet), (0, None), "no sign of media");
    leg.call.assert_only_drops(SECURE, &[]);
}

#[test]
fn nothing_goes_up_that_the_plan_does_not_speak_of() {
    let cases = [
        (None, 2),
        (Some(AgentTap { ice: None, dtls: None, ..webrtc() }), 2),
        (Some(AgentTap { ice: None, ..webrtc() }), 1),
        (Some(AgentTap { dtls: None, ..webrtc() }), 1),
        (Some(AgentTap { uplink: 1, ..webrtc() }), 2),
    ];
    for (tap, dropped) in cases {
        let mut leg = Leg::planned(webrtc(), |plans| plans[SECURE].agent = tap);
        let party = leg.call.party[SECURE];
        leg.follow(path(party));
        leg.hears(party[0], &binding_request(1));
        leg.hears(party[0], &client_hello());
        assert_eq!(leg.stun().len() + leg.dtls().len(), 2 - dropped, "{tap:?}");
        leg.call.assert_only_drops(SECURE, &[(DropReason::UnexpectedProtocol, dropped as u64)]);
    }
}

#[test]
fn what_is_no_message_or_fits_no_frame_stays_down() {
    let mut leg = Leg::connected();
    let party = leg.call.party[SECURE][0];
    for bytes in [&[0; 20][..], &binding_request(1)[..19], &client_hello()[..13]] {
        leg.hears(party, bytes);
    }
    let mut long = client_hello();
    long.resize(AgentPacket::MAX + 1, 0);
    leg.hears(party, &long);
    leg.hears(party, &long[..AgentPacket::MAX]);
    assert_eq!(leg.dtls().len(), 1);
    assert!(leg.stun().is_empty());
    let expected = [(DropReason::Malformed, 3), (DropReason::Oversize, 1)];
    leg.call.assert_only_drops(SECURE, &expected);
}

#[test]
fn a_handshake_is_heard_from_the_path_alone() {
    let mut leg = Leg::new(webrtc());
    let party = leg.call.party[SECURE];
    leg.hears(party[0], &client_hello());
    leg.follow(path(party));
    leg.hears(hijacker(), &client_hello());
    assert!(leg.dtls().is_empty(), "signalled is not enough where ICE rules");
    leg.hears(party[0], &client_hello());
    assert_eq!(leg.dtls()[0].source, party[0]);
    leg.call.assert_only_drops(SECURE, &[(DropReason::AgentSource, 2)]);
}

#[test]
fn without_ice_a_handshake_is_heard_from_the_signalled_or_learned_address() {
    let mut leg = Leg::new(AgentTap { ice: None, ..webrtc() });
    let (signalled, natted) = (leg.call.party[SECURE][0], "192.0.2.77:31000".parse().unwrap());
    leg.hears(natted, &client_hello());
    leg.hears(signalled, &client_hello());
    assert_eq!(leg.dtls().len(), 1);
    leg.secure(FIRST, 1, 2);
    let packet = leg.call.crypto.protect(&rtp(SSRC, 1));
    assert!(leg.call.sends_from(natted, SECURE, &packet).is_some(), "its key proves the party");
    leg.hears(natted, &client_hello());
    assert_eq!(leg.dtls()[0].source, natted);
    leg.call.assert_only_drops(SECURE, &[(DropReason::AgentSource, 1)]);
}

#[test]
fn media_before_keys_is_dropped_and_counted_both_ways() {
    let mut leg = Leg::new(webrtc());
    let party = leg.call.party[SECURE];
    leg.follow(path(party));
    let protected = leg.call.crypto.protect(&rtp(SSRC, 1));
    assert_eq!(leg.call.sends(SECURE, &protected), None);
    assert_eq!(leg.call.sends(SECURE, &rtp(SSRC, 2)), None, "least of all in clear");
    assert_eq!(leg.call.sends(PLAIN, &rtp(SSRC, 1)), None);
    leg.call.assert_only_drops(SECURE, &[(DropReason::NoKey, 2)]);
    leg.call.assert_only_drops(PLAIN, &[(DropReason::NoKey, 1)]);
    leg.secure(FIRST, 1, 2);
    leg.exchanges(3);
}

#[test]
fn keys_of_another_association_are_ignored() {
    let mut leg = Leg::new(webrtc());
    leg.follow(path(leg.call.party[SECURE]));
    leg.secure(Epoch(0), 9, 9);
    leg.secure(Epoch(2), 9, 9);
    assert_eq!(leg.call.sends(PLAIN, &rtp(SSRC, 1)), None, "still without keys");
    leg.secure(FIRST, 1, 2);
    leg.exchanges(2);
    leg.plan(Some(AgentTap { dtls: Some(Epoch(2)), ..webrtc() }));
    leg.secure(FIRST, 9, 9);
    leg.exchanges(3);
}

/// Control's plans and agents' keys come by two ways, and the party may never begin anew.
#[test]
fn keys_that_a_plan_overtook_are_in_force_until_the_next() {
    let mut leg = Leg::new(webrtc());
    leg.follow(path(leg.call.party[SECURE]));
    leg.plan(Some(AgentTap { dtls: Some(Epoch(2)), ..webrtc() }));
    leg.secure(FIRST, 1, 2);
    leg.exchanges(1);
    leg.secure(Epoch(2), 3, 4);
    leg.call.crypto = Crypto::new(PROFILE, 3, 4);
    leg.exchanges(2);
    leg.secure(FIRST, 1, 2);
    leg.exchanges(3);
    // Between SDES and DTLS there is a pause, and what came before it is over.
    leg.plan(Some(AgentTap { dtls: None, ..webrtc() }));
    leg.plan(Some(AgentTap { dtls: Some(Epoch(4)), ..webrtc() }));
    leg.secure(Epoch(3), 1, 2);
    leg.exchanges(4);
}

/// A second time under one key, indexes would begin again.
#[test]
fn an_association_gives_keys_once() {
    let mut leg = Leg::connected();
    leg.exchanges(1);
    let packet = leg.call.crypto.protect(&rtp(SSRC, 2));
    assert!(leg.call.sends(SECURE, &packet).is_some());
    leg.plan(Some(webrtc()));
    leg.secure(FIRST, 1, 2);
    assert_eq!(leg.call.sends(SECURE, &packet), None);
    assert_eq!(leg.call.drops(SECURE, DropReason::Replayed), 1);
}

#[test]
fn new_keys_take_over_in_mid_stream_without_a_loss() {
    let mut leg = Leg::connected();
    for sequence in 0..50 {
        leg.exchanges(sequence);
    }
    leg.plan(Some(AgentTap { dtls: Some(Epoch(2)), ..webrtc() }));
    for sequence in 50..100 {
        leg.exchanges(sequence);
    }
    leg.secure(Epoch(2), 3, 4);
    let mut next = Crypto::new(PROFILE, 3, 4);
    for sequence in 100..150 {
        let old = leg.call.crypto.protect(&rtp(SSRC + 1, sequence));
        assert!(leg.call.sends(SECURE, &old).is_some(), "the party has not switched yet");
        let sent = leg.call.sends(PLAIN, &rtp(SSRC, sequence)).unwrap();
        assert_eq!(next.open(&sent.bytes).unwrap(), rtp(SSRC, sequence));
    }
    let late = leg.call.crypto.protect(&rtp(SSRC + 1, 150));
    leg.call.crypto = next;
    for sequence in 151..200 {
        leg.exchanges(sequence);
    }
    assert!(leg.call.sends(SECURE, &late).is_some(), "overtaken by the new key's first");
    leg.call.passes(Duration::from_secs(6));
    leg.exchanges(200);
    leg.call.assert_only_drops(SECURE, &[]);
    leg.call.assert_only_drops(PLAIN, &[]);
}

#[test]
fn a_plain_leg_that_becomes_dtls_says_nothing_until_it_has_keys() {
    let (uplink, _intake) = uplink();
    let mut call = Call::planned_on(Table::new(1024, vec![uplink]), PROFILE, |plans| {
        plans[SECURE].receive_key = ReceivePlan::Clear;
        plans[SECURE].send_key = SendPlan::Clear;
    });
    assert!(call.sends(PLAIN, &rtp(SSRC, 1)).is_some());
    let tap = AgentTap { ice: None, ..webrtc() };
    let (receive_key, send_key) = (ReceivePlan::Await, SendPlan::Await);
    let plan = StreamPlan { agent: Some(tap), receive_key, send_key, ..unchanged(0) };
    call.apply([unchanged(1), plan]);
    assert_eq!(call.sends(PLAIN, &rtp(SSRC, 2)), None);
    assert_eq!(call.sends(SECURE, &rtp(SSRC, 2)), None);
    call.assert_only_drops(SECURE, &[(DropReason::NoKey, 1)]);
}

/// Whoever spoke first on a plain leg was believed; a handshake is not for it.
#[test]
fn what_a_plain_leg_learned_is_no_address_for_dtls() {
    let (uplink, intake) = uplink();
    let call = Call::planned_on(Table::new(1024, vec![uplink]), PROFILE, |plans| {
        plans[SECURE].receive_key = ReceivePlan::Clear;
        plans[SECURE].send_key = SendPlan::Clear;
        plans[SECURE].learning = EndpointLearning::Immediate;
    });
    let mut leg = Leg { call, intake };
    let signalled = leg.call.party[SECURE][0];
    assert!(leg.call.sends_from(hijacker(), SECURE, &rtp(SSRC, 1)).is_some());
    assert_eq!(leg.call.sends(PLAIN, &rtp(SSRC, 1)).unwrap().to, hijacker(), "learned");
    let tap = AgentTap { ice: None, ..webrtc() };
    let (receive_key, send_key) = (ReceivePlan::Await, SendPlan::Await);
    let plan = StreamPlan { agent: Some(tap), receive_key, send_key, ..unchanged(0) };
    leg.call.apply([unchanged(1), plan]);
    leg.hears(hijacker(), &client_hello());
    leg.hears(signalled, &client_hello());
    let heard: Vec<_> = leg.dtls().iter().map(|packet| packet.source).collect();
    assert_eq!(heard, [signalled]);
    leg.secure(FIRST, 1, 2);
    let sent = leg.call.sends(PLAIN, &rtp(SSRC, 2)).unwrap();
    assert_eq!(sent.to, signalled, "nor for what it keys");
}

#[test]
fn a_stream_that_has_ended_hands_nothing_up_and_takes_no_keys() {
    let mut leg = Leg::connected();
    leg.call
        .apply([unchanged(1), StreamPlan { closed: true, agent: Some(webrtc()), ..unchanged(0) }]);
    leg.hears(leg.call.party[SECURE][0], &binding_request(1));
    leg.follow(path(leg.call.party[SECURE]));
    leg.secure(FIRST, 1, 2);
    assert!(leg.stun().is_empty());
    assert_eq!(leg.call.sends(PLAIN, &rtp(SSRC, 1)), None);
}

/// Our Finished is on its way to the party, or lost and sent again: nothing that it can't open yet
/// may overtake it.
#[test]
fn a_party_that_was_the_client_is_sent_new_keys_once_it_is_heard_under_them() {
    let mut leg = Leg::connected();
    leg.exchanges(1);
    leg.plan(Some(AgentTap { dtls: Some(Epoch(2)), ..webrtc() }));
    leg.secure_with(Epoch(2), (3, 4), Handover::OnceHeard);
    for sequence in 2..20 {
        leg.exchanges(sequence);
        leg.call.passes(Duration::from_millis(20));
    }
    leg.call.crypto = Crypto::new(PROFILE, 3, 4);
    let packet = leg.call.crypto.protect(&rtp(SSRC + 1, 20));
    assert!(leg.call.sends(SECURE, &packet).is_some());
    for sequence in 21..40 {
        leg.exchanges(sequence);
    }
    leg.call.assert_only_drops(SECURE, &[]);
    leg.call.assert_only_drops(PLAIN, &[]);
}

#[test]
fn a_silent_party_is_sent_new_keys_half_a_second_after_the_first_packet_for_it() {
    let mut leg = Leg::connected();
    leg.plan(Some(AgentTap { dtls: Some(Epoch(2)), ..webrtc() }));
    leg.secure_with(Epoch(2), (3, 4), Handover::OnceHeard);
    leg.call.passes(Duration::from_secs(5));
    for sequence in 0..25 {
        assert!(leg.call.secured(&rtp(SSRC, sequence)).is_some(), "under the old keys");
        leg.call.passes(Duration::from_millis(20));
    }
    leg.call.crypto = Crypto::new(PROFILE, 3, 4);
    assert!(leg.call.secured(&rtp(SSRC, 25)).is_some(), "under the new keys");
}

/// Where there was no key there is nothing to go on under.
#[test]
fn the_first_keys_are_in_force_at_once() {
    let mut leg = Leg::new(webrtc());
    leg.follow(path(leg.call.party[SECURE]));
    leg.secure_with(FIRST, (1, 2), Handover::OnceHeard);
    assert!(leg.call.secured(&rtp(SSRC, 1)).is_some());
}
