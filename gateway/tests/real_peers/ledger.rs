//! The books of one direction of one call: what was sent, what came, and what is wrong with it.

use std::fmt::Write;

use crate::packet::{Origin, RtpHeader, timestamp};

/// One direction's RTP and RTCP, from the first packet sent after the call's ACK.
pub(crate) struct Ledger {
    origin: Origin,
    rtp: Column,
    rtcp: Column,
    /// Received sequence number minus count: constant, whatever the source does, for a receiver
    /// must never see a jump.
    offset: Option<u16>,
    faults: Vec<String>,
}

/// Counts of one kind of packet; the index is the count that each carries.
#[derive(Default)]
struct Column {
    arrived: Vec<u16>,
}

/// How many packets went and came, over both kinds or over many calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) sent: usize,
    pub(crate) received: usize,
}

impl Ledger {
    pub(crate) fn new(origin: Origin) -> Self {
        Self {
            origin,
            rtp: Column::default(),
            rtcp: Column::default(),
            offset: None,
            faults: Vec::new(),
        }
    }

    /// Enters the next RTP packet as sent; returns the count that it must carry.
    pub(crate) fn send_rtp(&mut self) -> u32 {
        self.rtp.send()
    }

    /// Enters the next RTCP packet as sent; returns the count that it must carry.
    pub(crate) fn send_rtcp(&mut self) -> u32 {
        self.rtcp.send()
    }

    /// Enters an RTP packet that the other party opened.
    pub(crate) fn receive_rtp(&mut self, packet: &[u8]) {
        let Some((header, payload)) = RtpHeader::split(packet) else {
            return self.fault(format!("came with a changed header: {:02x?}", head(packet)));
        };
        let Some(count) = self.origin.count_of(payload) else {
            return self.fault(format!(
                "sequence {} came with a changed payload of {} bytes",
                header.sequence,
                payload.len()
            ));
        };
        if header.ssrc != self.origin.ssrc() || header.timestamp != timestamp(count) {
            self.fault(format!("packet {count} came with a changed SSRC or timestamp: {header:?}"));
        }
        let offset = header.sequence.wrapping_sub(count as u16);
        let expected = *self.offset.get_or_insert(offset);
        if offset != expected {
            self.fault(format!(
                "packet {count} came under sequence {}, expected {}",
                header.sequence,
                expected.wrapping_add(count as u16)
            ));
        }
        if let Err(fault) = self.rtp.receive(count) {
            self.fault(format!("RTP {fault}"));
        }
    }

    /// Enters an RTCP packet that the other party opened.
    pub(crate) fn receive_rtcp(&mut self, packet: &[u8]) {
        match self.origin.count_of_rtcp(packet) {
            Some(count) => {
                if let Err(fault) = self.rtcp.receive(count) {
                    self.fault(format!("RTCP {fault}"));
                }
            }
            None => self.fault(format!("came with a changed RTCP packet: {:02x?}", head(packet))),
        }
    }

    /// Enters something else that went wrong.
    pub(crate) fn fault(&mut self, fault: String) {
        self.faults.push(fault);
    }

    /// What went and came of RTP.
    pub(crate) fn rtp(&self) -> Tally {
        self.rtp.tally()
    }

    /// What went and came of RTCP.
    pub(crate) fn rtcp(&self) -> Tally {
        self.rtcp.tally()
    }

    /// Every fault, losses included, as sentences; empty when all is well.
    pub(crate) fn verdict(&self) -> Vec<String> {
        let mut faults: Vec<String> = self.faults.iter().take(FAULTS_SHOWN).cloned().collect();
        if self.faults.len() > FAULTS_SHOWN {
            faults.push(format!("and {} more like these", self.faults.len() - FAULTS_SHOWN));
        }
        for (kind, column) in [("RTP", &self.rtp), ("RTCP", &self.rtcp)] {
            let tally = column.tally();
            if tally.received < tally.sent {
                faults.push(format!(
                    "{} of {} {kind} packets lost: numbers {}",
                    tally.sent - tally.received,
                    tally.sent,
                    column.missing()
                ));
            }
        }
        faults
    }
}

impl Column {
    fn send(&mut self) -> u32 {
        self.arrived.push(0);
        self.arrived.len() as u32 - 1
    }

    fn receive(&mut self, count: u32) -> Result<(), String> {
        match self.arrived.get_mut(count as usize) {
            None => Err(format!("packet {count} came but was never sent")),
            Some(times @ 1..) => {
                *times += 1;
                Err(format!("packet {count} came {times} times"))
            }
            Some(times) => {
                *times = 1;
                Ok(())
            }
        }
    }

    fn tally(&self) -> Tally {
        let received = self.arrived.iter().filter(|times| **times > 0).count();
        Tally { sent: self.arrived.len(), received }
    }

    /// The missing counts as ranges.
    fn missing(&self) -> String {
        let mut text = String::new();
        let mut at = 0;
        for run in self.arrived.chunk_by(|a, b| (*a == 0) == (*b == 0)) {
            if run[0] == 0 {
                let separator = if text.is_empty() { "" } else { ", " };
                let _ = match run.len() {
                    1 => write!(text, "{separator}{at}"),
                    len => write!(text, "{separator}{at}-{}", at + len - 1),
                };
            }
            at += run.len();
        }
        text
    }
}

impl Tally {
    pub(crate) fn add(&mut self, other: Self) {
        self.sent += other.sent;
        self.received += other.received;
    }
}

fn head(packet: &[u8]) -> &[u8] {
    &packet[..packet.len().min(32)]
}

/// More than these of one direction say nothing new.
const FAULTS_SHOWN: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::Sender;

    const ORIGIN: Origin = Origin { call: 1, sender: Sender::Caller };

    #[test]
    fn lost_packets_are_named() {
        let mut ledger = Ledger::new(ORIGIN);
        for sequence in 100..110 {
            let count = ledger.send_rtp();
            if !matches!(sequence, 103 | 107..) {
                ledger.receive_rtp(&ORIGIN.rtp(count, sequence));
            }
        }
        assert_eq!(ledger.verdict(), ["4 of 10 RTP packets lost: numbers 3, 7-9"]);
    }

    #[test]
    fn a_jump_in_the_received_sequence_is_a_fault() {
        let mut ledger = Ledger::new(ORIGIN);
        for sequence in [100, 5000] {
            let count = ledger.send_rtp();
            ledger.receive_rtp(&ORIGIN.rtp(count, sequence));
        }
        assert_eq!(ledger.verdict(), ["packet 1 came under sequence 5000, expected 101"]);
    }

    #[test]
    fn duplicates_and_strangers_are_faults() {
        let mut ledger = Ledger::new(ORIGIN);
        let report = ORIGIN.rtcp(ledger.send_rtcp());
        ledger.receive_rtcp(&report);
        ledger.receive_rtcp(&report);
        ledger.receive_rtcp(&ORIGIN.rtcp(9));
        assert_eq!(
            ledger.verdict(),
            ["RTCP packet 0 came 2 times", "RTCP packet 9 came but was never sent"]
        );
    }
}
