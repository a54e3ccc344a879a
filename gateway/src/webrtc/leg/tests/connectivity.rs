//! ICE of a leg: paths, restarts, components.

use ng::sdp::{Candidate, IceCredentials};
use webrtc::ice;

use super::*;
use crate::webrtc::plan::{IceAgent, IceGeneration, IcePlan, IceRole};

/// A peer's ICE agent, full and controlling, that trusts the world to deliver.
struct IcePeer(ice::Agent);

fn credentials(word: &str) -> IceCredentials {
    IceCredentials {
        ufrag: word.into(),
        pwd: format!("{word}-password-of-22-letters").replace('-', "+").into(),
    }
}

impl IcePeer {
    fn new(now: Instant) -> Self {
        let settings = ice::Settings {
            implementation: ice::Implementation::Full,
            role: ice::Role::Controlling,
            local: credentials("peer"),
            candidates: vec![ice::LocalCandidate {
                component: ice::Component::Rtp,
                address: theirs(),
                preference: u16::MAX,
            }],
            seed: Seed::new(&[2; 32]),
        };
        let mut agent = ice::Agent::new(settings, now).unwrap();
        let (credentials, implementation) = (credentials("ours"), ice::Implementation::Full);
        agent.set_remote(ice::RemoteParameters { credentials, implementation }, now).unwrap();
        let ours = ice::LocalCandidate {
            component: ice::Component::Rtp,
            address: ours(),
            preference: u16::MAX,
        };
        agent.add_candidate(&ours.to_sdp(ours.address), now).unwrap();
        Self(agent)
    }
}

fn ice_plan() -> IcePlan {
    IcePlan {
        generation: IceGeneration(0),
        local: credentials("ours"),
        remote: Some(credentials("peer")),
        agent: IceAgent::Full,
        peer: IceAgent::Full,
        role: IceRole::Controlled,
        candidates: Vec::new(),
        complete: true,
    }
}

#[test]
fn with_ice_a_handshake_waits_for_a_valid_pair_and_the_worker_hears_of_the_path() {
    let mut now = Instant::now();
    let peer_identity = identity();
    let mut leg =
        Leg::new(LegPlan { ice: Some(ice_plan()), ..plan(DtlsRole::Client, 1, &peer_identity) });
    let mut out = Vec::new();
    leg.lent(None, [Some(ours()), None], seed(), now, &mut out);
    assert!(!leg.is_client_to_begin(), "signalled, but ICE decides");
    let mut peer = IcePeer::new(now);
    let mut paths = Vec::new();
    for _ in 0..40 {
        peer.0.handle_timeout(now);
        loop {
            match peer.0.poll() {
                ice::Output::Transmit(sent) => {
                    leg.stun(arrival(&sent.bytes), now, &mut out);
                }
                ice::Output::Timeout(_) => break,
                _ => {}
            }
        }
        for effect in out.drain(..) {
            match effect {
                Effect::Send { to, bytes, .. } => {
                    let _ = peer.0.receive(ice::Component::Rtp, to, ours(), &bytes, now);
                }
                Effect::Path { path, .. } => paths.push(path),
                Effect::News(kind) => {
                    assert_eq!(kind, LegNewsKind::Connected { local: ours(), remote: theirs() });
                }
                other => panic!("{other:?}"),
            }
        }
        now += Duration::from_millis(50);
    }
    let path = &paths.last().unwrap().components[0];
    assert_eq!((path.sources.as_slice(), path.destination), (&[theirs()][..], Some(theirs())));
    assert_eq!(leg.ice_state(), Some(IceState::Connected));
    assert!(leg.is_client_to_begin());

    // The party falls silent: its consent is over, and media to it.
    let end = now + Duration::from_secs(40);
    while let Some(deadline) = leg.deadline().filter(|deadline| *deadline < end) {
        leg.handle_timeout(deadline, &mut out);
    }
    let reasons = out.iter().filter_map(|effect| match effect {
        Effect::News(LegNewsKind::Disconnected { reason }) => Some(*reason),
        _ => None,
    });
    assert_eq!(reasons.collect::<Vec<_>>(), ["ICE: the party's consent was lost"]);
    let last = out.iter().rev().find_map(|effect| match effect {
        Effect::Path { path, .. } => Some(path.components[0].destination),
        _ => None,
    });
    assert_eq!(last, Some(None), "media to it ends (RFC 7675 section 5.1)");
    assert!(!leg.is_client_to_begin());
}

/// Both talk for `time`. What the leg tells control of it.
fn talk(leg: &mut Leg, peer: &mut IcePeer, now: &mut Instant, time: Duration) -> Vec<LegNewsKind> {
    let (end, mut out, mut news) = (*now + time, Vec::new(), Vec::new());
    while *now < end {
        leg.handle_timeout(*now, &mut out);
        peer.0.handle_timeout(*now);
        loop {
            match peer.0.poll() {
                ice::Output::Transmit(sent) => leg.stun(arrival(&sent.bytes), *now, &mut out),
                ice::Output::Timeout(_) => break,
                _ => {}
            }
        }
        for effect in out.drain(..) {
            match effect {
                Effect::Send { to, bytes, .. } => {
                    let _ = peer.0.receive(ice::Component::Rtp, to, ours(), &bytes, *now);
                }
                Effect::News(kind) => news.push(kind),
                _ => {}
            }
        }
        *now += Duration::from_millis(50);
    }
    news
}

/// Requests that a leg with ICE alone sends in two seconds, by component.
fn checks_sent(leg: &mut Leg, now: &mut Instant, out: &mut Vec<Effect>) -> [usize; 2] {
    let end = *now + Duration::from_secs(2);
    while let Some(deadline) = leg.deadline().filter(|deadline| *deadline <= end) {
        *now = deadline.max(*now);
        leg.handle_timeout(*now, out);
    }
    *now = end;
    let mut sent = [0; 2];
    for effect in out.drain(..) {
        if let Effect::Send { component, bytes, .. } = effect {
            sent[component as usize] += usize::from(bytes.starts_with(&[0, 1]));
        }
    }
    sent
}

/// A plan of ICE alone, under these credentials, towards [`theirs`] and the port above.
fn ice_leg_plan(generation: &str, agent: IceAgent, rtcp_mux: bool) -> LegPlan {
    let candidate = |component, port_above| {
        let address = SocketAddr::new(theirs().ip(), theirs().port() + port_above);
        let local = ice::LocalCandidate { component, address, preference: u16::MAX };
        // Of different foundations neither waits for the other (RFC 8445 section 6.1.2.6).
        Candidate { foundation: component.number().to_string().into(), ..local.to_sdp(address) }
    };
    let ice = IcePlan {
        local: credentials(&format!("ours{generation}")),
        remote: Some(credentials(&format!("peer{generation}"))),
        agent,
        role: match agent {
            IceAgent::Full => IceRole::Controlling,
            IceAgent::Lite => IceRole::Controlled,
        },
        candidates: vec![candidate(ice::Component::Rtp, 0), candidate(ice::Component::Rtcp, 1)],
        ..ice_plan()
    };
    LegPlan { ice: Some(ice), dtls: None, rtcp_mux, signalled: [None; 2], socket: ours() }
}

#[test]
fn a_restart_as_lite_checks_no_more_and_one_as_full_checks_again() {
    let (mut now, mut out) = (Instant::now(), Vec::new());
    let mut leg = Leg::new(ice_leg_plan("0", IceAgent::Full, true));
    leg.lent(None, [Some(ours()), None], seed(), now, &mut out);
    assert!(checks_sent(&mut leg, &mut now, &mut out)[0] > 0);
    leg.update(ice_leg_plan("1", IceAgent::Lite, true), now, &mut out);
    assert_eq!(checks_sent(&mut leg, &mut now, &mut out), [0, 0]);
    leg.update(ice_leg_plan("2", IceAgent::Full, true), now, &mut out);
    assert!(checks_sent(&mut leg, &mut now, &mut out)[0] > 0);
}

#[test]
fn rtcp_is_checked_again_once_rtcp_mux_is_taken_back_with_or_without_a_restart() {
    let rtcp = SocketAddr::new(ours().ip(), ours().port() + 1);
    for generation in ["0", "1"] {
        let (mut now, mut out) = (Instant::now(), Vec::new());
        let mut leg = Leg::new(ice_leg_plan("0", IceAgent::Full, true));
        leg.lent(None, [Some(ours()), Some(rtcp)], seed(), now, &mut out);
        assert_eq!(checks_sent(&mut leg, &mut now, &mut out)[1], 0);
        leg.update(ice_leg_plan(generation, IceAgent::Full, false), now, &mut out);
        assert!(checks_sent(&mut leg, &mut now, &mut out)[1] > 0, "{generation}");
    }
}

#[test]
fn a_restart_in_vain_leaves_the_leg_where_it_was_until_that_is_lost_too() {
    let mut now = Instant::now();
    let with_ice = |ice| LegPlan { ice: Some(ice), ..ice_leg_plan("0", IceAgent::Full, true) };
    let mut leg = Leg::new(with_ice(ice_plan()));
    leg.lent(None, [Some(ours()), None], seed(), now, &mut Vec::new());
    let mut peer = IcePeer::new(now);
    let connected = LegNewsKind::Connected { local: ours(), remote: theirs() };
    let news = talk(&mut leg, &mut peer, &mut now, Duration::from_secs(2));
    assert_eq!(news.last(), Some(&connected));

    // The party's side of the restart never comes about: it goes on under its old credentials.
    let (local, remote) = (credentials("ours1"), Some(credentials("peer1")));
    let in_vain = with_ice(IcePlan { local, remote, ..ice_plan() });
    let mut out = Vec::new();
    leg.update(in_vain, now, &mut out);
    let news = talk(&mut leg, &mut peer, &mut now, Duration::from_secs(60));
    assert_eq!(leg.ice_state(), Some(IceState::Failed));
    assert_eq!(news, [connected], "query tells of the pair that is in use");

    let end = now + Duration::from_secs(40);
    while let Some(deadline) = leg.deadline().filter(|deadline| *deadline < end) {
        leg.handle_timeout(deadline, &mut out);
    }
    let told = out.iter().filter_map(|effect| match effect {
        Effect::News(kind) => Some(kind),
        _ => None,
    });
    let reason = "ICE: the party's consent was lost";
    assert_eq!(told.collect::<Vec<_>>(), [&LegNewsKind::Disconnected { reason }]);
}
