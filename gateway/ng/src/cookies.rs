//! The cookie cache: a retransmitted request gets the first one's reply, not a second run.
//!
//! Two generations of entries; every 30 s the older is dropped and the younger takes its place,
//! so a reply is remembered for 30 to 60 s. Controllers retransmit for five. The key is the
//! cookie alone, without the sender's address, as the incumbent has it: a controller may send
//! again from another socket.
//!
//! Both generations are bounded in entries and bytes. A full one is replaced early: under a
//! flood the recent past is what counts. Time comes in as `now`; the reader of the socket owns
//! the cache and queues the senders that wait for a request in progress.

use std::collections::HashMap;
use std::mem;
use std::time::{Duration, Instant};

use bytes::Bytes;

/// Replies by cookie.
#[derive(Debug)]
pub struct Cookies {
    young: Generation,
    old: Generation,
    swapped: Instant,
    limits: Limits,
}

/// How much one generation may hold; there are two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Cookies.
    pub entries: usize,
    /// Bytes of cookies and replies.
    pub bytes: usize,
}

impl Default for Limits {
    /// 60,000 requests in 30 s is 2,000 a second, with 1 KiB each.
    fn default() -> Self {
        Self { entries: 60_000, bytes: 60 << 20 }
    }
}

/// What to do with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// Handle it; [`Cookies::finish`] follows.
    New,
    /// It has been here.
    Duplicate(Duplicate),
}

/// How far the first of several equal requests has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Duplicate {
    /// Still under way: send its reply here too when it is there.
    InProgress,
    /// Done: send this datagram again.
    Done(Bytes),
}

impl Cookies {
    /// An empty cache.
    pub fn new(limits: Limits, now: Instant) -> Self {
        let (young, old) = Default::default();
        Self { young, old, swapped: now, limits }
    }

    /// A request with this cookie has come.
    pub fn arrive(&mut self, cookie: &[u8], now: Instant) -> Arrival {
        self.swap_if_due(now);
        if let Some(state) = self.young.entries.get(cookie).or_else(|| self.old.entries.get(cookie))
        {
            return Arrival::Duplicate(match state {
                State::InProgress => Duplicate::InProgress,
                State::Done(reply) => Duplicate::Done(reply.clone()),
            });
        }
        self.store(cookie, State::InProgress, now);
        Arrival::New
    }

    /// The request with this cookie has been answered with this datagram.
    pub fn finish(&mut self, cookie: &[u8], reply: Bytes, now: Instant) {
        self.swap_if_due(now);
        self.young.remove(cookie);
        self.old.remove(cookie);
        self.store(cookie, State::Done(reply), now);
    }

    /// The request with this cookie will not be answered: its retransmission is a new one.
    pub fn forget(&mut self, cookie: &[u8]) {
        self.young.remove(cookie);
        self.old.remove(cookie);
    }

    /// Cookies remembered now.
    pub fn len(&self) -> usize {
        self.young.entries.len() + self.old.entries.len()
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn store(&mut self, cookie: &[u8], state: State, now: Instant) {
        let size = entry_size(cookie, &state);
        if self.young.entries.len() >= self.limits.entries
            || self.young.bytes + size > self.limits.bytes
        {
            self.old = mem::take(&mut self.young);
            self.swapped = now;
        }
        self.young.bytes += size;
        // A copy: a slice would keep the whole datagram alive.
        self.young.entries.insert(cookie.into(), state);
    }

    fn swap_if_due(&mut self, now: Instant) {
        let age = now.saturating_duration_since(self.swapped);
        if age < GENERATION {
            return;
        }
        self.old = mem::take(&mut self.young);
        if age >= 2 * GENERATION {
            self.old = Generation::default();
        }
        self.swapped = now;
    }
}

#[derive(Debug, Default)]
struct Generation {
    entries: HashMap<Box<[u8]>, State>,
    bytes: usize,
}

impl Generation {
    fn remove(&mut self, cookie: &[u8]) {
        if let Some(state) = self.entries.remove(cookie) {
            self.bytes -= entry_size(cookie, &state);
        }
    }
}

#[derive(Debug)]
enum State {
    InProgress,
    Done(Bytes),
}

fn entry_size(cookie: &[u8], state: &State) -> usize {
    let reply = match state {
        State::InProgress => 0,
        State::Done(reply) => reply.len(),
    };
    cookie.len() + reply
}

/// How long a generation is the younger one, and again the older.
const GENERATION: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(entries: usize, bytes: usize) -> (Cookies, Instant) {
        let now = Instant::now();
        (Cookies::new(Limits { entries, bytes }, now), now)
    }

    fn done(reply: &'static str) -> Arrival {
        Arrival::Duplicate(Duplicate::Done(Bytes::from(reply)))
    }

    #[test]
    fn a_duplicate_waits_and_is_then_answered_from_the_cache() {
        let (mut cookies, now) = cache(10, 1000);
        assert_eq!(cookies.arrive(b"a", now), Arrival::New);
        assert_eq!(cookies.arrive(b"a", now), Arrival::Duplicate(Duplicate::InProgress));
        assert_eq!(cookies.arrive(b"b", now), Arrival::New);
        cookies.finish(b"a", Bytes::from("reply"), now);
        assert_eq!(cookies.arrive(b"a", now), done("reply"));
        assert_eq!(cookies.arrive(b"b", now), Arrival::Duplicate(Duplicate::InProgress));
    }

    #[test]
    fn remembers_for_thirty_to_sixty_seconds() {
        let (mut cookies, start) = cache(10, 1000);
        let at = |seconds| start + Duration::from_secs(seconds);
        cookies.arrive(b"a", at(29));
        cookies.finish(b"a", Bytes::from("r"), at(29));
        assert_eq!(cookies.arrive(b"a", at(59)), done("r"));
        assert_eq!(cookies.arrive(b"a", at(90)), Arrival::New);
    }

    #[test]
    fn after_a_long_silence_nothing_is_remembered() {
        let (mut cookies, start) = cache(10, 1000);
        cookies.arrive(b"a", start);
        assert_eq!(cookies.arrive(b"a", start + Duration::from_secs(60)), Arrival::New);
    }

    #[test]
    fn a_request_slower_than_a_generation_is_still_one_request() {
        let (mut cookies, start) = cache(10, 1000);
        let later = start + Duration::from_secs(31);
        cookies.arrive(b"a", start);
        assert_eq!(cookies.arrive(b"a", later), Arrival::Duplicate(Duplicate::InProgress));
        cookies.finish(b"a", Bytes::from("r"), later);
        assert_eq!(cookies.arrive(b"a", later), done("r"));
        assert_eq!(cookies.len(), 1);
    }

    #[test]
    fn a_forgotten_request_is_new_again() {
        let (mut cookies, now) = cache(10, 1000);
        cookies.arrive(b"a", now);
        cookies.forget(b"a");
        assert!(cookies.is_empty());
        assert_eq!(cookies.arrive(b"a", now), Arrival::New);
    }

    #[test]
    fn a_flood_grows_neither_entries_nor_bytes_without_end() {
        let (mut cookies, now) = cache(100, 1 << 20);
        for n in 0..10_000_u32 {
            cookies.arrive(&n.to_be_bytes(), now);
        }
        assert!(cookies.len() <= 200);
        let newest = 9_999_u32.to_be_bytes();
        assert_eq!(cookies.arrive(&newest, now), Arrival::Duplicate(Duplicate::InProgress));

        let (mut cookies, now) = cache(10_000, 1000);
        for n in 0..1000_u32 {
            cookies.finish(&n.to_be_bytes(), Bytes::from_static(&[0; 96]), now);
        }
        assert!(cookies.len() <= 20);
        assert!(cookies.young.bytes <= 1000 && cookies.old.bytes <= 1000);
    }
}
