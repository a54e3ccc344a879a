//! The body of `query` and `delete`: what one call did.
//!
//! Names and nesting are the incumbent's, because controllers read them: Kamailio and OpenSIPS
//! take `totals`, `created`, `tags.*.{tag,label}`, `medias[].streams[].SSRC` and `SSRC`. One key
//! is ours: `postern`, with the residence time, and in media sections the state of ICE and DTLS.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

use super::{DtlsStatistics, IceStatistics, ok};
use crate::wire::{Dict, Value};

/// One call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallStatistics {
    /// When it began, since the Unix epoch.
    pub created: Duration,
    /// When its last offer, answer or delete came, since the Unix epoch.
    pub last_signal: Duration,
    /// Its parties.
    pub tags: Vec<TagStatistics>,
    /// RTP received from all parties.
    pub rtp: Counters,
    /// RTCP received from all parties.
    pub rtcp: Counters,
    /// Sources of RTP.
    pub sources: Vec<SsrcStatistics>,
    /// How long packets stayed with us.
    pub residence: Residence,
}

/// One party.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TagStatistics {
    /// Its tag; a party not named yet has none.
    pub tag: Option<Bytes>,
    /// `via-branch`.
    pub via_branch: Option<Bytes>,
    /// Further tags that it has answered under.
    pub aliases: Vec<Bytes>,
    /// `label`.
    pub label: Option<Bytes>,
    /// When it came, since the Unix epoch.
    pub created: Duration,
    /// Tags of the parties whose media it is sent.
    pub subscriptions: Vec<Bytes>,
    /// Tags of the parties that are sent its media.
    pub subscribers: Vec<Bytes>,
    /// Its media sections in order.
    pub medias: Vec<MediaStatistics>,
}

/// One media section of a party.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MediaStatistics {
    /// Its place in the SDP, from 1.
    pub index: usize,
    /// `audio`, `video`, …
    pub kind: Bytes,
    /// `RTP/AVP` and so on.
    pub protocol: Bytes,
    /// The main codec, where known.
    pub codec: Option<Bytes>,
    /// RTP and, unless multiplexed, RTCP.
    pub streams: Vec<StreamStatistics>,
    /// `initialized`, `send`, `recv`, `rtcp-mux`, `SDES`, …; those of ICE and DTLS come from below.
    pub flags: Vec<&'static str>,
    /// ICE, where it speaks it.
    pub ice: Option<IceStatistics>,
    /// DTLS-SRTP, where it is keyed so.
    pub dtls: Option<DtlsStatistics>,
}

/// One port of a media section.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamStatistics {
    /// Ours.
    pub local: Option<SocketAddr>,
    /// Where we send: learned or signalled.
    pub endpoint: Option<SocketAddr>,
    /// Where the party said it is.
    pub advertised_endpoint: Option<SocketAddr>,
    /// SRTP suite of what we receive.
    pub crypto_suite: Option<&'static str>,
    /// When the last packet came, since the Unix epoch.
    pub last_packet: Duration,
    /// The source heard last.
    pub ssrc: Option<u32>,
    /// `RTP`, `RTCP`, `filled`, `confirmed`, `strict source address`, …
    pub flags: Vec<&'static str>,
    /// Received from the party.
    pub received: Counters,
    /// Sent to the party.
    pub sent: Counters,
}

/// Packets, bytes and errors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets.
    pub packets: u64,
    /// Bytes of UDP payload.
    pub bytes: u64,
    /// Packets dropped.
    pub errors: u64,
}

/// One source of RTP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SsrcStatistics {
    /// Its SSRC.
    pub ssrc: u32,
    /// Packets received.
    pub packets: u64,
    /// Bytes received.
    pub bytes: u64,
    /// Timestamp of the last packet.
    pub last_timestamp: u32,
    /// Sequence number of the last packet.
    pub last_sequence: u16,
    /// Sequence numbers that never came (RFC 3550 A.3).
    pub lost: u64,
}

/// Residence time: from the kernel's receive timestamp to the end of the send.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Residence {
    /// Packets measured.
    pub count: u64,
    /// Median, in nanoseconds.
    pub p50_ns: u64,
    /// 99 %, in nanoseconds.
    pub p99_ns: u64,
    /// 99.9 %, in nanoseconds.
    pub p999_ns: u64,
    /// Maximum, in nanoseconds.
    pub max_ns: u64,
}

impl CallStatistics {
    /// The whole reply.
    pub fn dict(&self) -> Dict {
        let mut sources = Dict::default();
        for source in &self.sources {
            sources.push(source.ssrc.to_string(), source.dict());
        }
        let mut tags = Dict::default();
        for (index, tag) in self.tags.iter().enumerate() {
            tags.push(tag.key(index), tag.dict());
        }
        let totals = Dict::default().with("RTP", self.rtp.dict()).with("RTCP", self.rtcp.dict());
        ok().with("created", self.created.as_secs())
            .with("created_us", self.created.subsec_micros())
            .with("last signal", self.last_signal.as_secs())
            .with("SSRC", sources)
            .with("tags", tags)
            .with("totals", totals)
            .with("postern", Dict::default().with("residence", self.residence.dict()))
    }
}

impl TagStatistics {
    fn key(&self, index: usize) -> Bytes {
        self.tag.clone().unwrap_or_else(|| Bytes::from(format!("<untagged {}>", index + 1)))
    }

    fn dict(&self) -> Dict {
        let mut dict = Dict::default();
        push_some(&mut dict, "tag", &self.tag);
        push_some(&mut dict, "via-branch", &self.via_branch);
        if !self.aliases.is_empty() {
            dict.push(
                "tag-aliases",
                self.aliases.iter().cloned().map(Value::Bytes).collect::<Vec<_>>(),
            );
        }
        push_some(&mut dict, "label", &self.label);
        dict.with("created", self.created.as_secs())
            .with("subscriptions", subscriptions(&self.subscriptions))
            .with("subscribers", subscriptions(&self.subscribers))
            .with("medias", dicts(&self.medias, MediaStatistics::dict))
    }
}

impl MediaStatistics {
    fn dict(&self) -> Dict {
        let mut dict = Dict::default()
            .with("index", self.index)
            .with("type", self.kind.clone())
            .with("protocol", self.protocol.clone());
        push_some(&mut dict, "codec", &self.codec);
        let (ice, dtls) = (self.ice.iter(), self.dtls.iter());
        let of_leg = dtls.flat_map(DtlsStatistics::flags).chain(ice.flat_map(IceStatistics::flags));
        let flags: Vec<_> = self.flags.iter().copied().chain(of_leg).collect();
        let verified = self.dtls.as_ref().and_then(DtlsStatistics::stream_flags);
        let stream = |stream: &StreamStatistics| stream.dict(verified);
        let mut dict =
            dict.with("streams", dicts(&self.streams, stream)).with("flags", words(&flags));
        if self.ice.is_some() || self.dtls.is_some() {
            dict.push("postern", self.leg());
        }
        dict
    }

    fn leg(&self) -> Dict {
        let mut leg = Dict::default();
        if let Some(ice) = &self.ice {
            leg.push("ICE", ice.dict());
        }
        if let Some(dtls) = &self.dtls {
            leg.push("DTLS", dtls.dict());
        }
        leg
    }
}

impl StreamStatistics {
    fn dict(&self, of_leg: Option<&'static str>) -> Dict {
        let mut dict = Dict::default();
        if let Some(local) = self.local {
            dict.push("local port", local.port());
            dict.push("local address", local.ip().to_string());
            dict.push("family", family(local));
        }
        push_endpoint(&mut dict, "endpoint", self.endpoint);
        push_endpoint(&mut dict, "advertised endpoint", self.advertised_endpoint);
        if let Some(suite) = self.crypto_suite {
            dict.push("crypto suite", suite);
        }
        dict.push("last packet", self.last_packet.as_secs());
        if let Some(ssrc) = self.ssrc {
            dict.push("SSRC", ssrc);
        }
        let flags: Vec<_> = self.flags.iter().copied().chain(of_leg).collect();
        dict.with("flags", words(&flags))
            .with("stats", self.received.dict())
            .with("stats_out", self.sent.dict())
    }
}

impl Counters {
    pub(super) fn dict(&self) -> Dict {
        Dict::default()
            .with("packets", self.packets)
            .with("bytes", self.bytes)
            .with("errors", self.errors)
    }
}

impl SsrcStatistics {
    fn dict(&self) -> Dict {
        Dict::default()
            .with("bytes", self.bytes)
            .with("packets", self.packets)
            .with("last RTP timestamp", self.last_timestamp)
            .with("last RTP seq", self.last_sequence)
            .with("cumulative loss", self.lost)
    }
}

impl Residence {
    fn dict(&self) -> Dict {
        // Rounded up: a packet that took 300 ns did not take 0 µs.
        let micros = |nanos: u64| Value::from(nanos.div_ceil(1000));
        Dict::default()
            .with("count", self.count)
            .with("p50_us", micros(self.p50_ns))
            .with("p99_us", micros(self.p99_ns))
            .with("p999_us", micros(self.p999_ns))
            .with("max_us", micros(self.max_ns))
    }
}

fn push_some(dict: &mut Dict, key: &'static str, value: &Option<Bytes>) {
    if let Some(value) = value {
        dict.push(key, value.clone());
    }
}

fn push_endpoint(dict: &mut Dict, key: &'static str, endpoint: Option<SocketAddr>) {
    if let Some(endpoint) = endpoint {
        let endpoint = Dict::default()
            .with("family", family(endpoint))
            .with("address", endpoint.ip().to_string())
            .with("port", endpoint.port());
        dict.push(key, endpoint);
    }
}

fn family(address: SocketAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}

fn subscriptions(tags: &[Bytes]) -> Value {
    dicts(tags, |tag| Dict::default().with("tag", tag.clone()).with("type", "offer/answer"))
}

fn dicts<T>(items: &[T], dict: impl Fn(&T) -> Dict) -> Value {
    Value::List(items.iter().map(|item| Value::Dict(dict(item))).collect())
}

fn words(words: &[&'static str]) -> Value {
    Value::List(words.iter().map(|word| Value::from(*word)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reply::{DtlsState, IceState, Side};

    fn call() -> CallStatistics {
        let stream = StreamStatistics {
            local: "127.0.0.1:30000".parse().ok(),
            endpoint: "[2001:db8::1]:4000".parse().ok(),
            crypto_suite: Some("AEAD_AES_128_GCM"),
            last_packet: Duration::from_secs(1_700_000_001),
            ssrc: Some(0xffff_ffff),
            flags: vec!["RTP", "filled"],
            received: Counters { packets: 3, bytes: 516, errors: 1 },
            ..StreamStatistics::default()
        };
        let media = MediaStatistics {
            index: 1,
            kind: "audio".into(),
            protocol: "RTP/SAVP".into(),
            streams: vec![stream],
            flags: vec!["initialized", "send", "recv"],
            ..MediaStatistics::default()
        };
        let tag = TagStatistics {
            tag: Some("f1".into()),
            label: Some("caller".into()),
            aliases: vec!["f2".into()],
            subscriptions: vec!["t1".into()],
            medias: vec![media],
            ..TagStatistics::default()
        };
        CallStatistics {
            created: Duration::from_micros(1_700_000_000_123_456),
            tags: vec![tag, TagStatistics::default()],
            rtp: Counters { packets: 3, bytes: 516, errors: 1 },
            sources: vec![SsrcStatistics { ssrc: 0xffff_ffff, lost: 2, ..Default::default() }],
            residence: Residence { count: 3, p50_ns: 300, max_ns: 41_000, ..Default::default() },
            ..CallStatistics::default()
        }
    }

    #[test]
    fn controllers_find_what_they_read() {
        let dict = call().dict();
        assert_eq!(dict.int("created"), Some(1_700_000_000));
        assert_eq!(dict.int("created_us"), Some(123_456));
        assert_eq!(dict.dict("totals").unwrap().dict("RTP").unwrap().int("errors"), Some(1));
        let tag = dict.dict("tags").unwrap().dict("f1").unwrap();
        assert_eq!(tag.bytes("label").unwrap(), "caller");
        assert_eq!(tag.value("tag-aliases").unwrap().items(), [Value::from("f2")]);
        let media = tag.value("medias").unwrap().items()[0].dict().unwrap();
        let stream = media.value("streams").unwrap().items()[0].dict().unwrap();
        assert_eq!(stream.int("SSRC"), Some(0xffff_ffff));
        assert_eq!(stream.bytes("family").unwrap(), "IPv4");
        assert_eq!(stream.dict("endpoint").unwrap().bytes("family").unwrap(), "IPv6");
        let ssrc = dict.dict("SSRC").unwrap().dict("4294967295").unwrap();
        assert_eq!(ssrc.int("cumulative loss"), Some(2));
    }

    #[test]
    fn a_section_s_ice_and_dtls_are_flags_and_states() {
        let mut call = call();
        let media = &mut call.tags[0].medias[0];
        media.dtls = Some(DtlsStatistics {
            state: DtlsState::Secured,
            client: Some(Side::Us),
            profile: Some("AEAD_AES_128_GCM"),
            reason: None,
        });
        media.ice = Some(IceStatistics {
            state: IceState::Failed,
            controlling: Side::Us,
            lite: true,
            peer_lite: false,
            trickle: true,
            selected: "192.0.2.1:1".parse().ok().zip("[2001:db8::1]:2".parse().ok()),
            reason: Some("no pair works".into()),
        });
        let media = call.tags[0].medias[0].dict();
        let flags = [
            "DTLS-SRTP",
            "DTLS role active",
            "ICE",
            "trickle ICE",
            "ICE controlling",
            "ICE-lite self",
        ];
        let all = [&["initialized", "send", "recv"], &flags[..]].concat();
        assert_eq!(media.value("flags"), Some(&words(&all)));
        let stream = media.value("streams").unwrap().items()[0].dict().unwrap();
        let expected = words(&["RTP", "filled", "DTLS fingerprint verified"]);
        assert_eq!(stream.value("flags"), Some(&expected));
        let leg = media.dict("postern").unwrap();
        assert_eq!(leg.dict("DTLS").unwrap().bytes("state").unwrap(), "secured");
        assert_eq!(leg.dict("DTLS").unwrap().bytes("profile").unwrap(), "AEAD_AES_128_GCM");
        let ice = leg.dict("ICE").unwrap();
        assert_eq!(ice.bytes("state").unwrap(), "failed");
        assert_eq!(ice.bytes("reason").unwrap(), "no pair works");
        assert_eq!(ice.bytes("remote").unwrap(), "[2001:db8::1]:2");
    }

    #[test]
    fn a_party_without_a_tag_is_numbered() {
        let dict = call().dict();
        assert!(dict.dict("tags").unwrap().dict("<untagged 2>").unwrap().value("tag").is_none());
    }

    #[test]
    fn residence_is_whole_microseconds_rounded_up() {
        let dict = call().dict();
        let residence = dict.dict("postern").unwrap().dict("residence").unwrap();
        assert_eq!(residence.int("p50_us"), Some(1));
        assert_eq!(residence.int("max_us"), Some(41));
        assert_eq!(residence.int("count"), Some(3));
    }
}
