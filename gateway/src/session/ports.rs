//! Where a call's sockets come from: the seam between call state and the machine's ports.
//!
//! The session asks for a pair when a media section needs one and hands the sockets on in the
//! next plan; the worker owns them from then on and closes them by dropping them. The session
//! keeps only the addresses ([`LocalPorts`]) and gives those back with [`PortSource::release`]
//! once the sockets are closed or certain to be. A released port may still be open for a moment
//! (the worker has the plan that closes it in its inbox): a source therefore treats
//! `EADDRINUSE` as "take the next pair", never as an error.

use std::net::{IpAddr, SocketAddr};

use ng::request::AddressFamily;

use crate::relay::command::PortPair;

/// A logical interface: its place in [`super::Settings::interfaces`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct InterfaceIndex(pub u16);

/// Opens and takes back pairs of media ports.
pub trait PortSource {
    /// Binds an even RTP port and the port after it on one of the interface's addresses of this
    /// family (several addresses are taken in turn). Non-blocking sockets, no address reuse.
    fn open(
        &mut self,
        interface: InterfaceIndex,
        family: AddressFamily,
    ) -> Result<OpenPorts, PortError>;

    /// These ports may be handed out again. Called exactly once for each successful `open`.
    fn release(&mut self, ports: LocalPorts);
}

/// A pair just bound.
#[derive(Debug)]
pub struct OpenPorts {
    /// The sockets, for the worker.
    pub sockets: PortPair,
    /// Where they are, for the call state.
    pub local: LocalPorts,
}

/// Where a pair is bound and what peers are told of it. RTCP is always the port after RTP's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LocalPorts {
    /// The interface it was opened on.
    pub interface: InterfaceIndex,
    /// The RTP socket's address; its port is even.
    pub bound: SocketAddr,
    /// The address to write into SDP: the bound one unless the interface advertises another.
    pub advertised: IpAddr,
}

impl LocalPorts {
    /// The RTP address that peers are told.
    pub fn rtp(&self) -> SocketAddr {
        SocketAddr::new(self.advertised, self.bound.port())
    }

    /// The RTCP address that peers are told.
    pub fn rtcp(&self) -> SocketAddr {
        SocketAddr::new(self.advertised, self.bound.port() + 1)
    }
}

/// Why no pair could be opened.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// Every pair of the range is taken.
    #[error("all ports of interface {interface} are taken")]
    Exhausted {
        /// The interface's name.
        interface: String,
    },
    /// The interface has no address of this family.
    #[error("interface {interface} has no {family:?} address")]
    NoAddress {
        /// The interface's name.
        interface: String,
        /// The family asked for.
        family: AddressFamily,
    },
    /// The machine refused for another reason than a taken port (descriptors, permission).
    #[error("cannot open media ports at {address}: {source}")]
    Bind {
        /// Where.
        address: SocketAddr,
        /// What the kernel said.
        source: std::io::Error,
    },
}
