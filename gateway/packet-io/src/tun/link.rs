//! The device as the host's routing sees it: MTU, up, addresses, routes.
//!
//! A [`Link`] names a device by its index, so it never touches another that later took the name.
//! It speaks rtnetlink on a socket of its own, in the network namespace of the thread that opened
//! it, and may live on another thread than the [`Tun`](super::Tun). What it set goes with the
//! device; it keeps no list of its own. Each call is one request and waits for the kernel's answer.

use std::fmt;
use std::io::{self, Read};
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::str::FromStr;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use thiserror::Error;

use super::name::InterfaceName;
use super::netlink::{self, Change, LinkSetting, Request};
use super::sys;
use crate::sys::set_option;

/// See the module's documentation.
pub struct Link {
    socket: Socket,
    name: InterfaceName,
    index: u32,
    sequence: u32,
}

/// A range of addresses: what goes into a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Prefix {
    pub(super) address: IpAddr,
    pub(super) length: u8,
}

/// Why something is not a [`Prefix`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PrefixError {
    /// Not an address, or not a number after it.
    #[error("{0:?} is not ADDRESS/LENGTH")]
    Syntax(String),
    /// More bits than the address has.
    #[error("prefix {0}/{1}: at most {most} bits", most = bits(*.0))]
    TooLong(IpAddr, u8),
    /// It names a host in a network, which the kernel refuses as a route.
    #[error("prefix {0}/{1} has bits set behind its length: {2} is meant?")]
    HostBits(IpAddr, u8, IpAddr),
}

/// A route by the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Route {
    /// Where to.
    pub prefix: Prefix,
    /// The address that this host's own packets have as their source; `None` leaves the choice to
    /// the kernel. It has to be one of the host's.
    pub source: Option<IpAddr>,
}

/// What went wrong with a device's settings.
#[derive(Debug, Error)]
pub enum LinkError {
    /// No such device, or no more.
    #[error("interface {0}: there is none of that name here")]
    Gone(InterfaceName),
    /// EEXIST: such a route or address is there already, by this or another device.
    #[error("{what} by interface {name}: one like it exists already (`ip route get`, `ip addr`)")]
    Exists {
        /// What was to be added.
        what: String,
        /// To which device.
        name: InterfaceName,
    },
    /// ESRCH, EADDRNOTAVAIL: nothing to be removed.
    #[error("{what} by interface {name}: there is none")]
    Absent {
        /// What was to be removed.
        what: String,
        /// From which device.
        name: InterfaceName,
    },
    /// EPERM.
    #[error("{what} by interface {name} needs CAP_NET_ADMIN in this network namespace")]
    Forbidden {
        /// What was to be done.
        what: String,
        /// To which device.
        name: InterfaceName,
    },
    /// All else.
    #[error("{what} by interface {name}: {error}{}", reason(.text))]
    Refused {
        /// What was to be done.
        what: String,
        /// To which device.
        name: InterfaceName,
        /// The errno.
        #[source]
        error: io::Error,
        /// The kernel's own words.
        text: Option<String>,
    },
}

impl Link {
    /// Finds the interface `name` in the calling thread's network namespace.
    ///
    /// # Errors
    /// [`LinkError::Gone`] when there is none; [`LinkError::Refused`] without netlink.
    pub fn open(name: &InterfaceName) -> Result<Self, LinkError> {
        let index = sys::interface_index(name.as_c_str());
        let index = index.map_err(|_| LinkError::Gone(name.clone()))?;
        let socket = open_netlink().map_err(|error| LinkError::Refused {
            what: "a netlink socket".to_owned(),
            name: name.clone(),
            error,
            text: None,
        })?;
        Ok(Self { socket, name: name.clone(), index, sequence: 0 })
    }

    /// The interface's index.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Sets the MTU, in bytes of an IP packet: for a tunnel the path's MTU less what ESP adds.
    ///
    /// # Errors
    /// EINVAL under 68 and over 65535 (in IPv6, 1280 is the least of use: RFC 8200, 5).
    pub fn set_mtu(&mut self, mtu: u32) -> Result<(), LinkError> {
        let what = format!("MTU {mtu}");
        self.ask(what, |sequence, index| Request::link(sequence, index, LinkSetting::Mtu(mtu)))
    }

    /// Sets how many packets wait for a reader, who may be kept from its CPU; the kernel drops what
    /// is more, and counts it as the device's `tx_dropped`. It gives a new TUN device 500.
    ///
    /// # Errors
    /// See [`LinkError`].
    pub fn set_queue(&mut self, packets: u32) -> Result<(), LinkError> {
        let what = format!("queue of {packets} packets");
        self.ask(what, |sequence, index| {
            Request::link(sequence, index, LinkSetting::Queue(packets))
        })
    }

    /// Brings it up. Until then reads bring nothing and writes are refused with EIO. The kernel is
    /// told to send nothing of its own into it: no IPv6 link-local address, no multicast.
    ///
    /// # Errors
    /// See [`LinkError`].
    pub fn set_up(&mut self) -> Result<(), LinkError> {
        // A kernel without IPv6 refuses, and has nothing to be silent about.
        let _ = self.ask("no link-local address".to_owned(), |sequence, index| {
            Request::link(sequence, index, LinkSetting::NoLinkLocal)
        });
        let what = "up".to_owned();
        self.ask(what, |sequence, index| Request::link(sequence, index, LinkSetting::Up))
    }

    /// Gives it `address` in a network of `length` bits: 32 or 128 for an address alone. An IPv6
    /// address receives some milliseconds later: the kernel finishes on a thread of its own.
    ///
    /// # Errors
    /// [`LinkError::Exists`] when it has it already.
    pub fn add_address(&mut self, address: IpAddr, length: u8) -> Result<(), LinkError> {
        self.ask(format!("address {address}/{length}"), |sequence, index| {
            Request::address(sequence, index, Change::Add, address, length)
        })
    }

    /// Takes `address` away.
    ///
    /// # Errors
    /// [`LinkError::Absent`] when it has none such.
    pub fn remove_address(&mut self, address: IpAddr, length: u8) -> Result<(), LinkError> {
        self.ask(format!("address {address}/{length}"), |sequence, index| {
            Request::address(sequence, index, Change::Remove, address, length)
        })
    }

    /// Sends what goes to `route.prefix` into the device (main table). The device is up before.
    ///
    /// # Errors
    /// [`LinkError::Exists`] when the prefix has a route of the same metric, by this device or,
    /// in IPv4, by any: overlapping tunnels, or a network that is attached. ENETDOWN when the
    /// device is down.
    pub fn add_route(&mut self, route: &Route) -> Result<(), LinkError> {
        self.ask(format!("route {}", route.prefix), |sequence, index| {
            Request::route(sequence, index, Change::Add, route)
        })
    }

    /// Takes the route away again.
    ///
    /// # Errors
    /// [`LinkError::Absent`] when there is none such.
    pub fn remove_route(&mut self, route: &Route) -> Result<(), LinkError> {
        self.ask(format!("route {}", route.prefix), |sequence, index| {
            Request::route(sequence, index, Change::Remove, route)
        })
    }

    /// Has the kernel refuse what goes to `prefix` whenever no other route takes it: an unreachable
    /// route of metric 1,000,000, which stays when the device goes, so that what was to go through
    /// the tunnel does not follow a default route in clear. One that is there already will do.
    ///
    /// # Errors
    /// [`LinkError::Forbidden`] without CAP_NET_ADMIN.
    pub fn guard(&mut self, prefix: Prefix) -> Result<(), LinkError> {
        let guarded = self.ask(format!("unreachable route {prefix}"), |sequence, _| {
            Request::guard(sequence, Change::Add, prefix)
        });
        match guarded {
            Err(LinkError::Exists { .. }) => Ok(()),
            guarded => guarded,
        }
    }

    /// Ends that. Ended already is a success.
    ///
    /// # Errors
    /// [`LinkError::Forbidden`] without CAP_NET_ADMIN.
    pub fn unguard(&mut self, prefix: Prefix) -> Result<(), LinkError> {
        let ended = self.ask(format!("unreachable route {prefix}"), |sequence, _| {
            Request::guard(sequence, Change::Remove, prefix)
        });
        match ended {
            Err(LinkError::Absent { .. }) => Ok(()),
            ended => ended,
        }
    }

    /// One request and its answer.
    fn ask(
        &mut self,
        what: String,
        request: impl FnOnce(u32, u32) -> Vec<u8>,
    ) -> Result<(), LinkError> {
        self.sequence = self.sequence.wrapping_add(1);
        let answer = self.exchange(&request(self.sequence, self.index));
        let name = self.name.clone();
        let (errno, text) = match answer {
            Ok(answer) => (answer.errno, answer.text),
            Err(error) => return Err(LinkError::Refused { what, name, error, text: None }),
        };
        Err(match errno {
            0 => return Ok(()),
            libc::EEXIST => LinkError::Exists { what, name },
            libc::ESRCH | libc::EADDRNOTAVAIL => LinkError::Absent { what, name },
            libc::EPERM => LinkError::Forbidden { what, name },
            libc::ENODEV => LinkError::Gone(name),
            _ => {
                let error = io::Error::from_raw_os_error(errno);
                LinkError::Refused { what, name, error, text }
            }
        })
    }

    fn exchange(&mut self, request: &[u8]) -> io::Result<netlink::Answer> {
        self.socket.send(request)?;
        let mut buffer = [0; 4096];
        loop {
            let length = (&self.socket).read(&mut buffer)?;
            // An answer that came too late for the call before is passed over.
            match netlink::parse_answer(&buffer[..length]) {
                Some(answer) if answer.sequence == self.sequence => return Ok(answer),
                _ => continue,
            }
        }
    }
}

fn open_netlink() -> io::Result<Socket> {
    let route = Some(Protocol::from(libc::NETLINK_ROUTE));
    let socket = Socket::new(Domain::from(libc::AF_NETLINK), Type::RAW.cloexec(), route)?;
    // The kernel answers before the send returns; this only keeps a fault from being a hang.
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    // Words beside the errno, and no echo of the request: since Linux 4.12 and 4.3.
    for option in [libc::NETLINK_EXT_ACK, libc::NETLINK_CAP_ACK] {
        let _ = set_option(socket.as_fd(), libc::SOL_NETLINK, option, 1);
    }
    Ok(socket)
}

impl Prefix {
    /// The prefix of `length` bits of `address`, whose other bits are zero.
    ///
    /// # Errors
    /// See [`PrefixError`].
    pub fn new(address: IpAddr, length: u8) -> Result<Self, PrefixError> {
        if length > bits(address) {
            return Err(PrefixError::TooLong(address, length));
        }
        let network = mask(address, length);
        if network != address {
            return Err(PrefixError::HostBits(address, length, network));
        }
        Ok(Self { address, length })
    }

    /// Its first address.
    pub fn address(self) -> IpAddr {
        self.address
    }

    /// How many bits of it count.
    pub fn length(self) -> u8 {
        self.length
    }
}

impl FromStr for Prefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Self, PrefixError> {
        let syntax = || PrefixError::Syntax(text.to_owned());
        let (address, length) = text.split_once('/').ok_or_else(syntax)?;
        let address = address.parse().map_err(|_| syntax())?;
        Self::new(address, length.parse().map_err(|_| syntax())?)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

fn bits(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

/// `address` without what follows its first `length` bits.
fn mask(address: IpAddr, length: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
            IpAddr::V4((v4.to_bits() & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
            IpAddr::V6((v6.to_bits() & mask).into())
        }
    }
}

fn reason(text: &Option<String>) -> String {
    text.as_ref().map(|text| format!(" ({text})")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_whole_networks() {
        for good in ["0.0.0.0/0", "192.0.2.0/24", "192.0.2.7/32", "::/0", "2001:db8::1/128"] {
            assert_eq!(good.parse::<Prefix>().unwrap().to_string(), good);
        }
        let five = "192.0.2.5/24".parse::<Prefix>();
        assert!(matches!(five, Err(PrefixError::HostBits(_, 24, network))
            if network == IpAddr::from([192, 0, 2, 0])));
        assert!(matches!("192.0.2.0/33".parse::<Prefix>(), Err(PrefixError::TooLong(_, 33))));
        assert!(matches!("::/129".parse::<Prefix>(), Err(PrefixError::TooLong(_, 129))));
        for bad in ["", "192.0.2.0", "192.0.2.0/x", "x/24", "192.0.2.0/-1"] {
            assert!(matches!(bad.parse::<Prefix>(), Err(PrefixError::Syntax(_))), "{bad:?}");
        }
    }
}
