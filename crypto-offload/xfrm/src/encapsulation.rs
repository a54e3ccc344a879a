//! The sockets at which ESP in UDP arrives (RFC 3948).
//!
//! Sending needs none. Receiving does: the kernel looks for ESP only in datagrams to a socket with
//! UDP_ENCAP_ESPINUDP. One socket serves all inbound SAs of its address and port, and is closed
//! with the last of them. Nobody reads from it: what is left after the kernel took the ESP, such
//! as IKE, is dropped when its small buffer is full.

use std::{
    collections::{BTreeSet, HashMap},
    io,
    net::{SocketAddr, UdpSocket},
    os::fd::AsFd,
};

use crypto_offload::{EngineError, SaId};

use crate::{failure::Operation, sys, wire::netlink::Refusal, wire::numbers::UDP_ENCAP_ESPINUDP};

/// The sockets, each with the SAs that need it.
#[derive(Debug, Default)]
pub(crate) struct Encapsulation {
    sockets: HashMap<SocketAddr, (UdpSocket, BTreeSet<SaId>)>,
}

impl Encapsulation {
    /// Receives for `sa` at its destination and `port`.
    pub(crate) fn receive(&mut self, sa: SaId, port: u16) -> Result<(), EngineError> {
        let address = SocketAddr::new(sa.destination, port);
        if let Some((_, users)) = self.sockets.get_mut(&address) {
            users.insert(sa);
            return Ok(());
        }
        let socket = open(address)
            .map_err(|error| Operation::Encapsulate.refused(address, &Refusal::of_call(&error)))?;
        self.sockets.insert(address, (socket, BTreeSet::from([sa])));
        Ok(())
    }

    /// `sa` is gone.
    pub(crate) fn release(&mut self, sa: SaId) {
        self.sockets.retain(|_, (_, users)| !users.remove(&sa) || !users.is_empty());
    }
}

fn open(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(address)?;
    sys::set_option(socket.as_fd(), libc::SOL_SOCKET, libc::SO_RCVBUF, 0)?;
    sys::set_option(socket.as_fd(), libc::SOL_UDP, UDP_ENCAP, UDP_ENCAP_ESPINUDP.into())?;
    Ok(socket)
}

/// linux/udp.h
const UDP_ENCAP: i32 = 100;

#[cfg(test)]
mod tests {
    use crypto_offload::Spi;

    use super::*;

    fn sa(spi: u32) -> SaId {
        SaId { destination: [127, 0, 0, 1].into(), spi: Spi::new(spi).expect("free to use") }
    }

    fn free_port() -> u16 {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        socket.local_addr().expect("bound").port()
    }

    #[test]
    fn a_port_is_held_until_its_last_sa_is_gone() {
        let (mut sockets, port) = (Encapsulation::default(), free_port());
        sockets.receive(sa(0x100), port).expect("the first");
        sockets.receive(sa(0x101), port).expect("the same socket");
        sockets.release(sa(0x100));
        assert!(UdpSocket::bind(("127.0.0.1", port)).is_err());
        sockets.release(sa(0x101));
        assert!(UdpSocket::bind(("127.0.0.1", port)).is_ok());
    }

    #[test]
    fn a_port_in_use_is_a_conflict_that_names_it() {
        let taken = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let port = taken.local_addr().expect("bound").port();
        let refused = Encapsulation::default().receive(sa(0x100), port).expect_err("taken");
        assert_eq!(refused.class, crypto_offload::ErrorClass::Conflict);
        assert!(refused.to_string().contains(&format!("127.0.0.1:{port}: EADDRINUSE")));
    }
}
