//! Keys that seal session tickets (RFC 5077 section 4, RFC 8446 section 4.6.1), shared by all
//! listeners and threads.
//!
//! A key seals for one lifetime and opens for one more; then it is dropped, and aws-lc wipes what it
//! frees. A new one comes by time, by command, or when one has sealed as much as a random nonce
//! allows. A ticket is bound to the trust of the listener that made it: under another listener, or
//! after a reload that changed authorities, revocation lists or whether clients are asked at all, it
//! does not open and the handshake is a full one. Keys are never written anywhere, so a restart ends
//! them.
//!
//! ```text
//! | key name, 16 | nonce, 12 | AES-256-GCM of the session ... | tag, 16 |
//!   additional data: key name, binding
//! ```

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::error::Unspecified;
use rustls::server::ProducesTickets;
use zeroize::Zeroizing;

/// The keys.
pub struct TicketKeys {
    lifetime: Duration,
    /// The one that seals first, then those that only open, newest first. Never empty.
    keys: RwLock<VecDeque<Arc<TicketKey>>>,
}

/// How old a key is, and what it still does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TicketKeyAge {
    /// Since it was made.
    pub age: Duration,
    /// `None` for the one that seals; otherwise how much longer it opens.
    pub opens_for: Option<Duration>,
}

/// No random bytes, so no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the system gave no random bytes for a ticket key")]
pub struct NoTicketKey;

impl TicketKeys {
    /// Keys that seal for `lifetime` and open for as long again.
    ///
    /// # Errors
    /// [`NoTicketKey`].
    pub fn new(lifetime: Duration) -> Result<Arc<Self>, NoTicketKey> {
        let keys = VecDeque::from([Arc::new(TicketKey::new(Instant::now())?)]);
        Ok(Arc::new(Self { lifetime: lifetime.max(SHORTEST), keys: RwLock::new(keys) }))
    }

    /// Makes a new key; the last one opens for one more lifetime.
    ///
    /// # Errors
    /// [`NoTicketKey`]; then the last one goes on.
    pub fn rotate(&self) -> Result<(), NoTicketKey> {
        self.rotate_at(Instant::now())
    }

    /// Drops keys whose time is over, and makes a new one if it is due. Sealing and opening do that
    /// by themselves; where nobody connects, this does.
    pub fn maintain(&self) {
        self.maintain_at(Instant::now());
    }

    /// For how long a key seals, and opens after that.
    pub fn lifetime(&self) -> Duration {
        self.lifetime
    }

    /// The keys there are, newest first.
    pub fn ages(&self) -> Vec<TicketKeyAge> {
        let now = Instant::now();
        self.each(|key| TicketKeyAge {
            age: now.saturating_duration_since(key.made),
            opens_for: key.opens_until.map(|until| until.saturating_duration_since(now)),
        })
    }

    /// Seals tickets that are bound to `binding`.
    pub(crate) fn ticketer(self: &Arc<Self>, binding: [u8; 32]) -> Arc<dyn ProducesTickets> {
        Arc::new(Ticketer { keys: Arc::clone(self), binding })
    }

    fn rotate_at(&self, now: Instant) -> Result<(), NoTicketKey> {
        let new = TicketKey::new(now)?;
        self.replace(now, new);
        Ok(())
    }

    fn replace(&self, now: Instant, new: TicketKey) {
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = keys.pop_front() {
            keys.push_front(Arc::new(last.retired(now + self.lifetime)));
        }
        keys.push_front(Arc::new(new));
        keys.retain(|key| key.opens(now));
        keys.truncate(MOST_KEYS);
    }

    fn maintain_at(&self, now: Instant) {
        if self.newest().is_none_or(|key| key.is_spent(now, self.lifetime)) {
            // Without random bytes the old key goes on: better than no resumption.
            let _kept = self.rotate_at(now);
        } else if self.each(|key| key.opens(now)).contains(&false) {
            let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
            keys.retain(|key| key.opens(now));
        }
    }

    fn seal(&self, now: Instant, binding: &[u8; 32], plain: &[u8]) -> Option<Vec<u8>> {
        self.maintain_at(now);
        self.newest()?.seal(binding, plain).ok()
    }

    fn open(&self, now: Instant, binding: &[u8; 32], ticket: &[u8]) -> Option<Vec<u8>> {
        let (name, rest) = ticket.split_first_chunk::<NAME>()?;
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let key = keys.iter().find(|key| key.name == *name && key.opens(now)).cloned();
        drop(keys);
        key?.open(binding, rest).ok()
    }

    fn newest(&self) -> Option<Arc<TicketKey>> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).front().cloned()
    }

    fn each<T>(&self, look: impl Fn(&TicketKey) -> T) -> Vec<T> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.iter().map(|key| look(key)).collect()
    }
}

impl fmt::Debug for TicketKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TicketKeys").field("ages", &self.ages()).finish_non_exhaustive()
    }
}

/// One key. Its schedule is aws-lc's alone; no other copy of it stays.
struct TicketKey {
    name: [u8; NAME],
    key: Arc<LessSafeKey>,
    made: Instant,
    /// `None` while it seals.
    opens_until: Option<Instant>,
    sealed: AtomicU64,
}

impl TicketKey {
    fn new(now: Instant) -> Result<Self, NoTicketKey> {
        let mut name = [0; NAME];
        let mut bytes = Zeroizing::new([0; 32]);
        aws_lc_rs::rand::fill(&mut name).map_err(|_| NoTicketKey)?;
        aws_lc_rs::rand::fill(&mut *bytes).map_err(|_| NoTicketKey)?;
        let key = UnboundKey::new(&AES_256_GCM, &*bytes).map_err(|_| NoTicketKey)?;
        let key = Arc::new(LessSafeKey::new(key));
        Ok(Self { name, key, made: now, opens_until: None, sealed: AtomicU64::new(0) })
    }

    fn retired(&self, opens_until: Instant) -> Self {
        Self {
            name: self.name,
            key: Arc::clone(&self.key),
            made: self.made,
            opens_until: Some(opens_until),
            sealed: AtomicU64::new(0),
        }
    }

    fn opens(&self, now: Instant) -> bool {
        self.opens_until.is_none_or(|until| now < until)
    }

    /// It must not seal any more.
    fn is_spent(&self, now: Instant, lifetime: Duration) -> bool {
        now.saturating_duration_since(self.made) >= lifetime
            || self.sealed.load(Ordering::Relaxed) >= MOST_SEALED
    }

    fn seal(&self, binding: &[u8; 32], plain: &[u8]) -> Result<Vec<u8>, Unspecified> {
        self.sealed.fetch_add(1, Ordering::Relaxed);
        let mut nonce = [0; NONCE_LEN];
        aws_lc_rs::rand::fill(&mut nonce)?;
        // Sealed where it was copied to: no other copy of the session is made. Of its full size
        // from the start, as growing would leave one behind.
        let mut ticket = Vec::with_capacity(NAME + NONCE_LEN + plain.len() + AES_256_GCM.tag_len());
        ticket.extend(self.name);
        ticket.extend(nonce);
        ticket.extend(plain);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let sealed = &mut ticket[NAME + NONCE_LEN..];
        let tag = self.key.seal_in_place_separate_tag(nonce, self.bound(binding), sealed)?;
        ticket.extend(tag.as_ref());
        Ok(ticket)
    }

    fn open(&self, binding: &[u8; 32], rest: &[u8]) -> Result<Vec<u8>, Unspecified> {
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>().ok_or(Unspecified)?;
        let mut plain = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let length = self.key.open_in_place(nonce, self.bound(binding), &mut plain)?.len();
        plain.truncate(length);
        Ok(plain)
    }

    fn bound(&self, binding: &[u8; 32]) -> Aad<[u8; NAME + 32]> {
        let mut data = [0; NAME + 32];
        data[..NAME].copy_from_slice(&self.name);
        data[NAME..].copy_from_slice(binding);
        Aad::from(data)
    }
}

/// The keys as one listener uses them.
struct Ticketer {
    keys: Arc<TicketKeys>,
    binding: [u8; 32],
}

impl ProducesTickets for Ticketer {
    fn enabled(&self) -> bool {
        true
    }

    /// For so long at least a ticket opens; seconds.
    fn lifetime(&self) -> u32 {
        let seconds = self.keys.lifetime.as_secs().min(LONGEST_HINT);
        u32::try_from(seconds).unwrap_or(u32::MAX)
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.keys.seal(Instant::now(), &self.binding, plain)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.keys.open(Instant::now(), &self.binding, cipher)
    }
}

impl fmt::Debug for Ticketer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticketer").field("keys", &self.keys).finish_non_exhaustive()
    }
}

/// Bytes of a key's name, as in RFC 5077 section 4.
const NAME: usize = 16;

/// Random nonces of 96 bits: NIST SP 800-38D section 8.3 allows 2^32 under one key; this leaves a
/// margin for threads that look at the count at the same time.
const MOST_SEALED: u64 = 1 << 31;

/// A rotation by command a minute for a quarter of an hour keeps all of its keys.
const MOST_KEYS: usize = 16;

/// Shorter than a handshake may take would be no resumption at all.
const SHORTEST: Duration = Duration::from_secs(1);

/// RFC 8446 section 4.6.1: seven days.
const LONGEST_HINT: u64 = 604_800;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIFETIME: Duration = Duration::from_secs(3600);
    const BINDING: [u8; 32] = [7; 32];

    fn keys() -> (Arc<TicketKeys>, Instant) {
        (TicketKeys::new(LIFETIME).unwrap(), Instant::now())
    }

    fn name_of(ticket: &[u8]) -> &[u8] {
        &ticket[..NAME]
    }

    #[test]
    fn a_ticket_opens_for_one_more_lifetime_after_its_key_was_replaced() {
        let (keys, start) = keys();
        let ticket = keys.seal(start, &BINDING, b"session").unwrap();
        let second = keys.seal(start + LIFETIME, &BINDING, b"session").unwrap();
        assert_ne!(name_of(&ticket), name_of(&second), "time alone replaces a key");
        let opens = |at| keys.open(at, &BINDING, &ticket).is_some();
        assert!(opens(start + LIFETIME));
        assert!(opens(start + LIFETIME * 2 - Duration::from_secs(1)));
        assert!(!opens(start + LIFETIME * 2));
    }

    #[test]
    fn a_key_whose_time_is_over_is_dropped_though_nobody_connects() {
        let (keys, start) = keys();
        let first = Arc::downgrade(&keys.newest().unwrap().key);
        keys.rotate_at(start).unwrap();
        keys.maintain_at(start + LIFETIME - Duration::from_secs(1));
        assert!(first.upgrade().is_some());
        keys.maintain_at(start + LIFETIME);
        assert!(first.upgrade().is_none(), "nothing else holds it");
    }

    #[test]
    fn a_command_replaces_a_key_and_the_number_of_keys_is_bounded() {
        let (keys, start) = keys();
        let ticket = keys.seal(start, &BINDING, b"session").unwrap();
        keys.rotate_at(start).unwrap();
        assert!(keys.open(start, &BINDING, &ticket).is_some());
        let second = keys.seal(start, &BINDING, b"session").unwrap();
        assert_ne!(name_of(&ticket), name_of(&second));
        for _ in 0..100 {
            keys.rotate_at(start).unwrap();
        }
        assert_eq!(keys.ages().len(), MOST_KEYS);
        assert!(keys.ages()[0].opens_for.is_none());
        assert!(keys.ages()[1..].iter().all(|key| key.opens_for.is_some()));
        assert!(keys.open(start, &BINDING, &second).is_none());
    }

    #[test]
    fn a_key_that_sealed_enough_is_replaced() {
        let (keys, start) = keys();
        let first = keys.seal(start, &BINDING, b"").unwrap();
        keys.newest().unwrap().sealed.store(MOST_SEALED, Ordering::Relaxed);
        assert_ne!(name_of(&first), name_of(&keys.seal(start, &BINDING, b"").unwrap()));
    }

    #[test]
    fn a_ticket_of_another_trust_does_not_open() {
        let (keys, start) = keys();
        let ticket = keys.seal(start, &BINDING, b"session").unwrap();
        assert_eq!(keys.open(start, &[8; 32], &ticket), None);
        assert_eq!(keys.open(start, &BINDING, &ticket).as_deref(), Some(&b"session"[..]));
    }

    #[test]
    fn nothing_of_a_key_or_session_is_shown() {
        let (keys, _) = keys();
        let shown = format!("{keys:?} {:?}", keys.ticketer(BINDING));
        assert!(!shown.contains("name") && !shown.contains("binding"), "{shown}");
    }

    proptest! {
        #[test]
        fn a_ticket_opens_whole_and_unchanged_or_not_at_all(
            plain in proptest::collection::vec(any::<u8>(), 0..500),
            at in any::<proptest::sample::Index>(),
            bit in 0u8..8,
            cut in any::<proptest::sample::Index>(),
        ) {
            let (keys, start) = keys();
            let ticket = keys.seal(start, &BINDING, &plain).unwrap();
            prop_assert_eq!(keys.open(start, &BINDING, &ticket), Some(plain));
            let mut bent = ticket.clone();
            bent[at.index(ticket.len())] ^= 1 << bit;
            prop_assert_eq!(keys.open(start, &BINDING, &bent), None);
            prop_assert_eq!(keys.open(start, &BINDING, &ticket[..cut.index(ticket.len())]), None);
        }

        #[test]
        fn what_a_stranger_sends_opens_nothing(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let (keys, start) = keys();
            prop_assert_eq!(keys.open(start, &BINDING, &bytes), None);
        }
    }
}
