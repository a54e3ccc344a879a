//! SRTP between parties that share keys: both legs are planned as plain, and not a byte changes.

use gateway::relay::key_plan::{ReceivePlan, SendPlan};
use srtp::Profile;

use crate::call::*;
use crate::relay_support::*;

#[test]
fn srtp_and_srtcp_of_every_suite_pass_byte_for_byte_both_ways() {
    for profile in Profile::ALL {
        let mut call = Call::planned(profile, |plans| {
            plans[SECURE].receive_key = ReceivePlan::Clear;
            plans[SECURE].send_key = SendPlan::Clear;
        });
        for (at, to) in [(PLAIN, SECURE), (SECURE, PLAIN)] {
            let mut party = Crypto::new(profile, at as u8 + 3, 0);
            // Over a rollover, then as after a sender's restart: neither is renumbered.
            for sequence in (65_530..=65_535).chain(0..6).chain(30_000..30_006) {
                let packet = party.protect(&rtp(SSRC + at as u32, sequence));
                let sent = call.sends(at, &packet).unwrap();
                assert_eq!((sent.to, &sent.bytes), (call.party[to][0], &packet));
                let report = party.protect_rtcp(&receiver_report(SSRC + to as u32, 3));
                let sent = call.arrives(call.party[at][1], (at, 1), &report);
                assert_eq!((sent[0].to, &sent[0].bytes), (call.party[to][1], &report));
            }
            call.assert_only_drops(at, &[]);
        }
    }
}
