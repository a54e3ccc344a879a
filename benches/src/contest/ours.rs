//! Ours, packet by packet.

use srtp::{Policy, Receiver, Sender};

use super::packets::Packet;
use super::{Absent, Case, Contestant, Work, keys};

/// One session, both directions of it.
pub(super) struct OneByOne {
    sender: Sender,
    receiver: Receiver,
    work: Work,
}

impl OneByOne {
    pub(super) fn new(case: Case) -> Result<Self, Absent> {
        let key = keys::master(case.profile, 0);
        let absent = |_| Absent("our own session refuses its key");
        let sender = Sender::new(&key, &Policy::default()).map_err(absent)?;
        let receiver = Receiver::new(&key, &Policy::default()).map_err(absent)?;
        Ok(Self { sender, receiver, work: case.work })
    }
}

impl Contestant for OneByOne {
    fn work(&mut self, packets: &mut [Packet]) -> usize {
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
