//! Opening ESP sockets, with every option that the rest of the module relies on.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use thiserror::Error;

use super::send::Outgoing;
use super::{Counters, Encapsulation, EspOptions, EspSocket, Fragmentation};
use crate::driver::Token;
use crate::offload::{Offload, SWITCHED_OFF, Support};
use crate::sys::{Headers, set_option};

/// Why there is no socket.
#[derive(Debug, Error)]
pub enum EspSocketError {
    /// Raw sockets are not for everybody.
    #[error("a raw ESP socket on {0} needs CAP_NET_RAW in this network namespace")]
    Forbidden(IpAddr),
    /// Another process has the port: an IKE daemon, as a rule.
    #[error(
        "UDP {0} is in use by another process (an IKE daemon?): stop it, or choose another port"
    )]
    PortTaken(SocketAddr),
    /// Not an address of this host, or not yet: an IPv6 address is first tried for duplicates
    /// (RFC 4862, 5.4), for a second or so.
    #[error("{0} is not an address of this host, or still tentative (`ip addr`)")]
    NoSuchAddress(IpAddr),
    /// All else.
    #[error("{step} of the ESP socket on {local}: {error}")]
    Setup {
        /// Which call.
        step: &'static str,
        /// Where.
        local: SocketAddr,
        /// What the kernel said.
        #[source]
        error: io::Error,
    },
}

impl EspSocket {
    /// Opens a socket for ESP in UDP, bound to `local`: usually port [`super::UDP_PORT`]. It does
    /// not block. What it receives carries `token`, and it sends what carries it.
    ///
    /// # Errors
    /// See [`EspSocketError`].
    pub fn udp(
        token: Token,
        local: SocketAddr,
        options: &EspOptions,
    ) -> Result<Self, EspSocketError> {
        let kind = (Type::DGRAM, Protocol::UDP);
        let socket = open(kind, local, options)?;
        let bound = socket.local_addr().map_err(setup("getsockname", local))?;
        // RFC 3948, 2.1 would have no UDP checksum in IPv4; UDP_SEGMENT insists on one, a NIC
        // computes it, and a receiver MUST NOT mind either way.
        let segment = support(&socket, libc::UDP_SEGMENT, 0, options.offload);
        let receives_joined = support(&socket, libc::UDP_GRO, 1, options.offload);
        Ok(Self {
            socket,
            token,
            local: bound.as_socket().unwrap_or(local),
            kind: Encapsulation::Udp,
            receives_joined,
            incoming: Headers::new(BATCH),
            outgoing: Outgoing::new(segment),
            counters: Counters::default(),
            last_send_error: None,
        })
    }

    /// Opens a raw socket for ESP in IP, bound to `local`; otherwise like [`EspSocket::udp`].
    ///
    /// # Errors
    /// See [`EspSocketError`]: it needs CAP_NET_RAW.
    pub fn raw(token: Token, local: IpAddr, options: &EspOptions) -> Result<Self, EspSocketError> {
        let local = SocketAddr::new(local, 0);
        let kind = (Type::RAW, Protocol::from(libc::IPPROTO_ESP));
        let joined = || Support::Inactive("raw IP packets are not joined".to_owned());
        Ok(Self {
            socket: open(kind, local, options)?,
            token,
            local,
            kind: Encapsulation::Raw,
            receives_joined: joined(),
            incoming: Headers::new(BATCH),
            outgoing: Outgoing::new(joined()),
            counters: Counters::default(),
            last_send_error: None,
        })
    }
}

fn open(
    (kind, protocol): (Type, Protocol),
    local: SocketAddr,
    options: &EspOptions,
) -> Result<Socket, EspSocketError> {
    let domain = Domain::for_address(local);
    let socket =
        Socket::new(domain, kind.nonblocking().cloexec(), Some(protocol)).map_err(|error| {
            match error.raw_os_error() {
                Some(libc::EPERM) => EspSocketError::Forbidden(local.ip()),
                _ => EspSocketError::Setup { step: "socket", local, error },
            }
        })?;
    let fd = socket.as_fd();
    // A raw socket is of one IP version anyway, and refuses the option.
    if local.is_ipv6() && kind == Type::DGRAM {
        set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1)
            .map_err(setup("IPV6_V6ONLY", local))?;
    }
    for (step, level, name, value) in settings(local, options.fragmentation) {
        set_option(fd, level, name, value).map_err(setup(step, local))?;
    }
    for (forced, plain, bytes) in [
        (libc::SO_RCVBUFFORCE, libc::SO_RCVBUF, options.receive_buffer),
        (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF, options.send_buffer),
    ] {
        let bytes = i32::try_from(bytes).unwrap_or(i32::MAX);
        // Without CAP_NET_ADMIN as much as rmem_max and wmem_max allow.
        set_option(fd, libc::SOL_SOCKET, forced, bytes)
            .or_else(|_| set_option(fd, libc::SOL_SOCKET, plain, bytes))
            .map_err(setup("SO_RCVBUF or SO_SNDBUF", local))?;
    }
    socket.bind(&SockAddr::from(local)).map_err(|error| match error.raw_os_error() {
        Some(libc::EADDRINUSE) => EspSocketError::PortTaken(local),
        Some(libc::EADDRNOTAVAIL) => EspSocketError::NoSuchAddress(local.ip()),
        _ => EspSocketError::Setup { step: "bind", local, error },
    })?;
    Ok(socket)
}

type Setting = (&'static str, i32, i32, i32);

/// Losses counted, outer TOS told, errors queued with the MTU, and the don't-fragment bit.
fn settings(local: SocketAddr, fragmentation: Fragmentation) -> [Setting; 4] {
    let losses = ("SO_RXQ_OVFL", libc::SOL_SOCKET, libc::SO_RXQ_OVFL, 1);
    match local {
        SocketAddr::V4(_) => {
            let discover = match fragmentation {
                Fragmentation::Forbidden => libc::IP_PMTUDISC_DO,
                Fragmentation::Allowed => libc::IP_PMTUDISC_DONT,
            };
            let ip = libc::IPPROTO_IP;
            [
                losses,
                ("IP_RECVTOS", ip, libc::IP_RECVTOS, 1),
                ("IP_RECVERR", ip, libc::IP_RECVERR, 1),
                ("IP_MTU_DISCOVER", ip, libc::IP_MTU_DISCOVER, discover),
            ]
        }
        SocketAddr::V6(_) => {
            let discover = match fragmentation {
                Fragmentation::Forbidden => libc::IPV6_PMTUDISC_DO,
                Fragmentation::Allowed => libc::IPV6_PMTUDISC_DONT,
            };
            let ip = libc::IPPROTO_IPV6;
            [
                losses,
                ("IPV6_RECVTCLASS", ip, libc::IPV6_RECVTCLASS, 1),
                ("IPV6_RECVERR", ip, libc::IPV6_RECVERR, 1),
                ("IPV6_MTU_DISCOVER", ip, libc::IPV6_MTU_DISCOVER, discover),
            ]
        }
    }
}

/// Tries a UDP offload on the socket itself.
fn support(socket: &Socket, option: i32, value: i32, offload: Offload) -> Support {
    if offload == Offload::Off {
        return Support::Inactive(SWITCHED_OFF.to_owned());
    }
    match set_option(socket.as_fd(), libc::SOL_UDP, option, value) {
        Ok(()) => Support::Active,
        Err(error) => {
            let name = if option == libc::UDP_GRO { "UDP_GRO" } else { "UDP_SEGMENT" };
            Support::Inactive(format!("{name}: {error}"))
        }
    }
}

fn setup(step: &'static str, local: SocketAddr) -> impl FnOnce(io::Error) -> EspSocketError {
    move |error| EspSocketError::Setup { step, local, error }
}

/// Datagrams that a recvmmsg asks for at most.
const BATCH: usize = 128;
