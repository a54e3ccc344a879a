//! What the engine has of the host's network: sockets by address and port, routes into the device.
//!
//! Both are counted: they come with the first SA or policy that needs them, and go with the last.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
};

use crypto_offload::{Direction, EngineError, ErrorClass, SaSpec, Selector};
use ipnet::IpNet;
use packet_io::{
    Peer, Support, Token,
    esp::{EspOptions, EspSocket, EspSocketError},
    tun::{Link, LinkError, Prefix, Route},
};

use super::refusal;

/// Which sockets there are, each with the number of SAs that use it.
#[derive(Default)]
pub(super) struct Sockets {
    used: HashMap<SocketKey, (Token, u32)>,
    free: Vec<Token>,
}

/// A local address, and a UDP port for ESP in UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct SocketKey {
    local: IpAddr,
    port: Option<u16>,
}

impl SocketKey {
    /// The socket that `sa` needs at our end.
    pub(super) fn of(sa: &SaSpec) -> Self {
        let (local, port) = match sa.direction {
            Direction::Inbound => (sa.id.destination, sa.encapsulation.map(|e| e.destination_port)),
            Direction::Outbound => (sa.source, sa.encapsulation.map(|e| e.source_port)),
        };
        Self { local, port }
    }

    /// Opens it.
    pub(super) fn open(self, token: Token, options: &EspOptions) -> Result<EspSocket, EngineError> {
        let socket = match self.port {
            Some(port) => EspSocket::udp(token, SocketAddr::new(self.local, port), options),
            None => EspSocket::raw(token, self.local, options),
        };
        let socket = socket.map_err(|error| socket_refused(&error))?;
        if let Support::Inactive(reason) = socket.sends_joined()
            && self.port.is_some()
        {
            tracing::info!(%reason, "ESP in UDP is sent packet by packet");
        }
        Ok(socket)
    }
}

/// Whether a socket is still to be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IsNew {
    /// By whoever asked.
    Yes,
    /// It is open.
    No,
}

/// Where an outbound SA's packets go.
pub(super) fn peer_of(sa: &SaSpec) -> Peer {
    let port = sa.encapsulation.map_or(0, |encapsulation| encapsulation.destination_port);
    Peer::new(&SocketAddr::new(sa.id.destination, port))
}

impl Sockets {
    /// The socket of that key, and whether it is new: then the data thread has to open it, and if
    /// it cannot, [`Self::release`] takes this back.
    pub(super) fn acquire(&mut self, key: SocketKey) -> (Token, IsNew) {
        if let Some((token, users)) = self.used.get_mut(&key) {
            *users += 1;
            return (*token, IsNew::No);
        }
        let next = Token(self.used.len() as u32 + 1);
        let token = self.free.pop().unwrap_or(next);
        self.used.insert(key, (token, 1));
        (token, IsNew::Yes)
    }

    /// One user less; the token of a socket that nobody uses any more.
    pub(super) fn release(&mut self, key: SocketKey) -> Option<Token> {
        let (token, users) = self.used.get_mut(&key)?;
        *users -= 1;
        if *users > 0 {
            return None;
        }
        let token = *token;
        self.used.remove(&key);
        self.free.push(token);
        Some(token)
    }
}

/// Routes into the device, each with the number of policies that need it.
#[derive(Default)]
pub(super) struct Routes(HashMap<IpNet, (Route, u32)>);

impl Routes {
    pub(super) fn add(&mut self, link: &mut Link, selector: &Selector) -> Result<(), EngineError> {
        if let Some((_, users)) = self.0.get_mut(&selector.destination) {
            *users += 1;
            return Ok(());
        }
        let prefix = prefix_of(selector.destination)?;
        // First, and for longer than this process: its device goes with it, and its routes.
        link.guard(prefix).map_err(|error| route_refused(&error))?;
        // A host's own packets have to come from an address that the policy is for; where it names
        // one, and it is ours, the kernel is told to use it.
        let is_host = selector.source.prefix_len() == selector.source.max_prefix_len();
        let hint = Route { prefix, source: is_host.then(|| selector.source.addr()) };
        let plain = Route { prefix, source: None };
        let route = match link.add_route(&hint) {
            Ok(()) => hint,
            Err(LinkError::Refused { .. }) if is_host => {
                link.add_route(&plain).map_err(|error| route_refused(&error))?;
                plain
            }
            Err(error) => return Err(route_refused(&error)),
        };
        self.0.insert(selector.destination, (route, 1));
        Ok(())
    }

    /// One policy more needs a route, which [`restore`](Self::restore) is to add.
    pub(super) fn want(&mut self, selector: &Selector) {
        let Ok(prefix) = prefix_of(selector.destination) else { return };
        let is_host = selector.source.prefix_len() == selector.source.max_prefix_len();
        let route = Route { prefix, source: is_host.then(|| selector.source.addr()) };
        self.0.entry(selector.destination).or_insert((route, 0)).1 += 1;
    }

    /// Puts back what is missing: how many there were, and what was in the way.
    pub(super) fn restore(&mut self, link: &mut Link) -> (usize, Option<LinkError>) {
        let mut restored = 0;
        for (route, _) in self.0.values_mut() {
            let added = link.guard(route.prefix).and_then(|()| match link.add_route(route) {
                // The address that it was for is no more, or not yet.
                Err(LinkError::Refused { .. }) if route.source.is_some() => {
                    let plain = Route { source: None, ..*route };
                    link.add_route(&plain).inspect(|()| *route = plain)
                }
                added => added,
            });
            match added {
                Ok(()) => restored += 1,
                Err(LinkError::Exists { .. }) => {}
                // What one meets, the others meet too: the device is down, mostly.
                Err(error) => return (restored, Some(error)),
            }
        }
        (restored, None)
    }

    pub(super) fn remove(
        &mut self,
        link: &mut Link,
        selector: &Selector,
    ) -> Result<(), EngineError> {
        let Some((route, users)) = self.0.get_mut(&selector.destination) else { return Ok(()) };
        if *users > 1 {
            *users -= 1;
            return Ok(());
        }
        match link.remove_route(route) {
            Ok(()) | Err(LinkError::Absent { .. }) => {
                let unguarded = link.unguard(route.prefix);
                self.0.remove(&selector.destination);
                unguarded.map_err(|error| route_refused(&error))
            }
            Err(error) => Err(route_refused(&error)),
        }
    }
}

fn prefix_of(net: IpNet) -> Result<Prefix, EngineError> {
    Prefix::new(net.network(), net.prefix_len()).map_err(|error| {
        refusal(ErrorClass::Fatal, "route", net, io::Error::other(error).to_string(), None)
    })
}

fn route_refused(error: &LinkError) -> EngineError {
    let (class, hint) = match error {
        LinkError::Exists { .. } => {
            (ErrorClass::Conflict, Some("remove the other route, or name a narrower `remote_net`"))
        }
        LinkError::Forbidden { .. } => (ErrorClass::Fatal, Some("grant CAP_NET_ADMIN")),
        LinkError::Gone(_) => (ErrorClass::Gone, Some("restart the agent")),
        _ => (ErrorClass::Fatal, None),
    };
    refusal(class, "route traffic into", "the tunnel", error, hint)
}

fn socket_refused(error: &EspSocketError) -> EngineError {
    let (class, hint) = match error {
        EspSocketError::Forbidden(_) => (ErrorClass::Fatal, Some("grant CAP_NET_RAW")),
        EspSocketError::PortTaken(_) => {
            (ErrorClass::Conflict, Some("stop it, or set another port in `encapsulation`"))
        }
        EspSocketError::NoSuchAddress(_) => {
            (ErrorClass::Conflict, Some("`local` of the pair has to be an address of this host"))
        }
        EspSocketError::Setup { .. } => (ErrorClass::Fatal, None),
    };
    refusal(class, "open", "ESP socket", error, hint)
}
