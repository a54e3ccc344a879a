//! Ours: packet by packet, and a batch at once.

use srtp::{
    Backend, Policy, Receiver, Sender, ToOpen, ToProtect, open_rtp_batch, protect_rtp_batch,
};

use super::packets::{BATCH, Packet};
use super::{Absent, Case, Contestant, Work, keys};

/// One session, both directions of it.
pub(super) struct OneByOne {
    sender: Sender,
    receiver: Receiver,
    work: Work,
}

impl OneByOne {
    pub(super) fn new(case: Case, backend: Backend) -> Result<Self, Absent> {
        let (sender, receiver) = session(case, 0, backend)?;
        Ok(Self { sender, receiver, work: case.work })
    }
}

impl Contestant for OneByOne {
    fn work(&mut self, packets: &mut [Packet; BATCH]) -> usize {
        let mut done = 0;
        for packet in packets {
            let len = match self.work {
                Work::Protect => {
                    self.sender.protect_rtp(&mut packet.bytes, packet.len).map(|sealed| sealed.len)
                }
                Work::Open => {
                    self.receiver.open_rtp(&mut packet.bytes[..packet.len]).map(|opened| opened.len)
                }
            };
            let Ok(len) = len else { return done };
            packet.len = len;
            done += 1;
        }
        done
    }
}

/// A session for each packet of a batch.
pub(super) struct Batch {
    senders: Vec<Sender>,
    receivers: Vec<Receiver>,
    work: Work,
}

impl Batch {
    pub(super) fn new(case: Case) -> Result<Self, Absent> {
        let sessions = (0..BATCH).map(|number| session(case, number, Backend::detect()));
        let (senders, receivers) = sessions.collect::<Result<_, _>>()?;
        Ok(Self { senders, receivers, work: case.work })
    }

    fn protect(&mut self, packets: &mut [Packet; BATCH]) -> usize {
        let mut batch = packets
            .each_mut()
            .map(|packet| ToProtect::new(packet.session, &mut packet.bytes, packet.len));
        protect_rtp_batch(&mut self.senders, &mut batch);
        let lens = batch.map(|packet| packet.outcome?.ok().map(|sealed| sealed.len));
        shorten_or_extend(packets, lens)
    }

    fn open(&mut self, packets: &mut [Packet; BATCH]) -> usize {
        let mut batch = packets
            .each_mut()
            .map(|packet| ToOpen::new(packet.session, &mut packet.bytes[..packet.len]));
        open_rtp_batch(&mut self.receivers, &mut batch);
        let lens = batch.map(|packet| packet.outcome?.ok().map(|opened| opened.len));
        shorten_or_extend(packets, lens)
    }
}

impl Contestant for Batch {
    fn work(&mut self, packets: &mut [Packet; BATCH]) -> usize {
        match self.work {
            Work::Protect => self.protect(packets),
            Work::Open => self.open(packets),
        }
    }
}

fn shorten_or_extend(packets: &mut [Packet; BATCH], lens: [Option<usize>; BATCH]) -> usize {
    let mut done = 0;
    for (packet, len) in packets.iter_mut().zip(lens) {
        let Some(len) = len else { continue };
        packet.len = len;
        done += 1;
    }
    done
}

fn session(case: Case, number: usize, backend: Backend) -> Result<(Sender, Receiver), Absent> {
    let (key, policy) =
        (keys::master(case.profile, number), Policy { backend, ..Policy::default() });
    let absent = |_| Absent("our own session refuses its key");
    let sender = Sender::new(&key, &policy).map_err(absent)?;
    let receiver = Receiver::new(&key, &policy).map_err(absent)?;
    Ok((sender, receiver))
}
