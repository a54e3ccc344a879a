//! Somebody on the wire, who reads what is not encrypted.

use std::{
    io::{ErrorKind, Read},
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context, Result, anyhow};
use socket2::{Domain, Protocol, Socket, Type};

use crate::{
    ground::ip_says,
    hosts::{Hosts, Side},
    world::MARK,
};

/// Counts packets of the sender, and ESP.
pub(crate) struct Spy {
    stop: Arc<AtomicBool>,
    seen: Arc<Seen>,
    thread: Option<JoinHandle<Result<()>>>,
}

#[derive(Default)]
struct Seen {
    clear: AtomicU64,
    esp: AtomicU64,
}

impl Spy {
    /// What the left host sends to the wire.
    pub(crate) fn listen(hosts: &Hosts) -> Result<Self> {
        // Such a socket sees all devices of a host, and once more what its kernel opened, which has
        // the peer's address. The left's own address have frames that it sends to the wire.
        let link = ip_says(hosts, Side::Left, "-o link show wire")?;
        let address = link.split("link/ether ").nth(1).context("no address")?;
        let address = address.split(' ').next().context("no address")?;
        Self::on(hosts, Side::Left, 6..12, address)
    }

    /// Counts frames of a host's devices that have an address at that place.
    pub(crate) fn on(
        hosts: &Hosts,
        side: Side,
        place: Range<usize>,
        address: &str,
    ) -> Result<Self> {
        let octets = address.split(':').map(|octet| u8::from_str_radix(octet, 16));
        let address = octets.collect::<Result<Vec<_>, _>>()?;
        let (stop, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(Seen::default()));
        let (told, counts) = (Arc::clone(&stop), Arc::clone(&seen));
        let (ready, is_ready) = std::sync::mpsc::channel();
        let thread = hosts.spawn(side, move || {
            let every = Protocol::from(i32::from(ETH_P_ALL.to_be()));
            let mut socket = Socket::new(Domain::PACKET, Type::RAW, Some(every))?;
            socket.set_recv_buffer_size(64 << 20)?;
            socket.set_read_timeout(Some(Duration::from_millis(20)))?;
            let _ = ready.send(());
            let mut frame = vec![0; 65_536];
            while !told.load(Ordering::Relaxed) {
                match socket.read(&mut frame) {
                    Ok(len) if frame[..len].get(place.clone()) == Some(&address) => {
                        counts.note(&frame[..len]);
                    }
                    Ok(_) => {}
                    Err(error)
                        if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            Ok(())
        })?;
        is_ready.recv().map_err(|_| anyhow!("nobody listens"))?;
        Ok(Self { stop, seen, thread: Some(thread) })
    }

    /// Packets of the sender that were readable, since it was last asked.
    pub(crate) fn clear(&self) -> u64 {
        // What is on its way has come.
        std::thread::sleep(Duration::from_millis(60));
        self.seen.clear.swap(0, Ordering::Relaxed)
    }

    /// ESP packets since it was last asked.
    pub(crate) fn esp(&self) -> u64 {
        self.seen.esp.swap(0, Ordering::Relaxed)
    }
}

impl Drop for Spy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Seen {
    fn note(&self, frame: &[u8]) {
        if frame.get(12..14) == Some(&[0x08, 0x00]) && frame.get(23) == Some(&50) {
            self.esp.fetch_add(1, Ordering::Relaxed);
        } else if frame.windows(MARK.len()).any(|part| part == MARK) {
            self.clear.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// linux/if_ether.h
const ETH_P_ALL: u16 = 3;
