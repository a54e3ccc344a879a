//! The two sockets that every leg of every call shares.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};

use anyhow::{Context, Result};
use socket2::{Domain, Socket, Type};

use crate::mmsg::{enable_timestamps, force_receive_buffer};

/// More than the relay can send in any pause that the blaster may take.
const RECEIVE_BUFFER: usize = 64 << 20;

/// One for plain legs, one for SRTP legs.
pub struct Sockets {
    /// Where the relay sends plain RTP.
    pub plain: UdpSocket,
    /// Where the relay sends SRTP.
    pub secure: UdpSocket,
}

impl Sockets {
    /// Binds both on loopback.
    pub fn bind() -> Result<Self> {
        Ok(Self { plain: bind()?, secure: bind()? })
    }
}

fn bind() -> Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
    force_receive_buffer(&socket, RECEIVE_BUFFER)
        .context("SO_RCVBUFFORCE needs root: the blaster must not be the one that loses packets")?;
    socket.bind(&SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0).into())?;
    enable_timestamps(&socket)?;
    Ok(socket.into())
}
