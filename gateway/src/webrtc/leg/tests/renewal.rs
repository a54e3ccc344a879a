//! New epochs after an ICE restart that says nothing of DTLS: the party goes on, or begins anew.

use super::*;

/// As after an ICE restart under the same fingerprint, without tls-id.
fn restarted(role: DtlsRole, peer: &Identity) -> LegPlan {
    let mut plan = plan(role, 2, peer);
    plan.dtls.as_mut().unwrap().renewal = Renewal::Doubtful;
    plan
}

#[test]
fn a_party_that_goes_on_over_an_ice_restart_is_no_failure() {
    let mut world = World::new(DtlsRole::Client);
    world.peer(Role::Server);
    world.begin();
    world.settle();
    assert!(world.secured().is_some());
    world.effects.clear();

    let next = restarted(DtlsRole::Client, &world.peer_identity);
    world.with(|leg, now, out| leg.update(next, now, out));
    let epoch = Epoch(2);
    assert_eq!(world.news(), [&LegNewsKind::Continued { epoch, profile: PROFILE }]);
    world.begin();
    let mut looks = 0;
    while let Some(deadline) = world.leg.deadline() {
        assert_eq!(world.leg.keying_state(), Some(KeyingState::Secured));
        world.now = deadline;
        world.with(|leg, now, out| leg.handle_timeout(now, out));
        looks += 1;
    }
    assert!((2..=5).contains(&looks), "{looks}");
    assert_eq!(world.ended(), [HandshakeResult::Abandoned]);
    assert_eq!(world.news().len(), 1);
    assert_eq!(world.leg.keying_state(), Some(KeyingState::Secured));
    assert!(!world.leg.is_client_to_begin());

    // The association of before is the one in force: its end is the leg's.
    world.peer.as_mut().unwrap().close(world.now);
    world.settle();
    assert_eq!(world.leg.keying_state(), Some(KeyingState::Failed));
    let news = world.news();
    assert!(matches!(news[1], LegNewsKind::Unsecured { epoch: Epoch(2), .. }), "{news:?}");
}

#[test]
fn a_party_that_begins_anew_after_an_ice_restart_gets_new_keys() {
    for (ours, theirs) in [(DtlsRole::Client, Role::Server), (DtlsRole::Server, Role::Client)] {
        let mut world = World::new(ours);
        world.peer(theirs);
        world.settle_from_the_start();
        let (_, first) = world.secured().unwrap();
        let next = restarted(ours, &world.peer_identity);
        world.with(|leg, now, out| leg.update(next, now, out));
        assert_eq!(world.leg.keying_state(), Some(KeyingState::Secured));
        world.peer(theirs);
        world.settle_from_the_start();
        let handover = match ours {
            DtlsRole::Client => Handover::AtOnce,
            DtlsRole::Server => Handover::OnceHeard,
        };
        assert_eq!(world.handover(), Some(handover));
        let (epoch, second) = world.secured().unwrap();
        assert_eq!(epoch, Epoch(2));
        assert!(first.send != second.send);
        assert_fit((&second, &world.peer_keys.take().unwrap().1));
    }
}

#[test]
fn a_party_that_ends_its_association_after_an_ice_restart_may_still_begin_anew() {
    let mut world = World::new(DtlsRole::Server);
    world.peer(Role::Client);
    world.settle();
    assert!(world.secured().is_some());
    let next = restarted(DtlsRole::Server, &world.peer_identity);
    world.with(|leg, now, out| leg.update(next, now, out));
    world.peer.as_mut().unwrap().close(world.now);
    world.settle();
    assert_eq!(world.leg.keying_state(), Some(KeyingState::Failed));
    let last = world.news().pop();
    assert!(matches!(last, Some(LegNewsKind::Unsecured { epoch: Epoch(2), .. })), "{last:?}");

    world.peer(Role::Client);
    world.settle();
    assert_eq!(world.secured().map(|(epoch, _)| epoch), Some(Epoch(2)));
}
