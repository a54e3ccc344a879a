//! A TUN device: IP packets of this host, read and written in batches.
//!
//! [`Tun::open`] makes the device, dropping the [`Tun`] removes it; [`Link`] sets its MTU,
//! addresses and routes and may live on another thread. The device is left to the kernel's
//! segmentation where it can: a read then brings up to 64 KiB of one TCP or UDP flow, which is
//! split here into the packets that would have gone over a wire; a write joins packets of a flow
//! likewise. Whoever uses the device sees packets of at most its MTU either way, complete with
//! checksums.
//!
//! A loop around it:
//!
//! ```no_run
//! # use packet_io::{Offload, Token, tun::{Link, Tun}};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let name = "postern0".parse()?;
//! let mut tun = Tun::open(&name, Offload::Auto)?;
//! let mut link = Link::open(&name)?;
//! link.set_mtu(1400)?;
//! link.set_up()?;
//! let mut batch = tun.batch(64, 1400);
//! tun.read(&mut batch)?; // never waits: see `WaitSet`
//! for packet in batch.packets_mut() {
//!     // seal it in packet.buffer around packet.place.range; name peer and socket
//!     packet.place.token = Token(1);
//! }
//! # Ok(()) }
//! ```
//!
//! A `Tun` is owned by one thread. It refuses to share: a device of that name that exists already
//! is an error.

mod join;
mod link;
mod name;
mod netlink;
mod segment;
mod sys;
mod virtio;
mod write;

use std::fs::{File, OpenOptions};
use std::io::{self, IoSliceMut, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;

use thiserror::Error;

use crate::batch::{PacketBatch, Peer};
use crate::driver::Token;
use crate::offload::{Offload, SWITCHED_OFF, Support};

pub use link::{Link, LinkError, Prefix, PrefixError, Route};
pub use name::{BadName, InterfaceName};
use segment::Split;
use virtio::{Header, Segmentation};
pub use write::Written;

/// See the module's documentation.
pub struct Tun {
    file: File,
    name: InterfaceName,
    offload: Offloaded,
    /// A super-packet while it is being split.
    whole: Box<[u8]>,
    pending: Option<Split>,
    plan: join::Plan,
    writes_joined: Support,
    counters: Counters,
    last_write_error: Option<i32>,
}

/// What the kernel leaves to us; each includes those after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Nothing: single, complete packets.
    None,
    /// Checksums.
    Checksum,
    /// TCP segmentation, ECN included.
    Tcp,
    /// UDP segmentation (Linux 6.2).
    TcpAndUdp,
}

/// What was agreed with the kernel, and why not more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offloaded {
    /// How far it goes.
    pub level: Level,
    /// Why it goes no further; `None` when it goes all the way.
    pub reason: Option<String>,
}

/// What did not become a packet, since the device was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Read, but longer than a slot of the batch: the device's MTU is above what the batch is for.
    pub oversize: u64,
    /// Read, but the kernel's header and the packet do not fit each other.
    pub malformed: u64,
    /// Writes that the kernel refused: see [`Tun::last_write_error`].
    pub refused: u64,
}

/// Why there is no device.
#[derive(Debug, Error)]
pub enum TunError {
    /// There is no TUN driver.
    #[error(
        "{TUN_PATH} cannot be opened: {0}; `modprobe tun`, and in a container pass the device in"
    )]
    Driver(#[source] io::Error),
    /// Not allowed to.
    #[error("making interface {0} needs CAP_NET_ADMIN in this network namespace")]
    Forbidden(InterfaceName),
    /// Somebody else's.
    #[error(
        "an interface {0} exists already and is not ours: `ip link del {0}`, or choose another name"
    )]
    Taken(InterfaceName),
    /// All else.
    #[error("{step} of interface {name}: {error}")]
    Setup {
        /// Which ioctl.
        step: &'static str,
        /// Of which device.
        name: InterfaceName,
        /// What the kernel said.
        #[source]
        error: io::Error,
    },
}

impl Tun {
    /// Makes the device `name`, down and without addresses, in the calling thread's network
    /// namespace.
    ///
    /// # Errors
    /// See [`TunError`]; nothing is left behind.
    pub fn open(name: &InterfaceName, offload: Offload) -> Result<Self, TunError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(TUN_PATH)
            .map_err(TunError::Driver)?;
        // Exclusive: without the flag TUNSETIFF would join a persistent device of that name.
        let flags = libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_VNET_HDR | libc::IFF_TUN_EXCL;
        sys::set_interface(file.as_fd(), name.as_c_str(), flags as u16).map_err(
            |error| match error.raw_os_error() {
                Some(libc::EPERM) => TunError::Forbidden(name.clone()),
                Some(libc::EBUSY | libc::EEXIST) => TunError::Taken(name.clone()),
                _ => TunError::Setup { step: "TUNSETIFF", name: name.clone(), error },
            },
        )?;
        sys::set_header_length(file.as_fd(), virtio::LENGTH as i32).map_err(|error| {
            TunError::Setup { step: "TUNSETVNETHDRSZ", name: name.clone(), error }
        })?;
        let offload = negotiate(file.as_fd(), offload);
        let writes_joined = match &offload.reason {
            Some(reason) if offload.level < Level::Tcp => Support::Inactive(reason.clone()),
            _ => Support::Active,
        };
        Ok(Self {
            offload,
            plan: join::Plan::default(),
            writes_joined,
            file,
            name: name.clone(),
            whole: vec![0; WHOLE].into_boxed_slice(),
            pending: None,
            counters: Counters::default(),
            last_write_error: None,
        })
    }

    /// The device's name.
    pub fn name(&self) -> &InterfaceName {
        &self.name
    }

    /// What was agreed with the kernel about segmentation.
    pub fn offload(&self) -> &Offloaded {
        &self.offload
    }

    /// Whether packets of a flow are written as one; it may end when the kernel refuses it.
    pub fn writes_joined(&self) -> &Support {
        &self.writes_joined
    }

    /// What did not become a packet so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Why the latest of [`Written::refused`] was: EIO for a device that is down, EINVAL for what
    /// is not IP.
    pub fn last_write_error(&self) -> Option<io::Error> {
        self.last_write_error.map(io::Error::from_raw_os_error)
    }

    /// A batch to read into: `slots` packets of up to `mtu` bytes.
    pub fn batch(&self, slots: usize, mtu: usize) -> PacketBatch {
        PacketBatch::new(slots, mtu)
    }

    /// Empties `batch` and fills it with packets that wait, as many as there are slots; never
    /// waits. A full batch means that there may be more; with [`Tun::has_pending`] there is more
    /// although the device is not readable. Their token is [`Token`] 0, their peer
    /// [`Peer::NONE`], their traffic class the packet's own.
    ///
    /// # Errors
    /// EBADFD when the device was removed from outside: the `Tun` is finished.
    pub fn read(&mut self, batch: &mut PacketBatch) -> io::Result<usize> {
        batch.clear();
        while let Some(area) = batch.next_area() {
            let length = match self.read_one(area) {
                Ok(Some(length)) => length,
                Ok(None) => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) if !batch.is_empty() => break,
                Err(error) => return Err(error),
            };
            let class = segment::traffic_class(&area[..length]);
            batch.commit(length, Token(0), Peer::NONE, class);
        }
        Ok(batch.len())
    }

    /// Part of a super-packet is still to be read: read again before waiting.
    pub fn has_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// One packet into `area`: its length, or `None` when what was read became none.
    fn read_one(&mut self, area: &mut [u8]) -> io::Result<Option<usize>> {
        if let Some(split) = &mut self.pending {
            let length = split.write_next(&self.whole, area);
            if length.is_none() {
                // Not all written: this batch has smaller slots than the one before.
                self.counters.oversize += u64::from(!split.is_done());
                self.pending = None;
            }
            return Ok(length);
        }
        let mut header = [0; virtio::LENGTH];
        let room = area.len();
        // A single packet lands where it is to stay. What is longer is a super-packet, and goes
        // on where it will be whole once its start is put before it.
        let mut parts = [
            IoSliceMut::new(&mut header),
            IoSliceMut::new(area),
            IoSliceMut::new(&mut self.whole[room..]),
        ];
        let count = self.file.read_vectored(&mut parts)?;
        let Some(length) = count.checked_sub(virtio::LENGTH) else {
            self.counters.malformed += 1;
            return Ok(None);
        };
        Ok(self.accept(Header::parse(header), area, length))
    }

    /// Judges what was read: the length of the packet in `area`, if it is a single one.
    fn accept(&mut self, header: Header, area: &mut [u8], length: usize) -> Option<usize> {
        if header.segmentation != Segmentation::None {
            self.begin_split(header, area, length);
            return None;
        }
        let Some(packet) = area.get_mut(..length) else {
            self.counters.oversize += 1;
            return None;
        };
        if let Some(partial) = header.checksum
            && segment::complete_checksum(packet, partial).is_err()
        {
            self.counters.malformed += 1;
            return None;
        }
        Some(length)
    }

    /// Makes the super-packet whole, and ready to be split.
    fn begin_split(&mut self, header: Header, area: &[u8], length: usize) {
        let start = length.min(area.len());
        self.whole[..start].copy_from_slice(&area[..start]);
        match Split::new(&self.whole[..length], header) {
            Ok(split) if split.longest() > area.len() => self.counters.oversize += 1,
            Ok(split) => self.pending = Some(split),
            Err(_) => self.counters.malformed += 1,
        }
    }
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Asks for as much as the kernel gives, from the most down.
fn negotiate(fd: BorrowedFd<'_>, offload: Offload) -> Offloaded {
    let wanted = [
        (Level::TcpAndUdp, CHECKSUM | TCP | UDP, "UDP segmentation (TUN_F_USO4, TUN_F_USO6)"),
        (Level::Tcp, CHECKSUM | TCP, "TCP segmentation (TUN_F_TSO4, TUN_F_TSO6, TUN_F_TSO_ECN)"),
        (Level::Checksum, CHECKSUM, "checksums (TUN_F_CSUM)"),
    ];
    let mut reason = None;
    if offload == Offload::Off {
        reason = Some(SWITCHED_OFF.to_owned());
    } else {
        for (level, features, what) in wanted {
            match sys::set_offload(fd, features) {
                Ok(()) => return Offloaded { level, reason },
                // The first refusal is the one that names what is lacking.
                Err(error) => {
                    reason.get_or_insert_with(|| format!("TUNSETOFFLOAD {what}: {error}"));
                }
            }
        }
    }
    // A new device starts with none, and the kernel takes none: nothing to learn from the result.
    let _ = sys::set_offload(fd, 0);
    Offloaded { level: Level::None, reason }
}

const TUN_PATH: &str = "/dev/net/tun";
/// The longest super-packet, after a slot's area of whatever size.
const WHOLE: usize = PacketBatch::LONGEST + 65;

/// linux/if_tun.h: TUN_F_CSUM.
const CHECKSUM: u32 = 0x01;
/// TUN_F_TSO4, TUN_F_TSO6 and TUN_F_TSO_ECN.
const TCP: u32 = 0x02 | 0x04 | 0x08;
/// TUN_F_USO4 and TUN_F_USO6, which the kernel takes together only.
const UDP: u32 = 0x20 | 0x40;
