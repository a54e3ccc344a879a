//! One SA as the data thread has it: the transform, and what goes with each packet.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use crypto_offload::{
    SaSpec, Selector,
    esp::{DropReason, NextHeader, Open, Opened, Reach, Seal},
};
use packet_io::{PacketMut, Peer, Token};

use super::{
    account::{Account, add},
    keeper::{Notice, Notices},
};

/// An SA that we seal with.
pub(super) struct Outbound {
    seal: Seal,
    progress: Progress,
    /// By which socket, to whom.
    token: Token,
    peer: Peer,
}

/// An SA that we open with.
pub(super) struct Inbound {
    open: Open,
    progress: Progress,
    /// What may be inside.
    pub(super) selector: Selector,
}

/// How far an SA has come with its reservation and its limits, and what was told of it.
struct Progress {
    account: Arc<Account>,
    /// The number at which to ask for more.
    trigger: u64,
    has_asked: bool,
    told: Reach,
}

impl Outbound {
    pub(super) fn new(sa: &SaSpec, account: Arc<Account>, token: Token, peer: Peer) -> Self {
        let mut seal = Seal::new(sa);
        let progress = Progress::new(account, sa.resume_after);
        seal.set_ceiling(progress.account.reserved.load(Relaxed));
        Self { seal, progress, token, peer }
    }

    /// Its socket.
    pub(super) fn token(&self) -> Token {
        self.token
    }

    /// The longest packet that its path takes.
    pub(super) fn inner_mtu(&self) -> usize {
        self.progress.account.inner_mtu.load(Relaxed)
    }

    /// Makes `packet` an ESP packet for its peer.
    pub(super) fn seal(
        &mut self,
        packet: &mut PacketMut<'_>,
        next_header: NextHeader,
        notices: &Notices,
    ) -> Result<(), DropReason> {
        if self.progress.account.is_expired.load(Relaxed) {
            return Err(DropReason::HardLimit);
        }
        let payload = packet.place.range.clone();
        let bytes = payload.len();
        let sealed = match self.seal.seal(packet.buffer, payload.clone(), next_header) {
            Err(DropReason::Unreserved) => {
                self.extend(notices);
                self.seal.seal(packet.buffer, payload, next_header)
            }
            sealed => sealed,
        };
        let range = sealed?;
        packet.place.range = range;
        packet.place.token = self.token;
        packet.place.peer = self.peer;
        let sequence = self.seal.sequence();
        self.progress.account.count(bytes, sequence);
        if sequence >= self.progress.trigger {
            self.extend(notices);
        }
        self.progress.watch(self.seal.allowance().reach(), notices);
        Ok(())
    }

    #[cold]
    fn extend(&mut self, notices: &Notices) {
        if let Some(ceiling) =
            self.progress.extend(self.seal.sequence(), self.seal.ceiling(), notices)
        {
            self.seal.set_ceiling(ceiling);
        }
    }
}

impl Inbound {
    pub(super) fn new(sa: &SaSpec, account: Arc<Account>) -> Self {
        let mut open = Open::new(sa);
        let progress = Progress::new(account, sa.resume_after);
        open.set_ceiling(progress.account.reserved.load(Relaxed));
        Self { open, progress, selector: sa.selector }
    }

    /// Opens `packet`.
    pub(super) fn open(
        &mut self,
        packet: &mut [u8],
        notices: &Notices,
    ) -> Result<Opened, DropReason> {
        if self.progress.account.is_expired.load(Relaxed) {
            return Err(DropReason::HardLimit);
        }
        let opened = self.open.open(packet);
        match &opened {
            Ok(opened) => self.progress.account.count(opened.payload.len(), self.open.highest()),
            Err(reason) => self.note(*reason),
        }
        if self.open.highest() >= self.progress.trigger || self.open.refused().is_some() {
            self.extend(notices);
        }
        self.progress.watch(self.open.allowance().reach(), notices);
        opened
    }

    #[cold]
    fn note(&self, reason: DropReason) {
        let counters = &self.progress.account.counters;
        match reason {
            DropReason::Replayed => add(&counters.replayed, 1),
            DropReason::Late => add(&counters.late, 1),
            DropReason::Forged => add(&counters.forged, 1),
            _ => {}
        }
    }

    #[cold]
    fn extend(&mut self, notices: &Notices) {
        let reached = self.open.highest().max(self.open.refused().unwrap_or(0));
        if let Some(ceiling) = self.progress.extend(reached, self.open.ceiling(), notices) {
            self.open.set_ceiling(ceiling);
        }
    }
}

impl Progress {
    fn new(account: Arc<Account>, resume_after: u64) -> Self {
        let reserved = account.reserved.load(Relaxed);
        let trigger = halfway(resume_after, reserved);
        Self { account, trigger, has_asked: false, told: Reach::Free }
    }

    /// The new ceiling if the keeper has granted one; asks for more where that is due.
    fn extend(&mut self, reached: u64, ceiling: u64, notices: &Notices) -> Option<u64> {
        // Acquire is not needed: nothing but the number itself is handed over.
        let reserved = self.account.reserved.load(Relaxed);
        let granted = (reserved > ceiling).then_some(reserved);
        if granted.is_some() {
            self.has_asked = false;
            self.trigger = halfway(reached, reserved);
        }
        if reached >= self.trigger && !self.has_asked {
            self.account.wanted.fetch_max(reached, Relaxed);
            // With the queue full the next packet asks again.
            self.has_asked = notices.offer(Notice::Reserve(Arc::clone(&self.account)));
        } else if reached > self.account.wanted.load(Relaxed) {
            self.account.wanted.store(reached, Relaxed);
        }
        granted
    }

    /// Tells each limit once.
    fn watch(&mut self, reach: Reach, notices: &Notices) {
        if reach > self.told {
            self.tell(reach, notices);
        }
    }

    #[cold]
    fn tell(&mut self, reach: Reach, notices: &Notices) {
        if notices.offer(Notice::Reached(self.account.id, reach)) {
            self.told = reach;
        }
    }
}

fn halfway(reached: u64, reserved: u64) -> u64 {
    reached + reserved.saturating_sub(reached) / 2
}
