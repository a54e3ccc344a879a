//! The master keys of one direction (RFC 3711 section 8.1): one, or several told apart by MKI.
//!
//! All are for one profile and have MKIs of one length, so that a packet's parts stand in the
//! same places whichever key it is under. The indexes are not the keys': they go on over a change
//! of key. What is counted per key is its use, which is remembered of retired keys too: a key that
//! comes back goes on with its lifetime. The key in use lies apart from the others, because nearly
//! every packet is under it. The others are boxed, because a vector leaves copies of what it
//! moves, and of a retired key nothing may be left.

use std::collections::VecDeque;

use crate::{
    KeyNotFound, KeyParameters, KeyState, Lifetimes, MasterKey, Mki, PacketKind, Policy, Profile,
    SessionKeys, Unsuitable,
    header_extension::HeaderProtection,
    lifetime::Usage,
    policy::Terms,
    sealed_state::KeyUse,
    transform::{Cipher, Trailer},
};

/// The most keys that a direction holds at a time.
pub const MAX_KEYS: usize = 16;
/// Retired keys whose use is remembered: a change of key a minute for seventeen hours. What is
/// forgotten after that is only how much of its lifetime a key has had, and not its indexes, which
/// are the direction's.
const MOST_RETIRED: usize = 1024;

/// A key of a direction and its use, for whoever decides on rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyStatus<'a> {
    /// Its MKI.
    pub mki: &'a Mki,
    /// Whether it should be replaced soon.
    pub state: KeyState,
    /// SRTP packets under it.
    pub rtp_packets: u64,
    /// SRTCP packets under it.
    pub rtcp_packets: u64,
}

/// The key in use, and those that may be next or were before.
pub(crate) struct KeyRing {
    pub(crate) current: Key,
    #[expect(clippy::vec_box, reason = "keys are not to be moved but in place")]
    others: Vec<Box<Key>>,
    /// How much the retired ones were used, the last one last: up to [`MOST_RETIRED`], 56 bytes
    /// each.
    retired: VecDeque<KeyUse>,
}

/// One master key, ready for use.
pub(crate) struct Key {
    pub(crate) rtp_cipher: Cipher,
    /// Absent where header extensions are clear, which is nearly everywhere.
    pub(crate) header_protection: Option<Box<HeaderProtection>>,
    /// SRTCP comes every few seconds: its key schedule is expanded per packet (0.2 µs) rather
    /// than kept, which saves some 800 bytes per direction.
    rtcp_keys: SessionKeys,
    terms: Terms,
    pub(crate) mki: Mki,
    pub(crate) usage: Usage,
    /// How many keys the direction was given before it.
    number: u32,
}

impl KeyRing {
    /// A direction's first key, if the policy takes what its profile and the terms lack.
    pub(crate) fn new(key: &KeyParameters<'_>, policy: &Policy) -> Result<Self, Unsuitable> {
        policy.check(key.master.profile())?;
        Ok(Self::of(Key::derive(key, policy.terms())))
    }

    /// The same with session keys, which must fit each other, and for a policy that needs no master
    /// key.
    pub(crate) fn of_session_keys(
        rtp: &SessionKeys,
        rtcp: SessionKeys,
        policy: &Policy,
    ) -> Result<Self, Unsuitable> {
        policy.check(rtcp.profile())?;
        let protection = HeaderProtection::without_master(policy.header_extensions)?;
        rtp.check_beside(&rtcp)?;
        Ok(Self::of(Key::from_session_keys(rtp, rtcp, policy.terms(), protection)))
    }

    fn of(key: Key) -> Self {
        Self { current: key, others: Vec::new(), retired: VecDeque::new() }
    }

    /// What follows the ciphertext of packets of `kind`, whichever key they are under.
    pub(crate) fn trailer(&self, kind: PacketKind) -> Trailer {
        let key = &self.current;
        Trailer::new(key.profile(), kind, key.mki.len(), key.terms.parameters)
    }

    /// Adds a key beside those that are there.
    pub(crate) fn install(&mut self, key: &KeyParameters<'_>) -> Result<(), Unsuitable> {
        self.check(key)?;
        let mut key = Box::new(Key::derive(key, self.current.terms));
        key.number = self.keys().map(|known| known.number + 1).max().unwrap_or(0);
        let digest = key.rtcp_keys.digest();
        if let Some(at) = self.retired.iter().position(|used| used.digest == digest) {
            let used = self.retired.remove(at);
            used.iter().for_each(|used| key.usage.resume(used.rtp_packets, used.rtcp_packets));
        }
        self.others.push(key);
        Ok(())
    }

    /// Whether `master` is among the keys here, under whatever MKI.
    pub(crate) fn contains(&self, master: &MasterKey) -> bool {
        let digest = SessionKeys::derive(master, PacketKind::Rtcp).digest();
        self.keys().any(|key| key.rtcp_keys.digest() == digest)
    }

    fn check(&self, key: &KeyParameters<'_>) -> Result<(), Unsuitable> {
        let (expected, got) = (self.profile(), key.master.profile());
        if expected != got {
            return Err(Unsuitable::OtherProfile { expected, got });
        }
        let (expected, got) = (self.current.mki.len(), key.mki.len());
        if got == 0 && expected == 0 {
            return Err(Unsuitable::NoMki);
        }
        if expected != got {
            return Err(Unsuitable::OtherMkiLength { expected, got });
        }
        if self.keys().any(|known| known.mki == key.mki) {
            return Err(Unsuitable::MkiInUse);
        }
        if self.others.len() + 1 == MAX_KEYS {
            return Err(Unsuitable::TooManyKeys);
        }
        Ok(())
    }

    /// Makes the key of `mki` the one in use.
    pub(crate) fn switch_to(&mut self, mki: &Mki) -> Result<(), KeyNotFound> {
        if self.current.mki == *mki {
            return Ok(());
        }
        let at = self.others.iter().position(|key| key.mki == *mki).ok_or(KeyNotFound::Unknown)?;
        self.make_current(at);
        Ok(())
    }

    /// The next key that is not exhausted, if there is one: of those installed after the one in use
    /// the first, because the peer may be about to retire those before it.
    #[cold]
    pub(crate) fn next(&self) -> Option<usize> {
        let current = self.current.number;
        let fresh = self.others.iter().enumerate().filter(|(_, key)| !key.usage.is_exhausted());
        let next = fresh.min_by_key(|(_, key)| (key.number < current, key.number));
        next.map(|(at, _)| at)
    }

    /// Makes that key the one in use.
    #[cold]
    pub(crate) fn advance(&mut self) {
        if let Some(at) = self.next() {
            self.make_current(at);
        }
    }

    /// Forgets the key of `mki`. If it is the one in use, the one installed last takes its place.
    pub(crate) fn retire(&mut self, mki: &Mki) -> Result<(), KeyNotFound> {
        if self.current.mki == *mki {
            let newest = self.others.iter().enumerate().max_by_key(|(_, key)| key.number);
            let (at, _) = newest.ok_or(KeyNotFound::Last)?;
            self.make_current(at);
        }
        let at = self.others.iter().position(|key| key.mki == *mki).ok_or(KeyNotFound::Unknown)?;
        let retired = self.others.swap_remove(at).to_use();
        if self.retired.len() == MOST_RETIRED {
            self.retired.pop_front();
        }
        self.retired.push_back(KeyUse { mki: Vec::new(), ..retired });
        Ok(())
    }

    /// Which of the other keys has the MKI of these bytes.
    pub(crate) fn position(&self, mki: &[u8]) -> Option<usize> {
        self.others.iter().position(|key| key.mki.as_bytes() == mki)
    }

    /// The other key at a [`Self::position`].
    pub(crate) fn other(&self, at: usize) -> &Key {
        &self.others[at]
    }

    /// Swaps the key in use with the other key at a [`Self::position`].
    pub(crate) fn make_current(&mut self, at: usize) {
        std::mem::swap(&mut self.current, &mut self.others[at]);
    }

    /// Every key, the one in use first.
    pub(crate) fn status(&self) -> impl Iterator<Item = KeyStatus<'_>> {
        self.keys().map(Key::status)
    }

    /// The use of every key, the one in use first.
    pub(crate) fn uses(&self) -> Vec<KeyUse> {
        self.keys().map(Key::to_use).collect()
    }

    /// Whether every one of `uses` is of a key that is here.
    pub(crate) fn has(&self, uses: &[KeyUse]) -> bool {
        let is_here = |used: &KeyUse| {
            self.keys()
                .any(|key| key.mki.as_bytes() == used.mki && key.rtcp_keys.digest() == used.digest)
        };
        !uses.is_empty() && uses.iter().all(is_here)
    }

    /// Takes over the use of the keys, which [`Self::has`] found, and so many SRTP and SRTCP packets
    /// more; the first is in use.
    pub(crate) fn resume(&mut self, uses: &[KeyUse], more_rtp: u64, more_rtcp: u64) {
        for used in uses.iter().rev() {
            if let Some(at) = self.position(&used.mki) {
                self.make_current(at);
            }
            let [rtp, rtcp] = [used.rtp_packets, used.rtcp_packets];
            self.current.usage.resume(rtp.saturating_add(more_rtp), rtcp.saturating_add(more_rtcp));
        }
    }

    /// Whether one of `uses` is of a key that is here, under whatever MKI.
    pub(crate) fn shares(&self, uses: &[KeyUse]) -> bool {
        self.keys().any(|key| {
            let digest = key.rtcp_keys.digest();
            uses.iter().any(|used| used.digest == digest)
        })
    }

    /// Takes over the use of those keys that are here too.
    pub(crate) fn absorb(&mut self, uses: &[KeyUse]) {
        let others = self.others.iter_mut().map(|key| &mut **key);
        for key in std::iter::once(&mut self.current).chain(others) {
            let digest = key.rtcp_keys.digest();
            for used in uses.iter().filter(|used| used.digest == digest) {
                key.usage.resume(used.rtp_packets, used.rtcp_packets);
            }
        }
    }

    pub(crate) fn profile(&self) -> Profile {
        self.current.profile()
    }

    fn keys(&self) -> impl Iterator<Item = &Key> {
        std::iter::once(&self.current).chain(self.others.iter().map(|key| &**key))
    }
}

impl Key {
    fn derive(key: &KeyParameters<'_>, terms: Terms) -> Self {
        let derive = |kind| SessionKeys::derive(key.master, kind);
        let (rtp, rtcp) = (derive(PacketKind::Rtp), derive(PacketKind::Rtcp));
        let protection = HeaderProtection::derive(terms.header_extensions, key.master);
        let derived = Self::from_session_keys(&rtp, rtcp, terms, protection);
        Self { mki: key.mki.clone(), usage: Usage::new(key.lifetimes), ..derived }
    }

    fn from_session_keys(
        rtp: &SessionKeys,
        rtcp: SessionKeys,
        terms: Terms,
        header_protection: Option<Box<HeaderProtection>>,
    ) -> Self {
        Self {
            rtp_cipher: Cipher::new(rtp, PacketKind::Rtp, terms.parameters, terms.backend),
            header_protection,
            rtcp_keys: rtcp,
            mki: Mki::none(),
            usage: Usage::new(Lifetimes::MAX),
            number: 0,
            terms,
        }
    }

    /// The cipher of SRTCP, made for one packet.
    pub(crate) fn rtcp_cipher(&self) -> Cipher {
        let Terms { parameters, backend, .. } = self.terms;
        Cipher::new(&self.rtcp_keys, PacketKind::Rtcp, parameters, backend)
    }

    pub(crate) fn profile(&self) -> Profile {
        self.rtcp_keys.profile()
    }

    fn to_use(&self) -> KeyUse {
        KeyUse {
            mki: self.mki.as_bytes().to_vec(),
            digest: self.rtcp_keys.digest(),
            rtp_packets: self.usage.rtp_packets(),
            rtcp_packets: self.usage.rtcp_packets(),
        }
    }

    fn status(&self) -> KeyStatus<'_> {
        KeyStatus {
            mki: &self.mki,
            state: self.usage.state(),
            rtp_packets: self.usage.rtp_packets(),
            rtcp_packets: self.usage.rtcp_packets(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_changes_keys_for_ever_fills_no_memory() {
        let profile = Profile::AeadAes128Gcm;
        let master = |number: u32| {
            let mut bytes = [0; 28];
            bytes[..4].copy_from_slice(&number.to_be_bytes());
            MasterKey::from_concatenated(profile, &bytes).expect("28 bytes")
        };
        let mki = |number: u32| Mki::new(&number.to_be_bytes()).expect("4 bytes");
        let first = master(0);
        let first = KeyParameters { mki: mki(0), ..(&first).into() };
        let mut ring = KeyRing::new(&first, &Policy::default()).expect("suitable");
        for number in 1..=MOST_RETIRED as u32 + 10 {
            let next = master(number);
            let next = KeyParameters { mki: mki(number), ..(&next).into() };
            ring.install(&next).expect("suitable");
            ring.retire(&mki(number - 1)).expect("is there");
        }
        assert_eq!(ring.retired.len(), MOST_RETIRED);
        assert_eq!(ring.keys().count(), 1);
    }
}
