//! DTLS-SRTP: who begins, what is offered and answered, and what makes a new association.

use ng::request::{DtlsRole as Wanted, Signal};
use ng::sdp::{HashFunction, Protocol, Setup};
use srtp::Profile;

use super::browser::{Browser, plain, print, to_browser, to_trunk, with_agents, world};
use super::world::{A, B, Key, World, audio, crypto, section, signal, towards};
use crate::session::Refused;
use crate::webrtc::plan::{CertificateSerial, DtlsRole, Epoch, LegNewsKind, Renewal};

/// A call from a browser to a plain trunk, answered; its options go into both requests.
fn called(browser: &Browser, options: impl Fn(&mut Signal)) -> (World, ng::sdp::MediaSection) {
    let mut world = world();
    let mut offer = to_trunk(browser.signal("a", None));
    options(&mut offer);
    world.offer(&offer).unwrap();
    let answered = answer(&mut world, &options);
    (world, answered)
}

fn answer(world: &mut World, options: &impl Fn(&mut Signal)) -> ng::sdp::MediaSection {
    let mut answer = signal("a", Some("b"), &plain(B));
    options(&mut answer);
    section(&world.answer(&answer).unwrap())
}

fn dtls(world: &World, stream: u16) -> (Epoch, DtlsRole) {
    let plan = world.leg(stream).unwrap().dtls.as_ref().unwrap();
    (plan.epoch, plan.role)
}

#[test]
fn a_browser_that_calls_a_plain_trunk_is_answered_with_dtls_and_the_trunk_sees_nothing_of_it() {
    let mut world = world();
    let offered = world.offer(&to_trunk(Browser::offering().signal("a", None))).unwrap();
    let text = super::world::text(&offered);
    for word in ["fingerprint", "setup", "tls-id", "ice", "candidate", "crypto"] {
        assert!(!text.contains(word), "{word} in {text}");
    }
    assert_eq!(section(&offered).protocol, Protocol::RtpAvp);
    assert!(world.legs.is_empty(), "nothing holds before the answer");
    assert!(!world.streams()[0].sends);

    let answered = section(&world.answer(&signal("a", Some("b"), &plain(B))).unwrap());
    assert_eq!(answered.protocol, Protocol::UdpTlsRtpSavpf);
    assert_eq!(answered.dtls.setup, Some(Setup::Active));
    assert_eq!(answered.dtls.fingerprints, [print(HashFunction::Sha256, 0x77)]);
    assert_eq!(answered.dtls.tls_id.unwrap().len(), 32);
    assert!(answered.rtcp_mux && answered.crypto.is_empty());
    let plan = world.leg(0).unwrap();
    let dtls = plan.dtls.as_ref().unwrap();
    assert_eq!((dtls.epoch, dtls.role), (Epoch(1), DtlsRole::Client));
    assert_eq!(dtls.fingerprints, [print(HashFunction::Sha256, 1)]);
    assert_eq!(dtls.certificate, CertificateSerial(7));
    assert!(plan.rtcp_mux && world.leg(1).is_none());
    let [a, b] = world.streams() else { panic!("two streams") };
    let tap = a.tap.unwrap();
    assert!(tap.ice.is_some() && tap.dtls == Some(Epoch(1)));
    assert_eq!((&a.send_key, &a.receive_key), (&Key::None, &Key::None));
    assert_eq!((&b.send_key, b.tap), (&Key::Clear, None));
    assert!(a.sends && b.sends);
}

#[test]
fn a_trunk_that_calls_a_browser_offers_actpass_and_takes_the_role_that_is_left() {
    for (setup, role) in [("active", DtlsRole::Server), ("passive", DtlsRole::Client)] {
        let mut world = world();
        let offered = section(&world.offer(&to_browser(signal("a", None, &plain(A)))).unwrap());
        assert_eq!(offered.protocol, Protocol::UdpTlsRtpSavpf);
        assert_eq!(offered.dtls.setup, Some(Setup::ActPass));
        assert_eq!(offered.dtls.fingerprints, [print(HashFunction::Sha256, 0x77)]);
        assert!(offered.crypto.is_empty(), "SDES is off");
        assert!(world.leg(1).unwrap().dtls.is_none(), "whose certificate is not known yet");

        let browser = Browser { setup, ..Browser::answering() };
        let answer = to_trunk(browser.signal("a", Some("b")));
        let answered = section(&world.answer(&answer).unwrap());
        assert_eq!(answered.protocol, Protocol::RtpAvp);
        assert!(answered.dtls.fingerprints.is_empty() && answered.dtls.setup.is_none());
        assert_eq!(dtls(&world, 1), (Epoch(1), role), "{setup}");
        assert!(world.leg(0).is_none());
    }
}

#[test]
fn browser_to_browser_each_leg_has_an_association_of_its_own() {
    let mut world = world();
    let offer = to_browser(Browser::offering().signal("a", None));
    let offered = section(&world.offer(&offer).unwrap());
    let answer = to_browser(Browser::answering().signal("a", Some("b")));
    let answered = section(&world.answer(&answer).unwrap());
    assert_ne!(offered.dtls.tls_id, answered.dtls.tls_id);
    assert_ne!(offered.ice.credentials(), answered.ice.credentials());
    assert_eq!(dtls(&world, 0), (Epoch(1), DtlsRole::Client));
    assert_eq!(dtls(&world, 1), (Epoch(1), DtlsRole::Server));
}

#[test]
fn the_role_is_the_one_left_and_stays_when_the_choice_is_ours() {
    let none = |_: &mut Signal| {};
    let passive = |signal: &mut Signal| signal.dtls.role = Some(Wanted::Passive);
    let with = |setup| Browser { setup, ..Browser::offering() };
    let (world, answered) = called(&with("active"), none);
    assert_eq!((dtls(&world, 0).1, answered.dtls.setup), (DtlsRole::Server, Some(Setup::Passive)));
    let (world, _) = called(&with("passive"), passive);
    assert_eq!(dtls(&world, 0).1, DtlsRole::Client, "passive is no choice of ours");

    let (mut world, answered) = called(&with("actpass"), passive);
    assert_eq!((dtls(&world, 0).1, answered.dtls.setup), (DtlsRole::Server, Some(Setup::Passive)));
    // Without the option, and with another association: who was passive stays it.
    let again = Browser { certificate: 9, ..Browser::offering() };
    world.offer(&to_trunk(again.signal("a", Some("b")))).unwrap();
    answer(&mut world, &none);
    assert_eq!(dtls(&world, 0), (Epoch(2), DtlsRole::Server));
}

#[test]
fn an_association_goes_on_until_its_certificate_its_id_or_its_ice_is_another() {
    let first = || Browser { tls_id: Some("0123456789abcdef0123"), ..Browser::offering() };
    let bare = Browser::offering;
    let restarted = "ICE restarted without one";
    let cases: [(&str, Browser, Browser, u32); 7] = [
        ("the same again", first(), first(), 1),
        ("another fingerprint", first(), Browser { certificate: 3, ..first() }, 2),
        (
            "another tls-id",
            first(),
            Browser { tls_id: Some("another tls-id, as long"), ..first() },
            2,
        ),
        ("a tls-id that is gone", first(), Browser { tls_id: None, ..first() }, 2),
        ("ICE restarted under the same tls-id", first(), Browser { generation: 'b', ..first() }, 1),
        (restarted, bare(), Browser { generation: 'b', ..bare() }, 2),
        ("a role that cannot stay", bare(), Browser { setup: "active", ..bare() }, 2),
    ];
    for (what, before, after, epoch) in cases {
        let (mut world, first) = called(&before, |_| {});
        let news = LegNewsKind::Secured { epoch: Epoch(1), profile: Profile::AeadAes128Gcm };
        world.hear(0, news);
        world.offer(&to_trunk(after.signal("a", Some("b")))).unwrap();
        assert_eq!(dtls(&world, 0).0, Epoch(1), "{what}: not before the answer");
        let second = answer(&mut world, &|_| {});
        assert_eq!(dtls(&world, 0).0, Epoch(epoch), "{what}");
        let renewal = world.leg(0).unwrap().dtls.as_ref().unwrap().renewal;
        assert_eq!(renewal == Renewal::Doubtful, what == restarted, "{what}");
        assert_eq!(first.dtls.tls_id == second.dtls.tls_id, epoch == 1, "{what}");
        let [a, _] = world.streams() else { panic!("two streams") };
        assert_eq!(a.tap.unwrap().dtls, Some(Epoch(epoch)), "{what}");
        assert!(a.plan.contains("receive_key: Keep"), "{what}: the old keys go on: {}", a.plan);
    }
}

#[test]
fn with_no_tls_id_none_is_written_and_an_ice_restart_is_only_that() {
    let none = |signal: &mut Signal| signal.flags.no_tls_id = true;
    let (mut world, answered) = called(&Browser::offering(), none);
    assert_eq!(answered.dtls.tls_id, None);
    let again = Browser { generation: 'b', ..Browser::offering() };
    let mut offer = to_trunk(again.signal("a", Some("b")));
    none(&mut offer);
    world.offer(&offer).unwrap();
    answer(&mut world, &none);
    assert_eq!(dtls(&world, 0).0, Epoch(1));
}

#[test]
fn holdconn_is_answered_in_kind_and_begins_nothing() {
    let held = Browser { setup: "holdconn", ..Browser::offering() };
    let (world, answered) = called(&held, |_| {});
    assert_eq!(answered.dtls.setup, Some(Setup::HoldConn));
    assert!(world.leg(0).unwrap().dtls.is_none());

    let (mut world, _) = called(&Browser::offering(), |_| {});
    world.offer(&to_trunk(held.signal("a", Some("b")))).unwrap();
    assert_eq!(answer(&mut world, &|_| {}).dtls.setup, Some(Setup::HoldConn));
    assert_eq!(dtls(&world, 0).0, Epoch(1), "what there is goes on");
}

#[test]
fn the_fingerprint_is_under_the_peers_hash_function_else_the_one_asked_for() {
    let fingerprint = print(HashFunction::Sha512, 1).to_string();
    let attributes = ["setup:actpass", &format!("fingerprint:{fingerprint}")];
    let body = audio(A, 4000, "UDP/TLS/RTP/SAVP", &attributes);
    let mut world = world();
    let mut offer = towards(signal("a", None, &body), Protocol::UdpTlsRtpSavp);
    offer.dtls.fingerprint = Some(HashFunction::Sha384);
    let offered = section(&world.offer(&offer).unwrap());
    assert_eq!(offered.dtls.fingerprints, [print(HashFunction::Sha384, 0x77)]);
    let theirs = format!("fingerprint:{}", print(HashFunction::Sha256, 2));
    let body = audio(B, 5000, "UDP/TLS/RTP/SAVP", &["setup:active", &theirs]);
    let answered = section(&world.answer(&signal("a", Some("b"), &body)).unwrap());
    assert_eq!(answered.dtls.fingerprints, [print(HashFunction::Sha512, 0x77)]);
    assert_eq!(world.leg(1).unwrap().signalled[0], "203.0.113.9:5000".parse().ok());
}

#[test]
fn a_section_without_a_fingerprint_that_counts_is_refused_with_its_reason() {
    let offer = |attributes: &[&str]| {
        let body = audio(A, 4000, "UDP/TLS/RTP/SAVPF", attributes);
        to_trunk(signal("a", None, &body))
    };
    let sha1 = format!("fingerprint:{}", print(HashFunction::Sha1, 1));
    let mut world = world();
    let refused = |world: &mut World, attributes: &[&str]| {
        let refused = world.offer(&offer(attributes)).unwrap_err();
        assert_eq!((world.ports_open(), world.calls.len()), (0, 0));
        refused
    };
    assert_eq!(refused(&mut world, &["setup:actpass"]), Refused::NO_FINGERPRINT);
    assert_eq!(refused(&mut world, &["setup:actpass", &sha1]), Refused::SHA_1);
    assert!(refused(&mut world, &["fingerprint:sha-256 00:11"]).0.contains("digest"));
    let mut settings = with_agents();
    settings.webrtc.as_mut().unwrap().accept_sha1 = true;
    world.calls.reconfigure(settings);
    world.offer(&offer(&["setup:actpass", &sha1])).unwrap();
}

#[test]
fn an_answer_without_a_fingerprint_is_rejected_and_never_sent_in_clear() {
    for transport in ["UDP/TLS/RTP/SAVPF", "RTP/AVP"] {
        let mut world = world();
        world.offer(&to_browser(signal("a", None, &plain(A)))).unwrap();
        let body = audio(B, 5000, transport, &["setup:active"]);
        let answered = world.answer(&signal("a", Some("b"), &body)).unwrap();
        assert_eq!(section(&answered).port, 0, "{transport}");
        assert!(!answered.warnings.is_empty());
        assert!(world.streams().iter().all(|stream| stream.closed && !stream.sends));
        assert!(world.legs.is_empty(), "the agents forget it");
    }
}

#[test]
fn both_are_offered_until_one_is_set_up_and_dtls_wins_unless_told_otherwise() {
    let fingerprint = format!("fingerprint:{}", print(HashFunction::Sha256, 2));
    let both = |tag| vec!["setup:active".to_owned(), fingerprint.clone(), crypto(tag, 'B')];
    for (prefer, off, dtls_wins) in
        [(false, false, true), (true, false, false), (false, true, false)]
    {
        let mut world = world();
        let offer = || towards(signal("a", None, &plain(A)), Protocol::RtpSavp);
        let offered = section(&world.offer(&offer()).unwrap());
        assert!(!offered.crypto.is_empty() && !offered.dtls.fingerprints.is_empty());
        let attributes = both(3);
        let attributes: Vec<&str> = attributes.iter().map(String::as_str).collect();
        let mut answer = signal("a", Some("b"), &audio(B, 5000, "RTP/SAVP", &attributes));
        answer.sdes.prefer = prefer;
        answer.dtls.off = off;
        world.answer(&answer).unwrap();
        assert_eq!(world.leg(1).is_some(), dtls_wins);
        assert_eq!(matches!(world.streams()[1].send_key, Key::Srtp(_)), !dtls_wins);

        let again = Signal { to_tag: Some("b".into()), ..offer() };
        let offered = section(&world.offer(&again).unwrap());
        assert_eq!(offered.crypto.is_empty(), dtls_wins, "one is set up");
        assert_eq!(offered.dtls.fingerprints.is_empty(), !dtls_wins, "one is set up");
    }
}

#[test]
fn an_offerer_of_both_is_answered_with_dtls_unless_told_otherwise() {
    let fingerprint = format!("fingerprint:{}", print(HashFunction::Sha256, 1));
    for (prefer, off) in [(false, false), (true, false), (false, true)] {
        let mut world = world();
        let attributes = ["setup:actpass", &fingerprint, &crypto(1, 'A')];
        let body = audio(A, 4000, "RTP/SAVP", &attributes);
        world.offer(&to_trunk(signal("a", None, &body))).unwrap();
        let mut answer = signal("a", Some("b"), &plain(B));
        answer.sdes.prefer = prefer;
        answer.dtls.off = off;
        let answered = section(&world.answer(&answer).unwrap());
        let sdes = prefer || off;
        assert_eq!(answered.crypto.len(), usize::from(sdes));
        assert_eq!(answered.dtls.fingerprints.is_empty(), sdes);
    }
}

#[test]
fn a_leg_may_change_between_dtls_sdes_and_clear_and_never_goes_clear_on_the_way() {
    let (mut world, _) = called(&Browser::offering(), |_| {});
    let mut reinvite = |body: &str| {
        world.offer(&to_trunk(signal("a", Some("b"), body))).unwrap();
        let answered = answer(&mut world, &|_| {});
        let stream = &world.streams()[0];
        let is_srtp = matches!(stream.send_key, Key::Srtp(_));
        (answered, is_srtp, stream.tap.and_then(|tap| tap.dtls), stream.plan.clone())
    };
    let key = crypto(1, 'A');
    let (answered, is_srtp, epoch, _) = reinvite(&audio(A, 4000, "RTP/SAVP", &[&key]));
    assert!(is_srtp && epoch.is_none() && answered.crypto.len() == 1);
    let (_, is_srtp, epoch, plan) = reinvite(&Browser::offering().body());
    assert_eq!(epoch, Some(Epoch(2)), "another association than the first");
    assert!(is_srtp && plan.contains("receive_key: Await"), "SDES goes on until then: {plan}");
    let (_, is_srtp, epoch, _) = reinvite(&audio(A, 4000, "RTP/AVP", &[]));
    assert!(!is_srtp && epoch.is_none());
    let (_, is_srtp, epoch, _) = reinvite(&Browser::offering().body());
    assert!(!is_srtp && epoch == Some(Epoch(3)), "nothing is sent until the keys come");
    assert_eq!(world.streams()[0].send_key, Key::None);
}

#[test]
fn an_offer_that_is_made_again_shows_the_same_and_repeated_answers_change_nothing() {
    let mut world = world();
    let offer = to_browser(signal("a", None, &plain(A)));
    let first = world.offer(&offer).unwrap();
    assert_eq!(first.sdp, world.offer(&offer).unwrap().sdp);
    let answer = to_trunk(Browser::answering().signal("a", Some("b")));
    world.answer(&answer).unwrap();
    let again = world.answer(&answer).unwrap();
    assert!(again.legs.is_empty(), "{:?}", again.legs);

    // Another device behind the same branch answers in its place.
    let other = Browser { certificate: 5, generation: 'x', ..Browser::answering() };
    world.answer(&to_trunk(other.signal("a", Some("c")))).unwrap();
    assert_eq!(dtls(&world, 1), (Epoch(2), DtlsRole::Server));
}

#[test]
fn osrtp_is_offered_when_asked_and_plain_where_it_is_not_taken_up() {
    let fingerprint = format!("fingerprint:{}", print(HashFunction::Sha256, 2));
    let cases: [(&[&str], bool); 2] = [(&[], false), (&["setup:active", &fingerprint], true)];
    for (attributes, taken_up) in cases {
        let mut world = world();
        let mut offer = signal("a", None, &plain(A));
        offer.osrtp.offer = true;
        let offered = section(&world.offer(&offer).unwrap());
        assert_eq!(offered.protocol, Protocol::RtpAvp);
        assert!(!offered.crypto.is_empty() && !offered.dtls.fingerprints.is_empty());
        assert!(!world.streams()[1].sends, "nothing before the answer says what it is to be");
        let answer = signal("a", Some("b"), &audio(B, 5000, "RTP/AVP", attributes));
        let answered = section(&world.answer(&answer).unwrap());
        assert!(answered.dtls.fingerprints.is_empty() && answered.crypto.is_empty());
        assert_eq!(world.leg(1).is_some_and(|leg| leg.dtls.is_some()), taken_up);
        assert_eq!(world.streams()[1].send_key == Key::Clear, !taken_up);
    }
}

#[test]
fn an_osrtp_offer_passes_through_and_is_taken_up_where_the_other_side_does_or_accept_says() {
    let key = crypto(1, 'A');
    for (answer_key, accept, secured) in
        [(true, false, true), (false, false, false), (false, true, true)]
    {
        let mut world = world();
        let offer = signal("a", None, &audio(A, 4000, "RTP/AVP", &[&key]));
        let offered = section(&world.offer(&offer).unwrap());
        let tag = offered.crypto.iter().find(|c| c.profile() == Profile::AesCm128HmacSha1_80);
        let theirs = crypto(tag.unwrap().tag, 'B');
        let attributes: &[&str] = if answer_key { &[&theirs] } else { &[] };
        let mut answer = signal("a", Some("b"), &audio(B, 5000, "RTP/AVP", attributes));
        answer.osrtp.accept = accept;
        let answered = section(&world.answer(&answer).unwrap());
        assert_eq!(answered.protocol, Protocol::RtpAvp);
        assert_eq!(answered.crypto.len(), usize::from(secured));
        let [a, b] = world.streams() else { panic!("two streams") };
        assert_eq!(matches!(a.send_key, Key::Srtp(_)), secured);
        assert_eq!(matches!(b.send_key, Key::Srtp(_)), answer_key);
    }
}

#[test]
fn a_leg_that_fails_fails_alone() {
    let mut world = world();
    world.offer(&to_browser(Browser::offering().signal("a", None))).unwrap();
    world.answer(&to_browser(Browser::answering().signal("a", Some("b")))).unwrap();
    let before: Vec<String> = world.streams().iter().map(|stream| stream.plan.clone()).collect();
    let reason = "the certificate fits no fingerprint".to_owned();
    world.hear(1, LegNewsKind::Unsecured { epoch: Epoch(1), reason });
    world.hear(7, LegNewsKind::Disconnected { reason: "of no stream" });
    let after: Vec<String> = world.streams().iter().map(|stream| stream.plan.clone()).collect();
    assert_eq!(before, after);
    let answer = world.answer(&to_browser(Browser::answering().signal("a", Some("b")))).unwrap();
    assert!(answer.legs.is_empty());
}
