//! What is counted: each TLS thread writes its own numbers, and the reader sums them.
//!
//! A [`Tally`] belongs to one listener on one thread, which alone writes it: adding is a plain load
//! and store, so no cache line is fought over. What is counted once for a connection and has names
//! that are not known beforehand (results, reasons) is behind a mutex that only the reader contends.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crypto_offload::{Direction, Effective, Placement};
use hdrhistogram::Histogram;

use crate::settings::Mode;

/// One listener's numbers since the relay started, all threads together.
#[derive(Clone, Debug)]
pub struct ListenerCounters {
    /// The listener's name.
    pub listener: String,
    /// Which side speaks TLS.
    pub mode: Mode,
    /// Connections taken from the listening socket.
    pub accepted: u64,
    /// Of those, closed at once: the limit's name and how many.
    pub refused: Vec<(&'static str, u64)>,
    /// Handshakes that ended.
    pub handshakes: Vec<HandshakeCount>,
    /// Of the good ones, those that went on from earlier keys.
    pub resumed: u64,
    /// Handshakes under way now.
    pub handshaking: u64,
    /// Connections that are up now: their handshake is done.
    pub open: u64,
    /// Where connections' records are, and why.
    pub placements: Vec<PlacementCount>,
    /// Connections that ended after their handshake, by how.
    pub ended: Vec<(&'static str, u64)>,
    /// KeyUpdates (RFC 8446, section 4.6.3) that we sent.
    pub key_updates_sent: u64,
    /// KeyUpdates that peers sent.
    pub key_updates_received: u64,
    /// Alerts.
    pub alerts: Vec<AlertCount>,
    /// Application data that we opened, bytes.
    pub bytes_in: u64,
    /// Application data that we sealed, bytes.
    pub bytes_out: u64,
    /// Attempts to connect upstream.
    pub upstreams: Vec<UpstreamCount>,
    /// From the accepted connection (`terminate`) or the connected upstream (`originate`) to the
    /// last step of a good handshake, in microseconds.
    pub handshake_time: Histogram<u64>,
}

/// Handshakes with one result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandshakeCount {
    /// `done`, or what was wrong.
    pub result: &'static str,
    /// `1.2`, `1.3`, or `none` where it was not agreed.
    pub version: &'static str,
    /// How many.
    pub count: u64,
}

/// Connections with one placement in one direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacementCount {
    /// What we open, or what we seal.
    pub direction: Direction,
    /// Where the records are.
    pub placement: Placement,
    /// Why not in a better place; empty: where it was asked for.
    pub reason: String,
    /// Connections since the start.
    pub opened: u64,
    /// Those that are up.
    pub open: u64,
}

/// Alerts with one code in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AlertCount {
    /// From the peer, or to it.
    pub direction: Direction,
    /// `AlertDescription` (RFC 8446, section 6).
    pub code: u8,
    /// How many.
    pub count: u64,
}

/// Attempts to connect to one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamCount {
    /// The address.
    pub address: SocketAddr,
    /// Attempts that succeeded.
    pub connected: u64,
    /// Attempts that did not: why, and how many.
    pub failures: Vec<(&'static str, u64)>,
}

impl ListenerCounters {
    /// Nothing counted yet.
    pub(crate) fn empty(listener: &str, mode: Mode) -> Self {
        Self {
            listener: listener.to_owned(),
            mode,
            accepted: 0,
            refused: Refusal::ALL.map(|refusal| (refusal.name(), 0)).to_vec(),
            handshakes: Vec::new(),
            resumed: 0,
            handshaking: 0,
            open: 0,
            placements: Vec::new(),
            ended: Ending::ALL.map(|ending| (ending.name(), 0)).to_vec(),
            key_updates_sent: 0,
            key_updates_received: 0,
            alerts: Vec::new(),
            bytes_in: 0,
            bytes_out: 0,
            upstreams: Vec::new(),
            handshake_time: handshake_histogram(),
        }
    }

    /// Adds one thread's numbers.
    pub(crate) fn add(&mut self, tally: &Tally) {
        self.accepted += tally.accepted.value();
        for (sum, counter) in self.refused.iter_mut().zip(&tally.refused) {
            sum.1 += counter.value();
        }
        for (sum, counter) in self.ended.iter_mut().zip(&tally.ended) {
            sum.1 += counter.value();
        }
        self.key_updates_sent += tally.key_updates_sent.value();
        self.key_updates_received += tally.key_updates_received.value();
        self.bytes_in += tally.bytes_in.value();
        self.bytes_out += tally.bytes_out.value();
        self.handshaking += tally.handshaking.value();
        self.open += tally.open.value();
        let named = tally.named();
        self.resumed += named.resumed;
        for one in &named.handshakes {
            count_handshake(&mut self.handshakes, one.result, one.version, one.count);
        }
        for one in &named.alerts {
            count_alert(&mut self.alerts, one.direction, one.code, one.count);
        }
        for one in &named.placements {
            let sum =
                placement_entry(&mut self.placements, one.direction, one.placement, &one.reason);
            sum.opened += one.opened;
            sum.open += one.open;
        }
        // Both have the same bounds, so this cannot fail.
        let _ = self.handshake_time.add(&named.handshake_time);
    }
}

/// One listener's numbers on one thread.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) accepted: Counter,
    refused: [Counter; Refusal::ALL.len()],
    ended: [Counter; Ending::ALL.len()],
    pub(crate) handshaking: Counter,
    pub(crate) open: Counter,
    pub(crate) key_updates_sent: Counter,
    pub(crate) key_updates_received: Counter,
    pub(crate) bytes_in: Counter,
    pub(crate) bytes_out: Counter,
    named: Mutex<Named>,
}

#[derive(Debug)]
struct Named {
    handshakes: Vec<HandshakeCount>,
    placements: Vec<PlacementCount>,
    alerts: Vec<AlertCount>,
    resumed: u64,
    handshake_time: Histogram<u64>,
}

impl Tally {
    pub(crate) fn new() -> Self {
        Self {
            accepted: Counter::default(),
            refused: Default::default(),
            ended: Default::default(),
            handshaking: Counter::default(),
            open: Counter::default(),
            key_updates_sent: Counter::default(),
            key_updates_received: Counter::default(),
            bytes_in: Counter::default(),
            bytes_out: Counter::default(),
            named: Mutex::new(Named {
                handshakes: Vec::new(),
                placements: Vec::new(),
                alerts: Vec::new(),
                resumed: 0,
                handshake_time: handshake_histogram(),
            }),
        }
    }

    pub(crate) fn refused(&self, refusal: Refusal) {
        self.refused[refusal as usize].add(1);
    }

    pub(crate) fn ended(&self, ending: Ending) {
        self.ended[ending as usize].add(1);
    }

    /// A handshake that came to nothing.
    pub(crate) fn handshake_failed(&self, result: &'static str, version: &'static str) {
        count_handshake(&mut self.named().handshakes, result, version, 1);
    }

    /// A good handshake.
    pub(crate) fn handshake_done(&self, version: &'static str, resumed: bool, took: Duration) {
        let mut named = self.named();
        count_handshake(&mut named.handshakes, HANDSHAKE_DONE, version, 1);
        named.resumed += u64::from(resumed);
        named.handshake_time.saturating_record(took.as_micros() as u64);
    }

    pub(crate) fn alert(&self, direction: Direction, code: u8) {
        count_alert(&mut self.named().alerts, direction, code, 1);
    }

    /// A connection's records have their place.
    pub(crate) fn placed(&self, direction: Direction, effective: &Effective) {
        let reason = effective.reason.as_deref().unwrap_or_default();
        let mut named = self.named();
        let entry = placement_entry(&mut named.placements, direction, effective.effective, reason);
        entry.opened += 1;
        entry.open += 1;
    }

    /// That connection is gone.
    pub(crate) fn gone(&self, direction: Direction, effective: &Effective) {
        let reason = effective.reason.as_deref().unwrap_or_default();
        let mut named = self.named();
        placement_entry(&mut named.placements, direction, effective.effective, reason).open -= 1;
    }

    fn named(&self) -> MutexGuard<'_, Named> {
        self.named.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A number that one thread writes and any thread may read.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// Adds; only the thread that owns the counter may call it.
    pub(crate) fn add(&self, count: u64) {
        // Not fetch_add: there is one writer, and a locked instruction for each message costs.
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
    }

    /// Takes one away; only the thread that owns the counter may call it.
    pub(crate) fn less(&self) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_sub(1), Ordering::Relaxed);
    }

    pub(crate) fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Why a connection was closed as soon as it was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// `max_connections` are up.
    Connections,
    /// `max_handshakes` are under way.
    Handshakes,
    /// The socket could not be served: out of file descriptors or memory.
    Resources,
}

impl Refusal {
    pub(crate) const ALL: [Self; 3] = [Self::Connections, Self::Handshakes, Self::Resources];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Connections => "max_connections",
            Self::Handshakes => "max_handshakes",
            Self::Resources => "resources",
        }
    }
}

/// How a connection ended after its handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Both sides closed, each in its way.
    Closed,
    /// The TLS peer went without close_notify: what it sent may not be all (RFC 8446, section 6.1).
    Truncated,
    /// The TLS peer's connection was reset.
    TlsReset,
    /// The plain peer's connection was reset.
    PlainReset,
    /// A fatal alert came.
    Alerted,
    /// The TLS peer broke the protocol, or a record did not open.
    Protocol,
    /// Nothing passed for `idle_timeout`.
    Idle,
    /// No upstream took it.
    NoUpstream,
    /// The kernel was required and did not take the records.
    NoKernel,
    /// The relay was stopped.
    Stopped,
}

impl Ending {
    pub(crate) const ALL: [Self; 10] = [
        Self::Closed,
        Self::Truncated,
        Self::TlsReset,
        Self::PlainReset,
        Self::Alerted,
        Self::Protocol,
        Self::Idle,
        Self::NoUpstream,
        Self::NoKernel,
        Self::Stopped,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Truncated => "truncated",
            Self::TlsReset => "tls_reset",
            Self::PlainReset => "plain_reset",
            Self::Alerted => "alerted",
            Self::Protocol => "protocol",
            Self::Idle => "idle",
            Self::NoUpstream => "no_upstream",
            Self::NoKernel => "no_kernel",
            Self::Stopped => "stopped",
        }
    }
}

fn count_handshake(
    counts: &mut Vec<HandshakeCount>,
    result: &'static str,
    version: &'static str,
    count: u64,
) {
    let same = |one: &&mut HandshakeCount| one.result == result && one.version == version;
    match counts.iter_mut().find(same) {
        Some(one) => one.count += count,
        None => counts.push(HandshakeCount { result, version, count }),
    }
}

fn count_alert(counts: &mut Vec<AlertCount>, direction: Direction, code: u8, count: u64) {
    match counts.iter_mut().find(|one| one.direction == direction && one.code == code) {
        Some(one) => one.count += count,
        None => counts.push(AlertCount { direction, code, count }),
    }
}

fn placement_entry<'a>(
    counts: &'a mut Vec<PlacementCount>,
    direction: Direction,
    placement: Placement,
    reason: &str,
) -> &'a mut PlacementCount {
    let same = |one: &PlacementCount| {
        one.direction == direction && one.placement == placement && one.reason == reason
    };
    let at = counts.iter().position(same).unwrap_or_else(|| {
        let reason = reason.to_owned();
        counts.push(PlacementCount { direction, placement, reason, opened: 0, open: 0 });
        counts.len() - 1
    });
    &mut counts[at]
}

#[expect(clippy::expect_used, reason = "the bounds are constants that hdrhistogram takes")]
fn handshake_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST_HANDSHAKE.as_micros() as u64, 2).expect("valid bounds")
}

/// The result of a good handshake.
pub(crate) const HANDSHAKE_DONE: &str = "done";

/// Longer ones count as this long; with two digits a histogram is 20 KiB.
const LONGEST_HANDSHAKE: Duration = Duration::from_secs(120);

#[cfg(test)]
mod tests {
    use super::*;

    fn software(reason: &str) -> Effective {
        Effective {
            requested: Placement::KernelSoftware,
            effective: Placement::UserSpace,
            reason: Some(reason.to_owned()),
        }
    }

    #[test]
    fn the_reader_sums_what_threads_count_apart() {
        let threads = [Tally::new(), Tally::new()];
        for tally in &threads {
            tally.accepted.add(2);
            tally.refused(Refusal::Handshakes);
            tally.handshake_done("1.3", true, Duration::from_millis(2));
            tally.handshake_failed("no_shared_cipher", "none");
            tally.placed(Direction::Inbound, &software("no ULP"));
            tally.alert(Direction::Outbound, 40);
            tally.bytes_in.add(500);
            tally.ended(Ending::Truncated);
        }
        threads[0].gone(Direction::Inbound, &software("no ULP"));
        let mut sum = ListenerCounters::empty("sip", Mode::Terminate);
        threads.iter().for_each(|tally| sum.add(tally));
        assert_eq!((sum.accepted, sum.resumed, sum.bytes_in), (4, 2, 1000));
        assert!(sum.refused.contains(&("max_handshakes", 2)));
        assert!(sum.ended.contains(&("truncated", 2)));
        let done = HandshakeCount { result: HANDSHAKE_DONE, version: "1.3", count: 2 };
        assert!(sum.handshakes.contains(&done));
        assert_eq!(sum.handshake_time.len(), 2);
        assert_eq!(sum.alerts, [AlertCount { direction: Direction::Outbound, code: 40, count: 2 }]);
        assert_eq!((sum.placements[0].opened, sum.placements[0].open), (2, 1));
    }

    #[test]
    fn placements_with_different_reasons_are_counted_apart() {
        let tally = Tally::new();
        tally.placed(Direction::Inbound, &software("no ULP"));
        tally.placed(Direction::Inbound, &software("no rekey"));
        tally.placed(Direction::Outbound, &software("no ULP"));
        let mut sum = ListenerCounters::empty("sip", Mode::Terminate);
        sum.add(&tally);
        assert_eq!(sum.placements.len(), 3);
    }
}
