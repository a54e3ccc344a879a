//! What the tests stand on: TCP sockets, connections whose ends are where a test wants them, and
//! bytes whose values follow from their places.

use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kernel_tls::{KernelUse, Policy, Reading, Received, Support};
use rustls::SupportedCipherSuite;
use rustls::crypto::aws_lc_rs::ALL_CIPHER_SUITES;
use rustls::{ClientConfig, ServerConfig};

use crate::support::end::{End, Talk};
use crate::support::pki::{ClientAuthentication, Pki};

/// Who is to have an end's records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Kernel,
    User,
}

impl Place {
    /// A peer may send as many KeyUpdates as a test needs.
    pub fn policy(self) -> Policy {
        let kernel = if self == Self::Kernel { KernelUse::Auto } else { KernelUse::Off };
        Policy { kernel, update_burst: 100_000, ..Policy::default() }
    }
}

/// Two TCP sockets that are connected to each other, and do not block.
pub fn tcp_pair() -> (OwnedFd, OwnedFd) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let left = TcpStream::connect(listener.local_addr().expect("an address")).expect("connected");
    let (right, _) = listener.accept().expect("accepted");
    for socket in [&left, &right] {
        socket.set_nonblocking(true).expect("non-blocking");
        socket.set_nodelay(true).expect("no delay");
    }
    (left.into(), right.into())
}

/// The suites whose certificates are ECDSA: three ciphers in two versions.
pub fn suites() -> Vec<SupportedCipherSuite> {
    let ecdsa = |suite: &&SupportedCipherSuite| !format!("{:?}", suite.suite()).contains("RSA");
    ALL_CIPHER_SUITES.iter().filter(ecdsa).copied().collect()
}

/// A suite by a part of its name.
pub fn suite(name: &str) -> SupportedCipherSuite {
    let named = |suite: &SupportedCipherSuite| format!("{:?}", suite.suite()).contains(name);
    suites().into_iter().find(named).expect("a suite of that name")
}

/// Configurations for one suite.
pub fn configs(suite: SupportedCipherSuite) -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let pki = Pki::new();
    let server = pki.server(ALL_CIPHER_SUITES, ClientAuthentication::None);
    (Arc::new(server), Arc::new(pki.client(&[suite], &[suite.version()])))
}

/// Server and client after their handshake.
pub fn connect(suite: SupportedCipherSuite, server: &Policy, client: &Policy) -> (Talk, Talk) {
    let (server_config, client_config) = configs(suite);
    let (left, right) = tcp_pair();
    let mut accepting = End::server(left, server_config, Reading::Exact);
    let mut connecting = End::client(right, client_config, Reading::Exact);
    let (mut accepted, mut connected) = (false, false);
    let until = Deadline::new();
    while !accepted || !connected {
        accepted = accepted || accepting.advance().expect("the server's side");
        connected = connected || connecting.advance().expect("the client's side");
        until.check("the handshake");
    }
    let support = Support::shared();
    (Talk::new(accepting, support, server), Talk::new(connecting, support, client))
}

/// Whether the kernel takes TLS 1.3 here.
pub fn takes_tls13() -> bool {
    Support::shared().takes(kernel_tls::Version::Tls13, kernel_tls::Cipher::Aes128Gcm).is_ok()
}

/// The same for a test that is about nothing else, and is skipped without it.
pub fn has_tls13() -> bool {
    let refusal =
        Support::shared().takes(kernel_tls::Version::Tls13, kernel_tls::Cipher::Aes128Gcm);
    if let Err(reason) = &refusal {
        println!("SKIPPED tls13_in_the_kernel: {reason}");
    }
    refusal.is_ok()
}

/// One suite of each version that the kernel takes here.
pub fn kernel_suites() -> Vec<SupportedCipherSuite> {
    let mut suites = vec![suite(TLS12)];
    if takes_tls13() {
        suites.push(suite(TLS13));
    }
    suites
}

/// Where the cipher does not matter.
pub const TLS12: &str = "TLS_ECDHE_ECDSA_WITH_AES_128";

/// Likewise.
pub const TLS13: &str = "TLS13_AES_128";

/// The byte at a place of a direction.
pub fn pattern(direction: usize, place: usize) -> u8 {
    let mixed = (place ^ direction << 24).wrapping_mul(0x9e37_79b1);
    (mixed >> 13) as u8
}

/// One direction of a transfer.
pub struct Flow {
    direction: usize,
    pub sent: usize,
    pub received: usize,
}

impl Flow {
    pub fn new(direction: usize) -> Self {
        Self { direction, sent: 0, received: 0 }
    }

    /// Writes up to `length` bytes; what the socket takes.
    pub fn write(&mut self, talk: &mut Talk, length: usize) {
        let places = self.sent..self.sent + length;
        let data: Vec<u8> = places.map(|place| pattern(self.direction, place)).collect();
        match talk.write(&data) {
            Ok(taken) => self.sent += taken,
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}"),
        }
    }

    /// Reads until nothing is there; true when the peer has closed.
    pub fn read(&mut self, talk: &mut Talk) -> bool {
        loop {
            match talk.read() {
                Ok(Received::Data(data)) => {
                    for byte in data {
                        assert_eq!(*byte, pattern(self.direction, self.received), "in its place");
                        self.received += 1;
                    }
                }
                Ok(Received::Nothing) => {}
                Ok(Received::CloseNotify) => return true,
                Ok(Received::Alert(alert)) => panic!("an alert: {alert:?}"),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// Sends what waits.
pub fn flush(talk: &mut Talk) {
    if talk.stream.wants_flush()
        && let Err(error) = talk.stream.flush(&talk.socket)
    {
        assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}");
    }
}

/// Both flows' bytes, written in pieces of `pieces`, arrive in their order at both ends.
pub fn transfer(ends: &mut (Talk, Talk), flows: &mut [Flow; 2], bytes: usize, pieces: &[usize]) {
    let until = Deadline::new();
    let goals = [flows[0].sent + bytes, flows[1].sent + bytes];
    let mut turn = 0;
    while flows[0].received < goals[0] || flows[1].received < goals[1] {
        let piece = pieces[turn % pieces.len()];
        turn += 1;
        let [first, second] = flows;
        for (flow, goal, talk) in [(first, goals[0], &mut ends.0), (second, goals[1], &mut ends.1)]
        {
            flow.write(talk, piece.min(goal - flow.sent));
            flush(talk);
        }
        flows[0].read(&mut ends.1);
        flows[1].read(&mut ends.0);
        until.check("the transfer");
    }
}

/// A time after which a test has failed.
pub struct Deadline(Instant);

impl Deadline {
    pub fn new() -> Self {
        Self(Instant::now() + Duration::from_secs(60))
    }

    pub fn check(&self, what: &str) {
        assert!(Instant::now() < self.0, "{what} did not end");
        std::thread::yield_now();
    }
}
