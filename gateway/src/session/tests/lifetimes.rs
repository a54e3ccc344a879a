//! How calls are refused, and how they end: deletion now and later, timeouts, limits.

use std::time::Duration;

use bytes::Bytes;
use ng::request::{Delete, Query};

use super::world::{
    A, B, World, answer_of, audio, branch, delete, later, offer_of, settings, signal,
};
use crate::session::{DeleteEffect, EndReason, Expired, Outcome, Refused, Settings};

#[test]
fn refusals_are_in_the_incumbents_words() {
    let mut world = World::new();
    let refused = |result: Result<_, Refused>| result.map(|_: Outcome| ()).unwrap_err().0;
    assert_eq!(refused(world.answer(&answer_of("a", "b", 1))), "Unknown call-id");
    assert_eq!(refused(world.offer(&signal("a", None, "garbage"))), "Failed to parse SDP");
    let no_connection = "v=0\r\no=- 1 1 IN IP4 1.1.1.1\r\ns=-\r\nt=0 0\r\nm=audio 4 RTP/AVP 0\r\n";
    assert_eq!(
        refused(world.offer(&signal("a", None, no_connection))),
        "Incomplete SDP specification"
    );
    assert_eq!(
        world.delete(&delete(None, None)).unwrap_err().0,
        "Call-ID not found or tags didn't match"
    );
    world.offer(&offer_of("a", 4000)).unwrap();
    assert_eq!(refused(world.answer(&answer_of("z", "b", 1))), "Invalid dialogue association");
    assert_eq!(world.delete(&delete(Some("z"), None)).unwrap_err(), Refused::NOT_FOUND);
    let query = Query { call_id: Bytes::from_static(b"nope"), from_tag: None, to_tag: None };
    assert_eq!(world.calls.query(&query).unwrap_err().0, "Unknown call-id");
}

#[test]
fn exhausted_ports_refuse_the_offer_and_free_what_it_had_taken() {
    let mut world = World::new();
    world.calls.ports_mut().capacity = 1;
    let refused = world.offer(&offer_of("a", 4000)).unwrap_err();
    assert_eq!(refused.0, "Ran out of ports");
    assert_eq!((world.ports_open(), world.calls.len()), (0, 0));
}

#[test]
fn the_session_limit_refuses_new_calls_only() {
    let mut world = World::with(Settings { max_sessions: Some(1), ..settings() });
    world.offer(&offer_of("a", 4000)).unwrap();
    world.offer(&offer_of("a", 4000)).unwrap();
    let mut other = offer_of("a", 4000);
    other.call_id = Bytes::from_static(b"other");
    assert_eq!(world.offer(&other).unwrap_err(), Refused::SESSION_LIMIT);
}

#[test]
fn a_delayed_deletion_is_cancelled_by_an_offer() {
    let mut world = World::new();
    world.offer(&offer_of("a", 4000)).unwrap();
    world.answer(&answer_of("a", "b", 5000)).unwrap();
    for cancelled in [true, false] {
        let deleted = world.delete(&later()).unwrap();
        assert!(matches!(deleted.effect, DeleteEffect::Later));
        assert!(world.wait(Duration::from_secs(29)).is_empty());
        if cancelled {
            world.offer(&signal("a", Some("b"), &audio(A, 4000, "RTP/AVP", &[]))).unwrap();
        }
        assert_eq!(world.wait(Duration::from_secs(2)).is_empty(), cancelled);
    }
    assert_eq!((world.ports_open(), world.calls.len()), (0, 0));
}

#[test]
fn calls_end_by_timeout_silent_timeout_and_offer_timeout() {
    for (answered, direction, limit, reason) in [
        (true, "sendrecv", 60, EndReason::Timeout),
        (true, "inactive", 3600, EndReason::SilentTimeout),
        (false, "sendrecv", 3600, EndReason::OfferTimeout),
    ] {
        let mut world = World::new();
        let offer = signal("a", None, &audio(A, 4000, "RTP/AVP", &[direction]));
        let call = world.offer(&offer).unwrap().call;
        if answered {
            world.answer(&signal("a", Some("b"), &audio(B, 5000, "RTP/AVP", &[]))).unwrap();
        }
        let start = world.now;
        let just_before = start + Duration::from_secs(limit - 1);
        assert!(world.calls.expire(just_before).is_empty());
        assert!(world.calls.idle(call, start, just_before).is_none());
        let then = start + Duration::from_secs(limit);
        let expired = match answered {
            true => world.calls.idle(call, start, then),
            false => world.calls.expire(then).pop(),
        };
        let Some(Expired::Call { reason: found, .. }) = expired else { panic!("still up") };
        assert_eq!(found, reason);
        world.close(call);
        assert_eq!(world.ports_open(), 0);
    }
}

#[test]
fn a_deadline_that_new_settings_moved_holds_nobody_else_up() {
    let mut world = World::new();
    world.offer(&offer_of("a", 4000)).unwrap();
    let longer = Duration::from_secs(7200);
    world.calls.reconfigure(Settings { offer_timeout: longer, ..settings() });
    world.now += Duration::from_secs(1);
    let mut other = offer_of("a", 4000);
    other.call_id = Bytes::from_static(b"other");
    let other = world.offer(&other).unwrap().call;
    world
        .calls
        .delete(&Delete { call_id: Bytes::from_static(b"other"), ..later() }, world.now)
        .unwrap();
    world.wait(Duration::from_secs(3600));
    assert!(!world.worker.contains_key(&other));
    assert_eq!(world.calls.len(), 1);
    world.wait(Duration::from_secs(3600));
    assert_eq!(world.calls.len(), 0);
}

#[test]
fn two_branches_due_at_once_end_one_by_one() {
    let mut world = World::new();
    world.offer(&branch(offer_of("a", 4000), "v1")).unwrap();
    world.offer(&branch(offer_of("a", 4000), "v2")).unwrap();
    for name in ["v1", "v2"] {
        let branch = Some(Bytes::from_static(name.as_bytes()));
        world.delete(&Delete { via_branch: branch, ..later() }).unwrap();
    }
    assert_eq!(world.wait(Duration::from_secs(31)).len(), 1);
    assert_eq!((world.ports_open(), world.calls.len()), (0, 0));
}

#[test]
fn a_call_id_may_start_anew_while_the_old_call_is_being_closed() {
    let mut world = World::new();
    let first = world.offer(&offer_of("a", 4000)).unwrap().call;
    let ended = world.calls.delete(&delete(None, None), world.now).unwrap();
    assert!(matches!(ended.effect, DeleteEffect::Close));
    assert_eq!(world.ports_open(), 2, "ports are free once the sockets are closed");
    let second = world.offer(&offer_of("a", 4000)).unwrap().call;
    assert_ne!(first, second);
    world.close(first);
    assert_eq!((world.ports_open(), world.calls.len()), (2, 1));
}
