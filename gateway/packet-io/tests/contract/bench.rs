//! What the claims share: sockets on loopback and a loop that sleeps as a worker does.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use packet_io::{
    Config, Driver, Received, SocketOptions, Token, Turn, Uring, Verdict, open_media_socket,
    wait_readable,
};

/// How long anything may take before a test says that it never came.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
pub(crate) const LOOPBACK: &str = "127.0.0.1:0";
pub(crate) const BUDGET: usize = 256;

/// io_uring, where this machine has it.
pub(crate) fn uring(config: &Config) -> Option<Uring> {
    match Uring::new(config) {
        Ok(driver) => Some(driver),
        Err(error) => {
            println!("SKIPPED: {error}");
            None
        }
    }
}

/// A media socket and its address.
pub(crate) fn media(address: &str) -> (UdpSocket, SocketAddr) {
    let socket = open_media_socket(address.parse().unwrap(), SocketOptions::default()).unwrap();
    let local = socket.local_addr().unwrap();
    (socket, local)
}

/// Gives the driver a new media socket: its address.
pub(crate) fn add(driver: &mut impl Driver, token: u32) -> SocketAddr {
    let (socket, local) = media(LOOPBACK);
    driver.add(Token(token), socket).unwrap();
    driver.flush().unwrap();
    local
}

/// Who the relay talks to.
pub(crate) fn peer(address: &str) -> UdpSocket {
    let socket = UdpSocket::bind(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// Sends `bytes` many times.
pub(crate) fn flood(peer: &UdpSocket, to: SocketAddr, bytes: &[u8], times: usize) {
    for _ in 0..times {
        peer.send_to(bytes, to).unwrap();
    }
}

/// The packet's bytes.
pub(crate) fn payload<'a>(packet: &'a Received<'_>) -> &'a [u8] {
    &packet.buffer[packet.range.clone()]
}

/// Back to where it came from, from the socket it came to.
pub(crate) fn echo(packet: Received<'_>) -> Verdict {
    Verdict::Send { from: packet.token, to: packet.source, range: packet.range }
}

/// Takes turns until `enough`, given the sum so far, says so; sleeps in between when it may.
pub(crate) fn run_until<D, F>(driver: &mut D, mut relay: F, enough: impl Fn(&Turn) -> bool) -> Turn
where
    D: Driver,
    F: FnMut(Received<'_>) -> Verdict,
{
    let deadline = Instant::now() + PATIENCE;
    let mut sum = Turn::default();
    loop {
        let turn = driver.turn(BUDGET, &mut relay).unwrap();
        sum.received += turn.received;
        sum.sent += turn.sent;
        sum.send_errors += turn.send_errors;
        sum.more = turn.more;
        if enough(&sum) {
            return sum;
        }
        assert!(Instant::now() < deadline, "not in {PATIENCE:?}: {sum:?}");
        if !turn.more {
            wait_readable(driver.readiness(), PATIENCE).unwrap();
        }
    }
}
