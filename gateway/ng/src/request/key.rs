//! The names of keys: one per meaning, whatever its spelling.
//!
//! Peers write `transport protocol`, `transport-protocol` and `transport_protocol`, `ICE` and
//! `ice`, `call-id` and `call-ID`. So names are compared in lower case with hyphens. That takes
//! in a few spellings more than the incumbent does and loses none.

/// What a key means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    AddressFamily,
    CallId,
    Command,
    DeleteDelay,
    Direction,
    Dtls,
    DtlsFingerprint,
    EndpointLearning,
    Flags,
    FromInterface,
    FromTag,
    Ice,
    IceLite,
    Label,
    Limit,
    MediaAddress,
    Osrtp,
    ReceivedFrom,
    Replace,
    RtcpMux,
    RtppFlags,
    Sdes,
    Sdp,
    SipMessageType,
    Supports,
    ToInterface,
    ToTag,
    Tos,
    TransportProtocol,
    ViaBranch,
    /// Known to the incumbent, not to us: ignored with a warning.
    Unsupported,
    /// Without effect by design: ignored in silence.
    Ignore,
}

impl Key {
    /// The key of this spelling.
    pub(super) fn of(name: &[u8]) -> Option<Self> {
        let mut buffer = [0; MAX_NAME];
        let name = normalized(name, &mut buffer)?;
        let place = KEYS.binary_search_by(|(key, _)| key.as_bytes().cmp(name)).ok()?;
        Some(KEYS[place].1)
    }

    /// What its value may be, for the warning about another one.
    pub(super) const fn expected(self) -> &'static str {
        match self {
            Self::AddressFamily => "IP4 or IP6",
            Self::DeleteDelay => "seconds, 0 or more",
            Self::Direction => "at most two interface names",
            Self::Dtls => "off, passive or active",
            Self::EndpointLearning => "heuristic, delayed, immediate or off",
            Self::DtlsFingerprint => "sha-1, sha-224, sha-256, sha-384 or sha-512",
            Self::Ice => {
                "remove, force, default, optional, force-relay, trickle, ice2, lite or lite-forward \
                 and such"
            }
            Self::IceLite => "forward, backward, both or off",
            Self::Osrtp => "offer, offer-RFC, offer-legacy, accept-RFC, accept-legacy or accept",
            Self::Limit => "a number",
            Self::MediaAddress => "an IP address",
            Self::ReceivedFrom => "an IP address, or family and address",
            Self::Replace => {
                "origin, origin-full, username, session-name, SDP-version, zero-address or \
                 force-increment-sdp-ver"
            }
            Self::RtcpMux => "offer, require, demux, accept or reject",
            Self::Sdes => {
                "off, nonew, no-SUITE, only-SUITE, order:SUITE;…, offerer_pref:SUITE;…, pad, \
                 lifetime, static, prefer or (un)encrypted_srtp and such"
            }
            Self::SipMessageType => "sip_request or sip_reply",
            Self::Tos => "a number from -1 to 255",
            Self::TransportProtocol => "RTP/AVP, RTP/SAVP and such, or accept",
            _ => "a string",
        }
    }
}

/// The name in lower case with hyphens; `None` where it is longer than any we know.
pub(super) fn normalized<'b>(name: &[u8], buffer: &'b mut [u8; MAX_NAME]) -> Option<&'b [u8]> {
    let target = buffer.get_mut(..name.len())?;
    for (to, from) in target.iter_mut().zip(name) {
        *to = match from {
            b' ' | b'_' => b'-',
            other => other.to_ascii_lowercase(),
        };
    }
    Some(target)
}

/// Longer than every name in the tables of this module and its neighbours.
pub(super) const MAX_NAME: usize = 40;

/// Sorted by name: searched by halving.
const KEYS: &[(&str, Key)] = &[
    ("address", Key::Unsupported),
    ("address-family", Key::AddressFamily),
    ("all", Key::Unsupported),
    ("audio-player", Key::Unsupported),
    ("call-id", Key::CallId),
    ("codec", Key::Unsupported),
    ("command", Key::Command),
    ("delay-buffer", Key::Unsupported),
    ("delete-delay", Key::DeleteDelay),
    ("direction", Key::Direction),
    ("drop-traffic", Key::Unsupported),
    ("dtls", Key::Dtls),
    ("dtls-fingerprint", Key::DtlsFingerprint),
    ("dtls-reverse", Key::Dtls),
    ("dtmf-log-dest", Key::Unsupported),
    ("dtmf-security", Key::Unsupported),
    ("endpoint-learning", Key::EndpointLearning),
    ("flags", Key::Flags),
    ("frequency", Key::Unsupported),
    ("from-interface", Key::FromInterface),
    ("from-label", Key::Unsupported),
    ("from-tag", Key::FromTag),
    ("from-tags", Key::Unsupported),
    ("ice", Key::Ice),
    ("ice-lite", Key::IceLite),
    ("inbound-peer", Key::Unsupported),
    ("interface", Key::Unsupported),
    ("label", Key::Label),
    ("limit", Key::Limit),
    ("media-address", Key::MediaAddress),
    ("media-echo", Key::Unsupported),
    ("metadata", Key::Unsupported),
    ("moh", Key::Unsupported),
    ("osrtp", Key::Osrtp),
    ("outbound-peer", Key::Unsupported),
    ("output-destination", Key::Unsupported),
    ("ptime", Key::Unsupported),
    ("ptime-reverse", Key::Unsupported),
    ("received-from", Key::ReceivedFrom),
    ("record-call", Key::Unsupported),
    ("recording-dir", Key::Unsupported),
    ("recording-file", Key::Unsupported),
    ("recording-path", Key::Unsupported),
    ("recording-pattern", Key::Unsupported),
    ("repacketize", Key::Unsupported),
    ("replace", Key::Replace),
    ("rtcp-mux", Key::RtcpMux),
    ("rtpp-flags", Key::RtppFlags),
    ("sdes", Key::Sdes),
    ("sdp", Key::Sdp),
    ("sdp-attr", Key::Unsupported),
    ("sdp-media-remove", Key::Unsupported),
    ("set-label", Key::Label),
    ("sip-code", Key::Ignore),
    ("sip-message-type", Key::SipMessageType),
    ("supports", Key::Supports),
    ("t.38", Key::Unsupported),
    ("t38", Key::Unsupported),
    ("template", Key::Unsupported),
    ("to-interface", Key::ToInterface),
    ("to-label", Key::Unsupported),
    ("to-tag", Key::ToTag),
    ("tos", Key::Tos),
    ("transport-protocol", Key::TransportProtocol),
    ("trigger", Key::Unsupported),
    ("trigger-end", Key::Unsupported),
    ("via-branch", Key::ViaBranch),
    ("xmlrpc-callback", Key::Unsupported),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_is_sorted_and_fits_the_buffer() {
        assert!(KEYS.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert!(KEYS.iter().all(|(name, _)| name.len() <= MAX_NAME));
    }

    #[test]
    fn every_name_finds_itself() {
        for (name, key) in KEYS {
            assert_eq!(Key::of(name.as_bytes()), Some(*key), "{name}");
        }
    }

    #[test]
    fn spellings_of_one_key_are_one() {
        for name in ["call-id", "call-ID", "call id", "call_id", "Call-ID"] {
            assert_eq!(Key::of(name.as_bytes()), Some(Key::CallId), "{name}");
        }
        for name in ["transport protocol", "transport-protocol", "transport_protocol"] {
            assert_eq!(Key::of(name.as_bytes()), Some(Key::TransportProtocol), "{name}");
        }
        assert_eq!(Key::of(b"no such key"), None);
        assert_eq!(Key::of(&[b'x'; 1000]), None);
    }
}
