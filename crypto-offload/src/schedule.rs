//! When pairs get new keys by themselves: by age, packets and bytes, a little early by chance, a
//! few at a time.
//!
//! Pure: readings, time and one random number come in; which pair is due comes out. It decides
//! nothing about how a rotation is done, and forgets everything at a restart, as the counters that
//! it needs are the agent's.
//!
//! A soft limit that an engine reports may come late: mlx5 looks at its counters once a second
//! (`MLX5_IPSEC_RESCHED`), and we look when we are told to. So a soft limit of packets or bytes is
//! never nearer to its hard one than two seconds of the SA's traffic.

use std::{
    collections::BTreeMap,
    num::NonZeroUsize,
    time::{Duration, Instant},
};

use crate::{Epoch, Lifetimes, PairName, SaPair, SaUsage, SequenceNumbers};

/// Why a pair is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// Its keys are old.
    Age,
    /// One of its SAs has had many packets.
    Packets,
    /// One of its SAs has had many bytes.
    Bytes,
    /// An engine said so, or nobody can say how much it was used.
    Urgent,
}

impl Reason {
    /// The name in logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Age => "age",
            Self::Packets => "packets",
            Self::Bytes => "bytes",
            Self::Urgent => "urgent",
        }
    }
}

/// How a rotation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// There are new keys.
    Done,
    /// There are not: the pair waits, longer each time.
    Failed,
}

/// Every pair that is rotated by itself.
#[derive(Debug)]
pub struct Schedule {
    seed: u64,
    concurrent: NonZeroUsize,
    running: usize,
    pairs: BTreeMap<PairName, Entry>,
}

#[derive(Debug, Default)]
struct Entry {
    seen: Option<Seen>,
    due: Option<(Instant, Reason)>,
    not_before: Option<Instant>,
    failures: u32,
    stage: Stage,
}

/// How far the rotation is that was given out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    /// There is none.
    #[default]
    None,
    /// It is one of those that may run at once.
    Running,
    /// It waits for nothing but time.
    Lingering,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    epoch: Epoch,
    at: Instant,
    packets: u64,
    bytes: u64,
}

impl Schedule {
    /// With at most so many rotations at once. `seed` is random, and another one at each start
    /// and at each gateway: it spreads pairs that were made in the same second.
    pub fn new(seed: u64, concurrent: NonZeroUsize) -> Self {
        Self { seed, concurrent, running: 0, pairs: BTreeMap::new() }
    }

    /// Takes a reading of the SAs of the epoch in use, one or both. Read often enough that two
    /// seconds of traffic pass between two readings at most where limits of packets or bytes are
    /// set; limits of time need one reading for each epoch.
    pub fn read(&mut self, pair: &SaPair, epoch: Epoch, usage: &[SaUsage], now: Instant) {
        let early = Early {
            percent: pair.rotation.jitter_percent,
            chance: mix(self.seed, pair.name.as_str(), epoch.0),
        };
        let entry = self.pairs.entry(pair.name.clone()).or_default();
        let most = |count: fn(&SaUsage) -> u64| usage.iter().map(count).max().unwrap_or(0);
        let age = usage.iter().map(|usage| usage.age).max().unwrap_or_default();
        let seen = Seen { epoch, at: now, packets: most(|u| u.packets), bytes: most(|u| u.bytes) };
        let before = entry.seen.filter(|before| before.epoch == epoch);
        let (since, packets, bytes) = match before {
            Some(before) if before.at < now => (now - before.at, before.packets, before.bytes),
            _ => (age, 0, 0),
        };
        let packets =
            Count { now: seen.packets, rate: rate(seen.packets.saturating_sub(packets), since) };
        let bytes = Count { now: seen.bytes, rate: rate(seen.bytes.saturating_sub(bytes), since) };
        let lifetimes = effective(&pair.lifetimes, pair.sequence_numbers);
        let (soft, hard) = (lifetimes.soft, lifetimes.hard);
        let dues = [
            (early.of_time(soft.seconds, hard.seconds, age), Reason::Age),
            (early.of_count(soft.packets, hard.packets, packets), Reason::Packets),
            (early.of_count(soft.bytes, hard.bytes, bytes), Reason::Bytes),
        ];
        let dues =
            dues.into_iter().filter_map(|(left, reason)| Some((now.checked_add(left?)?, reason)));
        let stays_urgent = before.is_some() || entry.seen.is_none();
        let urgent = entry.due.filter(|(_, why)| *why == Reason::Urgent && stays_urgent);
        entry.due = dues.chain(urgent).min();
        entry.seen = Some(seen);
    }

    /// It needs new keys at once: an engine's soft limit, or keys resumed after a restart.
    pub fn hurry(&mut self, name: &PairName, now: Instant) {
        let entry = self.pairs.entry(name.clone()).or_default();
        let urgent = (now, Reason::Urgent);
        entry.due = Some(entry.due.map_or(urgent, |due| due.min(urgent)));
    }

    /// What was in the way of its last attempts may be gone: the next need not wait.
    pub fn forgive(&mut self, name: &PairName) {
        if let Some(entry) = self.pairs.get_mut(name) {
            entry.not_before = None;
        }
    }

    /// It is no more, or not ours to rotate.
    pub fn forget(&mut self, name: &PairName) {
        if self.pairs.remove(name).is_some_and(|entry| entry.stage == Stage::Running) {
            self.running -= 1;
        }
    }

    /// Forgets every pair that does not stay.
    pub fn retain(&mut self, mut stays: impl FnMut(&PairName) -> bool) {
        let gone: Vec<PairName> = self.pairs.keys().filter(|name| !stays(name)).cloned().collect();
        gone.iter().for_each(|name| self.forget(name));
    }

    /// The pair that has been due for longest of those that `may` be rotated now, if one more may
    /// run. It runs until [`lingers`](Self::lingers) or [`ended`](Self::ended).
    pub fn take(
        &mut self,
        now: Instant,
        mut may: impl FnMut(&PairName) -> bool,
    ) -> Option<(PairName, Reason)> {
        if self.running >= self.concurrent.get() {
            return None;
        }
        let waiting = self.pairs.iter_mut().filter(|(_, entry)| entry.stage == Stage::None);
        let due = waiting.filter_map(|(name, entry)| Some((entry.ready()?, name, entry)));
        let ready = due.filter(|((at, _), name, _)| *at <= now && may(name));
        let ((_, reason), name, entry) = ready.min_by(|(a, ..), (b, ..)| a.cmp(b))?;
        entry.stage = Stage::Running;
        self.running += 1;
        Some((name.clone(), reason))
    }

    /// What [`take`](Self::take) gave out has begun and only waits now, for a first packet or for
    /// the overlap: another may run in its place. Five seconds of overlap would make of a thousand
    /// rotations, eight at once, ten minutes.
    pub fn lingers(&mut self, name: &PairName) {
        let Some(entry) = self.pairs.get_mut(name) else { return };
        if entry.stage == Stage::Running {
            entry.stage = Stage::Lingering;
            self.running -= 1;
        }
    }

    /// A rotation ended: one that [`take`](Self::take) gave out, or any other of that pair.
    pub fn ended(&mut self, name: &PairName, how: Ended, now: Instant) {
        let Some(entry) = self.pairs.get_mut(name) else { return };
        if std::mem::take(&mut entry.stage) == Stage::Running {
            self.running -= 1;
        }
        match how {
            Ended::Done => {
                *entry = Entry { seen: entry.seen, ..Entry::default() };
            }
            Ended::Failed => {
                let pause = FIRST_PAUSE * 2_u32.pow(entry.failures.min(MAX_DOUBLINGS));
                let chance = mix(self.seed, name.as_str(), entry.failures.into());
                entry.failures = entry.failures.saturating_add(1);
                entry.not_before = Some(now + pause + part(pause / 4, chance));
            }
        }
    }

    /// When [`take`](Self::take) will give something, if nothing else is read before. `None`:
    /// nothing is due, or as many run as may.
    pub fn wake(&self) -> Option<Instant> {
        if self.running >= self.concurrent.get() {
            return None;
        }
        let waiting = self.pairs.values().filter(|entry| entry.stage == Stage::None);
        waiting.filter_map(Entry::ready).map(|(at, _)| at).min()
    }

    /// When this pair is due, and why, as far as is known.
    pub fn due(&self, name: &PairName) -> Option<(Instant, Reason)> {
        self.pairs.get(name)?.ready()
    }
}

impl Entry {
    fn ready(&self) -> Option<(Instant, Reason)> {
        let (at, reason) = self.due?;
        Some((self.not_before.map_or(at, |not_before| at.max(not_before)), reason))
    }
}

/// By how much a soft limit comes early.
#[derive(Clone, Copy)]
struct Early {
    percent: u8,
    chance: u64,
}

/// A counter, and what it gains in a second.
#[derive(Clone, Copy)]
struct Count {
    now: u64,
    rate: u64,
}

impl Early {
    fn of_time(self, soft: Option<u64>, hard: Option<u64>, age: Duration) -> Option<Duration> {
        let limit = Duration::from_secs(soft.or(hard.map(nine_tenths))?);
        let jitter = part(limit * u32::from(self.percent) / 100, self.chance);
        Some((limit - jitter).saturating_sub(age))
    }

    fn of_count(self, soft: Option<u64>, hard: Option<u64>, count: Count) -> Option<Duration> {
        let soft = soft.or(hard.map(nine_tenths))?;
        let margin = count.rate.saturating_mul(MARGIN_SECONDS);
        let soft = hard.map_or(soft, |hard| soft.min(hard.saturating_sub(margin)));
        let widest = u128::from(soft) * u128::from(self.percent) / 100;
        let jitter = (widest * u128::from(self.chance)) >> u64::BITS;
        let left = soft.saturating_sub(jitter as u64).saturating_sub(count.now);
        match (left, count.rate) {
            (0, _) => Some(Duration::ZERO),
            (_, 0) => None,
            (left, rate) => Some(Duration::from_secs_f64(left as f64 / rate as f64)),
        }
    }
}

/// Sequence numbers of 32 bits are a limit of packets of their own.
fn effective(lifetimes: &Lifetimes, numbers: SequenceNumbers) -> Lifetimes {
    let mut effective = *lifetimes;
    if numbers == SequenceNumbers::Short {
        let most = Lifetimes::PACKETS_WITHOUT_ESN;
        let hard = lifetimes.hard.packets.map_or(most, |hard| hard.min(most));
        let soft = lifetimes.soft.packets.unwrap_or(u64::MAX).min(nine_tenths(hard));
        (effective.hard.packets, effective.soft.packets) = (Some(hard), Some(soft));
    }
    effective
}

/// As strongSwan does where only the hard limit is said.
const fn nine_tenths(hard: u64) -> u64 {
    hard - hard / 10
}

fn rate(count: u64, time: Duration) -> u64 {
    // An SA that is younger than that has no rate yet.
    if time < Duration::from_millis(10) {
        return 0;
    }
    (count as f64 / time.as_secs_f64()).ceil() as u64
}

fn part(whole: Duration, chance: u64) -> Duration {
    let nanoseconds = (whole.as_nanos() * u128::from(chance)) >> u64::BITS;
    Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
}

/// The same for the same pair and epoch as long as the seed is: drawn anew at each reading, the
/// earliest of many draws would count. FNV-1a over the name, then the finalizer of `SplitMix64`.
fn mix(seed: u64, name: &str, number: u64) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325 ^ seed;
    for byte in name.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash = hash.wrapping_add(number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

/// One for the engine's second between two looks, one for ours.
const MARGIN_SECONDS: u64 = 2;
/// After a failure; doubled each time. A peer's restart is over by then.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
/// 2 s to 256 s.
const MAX_DOUBLINGS: u32 = 7;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Limits;

    const AT_ONCE: NonZeroUsize = NonZeroUsize::new(8).expect("not zero");

    fn pair(name: &str) -> SaPair {
        let text = format!(
            r#"{{"name": "{name}", "local": "192.0.2.1", "remote": "192.0.2.2",
            "local_net": "10.1.0.0/16", "remote_net": "10.2.0.0/16"}}"#
        );
        serde_json::from_str(&text).expect("a pair")
    }

    fn any(_: &PairName) -> bool {
        true
    }

    fn aged(seconds: u64) -> SaUsage {
        SaUsage { age: Duration::from_secs(seconds), ..SaUsage::default() }
    }

    #[test]
    fn a_thousand_pairs_of_one_second_do_not_rotate_in_one_second() {
        let now = Instant::now();
        let mut schedule = Schedule::new(7, NonZeroUsize::MAX);
        let names: Vec<_> = (0..1000).map(|at| format!("trunk-{at}")).collect();
        for name in &names {
            schedule.read(&pair(name), Epoch(1), &[aged(0)], now);
        }
        let soft = 24 * 3600 / 10 * 9;
        let earliest = Duration::from_secs(soft / 10 * 9);
        let mut tenths = [0; 10];
        for name in &names {
            let (at, why) = schedule.due(&PairName::new(name).expect("a name")).expect("a due");
            let left = at - now;
            assert_eq!(why, Reason::Age);
            assert!(left >= earliest && left <= Duration::from_secs(soft), "{left:?}");
            tenths[((left - earliest).as_secs() * 10 / (soft / 10 + 1)) as usize] += 1;
        }
        assert!(tenths.iter().all(|count| (50..150).contains(count)), "{tenths:?}");
    }

    #[test]
    fn reading_again_does_not_draw_again() {
        let now = Instant::now();
        let mut schedule = Schedule::new(7, AT_ONCE);
        let pair = pair("trunk-1");
        schedule.read(&pair, Epoch(1), &[aged(0)], now);
        let first = schedule.due(&pair.name);
        for second in 1..100 {
            let later = now + Duration::from_secs(second);
            schedule.read(&pair, Epoch(1), &[aged(second)], later);
            assert_eq!(schedule.due(&pair.name), first);
        }
    }

    #[test]
    fn two_seconds_of_traffic_stay_below_the_hard_limit() {
        let now = Instant::now();
        let mut schedule = Schedule::new(7, AT_ONCE);
        let mut pair = pair("trunk-1");
        pair.rotation.jitter_percent = 0;
        pair.lifetimes = Lifetimes {
            soft: Limits { packets: Some(990_000), ..Limits::default() },
            hard: Limits { packets: Some(1_000_000), ..Limits::default() },
        };
        let sent = |packets| SaUsage { packets, ..aged(10) };
        schedule.read(&pair, Epoch(1), &[sent(500_000)], now);
        let second = now + Duration::from_secs(1);
        // 100,000 a second: due 200,000 before the end, and not only 10,000.
        schedule.read(&pair, Epoch(1), &[sent(600_000), sent(0)], second);
        let due = schedule.due(&pair.name);
        assert_eq!(due, Some((second + Duration::from_secs(2), Reason::Packets)));
    }

    #[test]
    fn short_sequence_numbers_are_a_limit_without_any_configured() {
        let now = Instant::now();
        let mut schedule = Schedule::new(7, AT_ONCE);
        let mut pair = pair("trunk-1");
        let sent = SaUsage { packets: u64::from(u32::MAX) - (1 << 20), ..aged(10) };
        schedule.read(&pair, Epoch(1), &[sent], now);
        assert_eq!(schedule.take(now, any), None);
        pair.sequence_numbers = SequenceNumbers::Short;
        schedule.read(&pair, Epoch(1), &[sent], now);
        assert_eq!(schedule.take(now, any), Some((pair.name, Reason::Packets)));
    }

    #[test]
    fn as_many_run_as_may_and_failures_wait_longer_each_time() {
        let now = Instant::now();
        let mut schedule = Schedule::new(7, NonZeroUsize::MIN);
        let (a, b) = (pair("a"), pair("b"));
        for pair in [&a, &b] {
            schedule.read(pair, Epoch(1), &[aged(1_000_000)], now);
        }
        let (first, _) = schedule.take(now, any).expect("both are due");
        assert_eq!(schedule.take(now, any), None);
        schedule.ended(&first, Ended::Failed, now);
        let (second, _) = schedule.take(now, any).expect("the other one");
        assert_ne!(first, second);
        schedule.ended(&second, Ended::Done, now);
        assert_eq!(schedule.due(&second), None);

        let (mut time, mut pauses) = (now, Vec::new());
        for _ in 0..9 {
            let again = schedule.wake().expect("it is tried again");
            pauses.push((again - time).as_secs());
            time = again;
            assert!(schedule.take(time, any).is_some());
            schedule.ended(&first, Ended::Failed, time);
        }
        for (at, pause) in pauses.into_iter().enumerate() {
            let least = 2 << at.min(7);
            assert!((least..=least + least / 4 + 1).contains(&pause), "{at}: {pause} s");
        }
    }

    #[test]
    fn what_is_urgent_stays_so_until_there_are_new_keys() {
        let now = Instant::now();
        let mut schedule = Schedule::new(7, AT_ONCE);
        let pair = pair("trunk-1");
        schedule.read(&pair, Epoch(1), &[aged(1)], now);
        schedule.hurry(&pair.name, now);
        schedule.read(&pair, Epoch(1), &[aged(2)], now + Duration::from_secs(1));
        assert_eq!(schedule.due(&pair.name), Some((now, Reason::Urgent)));
        schedule.read(&pair, Epoch(2), &[aged(0)], now + Duration::from_secs(2));
        assert!(schedule.due(&pair.name).is_some_and(|(_, why)| why == Reason::Age));
    }

    #[test]
    fn what_only_waits_makes_room_for_another() {
        let now = Instant::now();
        let mut schedule = Schedule::new(7, NonZeroUsize::MIN);
        for name in ["a", "b", "c"] {
            schedule.read(&pair(name), Epoch(1), &[aged(1_000_000)], now);
        }
        let mut taken = Vec::new();
        while let Some((name, _)) = schedule.take(now, |name| name.as_str() != "b") {
            schedule.lingers(&name);
            taken.push(name.to_string());
        }
        assert_eq!(taken, ["a", "c"], "b may not, and none is given out twice");
        // Ending gives no second place back.
        schedule.ended(&pair("a").name, Ended::Done, now);
        assert!(schedule.take(now, any).is_some());
        assert_eq!(schedule.take(now, any), None);
    }

    #[test]
    fn what_is_forgiven_does_not_wait() {
        let now = Instant::now();
        let mut schedule = Schedule::new(7, AT_ONCE);
        let pair = pair("trunk-1");
        schedule.hurry(&pair.name, now);
        schedule.take(now, any).expect("it is urgent");
        schedule.ended(&pair.name, Ended::Failed, now);
        assert_eq!(schedule.take(now, any), None);
        schedule.forgive(&pair.name);
        assert!(schedule.take(now, any).is_some());
    }
}
