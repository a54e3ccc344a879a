//! `a=candidate` and `a=remote-candidates` (RFC 8839 sections 5.1 and 5.2), both ways.
//!
//! What a relay's agent can't use is left out when read: TCP, components beyond RTP and RTCP, names
//! (`.local` ones hide an address that only the peer's own network could resolve; others would make
//! us wait for DNS), and addresses that no single host has.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::{self, FromStr};

use super::ice::is_ice_char;
use super::line::fields;
use super::{Candidate, CandidateKind, RemoteCandidate};

impl Candidate {
    /// Reads what follows `a=candidate:`. `Ok(None)`: well formed, but nothing that we could use.
    pub fn parse(value: &[u8]) -> Result<Option<Self>, &'static str> {
        let mut fields = fields(value);
        let mut next = || fields.next().ok_or("a=candidate ends before its type");
        let foundation = foundation(next()?).ok_or("a=candidate has a foundation that is none")?;
        let component = number::<u16>(next()?).ok_or("a=candidate has a component that is none")?;
        let transport = next()?;
        let priority = number::<u32>(next()?)
            .filter(|priority| *priority > 0)
            .ok_or("a=candidate has a priority that is not 1 to 2^32 - 1")?;
        let (address, port) = (next()?, next()?);
        let port = number::<u16>(port).ok_or("a=candidate has a port that is none")?;
        if !next()?.eq_ignore_ascii_case(b"typ") {
            return Err("a=candidate has no type where it belongs");
        }
        let kind = CandidateKind::from_name(next()?);
        let related = related(fields);
        let usable = transport.eq_ignore_ascii_case(b"UDP") && matches!(component, 1 | 2);
        let (Some(address), Some(kind), true) = (reachable(address, port), kind, usable) else {
            return Ok(None);
        };
        let component = if component == 1 { 1 } else { 2 };
        Ok(Some(Self { foundation, component, priority, address, kind, related }))
    }
}

/// As it follows `a=candidate:`.
impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { foundation, component, priority, address, kind, related } = self;
        let (ip, port, kind) = (address.ip(), address.port(), kind.name());
        write!(f, "{foundation} {component} UDP {priority} {ip} {port} typ {kind}")?;
        match related {
            Some(base) => write!(f, " raddr {} rport {}", base.ip(), base.port()),
            None => Ok(()),
        }
    }
}

impl CandidateKind {
    /// As `typ` names it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::ServerReflexive => "srflx",
            Self::PeerReflexive => "prflx",
            Self::Relayed => "relay",
        }
    }

    fn from_name(name: &[u8]) -> Option<Self> {
        let all = [Self::Host, Self::ServerReflexive, Self::PeerReflexive, Self::Relayed];
        all.into_iter().find(|kind| kind.name().as_bytes().eq_ignore_ascii_case(name))
    }
}

/// `<component> <address> <port>`, once or more (RFC 8839 section 5.2): the first of each component
/// that we have, up to the first that can't be read.
pub(super) fn parse_remote(value: &[u8]) -> Vec<RemoteCandidate> {
    let mut fields = fields(value);
    let mut found: Vec<RemoteCandidate> = Vec::new();
    while let (Some(component), Some(address), Some(port)) =
        (fields.next(), fields.next(), fields.next())
    {
        let (Some(component), Some(port)) = (number::<u8>(component), number(port)) else { break };
        let is_new = found.iter().all(|known| known.component != component);
        if let (Some(address), 1 | 2, true) = (reachable(address, port), component, is_new) {
            found.push(RemoteCandidate { component, address });
        }
    }
    found
}

/// RFC 8839 section 5.1: 1 to 32 `ice-char`s.
fn foundation(text: &[u8]) -> Option<Box<str>> {
    let fits = text.len() <= 32 && text.iter().copied().all(is_ice_char);
    str::from_utf8(text).ok().filter(|_| fits).map(Into::into)
}

/// `raddr <address> rport <port>`, before whatever extensions follow.
fn related<'a>(mut fields: impl Iterator<Item = &'a [u8]>) -> Option<SocketAddr> {
    let mut value = |name: &[u8]| (fields.next()? == name).then(|| fields.next())?;
    let address = value(b"raddr")?;
    let port = number(value(b"rport")?)?;
    Some(SocketAddr::new(parsed(address)?, port))
}

/// Where a check could go: an IP address of one host, and a port.
fn reachable(address: &[u8], port: u16) -> Option<SocketAddr> {
    let address: IpAddr = parsed(address)?;
    let of_one = !address.is_unspecified()
        && !address.is_multicast()
        && address != IpAddr::V4(Ipv4Addr::BROADCAST);
    (of_one && port != 0).then_some(SocketAddr::new(address, port))
}

/// Digits only: `str::parse` would also take a sign.
fn number<T: FromStr>(text: &[u8]) -> Option<T> {
    text.iter().all(u8::is_ascii_digit).then(|| parsed(text))?
}

fn parsed<T: FromStr>(text: &[u8]) -> Option<T> {
    str::from_utf8(text).ok()?.parse().ok()
}
