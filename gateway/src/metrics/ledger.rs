//! What control has counted since the start: calls and ng requests. Packets are the workers'.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use srtp::Weakness;

use crate::relay::command::CallReport;
use crate::session::EndReason;
use crate::weakness;

/// Control's counters.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    /// Calls made.
    pub(crate) calls: u64,
    /// Calls ended, in [`Ending::ALL`] order.
    ended: [u64; Ending::ALL.len()],
    /// Sum of the ended calls' durations, seconds.
    pub(crate) duration_seconds: f64,
    /// Sum of their squares.
    pub(crate) duration_squared: f64,
    /// Streams of ended calls that received nothing.
    pub(crate) zero_packet_streams: u64,
    /// Ended calls in which exactly one party sent.
    pub(crate) one_way_calls: u64,
    /// RTP packets that ended calls never received (RFC 3550 A.3).
    pub(crate) packets_lost: u64,
    /// Steps to the next of our keys by MKI.
    pub(crate) key_switches: u64,
    /// Legs agreed that lack something, in [`weakness::ALL`] order.
    weakened: [u64; weakness::ALL.len()],
    /// Per client address.
    clients: BTreeMap<IpAddr, Client>,
}

/// How a call ended or that it never began, as the incumbent counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Ending {
    Rejected,
    Timeout,
    SilentTimeout,
    FinalTimeout,
    OfferTimeout,
    Terminated,
    Forced,
}

/// A command as it is counted; everything we don't know is `Other`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Verb {
    Ping,
    Offer,
    Answer,
    Delete,
    Query,
    List,
    Statistics,
}

/// What one SBC asked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Client {
    requests: [(u64, Duration); Verb::ALL.len()],
    /// Requests answered with an error.
    pub(crate) errors: u64,
}

impl Ending {
    pub(crate) const ALL: [Self; 7] = [
        Self::Rejected,
        Self::Timeout,
        Self::SilentTimeout,
        Self::FinalTimeout,
        Self::OfferTimeout,
        Self::Terminated,
        Self::Forced,
    ];

    /// The incumbent's label.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::Timeout => "timeout",
            Self::SilentTimeout => "silent_timeout",
            Self::FinalTimeout => "final_timeout",
            Self::OfferTimeout => "offer_timeout",
            Self::Terminated => "terminated",
            Self::Forced => "force_terminated",
        }
    }
}

impl From<EndReason> for Ending {
    fn from(reason: EndReason) -> Self {
        match reason {
            EndReason::Terminated => Self::Terminated,
            EndReason::Timeout => Self::Timeout,
            EndReason::SilentTimeout => Self::SilentTimeout,
            EndReason::OfferTimeout => Self::OfferTimeout,
            EndReason::Forced => Self::Forced,
        }
    }
}

impl Verb {
    pub(crate) const ALL: [Self; 7] = [
        Self::Ping,
        Self::Offer,
        Self::Answer,
        Self::Delete,
        Self::Query,
        Self::List,
        Self::Statistics,
    ];

    /// The ng command.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Ping => "ping",
            Self::Offer => "offer",
            Self::Answer => "answer",
            Self::Delete => "delete",
            Self::Query => "query",
            Self::List => "list",
            Self::Statistics => "statistics",
        }
    }
}

impl Ledger {
    /// A request was answered, after this much of our time.
    pub(crate) fn request(&mut self, client: IpAddr, verb: Verb, took: Duration) {
        let (count, seconds) = &mut self.client(client).requests[verb as usize];
        *count += 1;
        *seconds += took;
    }

    /// A request was answered with an error.
    pub(crate) fn error(&mut self, client: IpAddr) {
        self.client(client).errors += 1;
    }

    /// A call ended, or was refused.
    pub(crate) fn ended(&mut self, ending: Ending) {
        self.ended[ending as usize] += 1;
    }

    /// What an ended call did, in this time.
    pub(crate) fn call(&mut self, lasted: Duration, report: &CallReport) {
        let seconds = lasted.as_secs_f64();
        self.duration_seconds += seconds;
        self.duration_squared += seconds * seconds;
        let sending = report.streams.iter().filter(|stream| stream.rtp_in.packets > 0).count();
        self.zero_packet_streams += (report.streams.len() - sending) as u64;
        self.one_way_calls += u64::from(sending == 1 && report.streams.len() > 1);
        let sources = report.streams.iter().flat_map(|stream| &stream.sources);
        self.packets_lost += sources.map(|source| source.lost).sum::<u64>();
    }

    /// A leg was agreed that lacks this.
    pub(crate) fn weakened(&mut self, weakness: Weakness) {
        self.weakened[weakness as usize] += 1;
    }

    /// Legs agreed that lack this.
    pub(crate) fn weakened_by(&self, weakness: Weakness) -> u64 {
        self.weakened[weakness as usize]
    }

    /// Calls ended one way.
    pub(crate) fn ended_by(&self, ending: Ending) -> u64 {
        self.ended[ending as usize]
    }

    /// Who asked what, by address.
    pub(crate) fn clients(&self) -> impl Iterator<Item = (&IpAddr, &Client)> {
        self.clients.iter()
    }

    /// SBCs are few. Beyond the bound somebody forges addresses, which must not grow us: those
    /// are counted together, under the unspecified address.
    fn client(&mut self, address: IpAddr) -> &mut Client {
        let known = self.clients.contains_key(&address) || self.clients.len() < MAX_CLIENTS;
        let key = if known { address } else { IpAddr::from([0, 0, 0, 0]) };
        self.clients.entry(key).or_default()
    }
}

impl Client {
    /// How many requests, and the time they took.
    pub(crate) fn requests(&self, verb: Verb) -> (u64, Duration) {
        self.requests[verb as usize]
    }
}

const MAX_CLIENTS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ending_and_verb_indexes_its_own_place() {
        assert!(Ending::ALL.iter().enumerate().all(|(index, ending)| *ending as usize == index));
        assert!(Verb::ALL.iter().enumerate().all(|(index, verb)| *verb as usize == index));
    }

    #[test]
    fn forged_client_addresses_do_not_grow_the_ledger() {
        let mut ledger = Ledger::default();
        for number in 0..10_000_u32 {
            ledger.request((0x0a00_0000 + number).to_be_bytes().into(), Verb::Ping, Duration::ZERO);
        }
        assert!(ledger.clients().count() <= MAX_CLIENTS + 1);
        let counted: u64 = ledger.clients().map(|(_, c)| c.requests(Verb::Ping).0).sum();
        assert_eq!(counted, 10_000);
    }
}
