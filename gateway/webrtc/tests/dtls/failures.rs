//! Handshakes that must fail, each with its reason on both sides.

use srtp::Profile;
use webrtc::dtls::Failure;

use crate::pair::Pair;

#[test]
fn without_a_common_profile_both_fail() {
    let mut pair = Pair::with_profiles(&[Profile::AeadAes128Gcm], &[Profile::AesCm128HmacSha1_80]);
    pair.run();
    assert_eq!(pair.server.outcome.failed, Some(Failure::NoCommonProfile));
    assert_eq!(pair.client.outcome.failed, Some(Failure::Alert(40)));
}
