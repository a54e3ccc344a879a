//! The SBC's part: offers, answers and deletes over ng, one at a time, to any relay.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use ng::client::{Client, ClientRequest, Due, Options, Party, Reply};
use ng::wire::Encoding;

/// The largest datagram.
const LARGEST: usize = 65_536;
/// Below this a read timeout would round to "for ever".
const SHORTEST_WAIT: Duration = Duration::from_millis(1);

/// Call ids of this process: its clock reading at start keeps two runs of one pid apart.
fn run_id() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis())
}

/// Clients of this process so far: each needs cookies of its own.
static CLIENTS: AtomicU32 = AtomicU32::new(0);

/// The names of one call at the relay.
pub struct Dialogue(Party);

impl Dialogue {
    /// Call `number` of this process.
    pub fn new(number: usize) -> Self {
        Self(Party {
            call_id: format!("loadgen-{}-{number}", process::id()),
            from_tag: format!("from-{number}"),
            ..Party::default()
        })
    }

    fn answered(&self) -> Party {
        Party { to_tag: Some(self.0.from_tag.replace("from", "to")), ..self.0.clone() }
    }
}

/// A connection to a relay's ng port.
pub struct Control {
    socket: UdpSocket,
    address: SocketAddr,
    client: Client,
    buffer: Vec<u8>,
}

impl Control {
    /// Opens a socket towards `address`; nothing is sent yet.
    pub fn connect(address: SocketAddr) -> Result<Self> {
        let local: SocketAddr = match address {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UdpSocket::bind(local).context("opening a socket for ng")?;
        socket.connect(address).with_context(|| format!("connecting to ng at {address}"))?;
        let number = CLIENTS.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("lg_{}_{}_{number}", process::id(), run_id());
        let client = Client::new(&prefix, Encoding::Bencode);
        Ok(Self { socket, address, client, buffer: vec![0; LARGEST] })
    }

    /// The relay's ng address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Asks whether the relay is there.
    pub fn ping(&mut self) -> Result<()> {
        let address = self.address;
        match self.request(&ClientRequest::Ping)? {
            Reply::Pong => Ok(()),
            other => bail!("{address} does not speak ng: a ping was answered by {other:?}"),
        }
    }

    /// One ping, answered within `patience` or not at all.
    pub fn ping_once(&mut self, patience: Duration) -> Result<()> {
        let (_, datagram) = self.client.send(&ClientRequest::Ping, Instant::now());
        self.socket.send(&datagram)?;
        self.socket.set_read_timeout(Some(patience))?;
        self.socket.recv(&mut self.buffer)?;
        Ok(())
    }

    /// Offers a plain body and asks for SRTP towards the answerer; returns the relay's body.
    pub fn offer(&mut self, dialogue: &Dialogue, sdp: Bytes) -> Result<Bytes> {
        let options = Options { transport: Some("RTP/SAVP".into()), ..common_options() };
        self.body(&ClientRequest::Offer { party: dialogue.0.clone(), sdp, options })
    }

    /// Answers; returns the relay's body for the offerer.
    pub fn answer(&mut self, dialogue: &Dialogue, sdp: Bytes) -> Result<Bytes> {
        let options = common_options();
        self.body(&ClientRequest::Answer { party: dialogue.answered(), sdp, options })
    }

    /// Ends the call at once.
    pub fn delete(&mut self, dialogue: &Dialogue) -> Result<()> {
        let options = Options { delete_delay: Some(0), ..Options::default() };
        match self.request(&ClientRequest::Delete { party: dialogue.0.clone(), options })? {
            Reply::Ok { .. } => Ok(()),
            other => bail!("delete of {}: {}", dialogue.0.call_id, refusal(&other)),
        }
    }

    fn body(&mut self, request: &ClientRequest) -> Result<Bytes> {
        match self.request(request)? {
            Reply::Ok { sdp: Some(sdp), .. } => Ok(sdp),
            other => bail!("{}", refusal(&other)),
        }
    }

    /// Sends a request, again where needed, and waits for its reply.
    fn request(&mut self, request: &ClientRequest) -> Result<Reply> {
        let (ticket, datagram) = self.client.send(request, Instant::now());
        self.send(&datagram)?;
        loop {
            let wait = self.client.deadline().map_or(SHORTEST_WAIT, |deadline| {
                deadline.saturating_duration_since(Instant::now()).max(SHORTEST_WAIT)
            });
            self.socket.set_read_timeout(Some(wait))?;
            match self.socket.recv(&mut self.buffer) {
                Ok(length) => {
                    let datagram = Bytes::copy_from_slice(&self.buffer[..length]);
                    match self.client.receive(&datagram) {
                        Some((answered, reply)) if answered == ticket => return Ok(reply),
                        _ => {}
                    }
                }
                Err(error) if is_timeout(error.kind()) => {}
                // ECONNREFUSED: nobody is there now; perhaps at the next retransmission.
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                    std::thread::sleep(SHORTEST_WAIT);
                }
                Err(error) => return Err(error).context("waiting for the relay's reply"),
            }
            while let Some(due) = self.client.poll(Instant::now()) {
                match due {
                    Due::Resend(_, datagram) => self.send(&datagram)?,
                    Due::Unanswered(lost) if lost == ticket => {
                        bail!("no answer from ng at {}: is a relay running there?", self.address)
                    }
                    Due::Unanswered(_) => {}
                }
            }
        }
    }

    fn send(&self, datagram: &[u8]) -> Result<()> {
        match self.socket.send(datagram) {
            // The error of an earlier datagram, or of this one: retransmission decides.
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(()),
            sent => sent.map(drop).with_context(|| format!("sending to ng at {}", self.address)),
        }
    }
}

/// What any SBC would ask for between trunks.
fn common_options() -> Options {
    Options { replace: vec!["origin".into()], ice: Some("remove".into()), ..Options::default() }
}

fn is_timeout(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

fn refusal(reply: &Reply) -> String {
    let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
    match reply {
        Reply::Error(reason) => format!("the relay refused: {}", text(reason)),
        Reply::LoadLimit(message) => format!("the relay is at its limit: {}", text(message)),
        other => format!("the relay answered {other:?}"),
    }
}
