//! What `query` is told of a leg's ICE and DTLS.

use ng::reply::{DtlsState, IceState, Side};
use srtp::Profile;

use super::browser::{Browser, plain, to_browser, to_trunk, world};
use super::world::{A, World, signal};
use crate::session::MediaView;
use crate::webrtc::plan::{Epoch, LegNewsKind};

fn media(world: &World, party: usize) -> MediaView {
    let key = *world.worker.keys().next().unwrap();
    world.calls.view(key).unwrap().parties[party].media[0].clone()
}

#[test]
fn a_leg_is_told_from_its_offer_to_its_keys_and_why_it_failed() {
    let mut world = world();
    world.offer(&to_browser(signal("a", None, &plain(A)))).unwrap();
    let offered = media(&world, 1);
    assert_eq!(offered.ice.unwrap().state, IceState::Waiting);
    assert!(offered.dtls.is_none());

    world.answer(&to_trunk(Browser::answering().signal("a", Some("b")))).unwrap();
    let answered = media(&world, 1);
    let (ice, dtls) = (answered.ice.unwrap(), answered.dtls.unwrap());
    assert_eq!((ice.state, ice.controlling), (IceState::Checking, Side::Us));
    assert!(!ice.lite && !ice.peer_lite && ice.selected.is_none());
    assert_eq!((dtls.state, dtls.client), (DtlsState::Handshaking, Some(Side::Peer)));
    assert_eq!(answered.suite, None);

    let (local, remote) = ("10.0.0.2:30006".parse().unwrap(), "203.0.113.9:1".parse().unwrap());
    world.hear(1, LegNewsKind::Connected { local, remote });
    let profile = Profile::AeadAes128Gcm;
    world.hear(1, LegNewsKind::Secured { epoch: Epoch(1), profile });
    let secured = media(&world, 1);
    assert_eq!(secured.ice.unwrap().selected, Some((local, remote)));
    let dtls = secured.dtls.unwrap();
    assert_eq!((dtls.state, dtls.profile), (DtlsState::Secured, Some(profile.name())));
    assert_eq!(secured.suite, Some(profile.name()));

    world.hear(1, LegNewsKind::Disconnected { reason: "consent was lost" });
    let reason = "the certificate fits no fingerprint".to_owned();
    world.hear(1, LegNewsKind::Unsecured { epoch: Epoch(1), reason: reason.clone() });
    let failed = media(&world, 1);
    let (ice, dtls) = (failed.ice.unwrap(), failed.dtls.unwrap());
    assert_eq!((ice.state, ice.reason.as_deref()), (IceState::Failed, Some("consent was lost")));
    assert_eq!((dtls.state, dtls.reason), (DtlsState::Failed, Some(reason)));
    let other = media(&world, 0);
    assert!(other.ice.is_none() && other.dtls.is_none(), "the other leg does not mind");
}

#[test]
fn news_of_an_older_association_are_not_taken_for_those_of_a_newer() {
    let mut world = world();
    world.offer(&to_browser(signal("a", None, &plain(A)))).unwrap();
    world.answer(&to_trunk(Browser::answering().signal("a", Some("b")))).unwrap();
    let other = Browser { certificate: 9, ..Browser::answering() };
    world.answer(&to_trunk(other.signal("a", Some("b")))).unwrap();
    let reason = "closed by the party".to_owned();
    world.hear(1, LegNewsKind::Unsecured { epoch: Epoch(1), reason });
    assert_eq!(media(&world, 1).dtls.unwrap().state, DtlsState::Handshaking);
}
