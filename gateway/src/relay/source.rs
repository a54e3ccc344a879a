//! What each SSRC of a stream did: packets, bytes and loss as RFC 3550 appendix A.3 counts it.
//!
//! The table is bounded: an SSRC is whatever a packet says, and on a plain leg anybody who gets
//! past the source check may say anything. The source heard last stays beside the stream's hot
//! fields; the others are moved out of the way, and the longest silent makes room.

use std::time::{Duration, Instant};

use srtp::{rtcp, rtp};

use super::bucket::{Bucket, Rate};
use super::command::SourceReport;
use super::demultiplex::Media;
use super::drop_reason::DropReason;
use super::sequence::{Step, Tracker};

/// What one packet's RTP header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    /// SSRC.
    pub(super) ssrc: u32,
    /// Sequence number.
    pub(super) sequence: u16,
    /// RTP timestamp.
    pub(super) timestamp: u32,
}

impl Stamp {
    /// Reads the header, in clear also under SRTP and SRTCP; RTCP has no stamp. Refuses what is
    /// shorter than it says.
    pub(super) fn parse(media: Media, packet: &[u8]) -> Result<Option<Self>, DropReason> {
        match media {
            Media::Rtp => {
                let header = rtp::Header::new_checked(packet).map_err(|_| DropReason::Malformed)?;
                let (ssrc, sequence) = (header.ssrc(), header.sequence());
                Ok(Some(Self { ssrc, sequence, timestamp: header.timestamp() }))
            }
            Media::Rtcp => match rtcp::Header::new_checked(packet) {
                Ok(header) if header.packet_len() <= packet.len() => Ok(None),
                _ => Err(DropReason::Malformed),
            },
        }
    }
}

/// One SSRC's numbers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Source {
    ssrc: u32,
    timestamp: u32,
    packets: u64,
    bytes: u64,
    tracker: Tracker,
    /// Extended number with which the current run began.
    base: u32,
    /// Distinct packets of the current run.
    received: u32,
    /// Lost in earlier runs.
    lost_before: u32,
}

impl Source {
    fn count(&mut self, stamp: Stamp, bytes: usize) {
        self.packets += 1;
        self.bytes += bytes as u64;
        self.timestamp = stamp.timestamp;
        let lost = self.lost_in_run();
        match self.tracker.step(stamp.sequence) {
            Step::First | Step::Restart => {
                self.lost_before = self.lost_before.saturating_add(lost);
                self.base = u32::from(stamp.sequence);
                self.received = 1;
            }
            Step::Advance | Step::Reordered => self.received = self.received.saturating_add(1),
            Step::Duplicate | Step::Stray => {}
        }
    }

    /// Expected minus received (RFC 3550 A.3), duplicates not counted as received.
    fn lost_in_run(&self) -> u32 {
        if self.received == 0 {
            return 0;
        }
        let expected = self.tracker.extended().wrapping_sub(self.base).wrapping_add(1);
        expected.saturating_sub(self.received)
    }

    fn report(&self) -> SourceReport {
        SourceReport {
            ssrc: self.ssrc,
            packets: self.packets,
            bytes: self.bytes,
            last_timestamp: self.timestamp,
            last_sequence: self.tracker.highest(),
            lost: u64::from(self.lost_before) + u64::from(self.lost_in_run()),
        }
    }
}

/// Lets SSRCs in that come from where nobody vouches for the party: a few at once, then one in a
/// while. The peer's sender forgets none and holds only so many, so a stranger who talks on a
/// plain leg before the party does must not use them up; a party behind NAT, for whom nobody
/// vouches either, may still bring a new one with each announcement and transfer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Strangers(Bucket);

impl Strangers {
    const RATE: Rate = Rate { interval: Duration::from_secs(10), at_once: 4 };

    /// Whether one more may come in now.
    pub(super) fn admit(&mut self, now: Instant) -> bool {
        self.0.admit(Self::RATE, now)
    }
}

/// How fast a party's packets come. Two plain legs whose parties name our own ports make a packet
/// go round for ever; a lap takes microseconds, so it soon is one too many, and that ends it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    since: Option<Instant>,
    packets: u32,
}

impl Pace {
    /// Long enough for a whole frame of video to come at once.
    const SPAN: Duration = Duration::from_secs(1);
    /// 100 Mbit/s of video.
    const MOST: u32 = 10_000;

    /// Whether one more packet may come now.
    pub(super) fn admit(&mut self, now: Instant) -> bool {
        if self.since.is_none_or(|since| now.saturating_duration_since(since) >= Self::SPAN) {
            *self = Self { since: Some(now), packets: 0 };
        }
        self.packets = self.packets.saturating_add(1);
        self.packets <= Self::MOST
    }
}

/// A stream's sources. `packets == 0` in `current` means none yet.
#[derive(Debug, Default)]
pub(super) struct Sources {
    current: Source,
    /// The others, heard last first.
    earlier: Vec<Source>,
}

impl Sources {
    /// Most sources besides the current one: a party has one or two, a conference a few.
    const EARLIER: usize = 7;

    /// Counts one RTP packet of `bytes` bytes.
    pub(super) fn count(&mut self, stamp: Stamp, bytes: usize) {
        if self.current.ssrc != stamp.ssrc || self.current.packets == 0 {
            self.switch(stamp.ssrc);
        }
        self.current.count(stamp, bytes);
    }

    /// This SSRC was heard before, and not too long ago.
    pub(super) fn knows(&self, ssrc: u32) -> bool {
        let mut known = std::iter::once(&self.current).chain(&self.earlier);
        known.any(|source| source.ssrc == ssrc && source.packets > 0)
    }

    /// Signalling spoke: sources may start over.
    pub(super) fn expect_restart(&mut self) {
        self.current.tracker.expect_restart();
    }

    /// The numbers, last heard first.
    pub(super) fn report(&self) -> Vec<SourceReport> {
        let current = (self.current.packets > 0).then_some(&self.current);
        current.into_iter().chain(&self.earlier).map(Source::report).collect()
    }

    #[cold]
    fn switch(&mut self, ssrc: u32) {
        let known = self.earlier.iter().position(|source| source.ssrc == ssrc);
        let next = match known {
            Some(at) => self.earlier.remove(at),
            None => Source { ssrc, ..Source::default() },
        };
        let last = std::mem::replace(&mut self.current, next);
        if last.packets == 0 {
            return;
        }
        if self.earlier.len() == Self::EARLIER {
            self.earlier.pop();
        }
        self.earlier.insert(0, last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(ssrc: u32, sequence: u16) -> Stamp {
        Stamp { ssrc, sequence, timestamp: u32::from(sequence) * 160 }
    }

    fn counted(sequences: impl IntoIterator<Item = u16>) -> SourceReport {
        let mut sources = Sources::default();
        for sequence in sequences {
            sources.count(stamp(1, sequence), 172);
        }
        sources.report()[0]
    }

    #[test]
    fn numbers_that_never_came_are_lost() {
        let report = counted([65_534, 65_535, 1, 4]);
        assert_eq!((report.packets, report.lost, report.last_sequence), (4, 3, 4));
    }

    #[test]
    fn late_packets_are_not_lost_and_duplicates_hide_no_loss() {
        assert_eq!(counted([1, 2, 5, 3, 4]).lost, 0);
        assert_eq!(counted([1, 2, 2, 2, 5]).lost, 2);
    }

    #[test]
    fn a_restart_keeps_the_loss_before_it_and_adds_none() {
        assert_eq!(counted([100, 102, 40_000, 40_001, 40_002]).lost, 1);
    }

    #[test]
    fn the_table_holds_eight_sources_and_forgets_the_longest_silent() {
        let mut sources = Sources::default();
        for ssrc in 1..=100 {
            sources.count(stamp(ssrc, 1), 10);
        }
        let ssrcs: Vec<u32> = sources.report().iter().map(|report| report.ssrc).collect();
        assert_eq!(ssrcs, [100, 99, 98, 97, 96, 95, 94, 93]);
    }

    #[test]
    fn a_pace_is_kept_over_any_time_and_a_burst_is_cut() {
        let start = Instant::now();
        let mut pace = Pace::default();
        let mut admitted = |seconds, packets| {
            let now = start + Duration::from_secs(seconds);
            (0..packets).filter(|_| pace.admit(now)).count()
        };
        assert_eq!([0, 1, 2, 3].map(|second| admitted(second, 10_000)), [10_000; 4]);
        assert_eq!([admitted(4, 20_000), admitted(4, 1), admitted(5, 1)], [10_000, 0, 1]);
    }

    #[test]
    fn a_source_that_comes_back_goes_on_counting() {
        let mut sources = Sources::default();
        for ssrc in [1, 2, 1, 2, 1] {
            sources.count(stamp(ssrc, 9), 10);
        }
        let packets: Vec<_> = sources.report().iter().map(|r| (r.ssrc, r.packets)).collect();
        assert_eq!(packets, [(1, 3), (2, 2)]);
    }
}
