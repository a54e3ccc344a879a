//! The plain TCP side behind a terminating listener: a server that keeps what each connection
//! brought, and the reading of a PROXY v2 header in front of it (the HAProxy PROXY protocol
//! specification, section 2.2).

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::scene::wait_for;

/// A server on an address of the namespace; it ends with the scenario's thread namespace.
pub(crate) struct Upstream {
    connections: Arc<Mutex<Vec<Connection>>>,
}

/// What a connection brought so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Connection {
    pub(crate) received: Vec<u8>,
    pub(crate) end: Option<End>,
}

/// How a connection ended, as its reader saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// In order: FIN.
    Closed,
    /// Cut off: RST.
    Reset,
}

/// What it does with what it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Sends everything back at once; closes its side after the other one did.
    Echo,
    /// Sends so many bytes back once they are all there, then closes.
    EchoWhole(usize),
    /// Hangs up at the first byte.
    HangUp,
}

impl Upstream {
    pub(crate) fn start(address: &str, answer: Answer) -> Result<Self> {
        let listener = TcpListener::bind(address).with_context(|| address.to_owned())?;
        let connections = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&connections);
        thread::spawn(move || {
            for stream in listener.incoming() {
                // Only where the machine is out of descriptors, which fails the scenario anyway.
                let Ok(stream) = stream else { continue };
                let index = {
                    let mut all = lock(&seen);
                    all.push(Connection::default());
                    all.len() - 1
                };
                let seen = Arc::clone(&seen);
                thread::spawn(move || serve(stream, answer, &seen, index));
            }
        });
        Ok(Self { connections })
    }

    /// How many there were so far.
    pub(crate) fn count(&self) -> usize {
        lock(&self.connections).len()
    }

    /// Waits for connection `index` to end, and returns it.
    pub(crate) fn wait_for_end(&self, index: usize) -> Result<Connection> {
        wait_for("the upstream connection's end", || {
            let all = lock(&self.connections);
            Ok(all.get(index).filter(|connection| connection.end.is_some()).cloned())
        })
    }
}

fn serve(mut stream: TcpStream, answer: Answer, seen: &Mutex<Vec<Connection>>, index: usize) {
    let mut buffer = vec![0; 65_536];
    let end = loop {
        let length = match stream.read(&mut buffer) {
            Ok(0) => break End::Closed,
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(_) => break End::Reset,
        };
        let got = &buffer[..length];
        let all = {
            let mut connections = lock(seen);
            connections[index].received.extend_from_slice(got);
            connections[index].received.len()
        };
        let written = match answer {
            Answer::Echo => stream.write_all(got),
            Answer::EchoWhole(wanted) if all >= wanted => {
                let whole = lock(seen)[index].received.clone();
                stream.write_all(&whole).and_then(|()| stream.shutdown(Shutdown::Write))
            }
            Answer::EchoWhole(_) => Ok(()),
            Answer::HangUp => break End::Closed,
        };
        if written.is_err() {
            break End::Reset;
        }
    };
    lock(seen)[index].end = Some(end);
}

/// A panic of another thread fails the scenario by itself.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A PROXY v2 header's facts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ProxyHeader {
    pub(crate) source: Option<SocketAddr>,
    pub(crate) destination: Option<SocketAddr>,
    pub(crate) authority: Option<String>,
    pub(crate) alpn: Option<String>,
    pub(crate) ssl: Option<ProxySsl>,
}

/// PP2_TYPE_SSL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ProxySsl {
    /// PP2_CLIENT_SSL 1, PP2_CLIENT_CERT_CONN 2, PP2_CLIENT_CERT_SESS 4.
    pub(crate) client: u8,
    /// 0 if the client's certificate was verified.
    pub(crate) verify: u32,
    pub(crate) version: Option<String>,
    pub(crate) common_name: Option<String>,
    pub(crate) cipher: Option<String>,
}

/// Takes the header off the front of `bytes`.
pub(crate) fn proxy_header(bytes: &[u8]) -> Result<(ProxyHeader, &[u8])> {
    let (head, rest) = bytes.split_at_checked(16).context("no whole header")?;
    ensure!(head.starts_with(SIGNATURE), "no PROXY v2 signature: {head:02x?}");
    ensure!(head[12] == 0x21, "neither version 2 nor the PROXY command: {:#x}", head[12]);
    let length = usize::from(u16::from_be_bytes([head[14], head[15]]));
    let (mut body, rest) = rest.split_at_checked(length).context("a cut header")?;
    let mut header = ProxyHeader::default();
    match head[13] {
        0x11 => {
            let (addresses, tlvs) = body.split_at_checked(12).context("no addresses")?;
            let ip = |at: usize| {
                <[u8; 4]>::try_from(&addresses[at..at + 4]).map(std::net::Ipv4Addr::from)
            };
            let port = |at: usize| u16::from_be_bytes([addresses[at], addresses[at + 1]]);
            header.source = Some((ip(0)?, port(8)).into());
            header.destination = Some((ip(4)?, port(10)).into());
            body = tlvs;
        }
        other => bail!("not TCP over IPv4: {other:#x}"),
    }
    for (kind, value) in tlvs(body)? {
        let text = || String::from_utf8_lossy(value).into_owned();
        match kind {
            0x01 => header.alpn = Some(text()),
            0x02 => header.authority = Some(text()),
            0x20 => header.ssl = Some(ssl(value)?),
            _ => {}
        }
    }
    Ok((header, rest))
}

fn ssl(value: &[u8]) -> Result<ProxySsl> {
    let (head, rest) = value.split_at_checked(5).context("a short PP2_TYPE_SSL")?;
    let verify = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
    let mut found = ProxySsl { client: head[0], verify, ..ProxySsl::default() };
    for (kind, value) in tlvs(rest)? {
        let text = Some(String::from_utf8_lossy(value).into_owned());
        match kind {
            0x21 => found.version = text,
            0x22 => found.common_name = text,
            0x23 => found.cipher = text,
            _ => {}
        }
    }
    Ok(found)
}

fn tlvs(mut bytes: &[u8]) -> Result<Vec<(u8, &[u8])>> {
    let mut found = Vec::new();
    while let Some((head, rest)) = bytes.split_at_checked(3) {
        let length = usize::from(u16::from_be_bytes([head[1], head[2]]));
        let (value, rest) = rest.split_at_checked(length).context("a cut TLV")?;
        found.push((head[0], value));
        bytes = rest;
    }
    ensure!(bytes.is_empty(), "bytes after the last TLV");
    Ok(found)
}

/// How long a client of a scenario waits for an answer.
pub(crate) const ANSWER: Duration = Duration::from_secs(10);
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
