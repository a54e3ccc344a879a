//! The SBC's part, many requests at a time: it asks and comes back for the replies.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use ng::client::{Client, ClientRequest, Due, Options, Party, Reply, Ticket};
use ng::wire::Encoding;

use super::description::Kind;

/// Requests to one relay, each for a slot of the asker's.
pub struct Signalling {
    socket: UdpSocket,
    client: Client,
    askers: HashMap<Ticket, usize>,
    buffer: Vec<u8>,
}

impl Signalling {
    /// Towards the relay that listens at `relay`; nothing is sent yet.
    pub fn connect(relay: SocketAddr) -> Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.connect(relay)?;
        socket.set_nonblocking(true)?;
        // A relay remembers the cookies of the last minute.
        let start = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos();
        let number = CLIENTS.fetch_add(1, Ordering::Relaxed);
        let client = Client::new(&format!("legs_{start}_{number}"), Encoding::Bencode);
        Ok(Self { socket, client, askers: HashMap::new(), buffer: vec![0; 65_536] })
    }

    /// To wait for.
    pub fn socket(&self) -> &UdpSocket {
        &self.socket
    }

    /// Offers a plain leg and asks for a WebRTC one towards the answerer.
    pub fn offer(&mut self, slot: usize, party: &Party, sdp: Bytes, kind: Kind) -> Result<()> {
        let ice = match kind {
            Kind::Dtls => "remove",
            Kind::Ice => "force",
        };
        let options = Options {
            transport: Some(kind.transport().into()),
            replace: vec!["origin".into()],
            sdes: vec!["off".into()],
            rtcp_mux: vec!["offer".into(), "require".into()],
            ice: Some(ice.into()),
            ..Options::default()
        };
        let party = Party { to_tag: None, ..party.clone() };
        self.ask(slot, &ClientRequest::Offer { party, sdp, options })
    }

    /// Answers with the WebRTC leg's body.
    pub fn answer(&mut self, slot: usize, party: &Party, sdp: Bytes) -> Result<()> {
        let options = Options { replace: vec!["origin".into()], ..Options::default() };
        self.ask(slot, &ClientRequest::Answer { party: party.clone(), sdp, options })
    }

    /// Ends a call at once.
    pub fn delete(&mut self, slot: usize, party: &Party) -> Result<()> {
        let options = Options { delete_delay: Some(0), ..Options::default() };
        let party = Party { to_tag: None, ..party.clone() };
        self.ask(slot, &ClientRequest::Delete { party, options })
    }

    /// Adds what has been answered meanwhile, and sends again what has not.
    pub fn replies(&mut self, into: &mut Vec<(usize, Reply)>) -> Result<()> {
        loop {
            match self.socket.recv(&mut self.buffer) {
                Ok(length) => {
                    let datagram = Bytes::copy_from_slice(&self.buffer[..length]);
                    let Some((ticket, reply)) = self.client.receive(&datagram) else { continue };
                    into.extend(self.askers.remove(&ticket).map(|slot| (slot, reply)));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error).context("waiting for the relay's replies"),
            }
        }
        while let Some(due) = self.client.poll(Instant::now()) {
            match due {
                Due::Resend(_, datagram) => self.send(&datagram)?,
                Due::Unanswered(_) => bail!("the relay has not answered for seconds"),
            }
        }
        Ok(())
    }

    fn ask(&mut self, slot: usize, request: &ClientRequest) -> Result<()> {
        let (ticket, datagram) = self.client.send(request, Instant::now());
        self.askers.insert(ticket, slot);
        self.send(&datagram)
    }

    fn send(&self, datagram: &[u8]) -> Result<()> {
        match self.socket.send(datagram) {
            // It will be sent again.
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            sent => sent.map(drop).context("asking the relay"),
        }
    }
}

/// What a reply says that is not what was hoped for.
pub fn refusal(reply: &Reply) -> String {
    match reply {
        Reply::Error(reason) | Reply::LoadLimit(reason) => {
            format!("the relay refused: {}", String::from_utf8_lossy(reason))
        }
        other => format!("the relay answered {other:?}"),
    }
}

/// Clients of this process so far: each needs cookies of its own.
static CLIENTS: AtomicU32 = AtomicU32::new(0);
