//! What others undo behind the engine's back.

use std::{net::UdpSocket, time::Duration};

use crypto_offload::{EngineEvent, IpsecEngine};

use crate::{
    host::{Host, wait_until},
    pair::{Family, Terms, Way, install, switch, tunnel},
};

/// Whether a packet gets from one to the other.
fn passes(from: &UdpSocket, to: &UdpSocket) -> bool {
    to.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    from.send_to(&[1], to.local_addr().unwrap()).is_ok() && to.recv(&mut [0; 10]).is_ok()
}

/// As an agent does it all the time.
fn tend(host: &Host) -> Vec<EngineEvent> {
    host.run(|engine| engine.events().unwrap())
}

#[test]
fn routes_that_somebody_removes_come_back_with_their_guards() {
    const TEST: &str = "routes_that_somebody_removes_come_back_with_their_guards";
    let Some([left, right]) = tunnel(TEST, Terms::default(), Family::Ipv4) else { return };
    let (ours, theirs) = (left.udp("10.1.0.1"), right.udp("10.2.0.1"));
    assert!(passes(&ours, &theirs));
    left.ip("link set postern0 down");
    left.ip("route flush proto static");
    assert_eq!(left.ip("route show 10.2.0.1"), "");
    left.ip("link set postern0 up");
    assert!(!passes(&ours, &theirs));
    wait_until("the way to be back", || {
        tend(&left);
        passes(&ours, &theirs)
    });
    let routes = left.ip("route show 10.2.0.1");
    assert!(routes.contains("dev postern0") && routes.contains("unreachable"), "{routes}");
    // It goes with its policy, as the one before would have.
    let selector = crate::pair::selector(Way::ToRight, Family::Ipv4);
    left.run(move |engine| {
        engine.remove_policy(crypto_offload::PolicyDirection::Out, &selector).unwrap();
    });
    assert_eq!(left.ip("route show 10.2.0.1"), "");
}

#[test]
fn a_deleted_device_takes_its_sas_and_the_next_ones_find_a_new_one() {
    const TEST: &str = "a_deleted_device_takes_its_sas_and_the_next_ones_find_a_new_one";
    let terms = Terms::default();
    let Some([left, right]) = tunnel(TEST, terms, Family::Ipv4) else { return };
    let (ours, theirs) = (left.udp("10.1.0.1"), right.udp("10.2.0.1"));
    left.ip("link delete postern0");
    let mut told = Vec::new();
    wait_until("the news", || {
        told.extend(tend(&left));
        told.len() >= 3
    });
    for way in [Way::ToRight, Way::ToLeft] {
        assert!(told.contains(&EngineEvent::Removed(terms.id(way, 1))), "{told:?}");
    }
    assert!(left.run(|engine| engine.list().unwrap()).is_empty());
    assert!(!passes(&ours, &theirs));
    install(&left, &right, terms, 2, Family::Ipv4);
    // The policy that was there still names SAs of before, and has its route again.
    assert!(left.ip("route show 10.2.0.1").contains("dev postern0"));
    switch(&left, Way::ToRight, terms, 2, Family::Ipv4);
    switch(&right, Way::ToLeft, terms, 2, Family::Ipv4);
    assert!(passes(&ours, &theirs) && passes(&theirs, &ours));
}
