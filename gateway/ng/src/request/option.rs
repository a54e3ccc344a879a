//! Options with a small grammar of their own: what one element of `SDES`, `replace`, `rtcp-mux`
//! and so on does. Each answers whether it knew the element.

use std::net::IpAddr;

use srtp::Profile;

use super::key::{MAX_NAME, normalized};
use super::read::Taken;
use super::{
    AddressFamily, Dtls, DtlsRole, EndpointLearning, Ice, IceLite, IceMode, Osrtp, Replace,
    RtcpMux, Sdes,
};
use crate::sdp::HashFunction;

impl Replace {
    pub(super) fn element(&mut self, word: &[u8]) -> Taken {
        let mut buffer = [0; MAX_NAME];
        match normalized(word, &mut buffer) {
            Some(b"origin") => self.origin = true,
            Some(b"origin-full") => self.origin_full = true,
            Some(b"username") => self.username = true,
            Some(b"session-name") => self.session_name = true,
            Some(b"sdp-version") => self.sdp_version = true,
            Some(b"zero-address") => self.zero_address = true,
            Some(b"force-increment-sdp-ver") => self.force_increment_sdp_version = true,
            // Obsolete: the address of `c=` is always replaced.
            Some(b"session-connection") => {}
            _ => return Taken::No,
        }
        Taken::Yes
    }
}

impl RtcpMux {
    pub(super) fn element(&mut self, word: &[u8]) -> Taken {
        let mut buffer = [0; MAX_NAME];
        match normalized(word, &mut buffer) {
            Some(b"offer") => self.offer = true,
            Some(b"require") => self.require = true,
            Some(b"demux") => self.demux = true,
            Some(b"accept") => self.accept = true,
            Some(b"reject") => self.reject = true,
            _ => return Taken::No,
        }
        Taken::Yes
    }
}

impl Sdes {
    pub(super) fn element(&mut self, word: &[u8]) -> Taken {
        let mut buffer = [0; MAX_NAME];
        if let Some(taken) = normalized(word, &mut buffer).and_then(|name| self.keyword(name)) {
            return taken;
        }
        let text = std::str::from_utf8(word).unwrap_or_default();
        if let Some(suite) = text.strip_prefix("no-") {
            // A suite that we do not have is left out anyway.
            self.no.extend(Profile::from_name(suite).filter(|suite| !self.no.contains(suite)));
            Taken::Yes
        } else if let Some(suite) = text.strip_prefix("only-") {
            push_suite(&mut self.only, suite)
        } else if let Some(suites) = text.strip_prefix("order:") {
            push_suites(&mut self.order, suites)
        } else if let Some(suites) = text.strip_prefix("offerer_pref:") {
            push_suites(&mut self.offerer_preference, suites)
        } else {
            Taken::No
        }
    }

    fn keyword(&mut self, name: &[u8]) -> Option<Taken> {
        match name {
            b"off" | b"no" | b"disable" | b"disabled" => self.off = true,
            b"nonew" => self.no_new = true,
            b"pad" => self.pad = true,
            b"lifetime" => self.lifetime = true,
            b"unencrypted-srtp" => self.weaken.unencrypted_rtp = true,
            b"unencrypted-srtcp" => self.weaken.unencrypted_rtcp = true,
            b"unauthenticated-srtp" => self.weaken.unauthenticated_rtp = true,
            b"encrypted-srtp" => self.strengthen.unencrypted_rtp = true,
            b"encrypted-srtcp" => self.strengthen.unencrypted_rtcp = true,
            b"authenticated-srtp" => self.strengthen.unauthenticated_rtp = true,
            b"prefer" | b"priority" => self.prefer = true,
            b"static" => return Some(Taken::Unsupported),
            _ => return None,
        }
        Some(Taken::Yes)
    }
}

/// The known ones of `A;B;`.
fn push_suites(list: &mut Vec<Profile>, names: &str) -> Taken {
    let mut taken = Taken::Yes;
    for name in names.split(';').filter(|name| !name.is_empty()) {
        if push_suite(list, name) != Taken::Yes {
            taken = Taken::Unsupported;
        }
    }
    taken
}

/// Adds a suite once: a list of suites is never longer than the suites there are.
fn push_suite(list: &mut Vec<Profile>, name: &str) -> Taken {
    match Profile::from_name(name) {
        Some(profile) => {
            if !list.contains(&profile) {
                list.push(profile);
            }
            Taken::Yes
        }
        None => Taken::Unsupported,
    }
}

impl Ice {
    /// One word of `ICE`.
    pub(super) fn element(&mut self, word: &[u8]) -> Taken {
        let mut buffer = [0; MAX_NAME];
        match normalized(word, &mut buffer) {
            Some(b"remove") => self.mode = IceMode::Remove,
            Some(b"force") => self.mode = IceMode::Force,
            Some(b"default") => self.mode = IceMode::Default,
            Some(b"optional") => self.mode = IceMode::Optional,
            Some(b"force-relay") => self.mode = IceMode::ForceRelay,
            Some(b"trickle" | b"trickle-ice") => self.trickle = true,
            Some(b"ice2") => self.ice2 = true,
            Some(b"lite") => self.lite = Some(IceLite::Both),
            Some(name) => return self.lite(name.strip_prefix(b"lite-").unwrap_or_default()),
            None => return Taken::No,
        }
        Taken::Yes
    }

    /// The value of `ICE-lite`.
    pub(super) fn lite(&mut self, word: &[u8]) -> Taken {
        let mut buffer = [0; MAX_NAME];
        self.lite = Some(match normalized(word, &mut buffer) {
            Some(b"off" | b"no" | b"disable" | b"disabled") => IceLite::Off,
            Some(b"forward") => IceLite::Forward,
            Some(b"backward" | b"backwards") => IceLite::Backward,
            Some(b"both") => IceLite::Both,
            _ => return Taken::No,
        });
        Taken::Yes
    }
}

impl Dtls {
    /// The value of `DTLS`.
    pub(super) fn element(&mut self, word: &[u8]) -> Taken {
        let mut buffer = [0; MAX_NAME];
        match normalized(word, &mut buffer) {
            Some(b"off" | b"no" | b"disable" | b"disabled") => self.off = true,
            Some(b"passive") => self.role = Some(DtlsRole::Passive),
            Some(b"active") => self.role = Some(DtlsRole::Active),
            _ => return Taken::No,
        }
        Taken::Yes
    }

    /// The value of `DTLS-fingerprint`.
    pub(super) fn fingerprint(&mut self, word: &[u8]) -> Taken {
        let hash = HashFunction::from_name(word);
        self.fingerprint = hash.or(self.fingerprint);
        if hash.is_some() { Taken::Yes } else { Taken::No }
    }
}

impl Osrtp {
    pub(super) fn element(&mut self, word: &[u8]) -> Taken {
        let mut buffer = [0; MAX_NAME];
        match normalized(word, &mut buffer) {
            Some(b"offer" | b"offer-rfc") => self.offer = true,
            Some(b"accept" | b"accept-rfc") => self.accept = true,
            Some(b"offer-legacy" | b"accept-legacy") => return Taken::Unsupported,
            _ => return Taken::No,
        }
        Taken::Yes
    }
}

/// The value of `endpoint-learning`.
pub(super) fn endpoint_learning(word: &[u8]) -> Option<EndpointLearning> {
    let mut buffer = [0; MAX_NAME];
    match normalized(word, &mut buffer)? {
        b"heuristic" => Some(EndpointLearning::Heuristic),
        b"delayed" => Some(EndpointLearning::Delayed),
        b"immediate" => Some(EndpointLearning::Immediate),
        b"off" | b"no-learning" => Some(EndpointLearning::Off),
        _ => None,
    }
}

/// The value of `address-family`.
pub(super) fn address_family(word: &[u8]) -> Option<AddressFamily> {
    match word {
        b"IP4" | b"ip4" => Some(AddressFamily::V4),
        b"IP6" | b"ip6" => Some(AddressFamily::V6),
        _ => None,
    }
}

/// An address, IPv6 with or without brackets.
pub(super) fn address(word: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(word).ok()?;
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    bare.parse().ok()
}

#[cfg(test)]
mod tests {
    use srtp::SessionParameters;

    use super::*;

    fn sdes(words: &[&str]) -> Sdes {
        let mut sdes = Sdes::default();
        for word in words {
            assert_eq!(sdes.element(word.as_bytes()), Taken::Yes, "{word}");
        }
        sdes
    }

    #[test]
    fn sdes_reads_suites_in_any_case() {
        let sdes = sdes(&["no-aes_cm_128_hmac_sha1_32", "only-AEAD_AES_256_GCM", "nonew"]);
        assert_eq!(sdes.no, [Profile::AesCm128HmacSha1_32]);
        assert_eq!(sdes.only, [Profile::AeadAes256Gcm]);
        assert!(sdes.no_new && !sdes.off);
    }

    #[test]
    fn sdes_keeps_the_order_given() {
        let sdes = sdes(&["order:AES_CM_128_HMAC_SHA1_32;AEAD_AES_128_GCM;"]);
        assert_eq!(sdes.order, [Profile::AesCm128HmacSha1_32, Profile::AeadAes128Gcm]);
    }

    #[test]
    fn leaving_out_a_suite_we_lack_is_no_news() {
        assert_eq!(sdes(&["no-NULL_HMAC_SHA1_96"]), Sdes::default());
        assert_eq!(Sdes::default().element(b"only-NULL_HMAC_SHA1_96"), Taken::Unsupported);
    }

    #[test]
    fn what_to_leave_out_and_what_not_are_apart() {
        let only_rtcp = SessionParameters { unencrypted_rtcp: true, ..Default::default() };
        let sdes = sdes(&["unencrypted_srtcp", "encrypted_srtp", "authenticated-srtp"]);
        assert_eq!(sdes.weaken, only_rtcp);
        let others = SessionParameters {
            unencrypted_rtp: true,
            unauthenticated_rtp: true,
            ..Default::default()
        };
        assert_eq!(sdes.strengthen, others);
        assert_eq!(Sdes::default().element(b"static"), Taken::Unsupported);
    }

    #[test]
    fn repeated_suites_do_not_grow_a_list() {
        let mut sdes = Sdes::default();
        for _ in 0..1000 {
            sdes.element(b"order:AEAD_AES_128_GCM;AEAD_AES_128_GCM");
            sdes.element(b"no-AEAD_AES_128_GCM");
        }
        assert_eq!((sdes.order.len(), sdes.no.len()), (1, 1));
    }

    #[test]
    fn addresses_may_be_bracketed() {
        assert_eq!(address(b"[2001:db8::1]"), "2001:db8::1".parse().ok());
        assert_eq!(address(b"192.0.2.1"), "192.0.2.1".parse().ok());
        assert_eq!(address(b"example.org"), None);
    }
}
