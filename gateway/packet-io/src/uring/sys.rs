//! The ring, its shared memory and the promises made to the kernel about it.
//!
//! What the kernel is given here outlives the call: receive buffers, destinations of queued
//! sends, the template of the receives. [`Ring`] owns all of it, hands a buffer out only between
//! the completion that filled it and its return, and gives it back only when nothing queued
//! still reads it, so that its callers can be safe code.
//!
//! ```text
//!            one buffer, STRIDE bytes
//!  0        16       44 48        104                 1704          1864     1984
//!  | header | name   |  | control | packet            | tailroom    | unused |
//!  |<------------------ the kernel may write -------->|
//! ```
#![allow(unsafe_code)]

use std::io;
use std::mem::{self, MaybeUninit};
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::{BufRingEntry, CancelBuilder, Fd};
use io_uring::{IoUring, cqueue, opcode, squeue};

use super::{Config, SetupError, TaskRun};
use crate::address::RawAddress;
use crate::ancillary::CONTROL_LENGTH;
use crate::driver::Received;

/// `struct io_uring_recvmsg_out`: name, control and payload length, flags; u32 each.
pub(super) const HEADER: usize = 16;
/// Room for the source: sockaddr_in6 rounded up to keep what follows aligned.
pub(super) const NAME: usize = 32;
/// Where the packet lies in its buffer.
pub(super) const PACKET: usize = HEADER + NAME + CONTROL_LENGTH;
const FILL: usize = PACKET + Received::MAX_PACKET;
/// From one buffer to the next: an odd number of cache lines, so that the first lines of many
/// buffers spread over all sets of the first-level cache (2048 would put them into two).
const STRIDE: usize = (FILL + Received::TAILROOM).next_multiple_of(128) + 64;

const _: () = assert!(PACKET >= Received::HEADROOM);
const _: () = assert!(FILL + Received::TAILROOM <= STRIDE && STRIDE / 64 % 2 == 1);

/// The only buffer group of the ring.
const GROUP: u16 = 0;
/// IORING_ENTER_GETEVENTS: run deferred work, flush overflowed completions.
const GET_EVENTS: u32 = 1;

/// A buffer that the kernel has filled and given up: whoever holds this may use its bytes, and
/// returns it exactly once.
pub(super) struct BufferId(u16);

/// An io_uring with everything that its queued and armed operations point at.
pub(super) struct Ring {
    // Before the memory that the kernel writes to: fields drop in this order.
    io: IoUring,
    buffers: Buffers,
    template: Box<libc::msghdr>,
    destinations: Box<[RawAddress]>,
    /// Buffers that queued sends read, by the slot in `destinations` that the send uses.
    sending: Vec<BufferId>,
}

impl Ring {
    /// Sets up the ring for the calling thread.
    pub(super) fn new(config: &Config) -> Result<Self, SetupError> {
        let mut builder = IoUring::builder();
        builder.setup_cqsize(config.completions).setup_submit_all().setup_clamp();
        builder.setup_single_issuer().setup_taskrun_flag();
        match config.task_run {
            TaskRun::Deferred => builder.setup_defer_taskrun(),
            TaskRun::Cooperative => builder.setup_coop_taskrun(),
        };
        let ring = |error| SetupError::Ring(config.task_run, error);
        let io = builder.build(config.submissions).map_err(ring)?;
        // SAFETY: msghdr holds integers and pointers: all-zero is a value of each.
        let mut template: Box<libc::msghdr> = Box::new(unsafe { mem::zeroed() });
        template.msg_namelen = NAME as _;
        template.msg_controllen = CONTROL_LENGTH as _;
        // As many as the kernel made of what was asked for: no send is ever queued behind a full
        // queue, where making room would give its own buffer back.
        let slots = io.params().sq_entries() as usize;
        let buffers = |error| SetupError::Buffers(config.buffers, error);
        let ring = Self {
            buffers: Buffers::new(config.buffers).map_err(buffers)?,
            template,
            destinations: vec![RawAddress::EMPTY; slots].into_boxed_slice(),
            sending: Vec::with_capacity(slots),
            io,
        };
        ring.buffers.register(&ring.io).map_err(buffers)?;
        Ok(ring)
    }

    /// Has the kernel signal `event` whenever there is something to do.
    pub(super) fn signal(&self, event: BorrowedFd<'_>) -> io::Result<()> {
        self.io.submitter().register_eventfd(event.as_raw_fd())
    }

    /// Queues a multishot receive on `socket`, reported under `name`.
    pub(super) fn arm(&mut self, socket: impl AsFd, name: u64) -> io::Result<()> {
        let fd = Fd(raw(&socket));
        let entry = opcode::RecvMsgMulti::new(fd, &raw const *self.template, GROUP).build();
        self.push(&entry.user_data(name))
    }

    /// Queues waiting until `file` is readable, reported once under `name`.
    pub(super) fn poll(&mut self, file: impl AsFd, name: u64) -> io::Result<()> {
        let entry = opcode::PollAdd::new(Fd(raw(&file)), libc::POLLIN as u32).build();
        self.push(&entry.user_data(name))
    }

    /// Queues the end of the operation reported under `target`; says `name` only if that fails.
    pub(super) fn cancel(&mut self, target: u64, name: u64) -> io::Result<()> {
        let entry = opcode::AsyncCancel::new(target).build().user_data(name);
        self.push(&entry.flags(squeue::Flags::SKIP_SUCCESS))
    }

    /// Queues sending `range` of `buffer` from `socket`; says `name` only if that fails.
    ///
    /// The buffer goes back to the kernel once it has been sent, or refused, or at once when
    /// `range` lies outside of it (EFAULT).
    pub(super) fn send(
        &mut self,
        socket: impl AsFd,
        buffer: BufferId,
        range: Range<usize>,
        to: &RawAddress,
        name: u64,
    ) -> io::Result<()> {
        let Some(bytes) = self.buffers.bytes(&buffer).get(range) else {
            self.buffers.provide(buffer);
            return Err(io::Error::from_raw_os_error(libc::EFAULT));
        };
        let (start, length) = (bytes.as_ptr(), bytes.len() as u32);
        if let Err(error) = self.make_room() {
            self.buffers.provide(buffer);
            return Err(error);
        }
        let destination = &mut self.destinations[self.sending.len()];
        *destination = *to;
        let (address, address_length) = (destination.as_ptr(), destination.len());
        // MSG_DONTWAIT makes the kernel send, or refuse, while it takes the submission: when
        // `enter` returns nothing reads the buffer or the destination any more.
        let entry = opcode::Send::new(Fd(raw(&socket)), start, length)
            .flags(libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL)
            .dest_addr(address)
            .dest_addr_len(address_length as _)
            .build()
            .flags(squeue::Flags::SKIP_SUCCESS)
            .user_data(name);
        self.sending.push(buffer);
        self.push(&entry)
    }

    /// Submits what is queued, runs what the kernel has deferred, and takes the buffers of
    /// completed sends back.
    pub(super) fn enter(&mut self) -> io::Result<()> {
        let queued = self.io.submission().len();
        // SAFETY: the argument is absent, so its size is never used; the flags ask for nothing
        // that takes one.
        let entered = unsafe {
            self.io.submitter().enter::<libc::sigset_t>(queued as u32, 0, GET_EVENTS, None)
        };
        match entered {
            // The kernel is short of memory or of completion slots, or a signal came first:
            // what it has not taken stays queued, and the next turn asks again.
            Err(error) if passes(&error) => {}
            entered => _ = entered?,
        }
        if self.io.submission().is_empty() {
            while let Some(buffer) = self.sending.pop() {
                self.buffers.provide(buffer);
            }
            self.buffers.publish();
        }
        Ok(())
    }

    /// Something is queued that the kernel has not taken.
    pub(super) fn unsubmitted(&mut self) -> bool {
        !self.io.submission().is_empty()
    }

    /// Completions are there to be taken without entering the kernel.
    pub(super) fn completed(&mut self) -> bool {
        !self.io.completion().is_empty()
    }

    /// Something is there for the next [`Ring::enter`] or [`Ring::completions`].
    pub(super) fn pending(&mut self) -> bool {
        if self.completed() {
            return true;
        }
        let queue = self.io.submission();
        !queue.is_empty() || queue.taskrun() || queue.cq_overflow()
    }

    /// Completions did not fit their queue and wait in the kernel.
    pub(super) fn overflowed(&mut self) -> bool {
        self.io.submission().cq_overflow()
    }

    /// Takes completions, as many as there are and fit.
    pub(super) fn completions<'a>(
        &mut self,
        into: &'a mut [MaybeUninit<cqueue::Entry>],
    ) -> &'a [cqueue::Entry] {
        self.io.completion().fill(into)
    }

    /// The buffer that `completion` filled: to be asked once per completion, because whoever has a
    /// [`BufferId`] owns the bytes.
    ///
    /// # Panics
    /// Never, unless the kernel names a buffer that it was not given.
    pub(super) fn filled(&mut self, completion: &cqueue::Entry) -> Option<BufferId> {
        let id = cqueue::buffer_select(completion.flags())?;
        assert!(id < self.buffers.count, "the kernel filled a buffer that it was not given");
        Some(BufferId(id))
    }

    /// The bytes of a buffer.
    pub(super) fn bytes(&mut self, buffer: &BufferId) -> &mut [u8] {
        self.buffers.bytes(buffer)
    }

    /// Gives a buffer back unsent.
    pub(super) fn recycle(&mut self, buffer: BufferId) {
        self.buffers.provide(buffer);
    }

    /// Room for one more send, both in the queue and among the destinations.
    fn make_room(&mut self) -> io::Result<()> {
        let full = |ring: &mut Self| {
            ring.io.submission().is_full() || ring.sending.len() == ring.destinations.len()
        };
        if full(self) {
            self.enter()?;
            // The kernel may take only some, for want of memory: what it left still reads its
            // buffer and its destination.
            if full(self) {
                return Err(io::Error::from_raw_os_error(libc::EAGAIN));
            }
        }
        Ok(())
    }

    fn push(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        if self.io.submission().is_full() {
            self.enter()?;
        }
        // SAFETY: what an entry points at is owned by `self` and stays put: the template is
        // boxed, buffers are mapped, destinations boxed and not overwritten before `enter` has
        // seen the submission queue empty. A descriptor is resolved when the entry is submitted;
        // one closed before that fails the operation, which is an error of the caller, not of
        // memory.
        let pushed = unsafe { self.io.submission().push(entry) };
        pushed.map_err(|_| io::ErrorKind::WouldBlock.into())
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // Ends every receive before the buffers go. Closing the ring would too, but later. A
        // signal may come first; any other error says that none was armed.
        let end = || self.io.submitter().register_sync_cancel(None, CancelBuilder::any());
        while end().is_err_and(|error| error.kind() == io::ErrorKind::Interrupted) {}
    }
}

/// The buffers and the ring of entries through which the kernel gets them.
struct Buffers {
    entries: Mapping,
    area: Mapping,
    count: u16,
    tail: u16,
}

impl Buffers {
    fn new(count: u16) -> io::Result<Self> {
        if !count.is_power_of_two() || count > 1 << 15 {
            let message = format!("{count} receive buffers: must be a power of two up to 32768");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let entries = Mapping::new(usize::from(count) * size_of::<BufRingEntry>())?;
        let area = Mapping::new(usize::from(count) * STRIDE)?;
        let mut buffers = Self { entries, area, count, tail: 0 };
        (0..count).for_each(|id| buffers.provide(BufferId(id)));
        buffers.publish();
        Ok(buffers)
    }

    fn register(&self, io: &IoUring) -> io::Result<()> {
        let address = self.entries.start.as_ptr() as u64;
        // SAFETY: `entries` is a mapping of its own, so page-aligned, of `count` entries; it lives
        // in the same Ring as `io` and is unmapped after it.
        unsafe { io.submitter().register_buf_ring_with_flags(address, self.count, GROUP, 0) }
    }

    /// Where the buffer is; `id` is below `count` by construction of [`BufferId`].
    fn start(&self, id: &BufferId) -> NonNull<u8> {
        // SAFETY: below `count`, so the offset stays within `area`.
        unsafe { self.area.start.add(usize::from(id.0) * STRIDE) }
    }

    fn bytes(&mut self, id: &BufferId) -> &mut [u8] {
        let start = self.start(id).as_ptr();
        // SAFETY: STRIDE mapped bytes, zeroed or written by the kernel, which does not write them
        // while a BufferId is out; the id is unique and `self` is borrowed exclusively, so no
        // other reference to them exists.
        unsafe { slice::from_raw_parts_mut(start, STRIDE) }
    }

    /// Puts a buffer at the tail of the ring; the kernel sees it after [`Buffers::publish`].
    fn provide(&mut self, id: BufferId) {
        let at = usize::from(self.tail & (self.count - 1));
        let start = self.start(&id).as_ptr();
        let entries = self.entries.start.cast::<BufRingEntry>();
        // SAFETY: `at` is below `count`, which is how many entries the mapping holds.
        let entry = unsafe { entries.add(at) };
        // SAFETY: mapped, zero-initialised and aligned; the kernel does not read entries beyond
        // the published tail, so nobody else uses this one.
        let entry = unsafe { &mut *entry.as_ptr() };
        entry.set_addr(start as u64);
        entry.set_len(FILL as u32);
        entry.set_bid(id.0);
        self.tail = self.tail.wrapping_add(1);
    }

    /// Shows the kernel what was provided.
    fn publish(&mut self) {
        let base = self.entries.start.cast::<BufRingEntry>().as_ptr();
        // SAFETY: `base` is the first entry of a live, zero-initialised buffer ring.
        let tail = unsafe { BufRingEntry::tail(base) };
        // SAFETY: the tail is an aligned u16 in the mapping that is only ever accessed atomically
        // or, by the kernel, read.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }
}

/// Anonymous memory of its own pages, zeroed, unmapped on drop.
struct Mapping {
    start: NonNull<u8>,
    length: usize,
}

impl Mapping {
    fn new(length: usize) -> io::Result<Self> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: without MAP_FIXED the kernel picks free addresses; no descriptor is involved.
        let start = unsafe { libc::mmap(ptr::null_mut(), length, access, kind, -1, 0) };
        match NonNull::new(start.cast()) {
            Some(start) if start.as_ptr() as isize != -1 => Ok(Self { start, length }),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly what `new` mapped, and no reference into it outlives its owner.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) };
    }
}

/// Whether entering the ring again may succeed where this did not (io_uring_enter(2)).
fn passes(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EBUSY | libc::EINTR | libc::ENOMEM))
}

fn raw(socket: &impl AsFd) -> RawFd {
    socket.as_fd().as_raw_fd()
}
