//! Many packets of many sessions at once, so that the CPU's pipelines fill.
//!
//! One packet's cryptography is a chain of instructions that wait for each other; those of
//! another packet, under another key, can run in the gaps. So a batch is done in three passes:
//! everything but the cryptography for each packet in order, the cryptography of all together,
//! and the outcome for each in order. The result is that of one by one, packet for packet.
//!
//! Opening, a packet may depend on one before it in the batch: on the stream that it begins, or on
//! the key that it switches to. Such a packet waits for a pass of its own. What only a full pass
//! can tell (the second of two equal packets is a replay) is asked again at the end; so a packet
//! that has two faults may be refused for the other one.
//!
//! Opening, what gains nothing from company is done at once, when its turn comes: AES-GCM, whose
//! one packet fills the pipelines, and everything without vector instructions. (Protecting, the
//! passes cost nothing: there is no state to touch a second time.)
//!
//! Sessions stay where their owner keeps them: whatever [`IndexMut`] finds by a number.

use std::{
    fmt,
    ops::{Index, IndexMut},
};

use arrayvec::ArrayVec;

use crate::{
    Opened, Receiver, Refusal, Sealed, Sender,
    receiver::Candidate,
    sender::Prepared,
    transform::{OpenJob, SealJob, open_all, seal_all},
};

/// Packets that go through the cryptography together: two rounds of sixteen lanes. Longer
/// batches are cut.
pub const BATCH_LEN: usize = 32;

/// An RTP packet for [`protect_rtp_batch`].
pub struct ToProtect<'b> {
    /// Its session's place among the senders.
    pub sender: usize,
    /// The packet and its tailroom, as for [`Sender::protect_rtp`].
    pub buffer: &'b mut [u8],
    /// Length in bytes of the packet.
    pub len: usize,
    /// What came of it; `None` before.
    pub outcome: Option<Result<Sealed, Refusal>>,
}

/// An SRTP packet for [`open_rtp_batch`].
pub struct ToOpen<'b> {
    /// Its session's place among the receivers.
    pub receiver: usize,
    /// The packet.
    pub packet: &'b mut [u8],
    /// What came of it; `None` before.
    pub outcome: Option<Result<Opened, Refusal>>,
}

impl<'b> ToProtect<'b> {
    /// The packet in `buffer[..len]`, for the sender at place `sender`.
    pub fn new(sender: usize, buffer: &'b mut [u8], len: usize) -> Self {
        Self { sender, buffer, len, outcome: None }
    }
}

impl<'b> ToOpen<'b> {
    /// `packet`, for the receiver at place `receiver`.
    pub fn new(receiver: usize, packet: &'b mut [u8]) -> Self {
        Self { receiver, packet, outcome: None }
    }
}

/// Without the packet, which may be in clear.
impl fmt::Debug for ToProtect<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sender, len, outcome, .. } = self;
        let mut debug = f.debug_struct("ToProtect");
        debug.field("sender", sender).field("len", len).field("outcome", outcome);
        debug.finish_non_exhaustive()
    }
}

/// Without the packet, which may be in clear.
impl fmt::Debug for ToOpen<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { receiver, packet, outcome } = self;
        let mut debug = f.debug_struct("ToOpen");
        debug.field("receiver", receiver).field("len", &packet.len()).field("outcome", outcome);
        debug.finish_non_exhaustive()
    }
}

/// Does [`Sender::protect_rtp`] for each packet, in order, and leaves each an outcome.
///
/// # Panics
/// Where `senders` does, for a place that is not there.
pub fn protect_rtp_batch<S>(senders: &mut S, packets: &mut [ToProtect<'_>])
where
    S: IndexMut<usize, Output = Sender> + ?Sized,
{
    let mut pass = ArrayVec::<_, BATCH_LEN>::new();
    let mut done = 0;
    for at in 0..packets.len() {
        // What is prepared already is under the key before.
        if pass.is_full() || senders[packets[at].sender].changes_key() {
            seal_pass(senders, &mut packets[done..at], &mut pass);
            done = at;
        }
        let packet = &mut packets[at];
        let prepared = senders[packet.sender].prepare_rtp(packet.buffer, packet.len);
        packet.outcome = prepared.err().map(Err);
        pass.push(prepared.ok());
    }
    seal_pass(senders, &mut packets[done..], &mut pass);
}

/// Does [`Receiver::open_rtp`] for each packet, in order, and leaves each an outcome.
///
/// # Panics
/// Where `receivers` does, for a place that is not there.
pub fn open_rtp_batch<S>(receivers: &mut S, packets: &mut [ToOpen<'_>])
where
    S: IndexMut<usize, Output = Receiver> + ?Sized,
{
    let mut pass = OpenPass::default();
    let mut done = 0;
    for at in 0..packets.len() {
        let place = packets[at].receiver;
        if receivers[place].goes_alone(packets[at].packet) {
            if pass.must_end_before_alone(place) {
                open_pass(receivers, &mut packets[done..at], &mut pass);
                done = at;
            }
            packets[at].outcome = Some(receivers[place].open_rtp(packets[at].packet));
            if pass.candidates.is_empty() {
                done = at + 1;
            } else {
                pass.candidates.push(None);
            }
            continue;
        }
        let mut examined = receivers[place].examine_rtp(packets[at].packet);
        if pass.must_end_before(&examined, place, &packets[done..at]) {
            open_pass(receivers, &mut packets[done..at], &mut pass);
            done = at;
            examined = receivers[place].examine_rtp(packets[at].packet);
        }
        packets[at].outcome = examined.err().map(Err);
        pass.push(examined.ok(), place);
    }
    open_pass(receivers, &mut packets[done..], &mut pass);
}

fn seal_pass<S>(
    senders: &S,
    packets: &mut [ToProtect<'_>],
    pass: &mut ArrayVec<Option<Prepared>, BATCH_LEN>,
) where
    S: Index<usize, Output = Sender> + ?Sized,
{
    let mut jobs = ArrayVec::<SealJob<'_>, BATCH_LEN>::new();
    for (packet, prepared) in packets.iter_mut().zip(&*pass) {
        if let Some(prepared) = prepared {
            jobs.push(senders[packet.sender].job(prepared, packet.buffer));
        }
    }
    seal_all(&mut jobs);
    drop(jobs);
    // Not before: should anything above panic, a packet in clear is not to count as sealed.
    for (packet, prepared) in packets.iter_mut().zip(pass.drain(..)) {
        if let Some(prepared) = prepared {
            packet.outcome = Some(Ok(prepared.sealed_rtp()));
        }
    }
}

fn open_pass<S>(receivers: &mut S, packets: &mut [ToOpen<'_>], pass: &mut OpenPass)
where
    S: IndexMut<usize, Output = Receiver> + ?Sized,
{
    let opened = opened(receivers, packets, pass);
    let mut opened = opened.into_iter();
    for (packet, candidate) in packets.iter_mut().zip(pass.candidates.drain(..)) {
        let Some(candidate) = candidate else { continue };
        let opened = opened.next().unwrap_or(Err(Refusal::AuthenticationFailed));
        packet.outcome = Some(opened.and_then(|()| {
            let receiver = &mut receivers[packet.receiver];
            receiver.reveal_header(&candidate, packet.packet);
            if pass.is_shared {
                receiver.accept_again(candidate)
            } else {
                Ok(receiver.accept(candidate))
            }
        }));
    }
    *pass = OpenPass::default();
}

/// The cryptography of those packets that were examined with success, in their order.
fn opened<S>(
    receivers: &S,
    packets: &mut [ToOpen<'_>],
    pass: &OpenPass,
) -> ArrayVec<Result<(), Refusal>, BATCH_LEN>
where
    S: Index<usize, Output = Receiver> + ?Sized,
{
    let mut jobs = ArrayVec::<OpenJob<'_>, BATCH_LEN>::new();
    for (packet, candidate) in packets.iter_mut().zip(&pass.candidates) {
        if let Some(candidate) = candidate {
            jobs.push(receivers[packet.receiver].job(candidate, packet.packet));
        }
    }
    open_all(&mut jobs);
    jobs.iter().map(|job| job.outcome).collect()
}

/// Packets that are opened together.
#[derive(Default)]
struct OpenPass {
    /// Nothing where the packet has its outcome already.
    candidates: ArrayVec<Option<Candidate>, BATCH_LEN>,
    /// A bit for each receiver that has packets among them, by its place modulo 64.
    receivers: u64,
    /// Whether two packets may be the same receiver's.
    is_shared: bool,
}

impl OpenPass {
    fn push(&mut self, candidate: Option<Candidate>, place: usize) {
        self.is_shared |= self.may_have(place);
        self.receivers |= 1 << (place % 64);
        self.candidates.push(candidate);
    }

    fn may_have(&self, place: usize) -> bool {
        self.receivers & 1 << (place % 64) != 0
    }

    /// Whether a packet for the receiver at `place` has no room, or packets of its receiver would
    /// be opened after it.
    fn must_end_before_alone(&self, place: usize) -> bool {
        self.may_have(place) || self.candidates.is_full()
    }

    /// Whether a packet for the receiver at `place` has no room, or examining it could give another
    /// result after those before it, `packets`.
    fn must_end_before(
        &self,
        examined: &Result<Candidate, Refusal>,
        place: usize,
        packets: &[ToOpen<'_>],
    ) -> bool {
        if !self.may_have(place) {
            return self.candidates.is_full();
        }
        let earlier = packets.iter().zip(&self.candidates);
        let mut earlier = earlier
            .filter(|(packet, _)| packet.receiver == place)
            .filter_map(|(_, earlier)| earlier.as_ref());
        let depends = match examined {
            Ok(candidate) => earlier.any(|earlier| candidate.depends_on(earlier)),
            // These are about the packet's bytes alone.
            Err(Refusal::Malformed(_) | Refusal::UnknownMki) => false,
            Err(_) => earlier.next().is_some(),
        };
        depends || self.candidates.is_full()
    }
}
