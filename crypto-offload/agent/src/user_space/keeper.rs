//! The thread beside the data thread: it waits for disks and clocks, so that packets need not.
//!
//! It extends reservations, tells limits of packets, bytes and time, and follows the paths' MTUs.
//! The data thread never waits for it: its notices go into a bounded queue, and what finds no room
//! is offered again with the next packet.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::Ordering::Relaxed,
        mpsc::{Receiver, RecvTimeoutError, SyncSender},
    },
    time::{Duration, Instant},
};

use crypto_offload::{Direction, EngineEvent, SaId, esp::Reach};
use packet_io::tun::Link;
use rustix::net::sockopt;

use super::{
    account::Account,
    engine::Settings,
    event_queue::EventQueue,
    reservation::{AHEAD, Reservation, Reservations, block},
};

/// What the keeper is told.
pub(super) enum Notice {
    /// By the engine: an SA was installed.
    Installed(Arc<Account>),
    /// By the engine: an SA was removed.
    Removed(SaId),
    /// By the data thread: half of a reservation is used.
    Reserve(Arc<Account>),
    /// By the data thread: a limit of packets or bytes.
    Reached(SaId, Reach),
    /// By the data thread: somebody says that a path is narrower.
    PathChanged,
    /// By the data thread, as its last: the device is gone.
    DeviceGone,
}

/// The data thread's end of the queue.
pub(super) struct Notices(pub(super) SyncSender<Notice>);

/// See the module's documentation.
pub(super) struct Keeper {
    notices: Receiver<Notice>,
    reservations: Arc<dyn Reservations>,
    events: Arc<EventQueue>,
    link: Link,
    device: String,
    /// The device's MTU is never set higher.
    longest: usize,
    accounts: HashMap<SaId, Kept>,
    deadlines: BinaryHeap<Reverse<(Instant, SaId, Limit)>>,
    wanting: Vec<SaId>,
    /// The last write was refused, and that was told.
    is_refused: bool,
    mtu: Option<usize>,
    paths_due: Instant,
}

/// An SA as the keeper has it.
struct Kept {
    account: Arc<Account>,
    /// Which number it had come to when, for its rate.
    mark: (Instant, u64),
    /// Packets a second that are to come: those of the pair's SA before it.
    expected: f64,
}

/// A limit of time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Limit {
    Soft,
    Hard,
}

impl Notices {
    /// False when there is no room.
    pub(super) fn offer(&self, notice: Notice) -> bool {
        self.0.try_send(notice).is_ok()
    }
}

impl Keeper {
    pub(super) fn new(
        notices: Receiver<Notice>,
        reservations: Arc<dyn Reservations>,
        events: Arc<EventQueue>,
        link: Link,
        settings: &Settings,
    ) -> Self {
        Self {
            notices,
            reservations,
            events,
            link,
            device: settings.device.clone(),
            longest: usize::from(settings.longest_packet),
            accounts: HashMap::new(),
            deadlines: BinaryHeap::new(),
            wanting: Vec::new(),
            is_refused: false,
            mtu: None,
            paths_due: Instant::now(),
        }
    }

    /// Runs until nobody is left to tell it anything.
    pub(super) fn run(mut self) {
        loop {
            let now = Instant::now();
            let patience = self.next_due(now).saturating_duration_since(now);
            match self.notices.recv_timeout(patience) {
                Ok(notice) => self.take(notice),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            while let Ok(notice) = self.notices.try_recv() {
                self.take(notice);
            }
            self.reserve();
            self.end_what_is_due();
            if Instant::now() >= self.paths_due {
                self.follow_paths();
            }
        }
    }

    fn next_due(&self, now: Instant) -> Instant {
        let limit = self.deadlines.peek().map(|Reverse((due, ..))| *due);
        // What the disk refused is asked for again.
        let retry = (!self.wanting.is_empty()).then_some(now + RETRY);
        [limit, retry].into_iter().flatten().fold(self.paths_due, Instant::min)
    }

    fn take(&mut self, notice: Notice) {
        match notice {
            Notice::Installed(account) => self.adopt(account),
            Notice::Removed(id) => {
                self.accounts.remove(&id);
                self.set_mtu();
            }
            Notice::Reserve(account) => self.wanting.push(account.id),
            Notice::Reached(id, Reach::Hard) => self.events.push(EngineEvent::HardLimit(id)),
            Notice::Reached(id, _) => self.events.push(EngineEvent::SoftLimit(id)),
            Notice::PathChanged => self.follow_paths(),
            Notice::DeviceGone => {
                let gone = self.accounts.drain().map(|(id, _)| EngineEvent::Removed(id));
                self.events.push(EngineEvent::DeviceDown(self.device.clone()));
                gone.for_each(|event| self.events.push(event));
            }
        }
    }

    fn adopt(&mut self, account: Arc<Account>) {
        let limits = [
            (account.lifetimes.soft.seconds, Limit::Soft),
            (account.lifetimes.hard.seconds, Limit::Hard),
        ];
        for (seconds, limit) in limits {
            let due = seconds.and_then(|s| account.installed.checked_add(Duration::from_secs(s)));
            self.deadlines.extend(due.map(|due| Reverse((due, account.id, limit))));
        }
        let mark = (account.installed, account.resumed_after);
        let expected = self.rate_of_pair(&account);
        if expected * AHEAD.as_secs_f64() > block(account.direction) as f64 {
            self.wanting.push(account.id);
        }
        self.accounts.insert(account.id, Kept { account, mark, expected });
        self.set_mtu();
    }

    /// How many packets a second the pair's other SAs of this direction have now: a rotation
    /// brings all of them to the new one at once, faster than a disk could keep up.
    fn rate_of_pair(&self, account: &Account) -> f64 {
        let now = Instant::now();
        let same_pair = |kept: &&Kept| {
            kept.account.reqid == account.reqid && kept.account.direction == account.direction
        };
        self.accounts.values().filter(same_pair).map(|kept| kept.rate(now)).fold(0.0, f64::max)
    }

    /// Extends what was asked for, in one write.
    fn reserve(&mut self) {
        self.wanting.sort_unstable();
        self.wanting.dedup();
        let now = Instant::now();
        let wanted: Vec<_> = self
            .wanting
            .iter()
            .filter_map(|id| Some(self.accounts.get_mut(id)?.next_reservation(now)))
            .collect();
        if wanted.is_empty() {
            self.wanting.clear();
            return;
        }
        if let Err(error) = self.reservations.reserve(&wanted) {
            if !self.is_refused {
                tracing::error!(%error, sas = wanted.len(), "sequence numbers were not reserved");
            }
            self.is_refused = true;
            return;
        }
        if std::mem::take(&mut self.is_refused) {
            tracing::info!(sas = wanted.len(), "sequence numbers are reserved again");
        }
        self.wanting.clear();
        for one in wanted {
            if let Some(kept) = self.accounts.get(&one.id) {
                kept.account.reserved.fetch_max(one.sequence, Relaxed);
            }
        }
    }

    fn end_what_is_due(&mut self) {
        let now = Instant::now();
        while let Some(&Reverse((due, id, limit))) = self.deadlines.peek()
            && due <= now
        {
            self.deadlines.pop();
            // Another SA may have the identity by now.
            let Some(kept) = self.accounts.get(&id).filter(|kept| kept.is_due(due, limit)) else {
                continue;
            };
            match limit {
                Limit::Soft => self.events.push(EngineEvent::SoftLimit(id)),
                Limit::Hard => {
                    kept.account.is_expired.store(true, Relaxed);
                    self.events.push(EngineEvent::HardLimit(id));
                }
            }
        }
    }

    /// Asks the kernel again what each path takes: it forgets after ten minutes, and so must we.
    fn follow_paths(&mut self) {
        self.paths_due = Instant::now() + PATHS;
        let mut known = HashMap::new();
        for kept in self.accounts.values().filter(|kept| kept.is_outbound()) {
            let ends = (kept.account.source, kept.account.id.destination);
            let mtu = *known.entry(ends).or_insert_with(|| path_mtu(ends.0, ends.1));
            kept.account.set_path_mtu(mtu);
        }
        self.set_mtu();
    }

    /// The device takes what every path takes, so that the kernel does the splitting.
    fn set_mtu(&mut self) {
        let outbound = self.accounts.values().filter(|kept| kept.is_outbound());
        let Some(least) = outbound.map(|kept| kept.account.inner_mtu.load(Relaxed)).min() else {
            return;
        };
        let mtu = least.clamp(LEAST_MTU, self.longest);
        if self.mtu == Some(mtu) {
            return;
        }
        match self.link.set_mtu(mtu as u32) {
            Ok(()) => self.mtu = Some(mtu),
            Err(error) => tracing::warn!(%error, "the tunnel's MTU stays as it was"),
        }
    }
}

impl Kept {
    fn is_outbound(&self) -> bool {
        self.account.direction == Direction::Outbound
    }

    fn is_due(&self, due: Instant, limit: Limit) -> bool {
        let seconds = match limit {
            Limit::Soft => self.account.lifetimes.soft.seconds,
            Limit::Hard => self.account.lifetimes.hard.seconds,
        };
        seconds.is_some_and(|seconds| self.account.installed + Duration::from_secs(seconds) == due)
    }

    /// Packets a second since it was asked last.
    fn rate(&self, now: Instant) -> f64 {
        let account = &self.account;
        let since = account.first_used().map_or(self.mark.0, |first| first.max(self.mark.0));
        let elapsed = now.saturating_duration_since(since).max(Duration::from_micros(100));
        self.reached().saturating_sub(self.mark.1) as f64 / elapsed.as_secs_f64()
    }

    fn reached(&self) -> u64 {
        let account = &self.account;
        account.wanted.load(Relaxed).max(account.counters.sequence.load(Relaxed))
    }

    /// Ahead by a block, or by what [`AHEAD`] needs at the rate since it was asked last.
    fn next_reservation(&mut self, now: Instant) -> Reservation {
        let (reached, rate) = (self.reached(), self.rate(now).max(self.expected));
        let account = &self.account;
        let ahead = (rate * AHEAD.as_secs_f64()) as u64;
        if account.first_used().is_some() {
            self.expected = 0.0;
        }
        self.mark = (now, reached);
        let ahead = ahead.clamp(block(account.direction), MOST_AHEAD);
        // Always more than there was, also where traffic has slowed down since: whoever asked waits
        // for more, and asks no second time.
        let granted = account.reserved.load(Relaxed).saturating_add(block(account.direction));
        let sequence = reached.saturating_add(ahead).max(granted);
        Reservation { id: account.id, direction: account.direction, sequence }
    }
}

/// What the route from `source` to `destination` takes at present, its link or a router on it
/// being the narrowest; Ethernet's where nobody says.
pub(super) fn path_mtu(source: IpAddr, destination: IpAddr) -> usize {
    let known = || {
        let socket = UdpSocket::bind(SocketAddr::new(source, 0)).ok()?;
        socket.connect(SocketAddr::new(destination, DISCARD)).ok()?;
        let mtu = match source {
            IpAddr::V4(_) => sockopt::ip_mtu(&socket),
            IpAddr::V6(_) => sockopt::ipv6_mtu(&socket),
        };
        mtu.ok()
    };
    known().map_or(ETHERNET, |mtu| mtu as usize)
}

/// How long until a refused reservation is asked for again.
const RETRY: Duration = Duration::from_millis(100);
/// How often paths are asked for without being told of a change.
const PATHS: Duration = Duration::from_secs(60);
/// Ten seconds of 100,000 packets: a jump in numbers is no rate.
const MOST_AHEAD: u64 = 1_000_000;
/// IPv6 needs this much of every link (RFC 8200 section 5); a path that gives less has its packets
/// refused one by one.
const LEAST_MTU: usize = 1280;
const ETHERNET: usize = 1500;
/// Any port: connecting a UDP socket sends nothing.
const DISCARD: u16 = 9;

#[cfg(test)]
mod tests {
    use super::*;
    use crypto_offload::{
        Aead, KeyingMaterial, Mode, Reqid, SaId, SaSpec, SecretKey, Selector, SequenceNumbers, Spi,
    };

    fn inbound() -> Arc<Account> {
        let (net, aead) = ("10.0.0.0/8".parse().unwrap(), Aead::Aes128Gcm);
        let key = SecretKey::copy_from(&[1; 20]);
        let sa = SaSpec {
            id: SaId { destination: [192, 0, 2, 1].into(), spi: Spi::new(256).unwrap() },
            source: [192, 0, 2, 2].into(),
            direction: Direction::Inbound,
            mode: Mode::Tunnel,
            keying: KeyingMaterial::new(aead, key).unwrap(),
            sequence_numbers: SequenceNumbers::Extended,
            replay_window: 64,
            lifetimes: crypto_offload::Lifetimes::default(),
            encapsulation: None,
            reqid: Reqid(std::num::NonZeroU32::MIN),
            selector: Selector {
                source: net,
                destination: net,
                protocol: None,
                source_port: None,
                destination_port: None,
            },
            device: None,
            resume_after: 0,
        };
        Arc::new(Account::new(&sa, ETHERNET))
    }

    #[test]
    fn who_asks_gets_more_even_where_traffic_has_slowed_down() {
        let account = inbound();
        let start = account.installed;
        let mut kept = Kept { account: Arc::clone(&account), mark: (start, 0), expected: 0.0 };
        account.counters.sequence.store(50_000, Relaxed);
        let fast = kept.next_reservation(start + Duration::from_millis(100)).sequence;
        account.reserved.store(fast, Relaxed);
        assert!(fast > 200_000, "{fast}");
        account.counters.sequence.store(fast - 100, Relaxed);
        let slow = kept.next_reservation(start + Duration::from_secs(1000)).sequence;
        assert!(slow > fast, "{slow} after {fast}");
        account.reserved.store(slow, Relaxed);
        account.counters.sequence.store(fast, Relaxed);
        assert!(kept.next_reservation(start + Duration::from_secs(2000)).sequence > slow);
    }

    #[test]
    fn a_new_sa_has_what_its_predecessors_traffic_needs_until_it_has_traffic_of_its_own() {
        let account = inbound();
        let mut kept = Kept { mark: (account.installed, 0), account, expected: 40_000.0 };
        let at = kept.account.installed + Duration::from_millis(1);
        assert_eq!(kept.next_reservation(at).sequence, 20_000);
        kept.account.count(100, 1);
        kept.next_reservation(at + Duration::from_millis(1));
        assert!(kept.expected == 0.0, "{}", kept.expected);
    }
}
