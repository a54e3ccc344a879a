//! Legs that go without something: what is left out is left out both ways, and nothing else is.

use gateway::relay::drop_reason::DropReason;
use gateway::relay::key_plan::{ReceivePlan, SendPlan, SrtpKey, Terms};
use srtp::{Profile, Receiver, Sender, SessionParameters, Weaknesses};

use crate::call::*;
use crate::relay_support::*;

const NONE: SessionParameters = SessionParameters {
    unencrypted_rtp: false,
    unencrypted_rtcp: false,
    unauthenticated_rtp: false,
};

fn accepting(session: SessionParameters) -> Terms {
    let accepted = session.weaknesses().fold(Weaknesses::NONE, Weaknesses::with);
    Terms { session, accepted }
}

fn call_under(profile: Profile, terms: Terms) -> Call {
    let key = |byte| SrtpKey::unnamed(master_key(profile, byte));
    let mut call = Call::planned(profile, |plans| {
        plans[SECURE].receive_key = ReceivePlan::Set(Box::new(key(1).into()), terms);
        plans[SECURE].send_key = SendPlan::Set(Box::new(key(2).into()), terms);
    });
    let policy = policy_under(terms);
    call.crypto.sender = Sender::new(&master_key(profile, 1), &policy).unwrap();
    call.crypto.receiver = Receiver::new(&master_key(profile, 2), &policy).unwrap();
    call
}

#[test]
fn each_session_parameter_leaves_out_what_it_says_and_nothing_else() {
    for (session, overhead, clear_rtp, clear_rtcp) in [
        (NONE, 10, false, false),
        (SessionParameters { unencrypted_rtp: true, ..NONE }, 10, true, false),
        (SessionParameters { unencrypted_rtcp: true, ..NONE }, 10, false, true),
        (SessionParameters { unauthenticated_rtp: true, ..NONE }, 0, false, false),
    ] {
        let mut call = call_under(PROFILE, accepting(session));
        for sequence in 65_530..=65_535 {
            let packet = rtp(SSRC, sequence);
            let sent = call.sends(PLAIN, &packet).unwrap().bytes;
            assert_eq!(sent.len(), packet.len() + overhead, "{session:?}");
            assert_eq!(sent[12..172] == packet[12..], clear_rtp, "{session:?}");
            assert_eq!(call.crypto.open(&sent).unwrap(), packet);

            let protected = call.crypto.protect(&packet);
            assert_eq!(call.sends(SECURE, &protected).unwrap().bytes, packet);

            let report = receiver_report(SSRC, 3);
            let sent = call.arrives(call.party[PLAIN][1], (PLAIN, 1), &report).remove(0).bytes;
            assert_eq!(sent[8..32] == report[8..], clear_rtcp, "{session:?}");
            assert_eq!(call.crypto.open_rtcp(&sent).unwrap(), report);
        }
        call.assert_only_drops(SECURE, &[]);
    }
}

#[test]
fn terms_that_nobody_accepted_leave_the_leg_without_a_key() {
    let session = SessionParameters { unencrypted_rtp: true, ..NONE };
    let key = |byte| SrtpKey::unnamed(master_key(PROFILE, byte));
    let mut call = Call::planned(PROFILE, |plans| {
        let terms = Terms { session, ..Terms::default() };
        plans[SECURE].receive_key = ReceivePlan::Set(Box::new(key(1).into()), terms);
        plans[SECURE].send_key = SendPlan::Set(Box::new(key(2).into()), terms);
    });
    assert_eq!(call.sends(PLAIN, &rtp(SSRC, 1)), None);
    let packet = call.crypto.protect(&rtp(SSRC, 1));
    assert_eq!(call.sends(SECURE, &packet), None);
    call.assert_only_drops(PLAIN, &[(DropReason::NoKey, 1)]);
    call.assert_only_drops(SECURE, &[(DropReason::NoKey, 1)]);
}

#[test]
fn without_authentication_an_srtp_leg_trusts_an_address_no_more_than_a_plain_one_does() {
    let unauthenticated = SessionParameters { unauthenticated_rtp: true, ..NONE };
    for (session, moves) in [(NONE, true), (unauthenticated, false)] {
        let mut call = call_under(PROFILE, accepting(session));
        // First heard from elsewhere than signalled, as behind a NAT.
        let packet = call.crypto.protect(&rtp(SSRC, 5));
        assert!(call.sends_from(hijacker(), SECURE, &packet).is_some());
        let remote = call.report().streams[SECURE].remote_rtp;
        assert_eq!(remote == Some(hijacker()), moves, "{session:?}");
    }
}
