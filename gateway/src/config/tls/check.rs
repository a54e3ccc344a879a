//! What `[tls]` must satisfy as a whole. Each message names the listener and what to write instead.
//!
//! What would be ignored is refused: an operator who writes `client_authentication` in an
//! `originate` listener believes in a protection that is not there.

use std::collections::HashSet;
use std::fmt::Display;
use std::net::SocketAddr;
use std::time::Duration;

use super::{
    Certificate, ClientAuthentication, Kernel, Prefer, ProxyProtocol, Tls, TlsListener, TlsMode,
    UnknownName, Version,
};
use crate::config::check::SettingError;
use crate::config::{Config, Listen};
use crate::tls::settings::{self, PKCS11};

type Checked = Result<(), SettingError>;

/// Refuses what no machine can do.
pub(crate) fn check(config: &Config) -> Checked {
    whole(&config.tls)?;
    for listener in &config.tls.listener {
        name(listener)?;
        addresses(config, listener)?;
        certificates(listener)?;
        trust(listener)?;
        limits(&config.tls, listener)?;
    }
    // What the relay itself would refuse, such as two listeners of one name.
    let problems = settings::settings(&config.tls).validate();
    match problems.first() {
        None => Ok(()),
        Some(problem) => refuse_listener(&problem.listener, problem.fault.to_string()),
    }
}

fn refuse(setting: &'static str, value: impl Display, reason: impl Into<String>) -> Checked {
    Err(SettingError { setting, value: value.to_string(), reason: reason.into().into() })
}

fn refuse_listener(name: &str, reason: impl Into<String>) -> Checked {
    refuse("tls.listener", name, reason)
}

fn whole(tls: &Tls) -> Checked {
    if tls.threads > MAX_THREADS {
        let reason = "more than 1024 threads; 0 takes one for each two CPUs";
        return refuse("tls.threads", tls.threads, reason);
    }
    if !TICKET_LIFETIMES.contains(&tls.ticket_lifetime.0) {
        let reason = "write \"1m\" to \"84h\": a ticket opens for twice as long, and seven days \
                      are the most (RFC 8446 section 4.6.1)";
        return refuse("tls.ticket_lifetime", tls.ticket_lifetime, reason);
    }
    if tls.prefer == Prefer::Tls12Device && tls.kernel == Kernel::Off {
        let reason = "a device is reached through the kernel, and tls.kernel is \"off\": write \
                      \"auto\" there, or \"tls13\" here";
        return refuse("tls.prefer", "tls12-device", reason);
    }
    if tls.listener.len() > MAX_LISTENERS {
        let reason =
            "more than 64 listeners: each is a label of every metric; run several gateways";
        return refuse("tls.listener", tls.listener.len(), reason);
    }
    Ok(())
}

/// Names are labels of metrics and words on command lines.
fn name(listener: &TlsListener) -> Checked {
    let name = &listener.name;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > LONGEST_NAME || !name.chars().all(plain) {
        let reason = "not a name: write 1 to 64 letters, digits, '.', '_' and '-'";
        return refuse("tls.listener.name", format_args!("\"{name}\""), reason);
    }
    Ok(())
}

fn addresses(config: &Config, listener: &TlsListener) -> Checked {
    let name = &listener.name;
    for upstream in &listener.upstream {
        if upstream.port() == 0 || upstream.ip().is_unspecified() || upstream.ip().is_multicast() {
            let reason = format!(
                "upstream {upstream} is nowhere to connect to: write an address and a port"
            );
            return refuse_listener(name, reason);
        }
        if overlap(listener.listen, *upstream) && upstream.ip().is_loopback() {
            let reason = format!(
                "upstream {upstream} is what this listener listens on itself: name the SBC's address"
            );
            return refuse_listener(name, reason);
        }
    }
    if let Some(twice) = first_twice(&listener.upstream) {
        return refuse_listener(name, format!("upstream {twice} is named twice"));
    }
    for (setting, taken) in others(config, listener) {
        if overlap(listener.listen, taken) {
            let reason = format!(
                "{setting} has {taken}, which listen = {} needs: give one of them another port",
                listener.listen
            );
            return refuse_listener(name, reason);
        }
    }
    Ok(())
}

/// Whatever else of ours listens on TCP: the listeners before this one, and the rest.
fn others(config: &Config, listener: &TlsListener) -> Vec<(String, SocketAddr)> {
    let listeners = config.tls.listener.iter().take_while(|other| !std::ptr::eq(*other, listener));
    let mut taken: Vec<_> = listeners
        .map(|other| (format!("the tls.listener \"{}\"", other.name), other.listen))
        .collect();
    if config.ng.tcp {
        taken.push(("ng.listen (--ng)".to_owned(), config.ng.listen));
    }
    if let Listen::At(address) = config.http.listen {
        taken.push(("http.listen (--http)".to_owned(), address));
    }
    let admin = config.admin.tls.iter().map(|tls| ("admin.tls.listen".to_owned(), tls.listen));
    taken.extend(admin);
    taken
}

/// Whether both cannot be listened on. Port 0 is whatever is free.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let any = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() == other.port() && one.port() != 0 && (any || one.ip() == other.ip())
}

fn first_twice<T: PartialEq>(items: &[T]) -> Option<&T> {
    items.iter().enumerate().find(|(at, item)| items[..*at].contains(item)).map(|(_, item)| item)
}

fn certificates(listener: &TlsListener) -> Checked {
    let name = &listener.name;
    let mut served = HashSet::new();
    for certificate in &listener.certificate {
        if let Err(reason) = certificate_form(certificate) {
            return refuse_listener(name, reason);
        }
        for of in &certificate.names {
            if !is_server_name(of) {
                let reason = format!(
                    "certificate.names: \"{of}\" is no DNS name: write as \"sip.example.com\", or \
                     \"*.example.com\" for all directly below"
                );
                return refuse_listener(name, reason);
            }
            if !served.insert(of.to_ascii_lowercase()) {
                let reason = format!("certificate.names: \"{of}\" is served by two certificates");
                return refuse_listener(name, reason);
            }
        }
    }
    match (listener.mode, listener.certificate.as_slice()) {
        (TlsMode::Originate, [_, _, ..]) => {
            let reason = "certificate: an upstream is shown one, the first; leave out the others";
            refuse_listener(name, reason)
        }
        (TlsMode::Originate, [one]) if !one.names.is_empty() => {
            let reason = "certificate.names: nobody asks an originating listener for a name; leave \
                          them out";
            refuse_listener(name, reason)
        }
        _ => Ok(()),
    }
}

/// Files or a directory, whole.
fn certificate_form(certificate: &Certificate) -> Result<(), String> {
    let Certificate { names, chain, key, ocsp, directory } = certificate;
    if directory.is_some() {
        let files = chain.is_some() || key.is_some() || ocsp.is_some() || !names.is_empty();
        return match files {
            true => {
                Err("certificate: a directory stands alone; give names, chain, key and ocsp an \
                         entry of their own"
                    .to_owned())
            }
            false => Ok(()),
        };
    }
    let Some(chain) = chain else {
        return Err("certificate: name its chain and key, or a directory".to_owned());
    };
    let Some(key) = key else {
        let chain = chain.display();
        return Err(format!(
            "certificate {chain}: its key is missing: name a file or a pkcs11: URI"
        ));
    };
    if key.contains("-----BEGIN") {
        return Err("certificate: a key in the configuration: put it into a file of its own, \
                    readable by us alone, and name that"
            .to_owned());
    }
    // In the file it would be printed by --print-config and read by whoever reads the file.
    if key.starts_with(PKCS11) && key.contains("pin-value=") {
        return Err("certificate: a PIN in the configuration: put it into a file, readable by us \
                    alone, and name that with pin-source=file:/…"
            .to_owned());
    }
    Ok(())
}

/// A DNS name, its first label possibly a wildcard.
fn is_server_name(name: &str) -> bool {
    let name = name.strip_prefix("*.").unwrap_or(name);
    rustls::pki_types::DnsName::try_from(name).is_ok()
}

/// Whom it believes. What only makes sense in the other mode is refused.
fn trust(listener: &TlsListener) -> Checked {
    let refuse = |reason: &str| refuse_listener(&listener.name, reason);
    if listener.authority.as_ref().is_some_and(|path| path.as_os_str() == "system") {
        return refuse(
            "authority: the system's authorities are not used; name a PEM file with \
                       those that you expect, such as /etc/ssl/certs/ca-certificates.crt",
        );
    }
    if !listener.crl.is_empty() && listener.authority.is_none() {
        return refuse("crl: there is no authority whose list this could be; set authority");
    }
    let asks = listener.client_authentication != ClientAuthentication::None;
    match listener.mode {
        TlsMode::Terminate if listener.server_name.is_some() => refuse(
            "server_name is for originate; the names that clients ask for are in \
                    certificate.names",
        ),
        TlsMode::Terminate if listener.authority.is_some() && !asks => refuse(
            "authority: nobody is asked for a certificate; set client_authentication to \
                    \"optional\" or \"required\"",
        ),
        TlsMode::Originate if asks => refuse(
            "client_authentication is for terminate; an originating listener always checks \
                    its upstream",
        ),
        TlsMode::Originate if listener.unknown_name != UnknownName::First => {
            refuse("unknown_name is for terminate; leave it out")
        }
        TlsMode::Originate if listener.proxy_protocol != ProxyProtocol::None => refuse(
            "proxy_protocol is for terminate: a TLS upstream would take it for a broken \
                    handshake; leave it out",
        ),
        _ => protocols(listener),
    }
}

/// What is negotiated.
fn protocols(listener: &TlsListener) -> Checked {
    let name = &listener.name;
    if let Some(name_of_server) = &listener.server_name
        && rustls::pki_types::ServerName::try_from(name_of_server.as_str()).is_err()
    {
        let reason = format!("server_name: \"{name_of_server}\" is no DNS name and no address");
        return refuse_listener(name, reason);
    }
    // A length of one byte (RFC 7301 section 3.1).
    if listener.alpn.iter().any(|protocol| protocol.is_empty() || protocol.len() > 255) {
        return refuse_listener(name, "alpn: a protocol has 1 to 255 bytes, such as \"sip\"");
    }
    if let Some(twice) = first_twice(&listener.alpn) {
        return refuse_listener(name, format!("alpn: \"{twice}\" is named twice"));
    }
    match first_twice(&listener.versions) {
        Some(_) => refuse_listener(name, "versions: one is named twice"),
        None => Ok(()),
    }
}

fn limits(tls: &Tls, listener: &TlsListener) -> Checked {
    let refuse = |reason: &str| refuse_listener(&listener.name, reason);
    if listener.max_connections > MOST_CONNECTIONS {
        return refuse("max_connections: more than 1000000, beyond any limit of descriptors");
    }
    if listener.max_handshakes > listener.max_connections {
        return refuse("max_handshakes is more than max_connections: a handshake is a connection");
    }
    if listener.handshake_timeout.0 > LONGEST_HANDSHAKE {
        return refuse("handshake_timeout: more than \"5m\" lets anybody hold a place for as long");
    }
    if listener.upstream_retry.0.is_zero() {
        return refuse("upstream_retry: write some time, such as \"10s\"");
    }
    let needs_old = tls.prefer == Prefer::Tls12Device && listener.mode == TlsMode::Terminate;
    if needs_old && !listener.versions.contains(&Version::Tls12) {
        return refuse(
            "versions lacks \"1.2\", which tls.prefer = \"tls12-device\" would use: add \
                       it, or write tls.prefer = \"tls13\"",
        );
    }
    Ok(())
}

/// Beyond any machine.
const MAX_THREADS: usize = 1024;

/// Each is a label of some dozens of time series.
const MAX_LISTENERS: usize = 64;

const LONGEST_NAME: usize = 64;

const TICKET_LIFETIMES: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(60)..=Duration::from_secs(84 * 3600);

const MOST_CONNECTIONS: usize = 1_000_000;

const LONGEST_HANDSHAKE: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests;
