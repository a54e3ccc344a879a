//! The machine's media ports: even/odd pairs of the range, on every interface address.
//!
//! Each address keeps its free pairs in a queue. A pair is taken from the front and comes back
//! at the end, so a port rests for as long as possible before it is used again: late packets of
//! an ended call meet a closed port, not another call. The queue starts in random order, which
//! keeps an attacker off the path from knowing the next port. The kernel has the last word:
//! `EADDRINUSE` (another process, or a worker that has not closed yet) takes the next pair.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use ng::request::AddressFamily;
use packet_io::{SocketOptions, open_media_socket};

use crate::config::PortRange;
use crate::relay::command::PortPair;
use crate::session::ports::{InterfaceIndex, LocalPorts, OpenPorts, PortError, PortSource};
use crate::session::{Interface, LocalAddress};
use crate::throttle::Throttle;

/// Every interface's free ports.
pub(crate) struct Ports {
    interfaces: Vec<InterfacePorts>,
    range: PortRange,
    options: SocketOptions,
    /// A full range refuses thousands of calls for one reason.
    noise: Throttle,
    shortage: Option<Shortage>,
}

/// What there was not enough of when a pair was refused last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shortage {
    /// The setting or limit to widen.
    pub(crate) object: &'static str,
    /// Whose it is.
    pub(crate) owner: &'static str,
    /// What happened.
    pub(crate) reason: String,
}

impl Shortage {
    fn of(error: &PortError) -> Self {
        let (object, owner) = match error {
            PortError::Exhausted { .. } => ("relay.ports (--ports)", "config"),
            PortError::NoAddress { .. } => ("interface (--interface)", "config"),
            PortError::Bind { source, .. } => match source.raw_os_error() {
                Some(libc::EMFILE) => ("RLIMIT_NOFILE", "kernel"),
                Some(libc::ENFILE) => ("fs.file-max", "kernel"),
                _ => ("media ports", "kernel"),
            },
        };
        Self { object, owner, reason: error.to_string() }
    }
}

struct InterfacePorts {
    name: String,
    addresses: Vec<AddressPorts>,
    /// The address to try first: several share the load.
    turn: usize,
}

struct AddressPorts {
    address: LocalAddress,
    /// RTP ports of free pairs, longest rested first.
    free: VecDeque<u16>,
    total: usize,
}

/// What one address has, for status and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PortUsage {
    pub(crate) interface: String,
    pub(crate) bind: IpAddr,
    pub(crate) advertised: IpAddr,
    /// Ports (not pairs) in the range.
    pub(crate) total: usize,
    /// Ports open now.
    pub(crate) used: usize,
}

/// An interface address that cannot be used, found before any call needs it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AddressError {
    /// It belongs to another machine, or to none.
    #[error(
        "interface (--interface) {name}/{address}: this host has no such address; use one that \
         `ip address` lists, and write {name}/LOCAL!{address} if a NAT translates it"
    )]
    NotLocal { name: String, address: IpAddr },
    /// The kernel refuses for another reason.
    #[error("interface (--interface) {name}/{address}: cannot open a UDP socket: {source}")]
    Unusable { name: String, address: IpAddr, source: io::Error },
}

impl Ports {
    pub(crate) fn new(interfaces: &[Interface], range: PortRange, options: SocketOptions) -> Self {
        let interfaces = interfaces
            .iter()
            .map(|interface| InterfacePorts {
                name: interface.name.clone(),
                addresses: interface
                    .addresses
                    .iter()
                    .map(|address| AddressPorts::new(*address, range))
                    .collect(),
                turn: 0,
            })
            .collect();
        Self { interfaces, range, options, noise: Throttle::new(NOISE_INTERVAL), shortage: None }
    }

    /// Why a pair was refused last; `None` while none was.
    pub(crate) fn shortage(&self) -> Option<&Shortage> {
        self.shortage.as_ref()
    }

    /// Which setting to change.
    fn advice(&self, error: &PortError) -> String {
        match error {
            PortError::Exhausted { .. } => format!(
                "relay.ports (--ports) is {}: widen it, or see whether calls are ever deleted",
                self.range
            ),
            PortError::NoAddress { .. } => {
                "add an interface entry (--interface) of that name and family".to_owned()
            }
            PortError::Bind { source, .. } => match source.raw_os_error() {
                Some(libc::EMFILE) => {
                    "raise RLIMIT_NOFILE (LimitNOFILE in systemd, `ulimit -Hn`)".to_owned()
                }
                Some(libc::ENFILE) => "raise the sysctl fs.file-max".to_owned(),
                Some(libc::EACCES | libc::EPERM) => {
                    "relay.ports (--ports) below 1024 need CAP_NET_BIND_SERVICE".to_owned()
                }
                _ => "see `gateway check`".to_owned(),
            },
        }
    }

    pub(crate) fn usage(&self) -> impl Iterator<Item = PortUsage> + '_ {
        self.interfaces.iter().flat_map(|interface| {
            interface.addresses.iter().map(|ports| PortUsage {
                interface: interface.name.clone(),
                bind: ports.address.bind,
                advertised: ports.address.advertised.unwrap_or(ports.address.bind),
                total: ports.total * 2,
                used: (ports.total - ports.free.len()) * 2,
            })
        })
    }
}

/// Binds a socket to each address once and closes it again.
pub(crate) fn check_addresses(interfaces: &[Interface]) -> Result<(), AddressError> {
    for interface in interfaces {
        for address in &interface.addresses {
            let (name, bind) = (interface.name.clone(), address.bind);
            match open_media_socket(SocketAddr::new(bind, 0), SocketOptions::default()) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {
                    return Err(AddressError::NotLocal { name, address: bind });
                }
                Err(source) => return Err(AddressError::Unusable { name, address: bind, source }),
            }
        }
    }
    Ok(())
}

impl PortSource for Ports {
    fn open(
        &mut self,
        interface: InterfaceIndex,
        family: AddressFamily,
    ) -> Result<OpenPorts, PortError> {
        let unknown = || PortError::NoAddress { interface: format!("{interface:?}"), family };
        let ports = self.interfaces.get_mut(usize::from(interface.0)).ok_or_else(unknown)?;
        match ports.open(family, self.options) {
            Ok((sockets, bound, advertised)) => {
                Ok(OpenPorts { sockets, local: LocalPorts { interface, bound, advertised } })
            }
            Err(error) => {
                if let Some(unsaid) = self.noise.admit(Instant::now()) {
                    tracing::warn!(unsaid, "{error}; {}", self.advice(&error));
                }
                self.shortage = Some(Shortage::of(&error));
                Err(error)
            }
        }
    }

    fn release(&mut self, ports: LocalPorts) {
        let Some(interface) = self.interfaces.get_mut(usize::from(ports.interface.0)) else {
            return;
        };
        let bound = ports.bound.ip();
        if let Some(address) = interface.addresses.iter_mut().find(|a| a.address.bind == bound) {
            address.release(ports.bound.port());
        }
    }
}

impl InterfacePorts {
    /// Tries each address of the family, beginning where the last call left off.
    fn open(
        &mut self,
        family: AddressFamily,
        options: SocketOptions,
    ) -> Result<(PortPair, SocketAddr, IpAddr), PortError> {
        let mut found = false;
        for step in 0..self.addresses.len() {
            let index = (self.turn + step) % self.addresses.len();
            let ports = &mut self.addresses[index];
            if ports.address.bind.is_ipv4() != (family == AddressFamily::V4) {
                continue;
            }
            found = true;
            if let Some((sockets, bound)) = ports.open(options)? {
                self.turn = index + 1;
                let advertised = ports.address.advertised.unwrap_or(bound.ip());
                return Ok((sockets, bound, advertised));
            }
        }
        let interface = self.name.clone();
        Err(match found {
            true => PortError::Exhausted { interface },
            false => PortError::NoAddress { interface, family },
        })
    }
}

impl AddressPorts {
    fn new(address: LocalAddress, range: PortRange) -> Self {
        let order = RandomState::new();
        let mut free: Vec<u16> = (range.first_even()..range.max).step_by(2).collect();
        free.sort_by_cached_key(|port| order.hash_one(port));
        Self { address, total: free.len(), free: free.into() }
    }

    /// The pair that has rested longest and that the kernel lets us have; `None` if there is
    /// none.
    fn open(
        &mut self,
        options: SocketOptions,
    ) -> Result<Option<(PortPair, SocketAddr)>, PortError> {
        for _ in 0..self.free.len() {
            let Some(port) = self.free.pop_front() else { break };
            let bound = SocketAddr::new(self.address.bind, port);
            match bind_pair(bound, options) {
                Ok(pair) => return Ok(Some((pair, bound))),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                    self.free.push_back(port);
                }
                Err(source) => {
                    self.free.push_front(port);
                    return Err(PortError::Bind { address: bound, source });
                }
            }
        }
        Ok(None)
    }

    fn release(&mut self, port: u16) {
        debug_assert!(!self.free.contains(&port), "port {port} released twice");
        self.free.push_back(port);
    }
}

fn bind_pair(rtp: SocketAddr, options: SocketOptions) -> io::Result<PortPair> {
    let rtcp = SocketAddr::new(rtp.ip(), rtp.port() + 1);
    Ok(PortPair {
        rtp: open_media_socket(rtp, options)?,
        rtcp: Some(open_media_socket(rtcp, options)?),
    })
}

const NOISE_INTERVAL: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::net::UdpSocket;

    use super::*;

    const FIRST: InterfaceIndex = InterfaceIndex(0);

    fn interface(addresses: &[&str]) -> Vec<Interface> {
        let addresses = addresses
            .iter()
            .map(|text| LocalAddress { bind: text.parse().unwrap(), advertised: None })
            .collect();
        vec![Interface { name: "pub".to_owned(), addresses }]
    }

    fn ports(addresses: &[&str], range: &str) -> Ports {
        Ports::new(&interface(addresses), range.parse().unwrap(), SocketOptions::default())
    }

    #[test]
    fn hands_out_each_pair_once_and_then_is_exhausted() {
        let mut ports = ports(&["127.77.0.1"], "41000-41007");
        let mut open = Vec::new();
        let mut seen = HashSet::new();
        for _ in 0..4 {
            let pair = ports.open(FIRST, AddressFamily::V4).unwrap();
            let rtp = pair.sockets.rtp.local_addr().unwrap();
            let rtcp = pair.sockets.rtcp.as_ref().unwrap().local_addr().unwrap();
            assert_eq!(rtp, pair.local.bound);
            assert_eq!((rtp.port() % 2, rtcp.port()), (0, rtp.port() + 1));
            assert!(seen.insert(rtp.port()));
            open.push(pair);
        }
        let error = ports.open(FIRST, AddressFamily::V4).unwrap_err();
        assert!(matches!(error, PortError::Exhausted { interface } if interface == "pub"));
        assert_eq!(ports.usage().next().unwrap().used, 8);

        let last = open.pop().unwrap();
        ports.release(last.local);
        drop(last.sockets);
        assert_eq!(ports.open(FIRST, AddressFamily::V4).unwrap().local.bound, last.local.bound);
    }

    #[test]
    fn a_released_pair_rests_until_all_others_were_used() {
        let mut ports = ports(&["127.77.0.2"], "41000-41099");
        let first = ports.open(FIRST, AddressFamily::V4).unwrap().local;
        ports.release(first);
        for _ in 0..49 {
            assert_ne!(ports.open(FIRST, AddressFamily::V4).unwrap().local.bound, first.bound);
        }
        assert_eq!(ports.open(FIRST, AddressFamily::V4).unwrap().local.bound, first.bound);
    }

    #[test]
    fn a_pair_of_which_one_port_is_taken_is_passed_over() {
        let _rtp = UdpSocket::bind("127.77.0.3:41000").unwrap();
        let _rtcp = UdpSocket::bind("127.77.0.3:41003").unwrap();
        let mut ports = ports(&["127.77.0.3"], "41000-41005");
        let pair = ports.open(FIRST, AddressFamily::V4).unwrap();
        assert_eq!(pair.local.bound.port(), 41004);
        let error = ports.open(FIRST, AddressFamily::V4).unwrap_err();
        assert!(matches!(error, PortError::Exhausted { .. }));
        assert_eq!(ports.usage().next().unwrap().used, 2);
    }

    #[test]
    fn addresses_of_one_interface_are_taken_in_turn_by_family() {
        let mut ports = ports(&["127.77.0.4", "127.77.0.5", "::1"], "41000-41009");
        let mut open = || ports.open(FIRST, AddressFamily::V4).unwrap().local.bound.ip();
        let order = [open(), open(), open()];
        assert_eq!(order.map(|ip| ip.to_string()), ["127.77.0.4", "127.77.0.5", "127.77.0.4"]);
        assert!(ports.open(FIRST, AddressFamily::V6).unwrap().local.bound.is_ipv6());
    }

    #[test]
    fn a_family_without_an_address_is_named() {
        let mut ports = ports(&["127.77.0.6"], "41000-41009");
        let error = ports.open(FIRST, AddressFamily::V6).unwrap_err();
        assert!(matches!(error, PortError::NoAddress { .. }), "{error}");
    }

    #[test]
    fn a_shortage_names_what_ran_out() {
        let bind = |errno| PortError::Bind {
            address: "127.0.0.1:41000".parse().unwrap(),
            source: io::Error::from_raw_os_error(errno),
        };
        assert_eq!(Shortage::of(&bind(libc::EMFILE)).object, "RLIMIT_NOFILE");
        assert!(Shortage::of(&bind(libc::EMFILE)).reason.contains("Too many open files"));
        assert_eq!(Shortage::of(&bind(libc::ENFILE)).object, "fs.file-max");
        assert_eq!(Shortage::of(&bind(libc::ENOMEM)).object, "media ports");

        let mut ports = ports(&["127.77.0.7"], "41000-41001");
        let _only = ports.open(FIRST, AddressFamily::V4).unwrap();
        assert_eq!(ports.shortage(), None);
        ports.open(FIRST, AddressFamily::V4).unwrap_err();
        assert_eq!(ports.shortage().unwrap().object, "relay.ports (--ports)");
    }

    #[test]
    fn an_address_of_another_host_is_refused_with_what_to_change() {
        let error = check_addresses(&interface(&["192.0.2.1"])).unwrap_err().to_string();
        assert!(error.contains("--interface") && error.contains("pub/LOCAL!192.0.2.1"), "{error}");
        check_addresses(&interface(&["127.0.0.1"])).unwrap();
    }
}
