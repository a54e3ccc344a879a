//! Writing to a TUN device: each run of packets that [`super::join`] finds in one call.

use std::io::{self, IoSlice, Write};

use super::join::{HEADERS, Plan, Run};
use super::virtio::{Header, Version};
use super::{Level, Tun};
use crate::batch::{PacketBatch, SEGMENTS};
use crate::offload::Support;

/// What a [`Tun::write`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Packets that the kernel took.
    pub packets: usize,
    /// Packets that it did not take: device down, not IP, out of memory.
    pub refused: usize,
    /// Calls that took packets: fewer than packets when packets were joined.
    pub writes: usize,
}

impl Tun {
    /// Hands all packets of `batch` to the kernel as received on the device; those dropped
    /// (empty) are passed over. Packets of one flow keep their order. Never waits.
    ///
    /// # Errors
    /// EBADFD when the device was removed from outside: the `Tun` is finished. What the kernel
    /// refuses is counted, not an error.
    pub fn write(&mut self, batch: &PacketBatch) -> io::Result<Written> {
        let mut written = Written::default();
        let level = if self.writes_joined.is_active() { self.offload.level } else { Level::None };
        // Taken out for the time of its use: the writes below need all of `self`.
        let mut plan = std::mem::take(&mut self.plan);
        plan.make(batch, level);
        let result =
            plan.runs().iter().try_for_each(|run| self.write_run(batch, &plan, run, &mut written));
        self.plan = plan;
        self.counters.refused += written.refused as u64;
        result.map(|()| written)
    }

    /// One run, joined if it can be, else packet by packet.
    fn write_run(
        &mut self,
        batch: &PacketBatch,
        plan: &Plan,
        run: &Run,
        written: &mut Written,
    ) -> io::Result<()> {
        let mut headers = [0; HEADERS];
        if let Some((length, header, version)) = run.headers(batch, &mut headers) {
            let header = header.encode(version);
            let mut parts = [IoSlice::new(&[]); 2 + SEGMENTS];
            parts[0] = IoSlice::new(&header);
            parts[1] = IoSlice::new(&headers[..length]);
            for (part, at) in parts[2..].iter_mut().zip(plan.members(run)) {
                *part = IoSlice::new(run.payload_of(batch.packet(at)));
            }
            match self.file.write_vectored(&parts[..2 + run.packets]) {
                Ok(_) => {
                    written.packets += run.packets;
                    written.writes += 1;
                    return Ok(());
                }
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                    let reason = format!("a joined write: {error}");
                    self.writes_joined = Support::Inactive(reason);
                }
                // What else it says, it says of each packet too.
                Err(_) => {}
            }
        }
        plan.members(run).try_for_each(|at| self.write_single(batch.packet(at), written))
    }

    fn write_single(&mut self, packet: &[u8], written: &mut Written) -> io::Result<()> {
        let header = Header::default().encode(Version::V4);
        match self.file.write_vectored(&[IoSlice::new(&header), IoSlice::new(packet)]) {
            Ok(_) => {
                written.packets += 1;
                written.writes += 1;
            }
            Err(error) if error.raw_os_error() == Some(libc::EBADFD) => return Err(error),
            Err(error) => {
                written.refused += 1;
                self.last_write_error = error.raw_os_error();
            }
        }
        Ok(())
    }
}
