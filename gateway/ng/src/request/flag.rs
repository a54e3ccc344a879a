//! Flags: words without a value, and prefixes that name an option (`SDES-off`,
//! `rtcp-mux-offer`).

use super::Flags;
use super::key::{Key, MAX_NAME, normalized};

/// What a flag means.
pub(super) enum Flag<'a> {
    /// One of [`Flags`].
    Set(Set),
    /// `replace-*`, `SDES-*`, `rtcp-mux-*` and such: an element of that list, as written.
    Element(List, &'a [u8]),
    /// `RTP`, `SRTP`, `AVP`, `AVPF`, `DTLS`: half of a profile name.
    Half(Half),
    /// `internal` and `external`: interface names of old scripts.
    Interface,
    /// `delete` only: see [`super::Delete`].
    Delete(DeleteFlag),
    /// `WebRTC`: a bundle of options.
    WebRtc,
    /// Known to the incumbent, not to us.
    Unsupported,
    /// Without effect by design, or what we do anyway.
    Ignore,
}

/// Lists that flags may add to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum List {
    Replace,
    RtcpMux,
    Sdes,
    Dtls,
    Ice,
    IceLite,
    Osrtp,
}

impl List {
    /// The key of the list that the flag adds to.
    pub(super) const fn key(self) -> Key {
        match self {
            Self::Replace => Key::Replace,
            Self::RtcpMux => Key::RtcpMux,
            Self::Sdes => Key::Sdes,
            Self::Dtls => Key::Dtls,
            Self::Ice => Key::Ice,
            Self::IceLite => Key::IceLite,
            Self::Osrtp => Key::Osrtp,
        }
    }
}

/// Halves of a transport profile, as scripts for rtpproxy name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Half {
    Rtp,
    Srtp,
    Avp,
    Avpf,
    Dtls,
}

/// Flags that only `delete` knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DeleteFlag {
    Fatal,
    Fast,
    ToTag,
}

impl<'a> Flag<'a> {
    /// The flag of this spelling.
    pub(super) fn of(word: &'a [u8]) -> Option<Self> {
        let mut buffer = [0; MAX_NAME];
        // What is after a prefix may be longer than any name of ours: suites are.
        let name = match normalized(word, &mut buffer) {
            Some(name) => name,
            None => return Self::prefixed(word),
        };
        if let Ok(place) = SIMPLE.binary_search_by(|(flag, _)| flag.as_bytes().cmp(name)) {
            return Some(Self::Set(SIMPLE[place].1));
        }
        Self::special(name).or_else(|| Self::prefixed(word))
    }

    fn special(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"rtp" => Self::Half(Half::Rtp),
            b"srtp" => Self::Half(Half::Srtp),
            b"avp" => Self::Half(Half::Avp),
            b"avpf" => Self::Half(Half::Avpf),
            b"dtls" => Self::Half(Half::Dtls),
            b"internal" | b"external" => Self::Interface,
            b"fatal" => Self::Delete(DeleteFlag::Fatal),
            b"fast" => Self::Delete(DeleteFlag::Fast),
            b"to-tag" => Self::Delete(DeleteFlag::ToTag),
            b"webrtc" => Self::WebRtc,
            // Scripts write this one without its prefix too, and the incumbent takes it.
            b"force-increment-sdp-ver" => Self::Element(List::Replace, INCREMENT),
            b"trickle-ice" => Self::Element(List::Ice, b"trickle"),
            _ if IGNORED.contains(&name) => Self::Ignore,
            _ if UNSUPPORTED.contains(&name) => Self::Unsupported,
            _ => return None,
        })
    }

    fn prefixed(word: &'a [u8]) -> Option<Self> {
        for (prefix, list) in LISTS {
            if let Some(rest) = strip(word, prefix) {
                return Some(Self::Element(*list, rest));
            }
        }
        let unsupported = UNSUPPORTED_PREFIXES.iter().any(|prefix| strip(word, prefix).is_some());
        unsupported.then_some(Self::Unsupported)
    }
}

/// What follows the prefix, in any case and with any separator.
fn strip<'a>(word: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    let (head, rest) = word.split_at_checked(prefix.len())?;
    let mut buffer = [0; MAX_NAME];
    (normalized(head, &mut buffer)? == prefix && !rest.is_empty()).then_some(rest)
}

/// A prefix comes before a shorter one that it begins with.
const LISTS: &[(&[u8], List)] = &[
    (b"replace-", List::Replace),
    (b"rtcp-mux-", List::RtcpMux),
    (b"sdes-", List::Sdes),
    (b"osrtp-", List::Osrtp),
    (b"ice-lite-", List::IceLite),
    (b"ice-", List::Ice),
    (b"dtls-", List::Dtls),
];

/// Sets one of [`Flags`].
type Set = fn(&mut Flags);

/// Sorted by name: searched by halving.
const SIMPLE: &[(&str, Set)] = &[
    ("asymmetric", |f| f.asymmetric = true),
    ("fragment", |f| f.fragment = true),
    ("full-rtcp-attribute", |f| f.full_rtcp_attribute = true),
    ("generate-mid", |f| f.generate_mid = true),
    ("loop-protect", |f| f.loop_protect = true),
    ("new-branch", |f| f.new_branch = true),
    ("no-passthrough", |f| f.no_passthrough = true),
    ("no-rtcp-attribute", |f| f.no_rtcp_attribute = true),
    ("no-tls-id", |f| f.no_tls_id = true),
    ("original-sendrecv", |f| f.original_sendrecv = true),
    ("port-latching", |f| f.port_latching = true),
    ("recrypt", |f| f.recrypt = true),
    ("reject-ice", |f| f.reject_ice = true),
    ("reset", |f| f.reset = true),
    ("sip-source-address", |f| f.sip_source_address = true),
    ("strict-source", |f| f.strict_source = true),
    ("symmetric", |f| f.symmetric = true),
    ("trust-address", |f| f.trust_address = true),
];

const INCREMENT: &[u8] = b"force-increment-sdp-ver";

/// `force` is how the incumbent's first scripts said "rewrite".
const IGNORED: &[&[u8]] = &[b"discard-recording", b"force", b"force-answer", b"session-connection"];

const UNSUPPORTED: &[&[u8]] = &[
    b"all",
    b"allow-asymmetric-codecs",
    b"allow-no-codec-media",
    b"allow-transcoding",
    b"always-transcode",
    b"asymmetric-codecs",
    b"block-dtmf",
    b"detect-dtmf",
    b"directional",
    b"early-media",
    b"egress",
    b"generate-rtcp",
    b"inject-dtmf",
    b"media-handover",
    b"mirror-rtcp",
    b"nat-wait",
    b"no-codec-renegotiation",
    b"no-jitter-buffer",
    b"no-port-latching",
    b"no-redis-update",
    b"pierce-nat",
    b"provisional",
    b"record-call",
    b"record-dtmf",
    b"recording-vsc",
    b"reorder-codecs",
    b"reuse-codecs",
    b"single-codec",
    b"siprec",
    b"skip-recording-db",
    b"static-codecs",
    b"strip-extmap",
    b"symmetric-codecs",
    b"unidirectional",
];

const UNSUPPORTED_PREFIXES: &[&[u8]] =
    &[b"codec-", b"sdp-media-remove-", b"t.38-", b"t38-", b"transcode-", b"vsc-"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_is_sorted_and_fits_the_buffer() {
        assert!(SIMPLE.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert!(SIMPLE.iter().all(|(name, _)| name.len() <= MAX_NAME));
        assert!(UNSUPPORTED.iter().chain(IGNORED).all(|name| name.len() <= MAX_NAME));
    }

    #[test]
    fn each_simple_flag_sets_a_field_of_its_own() {
        let mut seen = Vec::new();
        for (name, set) in SIMPLE {
            let mut flags = Flags::default();
            set(&mut flags);
            assert_ne!(flags, Flags::default(), "{name}");
            assert!(!seen.contains(&flags), "{name} sets what another flag sets");
            seen.push(flags);
        }
    }

    #[test]
    fn prefixes_keep_the_spelling_of_what_follows() {
        let word = b"SDES-only-AES_CM_128_HMAC_SHA1_80";
        let Some(Flag::Element(List::Sdes, rest)) = Flag::of(word) else { panic!("no element") };
        assert_eq!(rest, b"only-AES_CM_128_HMAC_SHA1_80");
    }

    #[test]
    fn a_prefix_alone_is_unknown() {
        assert!(Flag::of(b"SDES-").is_none());
        assert!(Flag::of(b"no such flag").is_none());
    }
}
