//! What `query` and `delete` tell of a call: the worker's numbers under the names that signalling
//! knows.

use std::time::{Duration, Instant};

use bytes::Bytes;
use ng::reply::{
    CallStatistics, Counters, MediaStatistics, Residence, SsrcStatistics, StreamStatistics,
    TagStatistics,
};
use ng::request::Query;

use crate::relay::command::{self, CallReport, SourceReport, StreamIndex, StreamReport};

use super::call::Call;
use super::mux::Settled;
use super::party::{Media, Party, PartyIndex};
use super::stream::Stream;

/// One moment on both clocks: calls are timed by the one, reports by the other.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// Now, monotonic.
    pub now: Instant,
    /// Now, since the Unix epoch.
    pub unix: Duration,
}

impl Clock {
    /// A past moment since the Unix epoch.
    fn unix(&self, moment: Instant) -> Duration {
        self.unix.saturating_sub(self.now.saturating_duration_since(moment))
    }
}

/// The call with what its worker reports; without a report (the worker has not seen it yet) all
/// counters are zero.
pub(super) fn statistics(call: &Call, report: Option<&CallReport>, clock: Clock) -> CallStatistics {
    let streams = report.map_or(&[][..], |report| &report.streams);
    let mut statistics = CallStatistics {
        created: clock.unix(call.created),
        last_signal: clock.unix(call.last_signal),
        ..CallStatistics::default()
    };
    for stream in streams {
        add(&mut statistics.rtp, counters(stream.rtp_in));
        add(&mut statistics.rtcp, counters(stream.rtcp_in));
        statistics.sources.extend(stream.sources.iter().map(source));
        worst(&mut statistics.residence, stream.residence);
    }
    let telling = Telling { call, streams, clock };
    statistics.tags = (0..call.parties.len()).map(|party| telling.tag(PartyIndex(party))).collect();
    statistics
}

/// Leaves out the parties that a query has not asked for.
pub fn tell_only(statistics: &mut CallStatistics, query: &Query) {
    let asked = || query.from_tag.iter().chain(&query.to_tag);
    if asked().next().is_some() {
        statistics.tags.retain(|tag| asked().any(|asked| tag.tag.as_ref() == Some(asked)));
    }
}

struct Telling<'a> {
    call: &'a Call,
    streams: &'a [StreamReport],
    clock: Clock,
}

impl Telling<'_> {
    fn tag(&self, index: PartyIndex) -> TagStatistics {
        let party = &self.call.parties[index.0];
        let medias = party.media.iter().enumerate();
        TagStatistics {
            tag: party.tag.as_deref().map(Bytes::copy_from_slice),
            via_branch: party.branch.as_deref().map(Bytes::copy_from_slice),
            label: party.label.as_deref().map(Bytes::copy_from_slice),
            created: self.clock.unix(party.created),
            subscriptions: self.tags(|other| self.sends(other, party)),
            subscribers: self.tags(|other| self.sends(party, other)),
            medias: medias.map(|(index, media)| self.media(index, media)).collect(),
        }
    }

    /// Whether what one party sends goes to the other.
    fn sends(&self, from: &Party, to: &Party) -> bool {
        let streams = || from.media.iter().filter_map(|media| media.stream);
        streams().any(|stream| {
            let peer = self.call.stream(stream).peer;
            peer.is_some() && to.media.iter().any(|media| media.stream == peer)
        })
    }

    fn tags(&self, wanted: impl Fn(&Party) -> bool) -> Vec<Bytes> {
        let parties = self.call.parties.iter().filter(|party| wanted(party));
        parties.filter_map(|party| party.tag.as_deref().map(Bytes::copy_from_slice)).collect()
    }

    fn media(&self, index: usize, media: &Media) -> MediaStatistics {
        let stream = media.stream.map(|stream| (stream, self.call.stream(stream)));
        let streams = match stream {
            Some((index, stream)) => self.ports(index, stream),
            None => Vec::new(),
        };
        MediaStatistics {
            index: index + 1,
            kind: Bytes::copy_from_slice(&media.kind),
            protocol: Bytes::copy_from_slice(media.protocol.name()),
            codec: None,
            streams,
            flags: media_flags(media, stream.map(|(_, stream)| stream)),
        }
    }

    /// RTP and, unless multiplexed, RTCP.
    fn ports(&self, index: StreamIndex, stream: &Stream) -> Vec<StreamStatistics> {
        let report = self.streams.get(usize::from(index.0));
        let signalled = stream.remote;
        let mut rtp = self.port(stream, report, "RTP");
        rtp.local = Some(stream.ports.bound);
        rtp.advertised_endpoint = signalled.and_then(|remote| remote.rtp);
        rtp.endpoint = report.and_then(|report| report.remote_rtp).or(rtp.advertised_endpoint);
        rtp.ssrc = report.and_then(|report| report.sources.first()).map(|source| source.ssrc);
        if let Some(report) = report {
            (rtp.received, rtp.sent) = (counters(report.rtp_in), counters(report.rtp_out));
        }
        if stream.mux == Settled::OnePort {
            if let Some(report) = report {
                add(&mut rtp.received, counters(report.rtcp_in));
                add(&mut rtp.sent, counters(report.rtcp_out));
            }
            return vec![rtp];
        }
        let mut rtcp = self.port(stream, report, "RTCP");
        rtcp.local = Some(stream.ports.bound_rtcp());
        rtcp.advertised_endpoint = signalled.and_then(|remote| remote.rtcp);
        rtcp.endpoint = report.and_then(|report| report.remote_rtcp).or(rtcp.advertised_endpoint);
        if let Some(report) = report {
            (rtcp.received, rtcp.sent) = (counters(report.rtcp_in), counters(report.rtcp_out));
        }
        vec![rtp, rtcp]
    }

    /// What both ports of a stream have in common.
    fn port(
        &self,
        stream: &Stream,
        report: Option<&StreamReport>,
        component: &'static str,
    ) -> StreamStatistics {
        let mut flags = vec![component];
        if stream.remote.is_some() {
            flags.push("filled");
        }
        if report.is_some_and(|report| report.confirmed) {
            flags.push("confirmed");
        }
        if stream.strict_source {
            flags.push("strict source address");
        }
        let last_packet = report.and_then(|report| report.last_packet);
        StreamStatistics {
            crypto_suite: stream.local_crypto().map(|local| local.key.profile().name()),
            last_packet: self.clock.unix(last_packet.unwrap_or(self.call.created)),
            flags,
            ..StreamStatistics::default()
        }
    }
}

fn media_flags(media: &Media, stream: Option<&Stream>) -> Vec<&'static str> {
    let mut flags = Vec::new();
    if stream.is_some() {
        flags.push("initialized");
    }
    // As the incumbent means it: what we do towards the party, not what the party does.
    if let Some(said) = &media.said {
        if said.direction.receives() {
            flags.push("send");
        }
        if said.direction.sends() {
            flags.push("recv");
        }
    }
    if stream.is_some_and(|stream| stream.mux == Settled::OnePort) {
        flags.push("rtcp-mux");
    }
    if stream.is_some_and(|stream| stream.local_crypto().is_some()) {
        flags.push("SDES");
    }
    flags
}

fn counters(of: command::Counters) -> Counters {
    Counters { packets: of.packets, bytes: of.bytes, errors: of.errors }
}

fn add(sum: &mut Counters, more: Counters) {
    sum.packets += more.packets;
    sum.bytes += more.bytes;
    sum.errors += more.errors;
}

fn source(of: &SourceReport) -> SsrcStatistics {
    SsrcStatistics {
        ssrc: of.ssrc,
        packets: of.packets,
        bytes: of.bytes,
        last_timestamp: of.last_timestamp,
        last_sequence: of.last_sequence,
        lost: of.lost,
    }
}

/// Percentiles of several streams cannot be merged exactly; the slowest stream's are an honest
/// upper bound for the call.
fn worst(so_far: &mut Residence, more: command::Residence) {
    so_far.count += more.count;
    so_far.p50_ns = so_far.p50_ns.max(more.p50_ns);
    so_far.p99_ns = so_far.p99_ns.max(more.p99_ns);
    so_far.p999_ns = so_far.p999_ns.max(more.p999_ns);
    so_far.max_ns = so_far.max_ns.max(more.max_ns);
}
