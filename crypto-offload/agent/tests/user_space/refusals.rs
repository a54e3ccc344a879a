//! What is refused, in which words; and that nothing half-done stays.

use crypto_offload::{
    Direction, EngineError, ErrorClass, IpsecEngine, Mode, Placement, SaSpec, SequenceNumbers,
};
use offload_agent::user_space::UserSpaceEngine;

use crate::{
    host::{Host, join},
    pair::{Family, Terms, Way, tunnel},
};

/// What the engine of `host` says to an SA that is as usual but for `change`.
fn refusal(host: &Host, change: fn(&mut SaSpec)) -> EngineError {
    host.run(move |engine| {
        let mut sa = Terms::default().sa(Way::ToRight, 9, Direction::Outbound, Family::Ipv4);
        change(&mut sa);
        engine.install(&sa, Placement::UserSpace).unwrap_err()
    })
}

#[test]
fn each_slip_is_refused_in_its_own_words_and_leaves_nothing() {
    const TEST: &str = "each_slip_is_refused_in_its_own_words_and_leaves_nothing";
    let (Some(left), Some(right)) = (Host::plain(TEST), Host::plain(TEST)) else { return };
    join(&left, &right);
    let transport = refusal(&left, |sa| sa.mode = Mode::Transport);
    assert_eq!(transport.class, ErrorClass::Unsupported);
    assert_eq!(transport.reason, "user-space ESP has tunnel mode only");
    let stranger = refusal(&left, |sa| sa.source = "192.0.2.77".parse().unwrap());
    assert_eq!(stranger.class, ErrorClass::Conflict);
    assert!(stranger.reason.contains("192.0.2.77 is not an address of this host"), "{stranger}");
    let wide = refusal(&left, |sa| sa.replay_window = 5000);
    assert!(wide.to_string().contains("1 to 4096"), "{wide}");
    let busy = left.run(|_| std::net::UdpSocket::bind("192.0.2.1:4500").unwrap());
    let taken = refusal(&left, |_| {});
    assert_eq!(taken.class, ErrorClass::Conflict);
    assert!(taken.to_string().contains("192.0.2.1:4500 is in use"), "{taken}");
    drop(busy);
    left.run(|engine| {
        assert_eq!(engine.list().unwrap(), []);
        // Nothing in the way of the same SA, put right.
        let sa = Terms::default().sa(Way::ToRight, 9, Direction::Outbound, Family::Ipv4);
        engine.install(&sa, Placement::UserSpace).unwrap();
        let twice = engine.install(&sa, Placement::UserSpace).unwrap_err();
        assert_eq!(twice.class, ErrorClass::Conflict);
        let elsewhere = engine.install(&sa, Placement::KernelSoftware).unwrap_err();
        assert_eq!(elsewhere.class, ErrorClass::Unsupported);
    });
}

#[test]
fn a_route_that_would_lead_the_tunnel_into_itself_is_refused() {
    const TEST: &str = "a_route_that_would_lead_the_tunnel_into_itself_is_refused";
    let Some(host) = Host::plain(TEST) else { return };
    let refused = host.run(|engine| {
        let mut policy = Terms::default().policy(Way::ToRight, Some(1), Family::Ipv4);
        policy.selector.destination = "192.0.2.0/24".parse().unwrap();
        engine.set_policy(&policy, Placement::UserSpace).unwrap_err()
    });
    assert!(refused.hint.unwrap().contains("without the address `remote`"));
}

#[test]
fn removing_is_done_once_or_twice_and_takes_routes_sockets_and_device_along() {
    const TEST: &str = "removing_is_done_once_or_twice_and_takes_routes_sockets_and_device_along";
    let terms = Terms { sequence_numbers: SequenceNumbers::Short, ..Terms::default() };
    let Some([left, _right]) = tunnel(TEST, terms, Family::Ipv4) else { return };
    assert!(left.ip("route show").contains("10.2.0.1 dev postern0"));
    let selector = crate::pair::selector(Way::ToRight, Family::Ipv4);
    for _ in 0..2 {
        left.run(move |engine| {
            engine.remove_policy(crypto_offload::PolicyDirection::Out, &selector).unwrap();
            engine.remove(terms.id(Way::ToRight, 1)).unwrap();
            engine.remove(terms.id(Way::ToLeft, 1)).unwrap();
            let gone = engine.usage(terms.id(Way::ToLeft, 1)).unwrap_err();
            assert_eq!(gone.class, ErrorClass::Gone);
        });
    }
    assert!(!left.ip("route show").contains("postern0"));
    left.run(|_| drop(std::net::UdpSocket::bind("192.0.2.1:4500").unwrap()));
    left.run(replace);
    assert!(!left.ip("link show").contains("postern0"));
}

/// Drops the engine.
fn replace(engine: &mut UserSpaceEngine) {
    let reservations =
        std::sync::Arc::new(offload_agent::user_space::reservation::InMemory::default());
    *engine = UserSpaceEngine::new(Default::default(), reservations).unwrap();
}

#[test]
fn an_spi_is_promised_once_until_it_is_used_or_given_back() {
    const TEST: &str = "an_spi_is_promised_once_until_it_is_used_or_given_back";
    let Some(host) = Host::plain(TEST) else { return };
    host.run(|engine| {
        let sa = Terms::default().sa(Way::ToLeft, 1, Direction::Inbound, Family::Ipv4);
        engine.reserve(sa.id, sa.source, sa.reqid).unwrap();
        let again = engine.reserve(sa.id, sa.source, sa.reqid).unwrap_err();
        assert_eq!(again.class, ErrorClass::Conflict);
        engine.remove(sa.id).unwrap();
        engine.reserve(sa.id, sa.source, sa.reqid).unwrap();
    });
}

#[test]
fn traffic_of_a_policy_has_no_way_round_when_its_engine_is_gone() {
    const TEST: &str = "traffic_of_a_policy_has_no_way_round_when_its_engine_is_gone";
    let (Some(left), Some(right)) = (Host::plain(TEST), Host::plain(TEST)) else { return };
    join(&left, &right);
    left.ip("route add default via 192.0.2.2");
    let policy = Terms::default().policy(Way::ToRight, Some(1), Family::Ipv4);
    let inside = policy.selector.destination;
    left.run(move |engine| engine.set_policy(&policy, Placement::UserSpace).unwrap());
    let routes = left.ip("route show");
    assert!(routes.contains("unreachable"), "{inside}: {routes}");
    // The device goes with the agent's process, and the routes into it go with the device.
    left.ip("link delete postern0");
    let other = left.ip("route show default");
    assert!(other.contains("via 192.0.2.2"), "{other}");
    let left_over = left.ip(&format!("route show {inside}"));
    assert!(left_over.starts_with("unreachable"), "{left_over}");
}
