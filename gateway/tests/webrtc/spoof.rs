//! Datagrams under addresses that are not the sender's own, by a raw socket abroad.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::{getpriority_process, setpriority_process};
use socket2::{Domain, Protocol, Socket, Type};

/// A raw socket that writes IP headers itself.
pub(crate) struct Spoof {
    socket: Socket,
    packet: Vec<u8>,
}

/// Which sources a flood pretends to have.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sources {
    /// One after the other of 65,536 addresses, from changing ports (RFC 2544's networks).
    Many,
    /// This one, which signalling named.
    One(SocketAddrV4),
}

/// What a flood did.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flood {
    pub(crate) sent: u32,
    pub(crate) lasted: Duration,
}

impl Spoof {
    /// For the namespace of this thread; needs CAP_NET_RAW.
    pub(crate) fn new() -> Result<Self> {
        // 255 is IPPROTO_RAW: what is written begins with an IP header (raw(7)).
        let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(255)))
            .context("a raw socket")?;
        Ok(Self { socket, packet: Vec::new() })
    }

    /// One datagram.
    pub(crate) fn send(
        &mut self,
        from: SocketAddrV4,
        to: SocketAddrV4,
        payload: &[u8],
    ) -> Result<()> {
        let udp = 8 + payload.len() as u16;
        self.packet.clear();
        // RFC 791 section 3.1; the kernel fills in length and checksum. Then RFC 768, without a
        // checksum, as IPv4 allows.
        self.packet.extend([0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0]);
        self.packet.extend(from.ip().octets());
        self.packet.extend(to.ip().octets());
        for number in [from.port(), to.port(), udp, 0] {
            self.packet.extend(number.to_be_bytes());
        }
        self.packet.extend(payload);
        self.socket.send_to(&self.packet, &SocketAddr::from(to).into())?;
        Ok(())
    }

    /// Sends `payloads` in turn to `targets` in turn for so long, `rate` a second. Who was held up
    /// catches up evenly: a wire has no room for two thousand datagrams at once, as this kernel's
    /// veth pair has.
    pub(crate) fn flood(
        &mut self,
        sources: Sources,
        targets: &[SocketAddrV4],
        payloads: &[Vec<u8>],
        rate: u32,
        lasting: Duration,
    ) -> Result<Flood> {
        // An attacker has a machine of its own: what else runs on this one must not slow it down.
        let usual = getpriority_process(None)?;
        setpriority_process(None, URGENT)?;
        let begun = Instant::now();
        let mut sent = 0_u32;
        while begun.elapsed() < lasting {
            let due = (begun.elapsed().as_secs_f64() * f64::from(rate)) as u32;
            let now = due.min(sent + AT_ONCE);
            while sent < now {
                let index = sent as usize;
                // Of each target all sources and payloads in turn.
                let round = index / targets.len();
                let from = sources.source(round as u32);
                self.send(from, targets[index % targets.len()], &payloads[round % payloads.len()])?;
                sent += 1;
            }
            std::thread::sleep(PAUSE);
        }
        let lasted = begun.elapsed();
        setpriority_process(None, usual)?;
        Ok(Flood { sent, lasted })
    }
}

impl Sources {
    fn source(self, number: u32) -> SocketAddrV4 {
        match self {
            Self::Many => {
                let address = Ipv4Addr::from(0xc612_0000 | (number & 0xffff));
                SocketAddrV4::new(address, 1024 + (number % 50_000) as u16)
            }
            Self::One(source) => source,
        }
    }
}

impl Flood {
    /// Datagrams a second.
    pub(crate) fn rate(self) -> f64 {
        f64::from(self.sent) / self.lasted.as_secs_f64()
    }
}

/// Six times what is due after [`PAUSE`] at 100,000 a second.
const AT_ONCE: u32 = 300;
/// A nice value: the most urgent.
pub(crate) const URGENT: i32 = -20;
const PAUSE: Duration = Duration::from_micros(500);
