//! Handshakes that succeed, and what the association does afterwards.

use srtp::Profile;

use crate::pair::Pair;

#[test]
fn both_sides_get_the_same_keys_for_each_profile() {
    for profile in Profile::COMMON {
        let mut pair = Pair::with_profiles(&[profile], &[profile]);
        pair.run();
        assert_eq!(pair.client.outcome.profile(), Some(profile), "{:?}", pair.client.outcome);
        assert_eq!(pair.server.outcome.profile(), Some(profile), "{:?}", pair.server.outcome);
        assert_eq!(pair.client.outcome.keys().send, pair.server.outcome.keys().receive);
        assert_eq!(pair.client.outcome.keys().receive, pair.server.outcome.keys().send);
        assert_ne!(pair.client.outcome.keys().receive, pair.client.outcome.keys().send);
    }
}

#[test]
fn the_server_prefers_among_what_the_client_offers() {
    let offered = [Profile::AesCm128HmacSha1_80, Profile::AeadAes128Gcm];
    let preferred = [Profile::AeadAes256Gcm, Profile::AeadAes128Gcm, Profile::AesCm128HmacSha1_80];
    let mut pair = Pair::with_profiles(&offered, &preferred);
    pair.run();
    assert_eq!(pair.client.outcome.profile(), Some(Profile::AeadAes128Gcm));
    assert_eq!(pair.server.outcome.profile(), Some(Profile::AeadAes128Gcm));
}
