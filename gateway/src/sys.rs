//! The kernel calls of the shell: process limits, dumpability, capabilities and packet information
//! on the ng socket. Media sockets are `packet-io`'s.
#![allow(unsafe_code)]

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use socket2::Socket;
use tokio::io::unix::AsyncFd;

/// A resource that a process may use so much of (getrlimit(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resource {
    /// Open file descriptors.
    Files,
    /// Bytes of a core dump.
    Core,
}

/// A limit in force and how far it may be raised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ResourceLimit {
    pub(crate) soft: u64,
    pub(crate) hard: u64,
}

impl Resource {
    fn number(self) -> libc::__rlimit_resource_t {
        match self {
            Self::Files => libc::RLIMIT_NOFILE,
            Self::Core => libc::RLIMIT_CORE,
        }
    }
}

/// Keeps memory, and with it keys, out of core dumps and from ptrace by our own user (prctl(2)).
pub(crate) fn forbid_dumps() -> io::Result<()> {
    // SAFETY: PR_SET_DUMPABLE takes one integer (passed as the unsigned long that prctl reads)
    // and touches no memory of ours.
    let result = unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0 as libc::c_ulong) };
    check(result).map(drop)
}

/// Makes every file and socket created from now on our user's alone (umask(2)).
pub(crate) fn restrict_new_files() {
    // SAFETY: umask takes any mode, touches no memory of ours and cannot fail.
    unsafe { libc::umask(0o077) };
}

/// Reads a limit.
pub(crate) fn resource_limit(resource: Resource) -> io::Result<ResourceLimit> {
    let mut raw = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `raw` is a live, writable `rlimit`, which getrlimit fills and does not keep.
    let result = unsafe { libc::getrlimit(resource.number(), &raw mut raw) };
    check(result)?;
    Ok(ResourceLimit { soft: raw.rlim_cur, hard: raw.rlim_max })
}

/// Sets a limit.
pub(crate) fn set_resource_limit(resource: Resource, limit: ResourceLimit) -> io::Result<()> {
    let raw = libc::rlimit { rlim_cur: limit.soft, rlim_max: limit.hard };
    // SAFETY: `raw` is a live `rlimit`, which setrlimit reads and does not keep.
    let result = unsafe { libc::setrlimit(resource.number(), &raw const raw) };
    check(result).map(drop)
}

/// CLOCK_MONOTONIC in microseconds, as systemd wants it with `RELOADING=1`.
pub(crate) fn monotonic_microseconds() -> io::Result<u64> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a live, writable `timespec`, which clock_gettime fills and does not keep.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    check(result)?;
    Ok(time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1_000)
}

/// Sets an integer socket option.
pub(crate) fn set_option(fd: BorrowedFd<'_>, level: i32, name: i32, value: i32) -> io::Result<()> {
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: `fd` is open for the call's duration (borrowed); `value` is a live c_int of
    // `length` bytes, which setsockopt reads and does not keep.
    let result =
        unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, (&raw const value).cast(), length) };
    check(result).map(drop)
}

/// Registers a socket with the runtime, for both directions.
pub(crate) fn watch(socket: Socket) -> io::Result<AsyncFd<Socket>> {
    // SAFETY: a `Socket` owns its descriptor, which is open until it is dropped and always the
    // same; the `AsyncFd` owns the `Socket`, and nobody exchanges it through `get_mut`.
    let watched = unsafe { AsyncFd::register(socket) };
    watched.map_err(|error| error.into_parts().1)
}

/// Which capabilities a thread keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    /// None.
    Nothing,
    /// CAP_NET_BIND_SERVICE, where it has that.
    LowPorts,
}

/// Gives the capabilities of the calling thread up, for good: effective, permitted, inheritable,
/// ambient and bounding sets (capabilities(7)), and with no_new_privs what an exec could give
/// back. Threads that it starts from then on have no more either.
pub(crate) fn drop_capabilities(keep: Keep) -> io::Result<()> {
    clear_ambient()?;
    for capability in 0..MAX_CAPABILITIES {
        if keep == Keep::Nothing || capability != CAP_NET_BIND_SERVICE {
            forbid_capability(capability);
        }
    }
    match keep {
        Keep::Nothing => set_capabilities(0)?,
        // Who has it not cannot keep it.
        Keep::LowPorts => {
            set_capabilities(1 << CAP_NET_BIND_SERVICE).or_else(|_| set_capabilities(0))?;
        }
    }
    forbid_new_privileges()
}

/// Effective and permitted; nothing is inheritable.
fn set_capabilities(capabilities: u32) -> io::Result<()> {
    let header = CapabilityHeader { version: LINUX_CAPABILITY_VERSION_3, pid: 0 };
    let low = CapabilitySets { effective: capabilities, permitted: capabilities, inheritable: 0 };
    let sets = [low, CapabilitySets::default()];
    // SAFETY: version 3 takes a header and two sets, which live for the call's duration and which
    // capset reads and does not keep.
    let result = unsafe { libc::syscall(libc::SYS_capset, &raw const header, sets.as_ptr()) };
    check(result as libc::c_int).map(drop)
}

fn clear_ambient() -> io::Result<()> {
    let [operation, zero] = [libc::PR_CAP_AMBIENT_CLEAR_ALL as libc::c_ulong, 0];
    // SAFETY: PR_CAP_AMBIENT takes integers (as the unsigned longs that prctl reads) and touches
    // no memory of ours.
    let result = unsafe { libc::prctl(libc::PR_CAP_AMBIENT, operation, zero, zero, zero) };
    check(result).map(drop)
}

/// Fails without CAP_SETPCAP, where no_new_privs does the same, and for numbers that this kernel
/// does not know: neither is an error.
fn forbid_capability(capability: libc::c_ulong) {
    // SAFETY: PR_CAPBSET_DROP takes one integer (passed as the unsigned long that prctl reads)
    // and touches no memory of ours.
    unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability) };
}

fn forbid_new_privileges() -> io::Result<()> {
    let [one, zero] = [1 as libc::c_ulong, 0];
    // SAFETY: PR_SET_NO_NEW_PRIVS takes integers (as the unsigned longs that prctl reads) and
    // touches no memory of ours.
    let result = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, one, zero, zero, zero) };
    check(result).map(drop)
}

/// Makes `command` the leader of a session of its own: no signal of our terminal's or our process
/// group's reaches it.
pub(crate) fn in_its_own_session(command: &mut Command) -> &mut Command {
    let lead = || {
        // SAFETY: setsid takes nothing and touches no memory of ours.
        let session = unsafe { libc::setsid() };
        check(session).map(drop)
    };
    // SAFETY: `lead` runs in the child between fork and exec, where only async-signal-safe calls
    // are allowed: setsid is one (signal-safety(7)), and reading errno neither locks nor
    // allocates.
    unsafe { command.pre_exec(lead) }
}

/// `struct __user_cap_header_struct` of linux/capability.h.
#[repr(C)]
struct CapabilityHeader {
    version: u32,
    pid: libc::c_int,
}

/// `struct __user_cap_data_struct` of linux/capability.h.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct CapabilitySets {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

const _: () = assert!(size_of::<CapabilityHeader>() == 8 && size_of::<CapabilitySets>() == 12);

/// `_LINUX_CAPABILITY_VERSION_3`: 64 capabilities in two sets.
const LINUX_CAPABILITY_VERSION_3: u32 = 0x2008_0522;

/// `CAP_NET_BIND_SERVICE` of linux/capability.h.
const CAP_NET_BIND_SERVICE: libc::c_ulong = 10;

/// As many as the two sets hold; kernels know fewer.
const MAX_CAPABILITIES: libc::c_ulong = 64;

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Bytes that the kernel may write into through an interface that speaks of `MaybeUninit`, and
/// that are initialised all the same.
pub(crate) struct KernelBytes(Box<[MaybeUninit<u8>]>);

impl KernelBytes {
    /// `length` zeroes.
    pub(crate) fn zeroed(length: usize) -> Self {
        Self(vec![MaybeUninit::new(0); length].into_boxed_slice())
    }

    /// For the kernel to write into.
    ///
    /// Callers pass this to a system call and nowhere else: nothing may store uninitialised
    /// bytes through it.
    pub(crate) fn as_kernel_slice(&mut self) -> &mut [MaybeUninit<u8>] {
        &mut self.0
    }

    /// The first `length` bytes, or all if there are fewer.
    pub(crate) fn bytes(&self, length: usize) -> &[u8] {
        let slice = &self.0[..length.min(self.0.len())];
        // SAFETY: every element was initialised in `zeroed`, the only constructor, and the
        // kernel only ever writes whole initialised bytes over them.
        unsafe { slice.assume_init_ref() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_soft_limit_can_be_lowered_and_raised_to_the_hard_one() {
        let before = resource_limit(Resource::Files).unwrap();
        assert!(before.soft <= before.hard);
        set_resource_limit(Resource::Files, ResourceLimit { soft: before.hard, ..before }).unwrap();
        assert_eq!(resource_limit(Resource::Files).unwrap().soft, before.hard);
    }

    #[test]
    fn a_thread_that_gave_its_capabilities_up_has_none_and_gets_none() {
        let status = std::thread::spawn(|| {
            drop_capabilities(Keep::Nothing).unwrap();
            std::fs::read_to_string("/proc/thread-self/status").unwrap()
        });
        let status = status.join().unwrap();
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            assert!(status.contains(&format!("{set}:\t0000000000000000")), "{status}");
        }
        assert!(status.contains("NoNewPrivs:\t1"), "{status}");
    }

    #[test]
    fn a_thread_that_needs_low_ports_keeps_that_and_nothing_else() {
        let status = std::thread::spawn(|| {
            let before = std::fs::read_to_string("/proc/thread-self/status").unwrap();
            drop_capabilities(Keep::LowPorts).unwrap();
            (before, std::fs::read_to_string("/proc/thread-self/status").unwrap())
        });
        let (before, after) = status.join().unwrap();
        let set = |status: &str, name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            u64::from_str_radix(line.trim(), 16).unwrap()
        };
        for name in ["CapPrm:", "CapEff:"] {
            let expected = set(&before, name) & (1 << CAP_NET_BIND_SERVICE);
            assert_eq!(set(&after, name), expected, "{after}");
        }
        assert!(after.contains("NoNewPrivs:\t1"), "{after}");
    }

    #[test]
    fn the_monotonic_clock_goes_on() {
        let first = monotonic_microseconds().unwrap();
        assert!(first > 0 && monotonic_microseconds().unwrap() >= first);
    }

    #[test]
    fn kernel_bytes_start_as_zeroes_and_never_reach_beyond_their_end() {
        let bytes = KernelBytes::zeroed(4);
        assert_eq!(bytes.bytes(9), [0; 4]);
    }
}
