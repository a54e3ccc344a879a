//! Media sockets, as the relay wants every one of them, in as few system calls as that takes.
//!
//! Never SO_REUSEADDR or SO_REUSEPORT: with them UDP lets two calls share a port in silence.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::sys;

/// What may differ between media sockets; the default suits 20 ms audio.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketOptions {
    /// SO_RCVBUF in bytes as given to the kernel (which doubles it and caps it at
    /// `net.core.rmem_max`); `None` leaves the system's default.
    pub receive_buffer: Option<u32>,
    /// IPv4 TOS or IPv6 traffic class of what it sends; `None` leaves 0.
    pub tos: Option<u8>,
}

/// Opens and binds a non-blocking UDP socket that timestamps what it receives (SO_TIMESTAMPNS),
/// tells of its losses (SO_RXQ_OVFL) and lets the network fragment what outgrows the MTU.
///
/// # Errors
/// The kernel's, unchanged: `AddrInUse` means try another port, `AddrNotAvailable` that the
/// address is not this host's.
pub fn open_media_socket(address: SocketAddr, options: SocketOptions) -> io::Result<UdpSocket> {
    let domain = Domain::for_address(address);
    let socket = Socket::new(domain, Type::DGRAM.nonblocking().cloexec(), Some(Protocol::UDP))?;
    // Bound first: when the port is taken, and the caller goes on to the next, nothing is wasted.
    if domain == Domain::IPV6 {
        set(&socket, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1)?;
    }
    socket.bind(&SockAddr::from(address))?;
    set(&socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1)?;
    set(&socket, libc::SOL_SOCKET, libc::SO_RXQ_OVFL, 1)?;
    let (level, name, off) = match domain {
        Domain::IPV6 => (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_DONT),
        _ => (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DONT),
    };
    set(&socket, level, name, off)?;
    if let Some(bytes) = options.receive_buffer {
        set(&socket, libc::SOL_SOCKET, libc::SO_RCVBUF, bytes.try_into().unwrap_or(i32::MAX))?;
    }
    let socket = UdpSocket::from(OwnedFd::from(socket));
    if let Some(tos) = options.tos {
        set_tos(&socket, address, tos)?;
    }
    Ok(socket)
}

/// Sets the TOS (IPv4) or traffic class (IPv6) of what `socket`, bound to `local`, sends.
pub fn set_tos(socket: &impl AsFd, local: SocketAddr, tos: u8) -> io::Result<()> {
    let (level, name) = match local {
        SocketAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_TOS),
        SocketAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_TCLASS),
    };
    set(socket, level, name, i32::from(tos))
}

fn set(socket: &impl AsFd, level: i32, name: i32, value: i32) -> io::Result<()> {
    sys::set_option(socket.as_fd(), level, name, value)
}

#[cfg(test)]
mod tests {
    use socket2::SockRef;

    use super::*;

    fn open(address: &str, options: SocketOptions) -> io::Result<UdpSocket> {
        open_media_socket(address.parse().unwrap(), options)
    }

    #[test]
    fn a_taken_port_is_refused() {
        let first = open("127.0.0.1:0", SocketOptions::default()).unwrap();
        let again = open_media_socket(first.local_addr().unwrap(), SocketOptions::default());
        assert_eq!(again.unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn ipv6_leaves_the_same_ipv4_port_alone() {
        let six = open("[::]:0", SocketOptions::default()).unwrap();
        let port = six.local_addr().unwrap().port();
        open(&format!("0.0.0.0:{port}"), SocketOptions::default()).unwrap();
    }

    #[test]
    fn options_reach_the_socket() {
        let options = SocketOptions { receive_buffer: Some(50_000), tos: Some(0xb8) };
        let four = open("127.0.0.1:0", options).unwrap();
        assert_eq!(SockRef::from(&four).recv_buffer_size().unwrap(), 100_000);
        assert_eq!(SockRef::from(&four).tos_v4().unwrap(), 0xb8);
        let six = open("[::1]:0", options).unwrap();
        assert_eq!(SockRef::from(&six).tclass_v6().unwrap(), 0xb8);
        assert!(SockRef::from(&six).only_v6().unwrap());
    }
}
