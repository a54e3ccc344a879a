//! A TCP socket on a TLS thread: what can be done at once is, and waiting costs no timer.
//!
//! Each socket is registered once, edge-triggered. Two facts save system calls. Writing is tried
//! before waiting, as a socket nearly always takes what it is given. And a read that got less than
//! it asked for has emptied the socket, so readiness is cleared without reading again to be told
//! `WouldBlock`. Clearing after the call is safe here and only here: the runtime has one thread,
//! so an edge that came meanwhile is not harvested before the task returns, and sets readiness
//! anew. A closed peer stays readable for ever, so an end is never missed.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::net::{self, RecvFlags, SendFlags, Shutdown, SocketFlags, SocketType};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A connected socket.
#[derive(Debug)]
pub(crate) struct Socket(AsyncFd<OwnedFd>);

/// Which way a socket is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Read,
    Write,
}

impl Socket {
    /// Registers a non-blocking socket with this thread's runtime.
    #[expect(
        deprecated,
        reason = "what replaces it is unsafe, for types that may change their descriptor"
    )]
    pub(crate) fn new(fd: OwnedFd) -> io::Result<Self> {
        Ok(Self(AsyncFd::with_interest(fd, Interest::READABLE | Interest::WRITABLE)?))
    }

    /// Connects, without a delay for small segments. Dropping the future gives up.
    pub(crate) async fn connect(address: SocketAddr) -> io::Result<Self> {
        let family =
            if address.is_ipv4() { net::AddressFamily::INET } else { net::AddressFamily::INET6 };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let fd = net::socket_with(family, SocketType::STREAM, flags, None)?;
        net::sockopt::set_tcp_nodelay(&fd, true)?;
        notice_the_gone(&fd)?;
        match net::connect(&fd, &address) {
            Ok(()) => return Self::new(fd),
            Err(rustix::io::Errno::INPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        let socket = Self::new(fd)?;
        std::future::poll_fn(|cx| socket.poll_ready(cx, Side::Write)).await;
        net::sockopt::socket_error(&socket)??;
        Ok(socket)
    }

    /// Ready when an edge said so that was not cleared since. An error of the runtime's counts as
    /// ready: the call that follows says what is wrong.
    pub(crate) fn poll_ready(&self, cx: &mut Context<'_>, side: Side) -> Poll<()> {
        let ready = match side {
            Side::Read => self.0.poll_read_ready(cx),
            Side::Write => self.0.poll_write_ready(cx),
        };
        ready.map(|_guard| ())
    }

    /// The socket has no more to give, or takes no more. Pending: the task is woken when it does.
    pub(crate) fn poll_again(&self, cx: &mut Context<'_>, side: Side) -> Poll<()> {
        self.clear(cx, side);
        let again = self.poll_ready(cx, side);
        if again.is_ready() {
            // Closed, so it stays ready: let others run before it is asked again.
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// The last read emptied the socket.
    pub(crate) fn clear(&self, cx: &mut Context<'_>, side: Side) {
        let ready = match side {
            Side::Read => self.0.poll_read_ready(cx),
            Side::Write => self.0.poll_write_ready(cx),
        };
        if let Poll::Ready(Ok(mut guard)) = ready {
            guard.clear_ready();
        }
    }

    /// Reads once, without waiting.
    pub(crate) fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(net::recv(self, buffer, RecvFlags::DONTWAIT)?.0)
    }

    /// Writes once, without waiting.
    pub(crate) fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        Ok(net::send(self, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?)
    }

    /// Reads what there is, waiting for it where there is nothing.
    pub(crate) async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        std::future::poll_fn(|cx| match self.recv(buffer) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.poll_again(cx, Side::Read).map(|()| Ok(0))
            }
            result => Poll::Ready(result),
        })
        .await
    }

    /// Writes all of it.
    pub(crate) async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        std::future::poll_fn(|cx| {
            while !bytes.is_empty() {
                match self.send(bytes) {
                    Ok(sent) => bytes = bytes.get(sent..).unwrap_or_default(),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        return self.poll_again(cx, Side::Write).map(Ok);
                    }
                    Err(error) => return Poll::Ready(Err(error)),
                }
            }
            Poll::Ready(Ok(()))
        })
        .await
    }

    /// Says that nothing more will be sent.
    pub(crate) fn end(&self) -> io::Result<()> {
        Ok(net::shutdown(self, Shutdown::Write)?)
    }

    /// Makes the close that follows a reset: the peer learns that this was no proper end.
    pub(crate) fn reset_on_close(&self) {
        // Where it fails the socket is dead already.
        let _dead = net::sockopt::set_socket_linger(self, Some(Duration::ZERO));
    }

    /// The address that the peer connected to.
    pub(crate) fn local_address(&self) -> io::Result<SocketAddr> {
        let address = net::getsockname(self)?;
        SocketAddr::try_from(address).map(canonical).map_err(Into::into)
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.get_ref().as_fd()
    }
}

/// Has the kernel end connections whose peer has gone without a word, as phones behind a NAT do, or
/// has not read a byte for [`PATIENCE`] (TCP_USER_TIMEOUT, which since Linux 5.11 counts a closed
/// window too). By default that takes more than two hours, or no end at all, and each holds a place.
/// Sockets accepted from a listening one inherit it.
pub(crate) fn notice_the_gone(fd: impl AsFd) -> io::Result<()> {
    let fd = fd.as_fd();
    net::sockopt::set_socket_keepalive(fd, true)?;
    net::sockopt::set_tcp_keepidle(fd, KEEPALIVE_AFTER)?;
    net::sockopt::set_tcp_keepintvl(fd, KEEPALIVE_EVERY)?;
    Ok(net::sockopt::set_tcp_user_timeout(fd, PATIENCE.as_millis() as u32)?)
}

/// How long a connection may be silent before its peer's kernel is asked whether it is there.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(120);

/// It is asked again this often.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(30);

/// How long a peer may answer nothing, or take nothing of what there is for it.
const PATIENCE: Duration = Duration::from_secs(300);

/// An IPv4 address that a dual-stack socket shows as IPv6 is an IPv4 address.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn accepted_sockets_inherit_what_notices_the_gone() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        notice_the_gone(&listener).unwrap();
        let _peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        assert!(net::sockopt::socket_keepalive(&accepted).unwrap());
        assert_eq!(net::sockopt::tcp_keepidle(&accepted).unwrap(), KEEPALIVE_AFTER);
        assert_eq!(net::sockopt::tcp_keepintvl(&accepted).unwrap(), KEEPALIVE_EVERY);
        assert_eq!(net::sockopt::tcp_user_timeout(&accepted).unwrap(), 300_000);
    }
}
