//! What routers say about packets sent: the socket's error queue (IP_RECVERR, IPV6_RECVERR).

use std::net::IpAddr;
use std::os::fd::AsFd;

use super::EspSocket;
use super::sys::receive_error;
use crate::address::{self, NAME_LENGTH};
use crate::ancillary::{self, Message};

/// One thing said about a path. Nobody has signed it: an engine takes it as a hint (RFC 4301,
/// 8.2.1: MTUs within bounds only).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathEvent {
    /// A packet to `to` was longer than the path takes: EMSGSIZE, with the MTU in bytes of the
    /// outer IP packet, its header included.
    Mtu {
        /// The peer; the kernel does not tell its port in every case.
        to: IpAddr,
        /// The MTU of the path, 0 when the router did not tell.
        mtu: u32,
    },
    /// A packet to `to` did not arrive, for the reason `errno`: EHOSTUNREACH, ECONNREFUSED, …
    Unreachable {
        /// The peer.
        to: IpAddr,
        /// What ICMP said, as an errno.
        errno: i32,
    },
}

impl EspSocket {
    /// Empties the error queue, telling `each`. Never waits. Due when the socket reports an error
    /// condition ([`Ready::error`](crate::Ready::error)), which lasts until the queue is empty,
    /// and after a send with [`Sent::too_big`](super::Sent::too_big).
    pub fn take_path_events(&mut self, mut each: impl FnMut(PathEvent)) {
        let mut name = [0; NAME_LENGTH];
        let mut control = [0; CONTROL];
        while let Ok((named, said)) = receive_error(self.socket.as_fd(), &mut name, &mut control) {
            if let Some(to) = address::parse(&name[..named])
                && let Some(event) = ancillary::messages(&control[..said])
                    .find_map(|message| parse(message, to.ip()))
            {
                each(event);
            }
        }
    }
}

/// Reads a `struct sock_extended_err` (linux/errqueue.h): errno, origin, type, code, padding,
/// info, data.
fn parse(message: Message<'_>, to: IpAddr) -> Option<PathEvent> {
    let queued = [(libc::IPPROTO_IP, libc::IP_RECVERR), (libc::IPPROTO_IPV6, libc::IPV6_RECVERR)];
    if !queued.contains(&(message.level, message.kind)) {
        return None;
    }
    let errno = u32::from_ne_bytes(*message.data.first_chunk()?) as i32;
    let info = u32::from_ne_bytes(*message.data.get(8..)?.first_chunk()?);
    Some(match errno {
        libc::EMSGSIZE => PathEvent::Mtu { to, mtu: info },
        _ => PathEvent::Unreachable { to, errno },
    })
}

/// Room for the extended error with its offender's address, and the messages that come with
/// every packet.
const CONTROL: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn to() -> IpAddr {
        "192.0.2.1".parse().unwrap()
    }

    fn queued(errno: i32, info: u32) -> Vec<u8> {
        let mut bytes = (errno as u32).to_ne_bytes().to_vec();
        bytes.extend([2, 3, 4, 0]);
        bytes.extend(info.to_ne_bytes());
        bytes.extend([0; 4 + 16]);
        bytes
    }

    fn message(data: &[u8]) -> Message<'_> {
        Message { level: libc::IPPROTO_IP, kind: libc::IP_RECVERR, data }
    }

    #[test]
    fn an_mtu_is_told_apart_from_other_errors() {
        let short = queued(libc::EMSGSIZE, 1400);
        let mtu = PathEvent::Mtu { to: to(), mtu: 1400 };
        assert_eq!(parse(message(&short), to()), Some(mtu));
        let refused = queued(libc::ECONNREFUSED, 0);
        let gone = PathEvent::Unreachable { to: to(), errno: libc::ECONNREFUSED };
        assert_eq!(parse(message(&refused), to()), Some(gone));
    }

    #[test]
    fn other_and_cut_messages_say_nothing() {
        let short = queued(libc::EMSGSIZE, 1400);
        let other = Message { kind: libc::IP_TOS, ..message(&short) };
        assert_eq!(parse(other, to()), None);
        for cut in 0..12 {
            assert_eq!(parse(message(&short[..cut]), to()), None);
        }
    }
}
