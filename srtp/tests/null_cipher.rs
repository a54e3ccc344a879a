//! Reports under the NULL cipher, where peers differ in what the E flag says.
#![allow(clippy::expect_used, reason = "a key that does not fit is the test's failure")]

use ring::hmac;
use srtp::{
    MasterKey, PacketKind, Policy, Profile, Receiver, Refusal, Sender, SessionKeys, Weakness,
    Weaknesses,
};

#[test]
fn a_report_is_sent_as_not_encrypted() {
    for profile in NULL_PROFILES {
        let mut sender = Sender::new(&master(profile), &policy()).expect("suitable");
        let mut buffer = [&REPORT[..], &[0; 14]].concat();
        let sealed = sender.protect_rtcp(&mut buffer, REPORT.len()).expect("protects");
        assert_eq!(buffer[..sealed.len], report(profile, [0, 0, 0, 0]), "{profile}");
    }
}

#[test]
fn a_report_opens_whatever_its_e_flag_says_if_the_tag_says_the_same() {
    for profile in NULL_PROFILES {
        let mut receiver = Receiver::new(&master(profile), &policy()).expect("suitable");
        for word in [[0, 0, 0, 1], [0x80, 0, 0, 2]] {
            let mut altered = report(profile, word);
            altered[REPORT.len()] ^= 0x80;
            assert_eq!(receiver.open_rtcp(&mut altered), Err(Refusal::AuthenticationFailed));
            let mut packet = report(profile, word);
            let opened = receiver.open_rtcp(&mut packet).expect("opens");
            assert_eq!(packet[..opened.len], REPORT);
            assert_eq!(opened.index, u32::from(word[3]));
        }
    }
}

/// The report as SRTCP with E flag and index as given, by an independent HMAC.
fn report(profile: Profile, word: [u8; 4]) -> Vec<u8> {
    let keys = SessionKeys::derive(&master(profile), PacketKind::Rtcp);
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, keys.dangerous_auth_key());
    let packet = [&REPORT[..], &word].concat();
    let tag = hmac::sign(&key, &packet);
    [&packet, &tag.as_ref()[..10]].concat()
}

fn policy() -> Policy {
    Policy { accepted: Weaknesses::NONE.with(Weakness::NullCipher), ..Policy::default() }
}

fn master(profile: Profile) -> MasterKey {
    MasterKey::from_concatenated(profile, &[7; 30]).expect("30 bytes")
}

const NULL_PROFILES: [Profile; 2] = [Profile::NullHmacSha1_80, Profile::NullHmacSha1_32];
const REPORT: [u8; 12] = [0x80, 201, 0, 2, 0, 0, 0, 9, 1, 2, 3, 4];
