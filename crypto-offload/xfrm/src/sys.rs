//! The kernel calls that the safe libraries lack: netlink addresses, a few socket options and the
//! ethtool ioctl.
#![allow(unsafe_code)]

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

/// Takes part in the multicast `groups` (a bit each), under a port number that the kernel
/// chooses (netlink(7)).
pub(crate) fn bind_netlink(fd: BorrowedFd<'_>, groups: u32) -> io::Result<()> {
    let mut address = netlink_address();
    address.nl_groups = groups;
    // SAFETY: `fd` is open for the call (borrowed); `address` is a live sockaddr_nl of the length
    // given, which bind reads and does not keep.
    let result =
        unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), NETLINK_ADDRESS_LEN) };
    check(result)
}

/// The port number of a bound netlink socket: what its requests' reports carry.
pub(crate) fn netlink_port(fd: BorrowedFd<'_>) -> io::Result<u32> {
    let mut address = netlink_address();
    let mut length = NETLINK_ADDRESS_LEN;
    // SAFETY: `fd` is open for the call (borrowed); `address` is live, writable and as long as
    // `length` says, so that getsockname writes no further; it keeps neither.
    let result =
        unsafe { libc::getsockname(fd.as_raw_fd(), (&raw mut address).cast(), &raw mut length) };
    check(result)?;
    Ok(address.nl_pid)
}

/// Sets an integer socket option.
pub(crate) fn set_option(fd: BorrowedFd<'_>, level: i32, name: i32, value: i32) -> io::Result<()> {
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: `fd` is open for the call (borrowed); `value` is a live c_int of `length` bytes,
    // which setsockopt reads and does not keep.
    let result =
        unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, (&raw const value).cast(), length) };
    check(result)
}

/// Bytes of a feature's name, zeros included (ETH_GSTRING_LEN).
pub(crate) const FEATURE_NAME_LEN: usize = 32;

/// How many features devices have: a number of this kernel, the same for each of them
/// (ETHTOOL_GSSET_INFO).
pub(crate) fn feature_count(fd: BorrowedFd<'_>, device: &str) -> io::Result<u32> {
    // cmd, reserved, mask of sets (64 bits), the count of the one set asked for
    let mut request = [0u32; 5];
    request[0] = ETHTOOL_GSSET_INFO;
    let mask = 1u64 << ETH_SS_FEATURES;
    request[2..4].copy_from_slice(&halves(mask));
    ethtool(fd, device, &mut request)?;
    // The kernel clears the bit of a set that it lacks, and then writes no count.
    if request[2..4] == [0, 0] { Ok(0) } else { Ok(request[4]) }
}

/// The names of the features, each of [`FEATURE_NAME_LEN`] bytes (ETHTOOL_GSTRINGS). `count` is
/// what [`feature_count`] said: the kernel writes as many as it has.
pub(crate) fn feature_names(fd: BorrowedFd<'_>, device: &str, count: u32) -> io::Result<Vec<u8>> {
    let mut request = vec![0u32; 3 + count as usize * FEATURE_NAME_LEN / 4];
    request[..3].copy_from_slice(&[ETHTOOL_GSTRINGS, ETH_SS_FEATURES, count]);
    ethtool(fd, device, &mut request)?;
    Ok(request[3..].iter().flat_map(|word| word.to_ne_bytes()).collect())
}

/// Which features are on, a bit each in the order of their names (ETHTOOL_GFEATURES).
pub(crate) fn active_features(
    fd: BorrowedFd<'_>,
    device: &str,
    count: u32,
) -> io::Result<Vec<u32>> {
    let blocks = count.div_ceil(32);
    // per block: available, requested, active, never changed
    let mut request = vec![0u32; 2 + blocks as usize * 4];
    request[..2].copy_from_slice(&[ETHTOOL_GFEATURES, blocks]);
    ethtool(fd, device, &mut request)?;
    Ok(request[2..].chunks_exact(4).map(|block| block[2]).collect())
}

/// `struct ifreq` of SIOCETHTOOL: a name and a pointer, padded to the union's other members.
#[repr(C)]
struct EthtoolRequest {
    name: [u8; 16],
    data: *mut u32,
    rest: [u8; 16],
}
const _: () = assert!(size_of::<EthtoolRequest>() == size_of::<libc::ifreq>());

/// Runs the ethtool command at the head of `command`, which must have room for all that this
/// command writes: the three callers above size it by the command's own rule.
fn ethtool(fd: BorrowedFd<'_>, device: &str, command: &mut [u32]) -> io::Result<()> {
    let mut request = EthtoolRequest { name: [0; 16], data: command.as_mut_ptr(), rest: [0; 16] };
    // One byte stays 0: the kernel wants a C string.
    let name = request.name[..15]
        .get_mut(..device.len())
        .ok_or_else(|| io::Error::from_raw_os_error(libc::ENODEV))?;
    name.copy_from_slice(device.as_bytes());
    // SAFETY: `fd` is open for the call (borrowed); `request` is a live ifreq (size asserted
    // above) whose name ends in 0; its pointer is to `command`, live, exclusively borrowed and
    // long enough for what the command writes (the callers' contract); the kernel keeps neither.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
    check(result)
}

fn netlink_address() -> libc::sockaddr_nl {
    // SAFETY: sockaddr_nl is integers alone, for which all zeros is a value.
    let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
    address.nl_family = libc::AF_NETLINK as libc::sa_family_t;
    address
}

const fn halves(number: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = number.to_ne_bytes();
    [u32::from_ne_bytes([a, b, c, d]), u32::from_ne_bytes([e, f, g, h])]
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

const NETLINK_ADDRESS_LEN: libc::socklen_t = size_of::<libc::sockaddr_nl>() as libc::socklen_t;
// linux/ethtool.h and linux/sockios.h:
// https://git.kernel.org/pub/scm/linux/kernel/git/torvalds/linux.git/tree/include/uapi/linux
const SIOCETHTOOL: libc::Ioctl = 0x8946;
const ETHTOOL_GSTRINGS: u32 = 0x1b;
const ETHTOOL_GSSET_INFO: u32 = 0x37;
const ETHTOOL_GFEATURES: u32 = 0x3a;
const ETH_SS_FEATURES: u32 = 4;
