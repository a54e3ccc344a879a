//! What an eavesdropper sees: the SPI and IV of every ESP packet that leaves a host.
//!
//! An IV that comes twice under one key would be the end of AES-GCM and ChaCha20-Poly1305, so this
//! counts on the wire, where no engine's opinion of itself matters.

use std::{
    collections::{HashMap, HashSet},
    io::{ErrorKind, Read},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::Result;
use socket2::{Domain, Protocol, Socket, Type};

use crate::hosts::{Hosts, Side};

/// Listens on a host's wire while it lives.
pub(crate) struct Wire {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Seen>>,
}

/// IVs by SPI.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) by_spi: HashMap<u32, HashSet<u64>>,
    /// SPI and IV of packets that repeat both.
    pub(crate) repeated: Vec<(u32, u64)>,
    pub(crate) packets: u64,
}

impl Wire {
    pub(crate) fn listen(hosts: &Hosts, side: Side) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = hosts.spawn(side, move || capture(&told))?;
        Ok(Self { stop, thread })
    }

    pub(crate) fn finish(self) -> Result<Seen> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow::anyhow!("the listener panicked"))?
    }
}

/// Both directions pass one host's wire; a packet passes it once.
fn capture(stop: &AtomicBool) -> Result<Seen> {
    let every = Protocol::from(i32::from(ETH_P_ALL.to_be()));
    // Of type DGRAM: IP packets, without the link's header.
    let mut socket = Socket::new(Domain::PACKET, Type::DGRAM, Some(every))?;
    socket.set_recv_buffer_size(64 << 20)?;
    socket.set_read_timeout(Some(Duration::from_millis(50)))?;
    let mut seen = Seen::default();
    let mut packet = vec![0; 65_536];
    while !stop.load(Ordering::Relaxed) {
        match socket.read(&mut packet) {
            Ok(len) => seen.note(&packet[..len]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(seen)
}

impl Seen {
    fn note(&mut self, packet: &[u8]) {
        let Some((spi, iv)) = esp_of(packet) else { return };
        self.packets += 1;
        if !self.by_spi.entry(spi).or_default().insert(iv) {
            self.repeated.push((spi, iv));
        }
    }
}

/// SPI and IV of an IPv4 packet, if it is ESP: by itself, or in UDP on port 4500.
fn esp_of(packet: &[u8]) -> Option<(u32, u64)> {
    let header = usize::from(packet.first()? & 0x0f) * 4;
    let payload = packet.get(header..)?;
    let esp = match packet.get(9)? {
        50 => payload,
        17 if payload.get(2..4)? == ESP_IN_UDP.to_be_bytes() => payload.get(8..)?,
        _ => return None,
    };
    let spi = u32::from_be_bytes(*esp.first_chunk()?);
    let iv = u64::from_be_bytes(*esp.get(8..)?.first_chunk()?);
    // An SPI of 0 is the mark of what is not ESP (RFC 3948 section 2.2).
    (spi != 0).then_some((spi, iv))
}

/// linux/if_ether.h
const ETH_P_ALL: u16 = 3;
const ESP_IN_UDP: u16 = 4500;
