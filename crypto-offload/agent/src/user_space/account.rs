//! What one SA has done and may do, shared between the threads that know parts of it.
//!
//! The data thread alone writes the counters, with plain stores; anybody reads them at any time.
//! The keeper alone writes what is reserved, whether time is up, and the MTU.

use std::{
    net::IpAddr,
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Instant,
};

use crypto_offload::{
    Aead, Direction, InstalledSa, KeyFingerprint, Lifetimes, Placement, SaId, SaSpec, SaUsage,
    UdpEncapsulation,
    esp::{Outer, inner_mtu},
};

use super::reservation;

/// See the module's documentation.
pub(super) struct Account {
    pub(super) id: SaId,
    pub(super) direction: Direction,
    pub(super) source: IpAddr,
    pub(super) lifetimes: Lifetimes,
    pub(super) installed: Instant,
    pub(super) resumed_after: u64,
    encapsulation: Option<UdpEncapsulation>,
    aead: Aead,
    fingerprint: KeyFingerprint,
    /// Its pair's.
    pub(super) reqid: u32,
    first_used: OnceLock<Instant>,
    pub(super) counters: Counters,
    /// Up to which number it may be used.
    pub(super) reserved: AtomicU64,
    /// The highest number that asked for more.
    pub(super) wanted: AtomicU64,
    /// Its time is over.
    pub(super) is_expired: AtomicBool,
    /// The longest inner packet that its path takes.
    pub(super) inner_mtu: AtomicUsize,
}

/// Written by the data thread.
#[derive(Default)]
pub(super) struct Counters {
    pub(super) packets: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) sequence: AtomicU64,
    pub(super) replayed: AtomicU64,
    pub(super) late: AtomicU64,
    pub(super) forged: AtomicU64,
}

impl Account {
    pub(super) fn new(sa: &SaSpec, path_mtu: usize) -> Self {
        let account = Self {
            id: sa.id,
            direction: sa.direction,
            source: sa.source,
            lifetimes: sa.lifetimes,
            installed: Instant::now(),
            resumed_after: sa.resume_after,
            encapsulation: sa.encapsulation,
            aead: sa.keying.aead(),
            fingerprint: sa.keying.fingerprint(),
            reqid: sa.reqid.0.get(),
            first_used: OnceLock::new(),
            counters: Counters::default(),
            reserved: AtomicU64::new(reservation::first(sa.direction, sa.resume_after)),
            wanted: AtomicU64::new(0),
            is_expired: AtomicBool::new(false),
            inner_mtu: AtomicUsize::new(0),
        };
        account.counters.sequence.store(sa.resume_after, Relaxed);
        account.set_path_mtu(path_mtu);
        account
    }

    /// Counts one packet more.
    pub(super) fn count(&self, bytes: usize, sequence: u64) {
        let packets = self.counters.packets.load(Relaxed);
        if packets == 0 {
            self.note_first_use();
        }
        self.counters.packets.store(packets + 1, Relaxed);
        add(&self.counters.bytes, bytes as u64);
        self.counters.sequence.store(sequence, Relaxed);
    }

    /// One clock reading in an SA's life.
    #[cold]
    fn note_first_use(&self) {
        let _ = self.first_used.set(Instant::now());
    }

    /// When the first packet came, if one did.
    pub(super) fn first_used(&self) -> Option<Instant> {
        self.first_used.get().copied()
    }

    /// Its path takes outer packets of `path_mtu` bytes.
    pub(super) fn set_path_mtu(&self, path_mtu: usize) {
        let outer = if self.source.is_ipv4() { Outer::Ipv4 } else { Outer::Ipv6 };
        self.inner_mtu.store(inner_mtu(path_mtu, outer, self.encapsulation), Relaxed);
    }

    pub(super) fn usage(&self) -> SaUsage {
        let counters = &self.counters;
        SaUsage {
            packets: counters.packets.load(Relaxed),
            bytes: counters.bytes.load(Relaxed),
            sequence: counters.sequence.load(Relaxed),
            replayed: counters.replayed.load(Relaxed),
            late: counters.late.load(Relaxed),
            forged: counters.forged.load(Relaxed),
            age: self.installed.elapsed(),
            in_use: self.first_used().map(|first| first.elapsed()),
        }
    }

    pub(super) fn describe(&self) -> InstalledSa {
        InstalledSa {
            id: self.id,
            source: self.source,
            reqid: self.reqid,
            placement: Placement::UserSpace,
            device: None,
            aead: Some(self.aead),
            fingerprint: Some(self.fingerprint),
            algorithm: self.aead.name().to_owned(),
            usage: self.usage(),
        }
    }
}

/// For counters with one writer: no locked instruction.
pub(super) fn add(counter: &AtomicU64, more: u64) {
    counter.store(counter.load(Relaxed) + more, Relaxed);
}
