//! `gateway check` of TLS listeners: their files are read as at the start, their ports are tried.
//!
//! No connection is taken: a port is bound and not listened on. One that is taken is a warning and
//! not a fault, as the gateway that has it may be the one that runs by this configuration.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use socket2::{Domain, Socket, Type};
use tls_relay::{ListenerFault, TlsRelay};

use super::settings::settings;
use crate::config::tls::{Tls, TlsListener};

/// What `gateway check` says of listeners that would start.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) facts: Vec<String>,
    pub(crate) warnings: Vec<String>,
}

/// Why some would not.
#[derive(Debug, thiserror::Error)]
#[error("{}", lines(.0))]
pub(crate) struct Faults(Vec<String>);

fn lines(faults: &[String]) -> String {
    let all: Vec<_> = faults.iter().map(|fault| format!("tls.{fault}")).collect();
    all.join("\n         ")
}

/// Reads what listeners name, and tries where they would listen.
pub(crate) fn check(tls: &Tls) -> Result<Found, Faults> {
    let mut found = Found::default();
    if tls.listener.is_empty() {
        return Ok(found);
    }
    let mut faults = TlsRelay::check(&settings(tls));
    for listener in &tls.listener {
        let (name, listen) = (&listener.name, listener.listen);
        match free(listen) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AddrInUse => {
                found.warnings.push(taken(name, listen));
            }
            Err(error) => {
                let reason = format!("cannot listen on {listen}: {error}{}", remedy(&error));
                faults.push(ListenerFault { listener: name.clone(), reason });
            }
        }
    }
    if !faults.is_empty() {
        return Err(Faults(faults.iter().map(ToString::to_string).collect()));
    }
    found.facts.extend(tls.listener.iter().map(fact));
    Ok(found)
}

fn fact(listener: &TlsListener) -> String {
    let upstreams: Vec<_> = listener.upstream.iter().map(ToString::to_string).collect();
    format!(
        "TLS listener {} at {}: what it names can be used; upstream {}, not tried",
        listener.name,
        listener.listen,
        upstreams.join(", ")
    )
}

fn taken(name: &str, listen: SocketAddr) -> String {
    format!(
        "tls.listener {name}: {listen} is taken; that is well if a gateway runs here by this \
         configuration, otherwise `ss -ltnp 'sport = :{}'` tells who has it: give another port",
        listen.port()
    )
}

/// As the listener does it, but for `listen`. Connections of an earlier process that linger on the
/// port do not matter.
fn free(address: SocketAddr) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())
}

fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::AddrNotAvailable => "; this host has no such address, `ip address` lists it",
        ErrorKind::PermissionDenied => "; ports below 1024 need CAP_NET_BIND_SERVICE",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_port_that_is_listened_on_is_taken_and_trying_a_free_one_leaves_it_free() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        assert_eq!(free(address).unwrap_err().kind(), ErrorKind::AddrInUse);
        drop(listener);
        free(address).unwrap();
        TcpListener::bind(address).unwrap();
    }

    #[test]
    fn an_address_of_another_host_is_a_fault_with_a_remedy() {
        let error = free("192.0.2.1:5061".parse().unwrap()).unwrap_err();
        assert!(remedy(&error).contains("ip address"), "{error}");
    }
}
