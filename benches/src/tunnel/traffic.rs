//! The load: UDP datagrams as fast as one core sends them, or at a rate.

use std::{
    net::{SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use anyhow::Result;

/// Sends datagrams whose IP packets have `packet` bytes, for `length`, at most `rate` a second;
/// without a rate, as fast as it can. The answer is how many.
///
/// # Errors
/// When there is no route.
pub fn send(to: SocketAddr, packet: usize, length: Duration, rate: Option<f64>) -> Result<u64> {
    let socket = UdpSocket::bind(("0.0.0.0", 0))?;
    socket.connect(to)?;
    let payload = vec![0; packet - IP_AND_UDP];
    let start = Instant::now();
    let mut sent = 0;
    while start.elapsed() < length {
        let due = rate.map_or(sent + BURST, |rate| (start.elapsed().as_secs_f64() * rate) as u64);
        while sent < due {
            // A full queue refuses packets, which is what load beyond capacity means.
            let _ = socket.send(&payload);
            sent += 1;
        }
    }
    Ok(sent)
}

const IP_AND_UDP: usize = 28;
/// Between looks at the clock.
const BURST: u64 = 64;
