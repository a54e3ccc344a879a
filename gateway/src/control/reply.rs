//! The bodies of `query`, `delete` and `statistics`: signalling's view of a call joined with the
//! worker's report, in the words of the incumbent.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use ng::reply::{
    CallStatistics, CommandCount, Counters, InterfaceStatistics, MediaStatistics, ProxyStatistics,
    RelayStatistics, Residence, Sessions, SsrcStatistics, StreamStatistics, TagStatistics, Traffic,
};
use ng::sdp::Direction;

use super::Control;
use crate::metrics::ledger::{Client, Ending, Verb};
use crate::relay::command::{self, CallReport, StreamReport, WorkerSnapshot};
use crate::relay::drop_reason::DropReason;
use crate::session::{CallView, MediaView, PartyView};

/// One call; without a report all packets are zero.
pub(super) fn call_statistics(view: &CallView, report: Option<&CallReport>) -> CallStatistics {
    let streams = report.map_or(&[][..], |report| &report.streams);
    CallStatistics {
        created: unix_time(view.created),
        last_signal: unix_time(view.last_signal),
        tags: view.parties.iter().map(|party| tag(party, &view.parties, streams)).collect(),
        rtp: sum(streams.iter().map(|stream| stream.rtp_in)),
        rtcp: sum(streams.iter().map(|stream| stream.rtcp_in)),
        sources: sources(streams),
        residence: residence(streams),
    }
}

fn tag(party: &PartyView, parties: &[PartyView], streams: &[StreamReport]) -> TagStatistics {
    let name = party.tag.clone().unwrap_or_default();
    let subscribers = parties.iter().filter(|other| other.partner.as_ref() == Some(&name));
    TagStatistics {
        tag: party.tag.clone(),
        via_branch: party.branch.clone(),
        aliases: party.aliases.clone(),
        label: party.label.clone(),
        created: unix_time(party.created),
        subscriptions: party.partner.iter().cloned().collect(),
        subscribers: subscribers.map(|other| other.tag.clone().unwrap_or_default()).collect(),
        medias: party
            .media
            .iter()
            .enumerate()
            .map(|(index, media)| media_statistics(index, media, streams))
            .collect(),
    }
}

fn media_statistics(index: usize, media: &MediaView, all: &[StreamReport]) -> MediaStatistics {
    let report = media.stream.and_then(|stream| all.get(usize::from(stream.0)));
    MediaStatistics {
        index: index + 1,
        kind: media.kind.clone(),
        protocol: Bytes::copy_from_slice(media.protocol.name()),
        codec: None,
        // What a bundle moved is its first section's, so that nobody counts it twice.
        streams: match (report, media.bundled_with) {
            (Some(report), None) => components(media, report),
            (Some(_), Some(_)) | (None, _) => Vec::new(),
        },
        flags: media_flags(media),
        ice: media.ice.clone(),
        dtls: media.dtls.clone(),
    }
}

/// Directions are ours towards the party: what it only receives we only send.
fn media_flags(media: &MediaView) -> Vec<&'static str> {
    let (send, recv) = match media.direction {
        Some(Direction::SendRecv) => (true, true),
        Some(Direction::RecvOnly) => (true, false),
        Some(Direction::SendOnly) => (false, true),
        Some(Direction::Inactive) | None => (false, false),
    };
    let flags = [
        (media.signalled.is_some(), "initialized"),
        (send, "send"),
        (recv, "recv"),
        (media.rtcp_mux, "rtcp-mux"),
        (media.suite.is_some() && media.dtls.is_none(), "SDES"),
        (media.bundled_with.is_some(), "bundled"),
        (media.shared, "passthrough"),
    ];
    flags.into_iter().filter(|(set, _)| *set).map(|(_, name)| name).collect()
}

/// RTP and, where it has its own port, RTCP.
fn components(media: &MediaView, report: &StreamReport) -> Vec<StreamStatistics> {
    let last_packet = report.last_packet.map(unix_time).unwrap_or_default();
    let flags = |name: &'static str| {
        let flags = [
            (true, name),
            (media.signalled.is_some(), "filled"),
            (report.confirmed, "confirmed"),
            (media.strict_source, "strict source address"),
        ];
        flags.into_iter().filter(|(set, _)| *set).map(|(_, name)| name).collect()
    };
    let rtp = StreamStatistics {
        local: report.local_rtp,
        endpoint: report.remote_rtp,
        advertised_endpoint: media.signalled.and_then(|remote| remote.rtp),
        crypto_suite: media.suite,
        last_packet,
        ssrc: report.sources.first().map(|source| source.ssrc),
        flags: flags("RTP"),
        received: counters(report.rtp_in),
        sent: counters(report.rtp_out),
    };
    let rtcp = report.local_rtcp.filter(|_| !media.rtcp_mux).map(|local| StreamStatistics {
        local: Some(local),
        endpoint: report.remote_rtcp,
        advertised_endpoint: media.signalled.and_then(|remote| remote.rtcp),
        crypto_suite: media.suite,
        last_packet,
        ssrc: None,
        flags: flags("RTCP"),
        received: counters(report.rtcp_in),
        sent: counters(report.rtcp_out),
    });
    [Some(rtp), rtcp].into_iter().flatten().collect()
}

/// One entry an SSRC, as the reply is a dictionary by SSRC. Two parties may use the same one.
fn sources(streams: &[StreamReport]) -> Vec<SsrcStatistics> {
    let mut merged: Vec<SsrcStatistics> = Vec::new();
    for source in streams.iter().flat_map(|stream| &stream.sources) {
        match merged.iter_mut().find(|other| other.ssrc == source.ssrc) {
            Some(other) => {
                other.packets += source.packets;
                other.bytes += source.bytes;
                other.lost += source.lost;
            }
            None => merged.push(SsrcStatistics {
                ssrc: source.ssrc,
                packets: source.packets,
                bytes: source.bytes,
                last_timestamp: source.last_timestamp,
                last_sequence: source.last_sequence,
                lost: source.lost,
            }),
        }
    }
    merged
}

fn counters(counters: command::Counters) -> Counters {
    Counters { packets: counters.packets, bytes: counters.bytes, errors: counters.errors }
}

fn sum(all: impl Iterator<Item = command::Counters>) -> Counters {
    all.fold(Counters::default(), |sum, one| Counters {
        packets: sum.packets + one.packets,
        bytes: sum.bytes + one.bytes,
        errors: sum.errors + one.errors,
    })
}

/// The call's: quantiles of several streams cannot be merged, so the worst of them is told.
fn residence(streams: &[StreamReport]) -> Residence {
    streams.iter().map(|stream| stream.residence).fold(Residence::default(), |worst, one| {
        Residence {
            count: worst.count + one.count,
            p50_ns: worst.p50_ns.max(one.p50_ns),
            p99_ns: worst.p99_ns.max(one.p99_ns),
            p999_ns: worst.p999_ns.max(one.p999_ns),
            max_ns: worst.max_ns.max(one.max_ns),
        }
    })
}

/// A monotonic instant as the wall clock has it now.
fn unix_time(instant: Instant) -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.saturating_sub(instant.elapsed())
}

/// Packets a second between one `statistics` and the next: whoever draws a curve asks in equal
/// intervals, and nobody else pays for a clock.
#[derive(Debug)]
pub(super) struct Rates {
    since: Instant,
    totals: Traffic,
    rates: Traffic,
}

impl Rates {
    pub(super) fn new(now: Instant) -> Self {
        Self { since: now, totals: Traffic::default(), rates: Traffic::default() }
    }

    /// The rates since the last time, or those told then if that was less than a second ago.
    fn observe(&mut self, totals: Traffic, now: Instant) -> Traffic {
        let seconds = now.saturating_duration_since(self.since).as_secs_f64();
        if seconds >= 1.0 {
            let rate = |new: u64, old: u64| (new.saturating_sub(old) as f64 / seconds) as u64;
            self.rates = Traffic {
                packets: rate(totals.packets, self.totals.packets),
                bytes: rate(totals.bytes, self.totals.bytes),
                errors: rate(totals.errors, self.totals.errors),
            };
            (self.since, self.totals) = (now, totals);
        }
        self.rates
    }
}

impl Control {
    /// The body of `statistics`.
    pub(super) fn statistics(&mut self, workers: &[Option<WorkerSnapshot>]) -> RelayStatistics {
        let total = |of: fn(&WorkerSnapshot) -> u64| workers.iter().flatten().map(of).sum();
        let dropped = |snapshot: &WorkerSnapshot| {
            let queue = snapshot.drops[DropReason::KernelReceiveQueue as usize];
            snapshot.drops.iter().sum::<u64>() - queue
        };
        let totals = Traffic {
            packets: total(|snapshot| snapshot.packets_out),
            bytes: total(|snapshot| snapshot.bytes_out),
            errors: total(dropped),
        };
        RelayStatistics {
            uptime: self.started.elapsed(),
            sessions: self.sessions(),
            rates: self.rates.observe(totals, Instant::now()),
            totals,
            media: total(|snapshot| snapshot.streams as u64),
            zero_way_streams: self.ledger.zero_packet_streams,
            one_way_streams: self.ledger.one_way_calls,
            proxies: self.ledger.clients().map(|(address, one)| proxy(address, one)).collect(),
            interfaces: self.interface_statistics(),
        }
    }

    fn sessions(&self) -> Sessions {
        let ended = |ending| self.ledger.ended_by(ending);
        Sessions {
            current: self.calls.len() as u64,
            managed: self.ledger.calls - self.placements.len() as u64,
            rejected: ended(Ending::Rejected),
            timed_out: ended(Ending::Timeout),
            silent_timed_out: ended(Ending::SilentTimeout),
            offer_timed_out: ended(Ending::OfferTimeout),
            terminated: ended(Ending::Terminated),
            forced: ended(Ending::Forced) + ended(Ending::FinalTimeout),
            duration: Duration::from_secs_f64(self.ledger.duration_seconds.max(0.0)),
        }
    }

    fn interface_statistics(&self) -> Vec<InterfaceStatistics> {
        let range = self.config.relay.ports;
        let statistics = |usage: crate::ports::PortUsage| InterfaceStatistics {
            name: usage.interface,
            address: usage.bind.to_string(),
            min: range.min,
            max: range.max,
            used: usage.used as u64,
        };
        self.calls.ports().usage().map(statistics).collect()
    }
}

fn proxy(address: &std::net::IpAddr, client: &Client) -> ProxyStatistics {
    let count = |verb| {
        let (count, duration) = client.requests(verb);
        CommandCount { count, duration }
    };
    ProxyStatistics {
        proxy: address.to_string(),
        ping: count(Verb::Ping),
        offer: count(Verb::Offer),
        answer: count(Verb::Answer),
        delete: count(Verb::Delete),
        query: count(Verb::Query),
        list: count(Verb::List),
        statistics: count(Verb::Statistics),
        errors: client.errors,
    }
}

#[cfg(test)]
mod tests {
    use ng::sdp::Protocol;
    use srtp::Weaknesses;

    use super::*;

    fn section() -> MediaView {
        MediaView {
            kind: Bytes::from_static(b"audio"),
            protocol: Protocol::RtpSavp,
            stream: None,
            signalled: None,
            suite: Some("AEAD_AES_128_GCM"),
            shared: true,
            weaknesses: Weaknesses::NONE,
            direction: Some(Direction::RecvOnly),
            rtcp_mux: true,
            bundled_with: None,
            strict_source: true,
            ice: None,
            dtls: None,
        }
    }

    #[test]
    fn what_a_bundle_moved_is_told_once() {
        let zero = command::Counters::default();
        let report = StreamReport {
            rtp_in: command::Counters { packets: 7, ..zero },
            rtp_out: zero,
            rtcp_in: zero,
            rtcp_out: zero,
            remote_rtp: None,
            remote_rtcp: None,
            local_rtp: None,
            local_rtcp: None,
            confirmed: true,
            last_packet: None,
            sources: Vec::new(),
            drops: [0; DropReason::COUNT],
            residence: command::Residence::default(),
            agent: command::AgentCounts::default(),
            keyed: command::Keyed::default(),
        };
        let stream = Some(command::StreamIndex(0));
        let first = MediaView { stream, ..section() };
        let second = MediaView { stream, bundled_with: Some(0), ..section() };
        let all = [report];
        let [first, second] =
            [(0, first), (1, second)].map(|(at, media)| media_statistics(at, &media, &all));
        assert_eq!((first.streams.len(), first.streams[0].received.packets), (1, 7));
        assert!(second.streams.is_empty() && second.flags.contains(&"bundled"));
        assert!(!first.flags.contains(&"bundled"));
    }

    #[test]
    fn a_section_s_flags_are_the_incumbent_s_words_for_it() {
        let media = section();
        assert_eq!(media_flags(&media), ["send", "rtcp-mux", "SDES", "passthrough"]);
        let held = MediaView { direction: None, suite: None, shared: false, ..media };
        assert_eq!(media_flags(&held), ["rtcp-mux"]);
    }

    #[test]
    fn rates_are_those_between_two_askings_at_least_a_second_apart() {
        let start = Instant::now();
        let mut rates = Rates::new(start);
        let after = |packets| Traffic { packets, bytes: packets * 172, errors: 0 };
        let told = rates.observe(after(1000), start + Duration::from_secs(10));
        assert_eq!((told.packets, told.bytes), (100, 17_200));
        let soon = rates.observe(after(9000), start + Duration::from_millis(10_500));
        assert_eq!(soon, told);
        let later = rates.observe(after(9000), start + Duration::from_secs(12));
        assert_eq!(later.packets, 4000);
    }
}
