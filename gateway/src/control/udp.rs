//! The ng socket over UDP. A reply leaves from the address that its request was sent to, also
//! when we are bound to the wildcard: connected clients (Kamailio) drop anything else.

use std::io::{self, IoSlice};
use std::net::{Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;

use socket2::{Domain, MaybeUninitSlice, MsgHdr, MsgHdrMut, SockAddr, SockRef, Socket, Type};
use tokio::net::UdpSocket;

use crate::sys::{self, KernelBytes};

/// A bound ng socket and its receive buffers.
pub(super) struct UdpEndpoint {
    socket: UdpSocket,
    payload: KernelBytes,
    control: KernelBytes,
}

/// Where a request came from and the address that it was sent to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin {
    peer: SocketAddr,
    local: PacketInfo,
}

/// The control message that makes a reply leave from where the request arrived; empty if the
/// socket is bound to one address anyway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct PacketInfo {
    bytes: [u8; PacketInfo::LENGTH],
    length: usize,
}

impl UdpEndpoint {
    /// The longest UDP payload.
    pub(super) const MAX_DATAGRAM: usize = 65_535;

    /// Binds. Needs a tokio runtime.
    pub(super) fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM.nonblocking(), None)?;
        socket.bind(&SockAddr::from(address))?;
        // A burst of requests while one waits for ports must not be lost: the client only
        // retries after a second. Best effort, as rmem_max caps it.
        let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
        if address.ip().is_unspecified() {
            let (level, name) = match address {
                SocketAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_PKTINFO),
                SocketAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO),
            };
            sys::set_option(socket.as_fd(), level, name, 1)?;
        }
        Ok(Self {
            socket: UdpSocket::from_std(socket.into())?,
            payload: KernelBytes::zeroed(Self::MAX_DATAGRAM),
            control: KernelBytes::zeroed(PacketInfo::LENGTH),
        })
    }

    /// The bound address, with the port that the kernel chose for port 0.
    pub(super) fn local_address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Waits until [`UdpEndpoint::try_receive`] may find something.
    pub(super) async fn readable(&self) -> io::Result<()> {
        self.socket.readable().await
    }

    /// Takes one datagram, or `WouldBlock`.
    pub(super) fn try_receive(&mut self) -> io::Result<(Origin, &[u8])> {
        let Self { socket, payload, control } = self;
        let received = socket.try_io(tokio::io::Interest::READABLE, || {
            receive(SockRef::from(&*socket), payload, control)
        })?;
        let local = PacketInfo::parse(self.control.bytes(received.control_length));
        Ok((Origin { peer: received.peer, local }, self.payload.bytes(received.length)))
    }

    /// Answers. A full send queue loses the reply as the network could; the client asks again
    /// and is answered from the cookie cache.
    pub(super) fn reply(&self, to: Origin, bytes: &[u8]) -> io::Result<()> {
        let address = SockAddr::from(to.peer);
        let buffers = [IoSlice::new(bytes)];
        let mut message = MsgHdr::new().with_addr(&address).with_buffers(&buffers);
        let control = &to.local.bytes[..to.local.length];
        if !control.is_empty() {
            message = message.with_control(control);
        }
        SockRef::from(&self.socket).sendmsg(&message, 0).map(drop)
    }
}

impl Origin {
    /// Who asked.
    pub(super) fn peer(&self) -> SocketAddr {
        self.peer
    }
}

struct Datagram {
    peer: SocketAddr,
    length: usize,
    control_length: usize,
}

fn receive(
    socket: SockRef<'_>,
    payload: &mut KernelBytes,
    control: &mut KernelBytes,
) -> io::Result<Datagram> {
    // Room for either family; the kernel says which it wrote.
    let mut peer = SockAddr::from(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)));
    let mut buffers = [MaybeUninitSlice::new(payload.as_kernel_slice())];
    let mut message = MsgHdrMut::new()
        .with_addr(&mut peer)
        .with_buffers(&mut buffers)
        .with_control(control.as_kernel_slice());
    let length = socket.recvmsg(&mut message, 0)?;
    let control_length = message.control_len();
    let peer = peer.as_socket().ok_or(io::ErrorKind::InvalidData)?;
    Ok(Datagram { peer, length, control_length })
}

impl PacketInfo {
    /// Room for one message of either family.
    const LENGTH: usize = HEADER + size_of::<libc::in6_pktinfo>().next_multiple_of(WORD);

    const NONE: Self = Self { bytes: [0; Self::LENGTH], length: 0 };

    /// Takes the message as received, since the kernel reads it the same way on sending, but
    /// for the interface index: routing decides that, not where the request came in.
    fn parse(control: &[u8]) -> Self {
        let index = match control.get(WORD..HEADER).map(<[u8]>::as_chunks::<4>) {
            Some(([level, kind], [])) => {
                match (i32::from_ne_bytes(*level), i32::from_ne_bytes(*kind)) {
                    (libc::IPPROTO_IP, libc::IP_PKTINFO) => HEADER,
                    (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                        HEADER + size_of::<libc::in6_addr>()
                    }
                    _ => return Self::NONE,
                }
            }
            _ => return Self::NONE,
        };
        if control.len() > Self::LENGTH || control.len() < index + size_of::<u32>() {
            return Self::NONE;
        }
        let mut info = Self { length: control.len(), ..Self::NONE };
        info.bytes[..control.len()].copy_from_slice(control);
        info.bytes[index..index + size_of::<u32>()].fill(0);
        info
    }
}

/// `cmsghdr`: a length of one word, then level and type of 4 bytes each.
const HEADER: usize = size_of::<libc::cmsghdr>();
const WORD: usize = size_of::<usize>();

/// In `in_pktinfo` the interface index comes first, in `in6_pktinfo` after the address.
const _: () = assert!(HEADER == WORD + 8 && HEADER.is_multiple_of(WORD));

/// About 500 offers of 4 KiB, kernel overhead included.
const RECEIVE_BUFFER: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use std::net::UdpSocket as Client;

    use super::*;

    /// Asks `target` of a server bound to `bound` and returns who answered.
    async fn answered_by(bound: &str, target: &str) -> SocketAddr {
        let mut server = UdpEndpoint::bind(bound.parse().unwrap()).unwrap();
        let port = server.local_address().unwrap().port();
        let any = if target.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" };
        let client = Client::bind(any).unwrap();
        client.send_to(b"ask", format!("{target}:{port}")).unwrap();
        server.readable().await.unwrap();
        let (origin, bytes) = server.try_receive().unwrap();
        assert_eq!(bytes, b"ask");
        assert_eq!(origin.peer().port(), client.local_addr().unwrap().port());
        server.reply(origin, b"told").unwrap();
        let mut buffer = [0; 8];
        let (length, source) = client.recv_from(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"told");
        assert_eq!(source.port(), port);
        source
    }

    #[tokio::test]
    async fn a_wildcard_socket_answers_from_the_address_asked() {
        let source = answered_by("0.0.0.0:0", "127.0.0.7").await;
        assert_eq!(source.ip().to_string(), "127.0.0.7");
        let source = answered_by("[::]:0", "127.0.0.8").await;
        assert_eq!(source.ip().to_string(), "127.0.0.8");
        let source = answered_by("[::]:0", "[::1]").await;
        assert_eq!(source.ip().to_string(), "::1");
    }

    #[tokio::test]
    async fn a_bound_socket_needs_no_packet_info() {
        let source = answered_by("127.0.0.9:0", "127.0.0.9").await;
        assert_eq!(source.ip().to_string(), "127.0.0.9");
    }

    #[test]
    fn strange_control_messages_are_passed_over() {
        assert_eq!(PacketInfo::parse(&[]), PacketInfo::NONE);
        assert_eq!(PacketInfo::parse(&[0xff; HEADER]), PacketInfo::NONE);
        let mut short = vec![0; HEADER];
        short[WORD + 4..].copy_from_slice(&libc::IP_PKTINFO.to_ne_bytes());
        assert_eq!(PacketInfo::parse(&short), PacketInfo::NONE);
    }
}
