//! `tunnel_send ADDR:PORT BYTES MILLISECONDS [RATE]`: the load of the tunnel figure, as a process
//! of its own so that it can be in another network namespace. Prints how many packets it sent.

use std::time::Duration;

use anyhow::{Context, Result};
use benches::tunnel::traffic::send;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut next = |what: &'static str| arguments.next().context(what);
    let to = next("where to")?.parse()?;
    let packet = next("how many bytes")?.parse()?;
    let length = Duration::from_millis(next("for how long")?.parse()?);
    let rate = next("rate").ok().map(|rate| rate.parse()).transpose()?;
    println!("{}", send(to, packet, length, rate)?);
    Ok(())
}
