//! The body of `statistics`: what the relay did since it started, in the names of the
//! incumbent's `list jsonstats`.
//!
//! Like there, durations are strings of seconds. `intervalstatistics`, `mos` and the commands we
//! do not have are left out rather than sent as zeros; all media is user space's.

use std::time::Duration;

use super::ok;
use crate::wire::{Dict, Value};

/// The relay since it started.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RelayStatistics {
    /// Since the start.
    pub uptime: Duration,
    /// Sessions, now and before.
    pub sessions: Sessions,
    /// Rates of the last second or so.
    pub rates: Traffic,
    /// Sums since the start.
    pub totals: Traffic,
    /// Media streams now.
    pub media: u64,
    /// Streams that ended without a packet.
    pub zero_way_streams: u64,
    /// Streams that ended with packets one way only.
    pub one_way_streams: u64,
    /// What controllers asked.
    pub proxies: Vec<ProxyStatistics>,
    /// Ports.
    pub interfaces: Vec<InterfaceStatistics>,
}

/// Sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sessions {
    /// Now.
    pub current: u64,
    /// Ended, all in all.
    pub managed: u64,
    /// Refused by a limit.
    pub rejected: u64,
    /// Ended without packets.
    pub timed_out: u64,
    /// Ended by the silent timeout.
    pub silent_timed_out: u64,
    /// Ended without an answer.
    pub offer_timed_out: u64,
    /// Ended by `delete`.
    pub terminated: u64,
    /// Ended by the operator.
    pub forced: u64,
    /// Sum of the durations of those ended.
    pub duration: Duration,
}

/// Packets, bytes and errors: sums, or per second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
    /// Packets dropped.
    pub errors: u64,
}

/// One controller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxyStatistics {
    /// Its address.
    pub proxy: String,
    /// `ping`.
    pub ping: CommandCount,
    /// `offer`.
    pub offer: CommandCount,
    /// `answer`.
    pub answer: CommandCount,
    /// `delete`.
    pub delete: CommandCount,
    /// `query`.
    pub query: CommandCount,
    /// `list`.
    pub list: CommandCount,
    /// `statistics`.
    pub statistics: CommandCount,
    /// Error replies.
    pub errors: u64,
}

/// How often a command came and how long it took in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CommandCount {
    /// Requests.
    pub count: u64,
    /// Sum of their handling times.
    pub duration: Duration,
}

/// One address of a logical interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InterfaceStatistics {
    /// The interface's name.
    pub name: String,
    /// The address.
    pub address: String,
    /// The first port of the range.
    pub min: u16,
    /// The last port of the range.
    pub max: u16,
    /// Ports in use.
    pub used: u64,
}

impl RelayStatistics {
    /// The whole reply.
    pub fn dict(&self) -> Dict {
        let statistics = Dict::default()
            .with("currentstatistics", self.current())
            .with("totalstatistics", self.total())
            .with("controlstatistics", self.control())
            .with("interfaces", list(&self.interfaces, InterfaceStatistics::dict))
            .with("transcoders", Vec::new());
        ok().with("statistics", statistics)
    }

    fn current(&self) -> Dict {
        let dict = Dict::default()
            .with("sessionsown", self.sessions.current)
            .with("sessionsforeign", 0_i64)
            .with("sessionstotal", self.sessions.current)
            .with("transcodedmedia", 0_i64);
        self.rates
            .by_path(dict, ["packetrate", "byterate", "errorrate"])
            .with("media_userspace", self.media)
            .with("media_kernel", 0_i64)
            .with("media_mixed", 0_i64)
    }

    fn total(&self) -> Dict {
        let sessions = &self.sessions;
        let average = match u32::try_from(sessions.managed) {
            Ok(ended @ 1..) => sessions.duration / ended,
            _ => Duration::ZERO,
        };
        let dict = Dict::default()
            .with("uptime", self.uptime.as_secs().to_string())
            .with("managedsessions", sessions.managed)
            .with("rejectedsessions", sessions.rejected)
            .with("timeoutsessions", sessions.timed_out)
            .with("silenttimeoutsessions", sessions.silent_timed_out)
            .with("finaltimeoutsessions", 0_i64)
            .with("offertimeoutsessions", sessions.offer_timed_out)
            .with("regularterminatedsessions", sessions.terminated)
            .with("forcedterminatedsessions", sessions.forced);
        self.totals
            .by_path(dict, ["relayedpackets", "relayedbytes", "relayedpacketerrors"])
            .with("zerowaystreams", self.zero_way_streams)
            .with("onewaystreams", self.one_way_streams)
            .with("avgcallduration", seconds(average))
            .with("totalcallsduration", seconds(sessions.duration))
    }

    fn control(&self) -> Dict {
        let mut dict = Dict::default().with("proxies", list(&self.proxies, ProxyStatistics::dict));
        for (index, name) in COMMANDS.into_iter().enumerate() {
            let total: u64 = self.proxies.iter().map(|proxy| proxy.counts()[index].count).sum();
            dict.push(format!("total{name}count"), total);
        }
        dict
    }
}

impl Traffic {
    /// Each number for user space, for the kernel module (which we have not) and in all.
    fn by_path(&self, mut dict: Dict, names: [&'static str; 3]) -> Dict {
        let numbers = [self.packets, self.bytes, self.errors];
        for (name, number) in names.into_iter().zip(numbers) {
            dict.push(format!("{name}_user"), number);
            dict.push(format!("{name}_kernel"), 0_i64);
            dict.push(name, number);
        }
        dict
    }
}

impl ProxyStatistics {
    /// In the order of [`COMMANDS`].
    fn counts(&self) -> [CommandCount; 7] {
        [self.ping, self.offer, self.answer, self.delete, self.query, self.list, self.statistics]
    }

    fn dict(&self) -> Dict {
        let mut dict = Dict::default().with("proxy", self.proxy.clone());
        for (name, count) in COMMANDS.into_iter().zip(self.counts()) {
            dict.push(format!("{name}count"), count.count);
            dict.push(format!("{name}duration"), seconds(count.duration));
        }
        dict.with("errorcount", self.errors)
    }
}

impl InterfaceStatistics {
    fn dict(&self) -> Dict {
        let total = u64::from(self.max.saturating_sub(self.min)) + 1;
        let percent = self.used.saturating_mul(10_000) / total;
        let ports = Dict::default()
            .with("min", self.min)
            .with("max", self.max)
            .with("used", self.used)
            .with("used_pct", format!("{}.{:02}", percent / 100, percent % 100))
            .with("free", total.saturating_sub(self.used))
            .with("totals", total);
        Dict::default()
            .with("name", self.name.clone())
            .with("address", self.address.clone())
            .with("ports", ports)
    }
}

/// The incumbent's short names of the commands that we have.
const COMMANDS: [&str; 7] = ["ping", "offer", "answer", "delete", "query", "list", "stats"];

fn seconds(duration: Duration) -> Value {
    Value::from(format!("{}.{:06}", duration.as_secs(), duration.subsec_micros()))
}

fn list<T>(items: &[T], dict: impl Fn(&T) -> Dict) -> Value {
    Value::List(items.iter().map(|item| Value::Dict(dict(item))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_incumbent() {
        let offer = CommandCount { count: 10, duration: Duration::from_micros(422) };
        let proxy = ProxyStatistics { proxy: "127.0.0.1".into(), offer, ..Default::default() };
        let interface = InterfaceStatistics {
            name: "default".into(),
            address: "127.0.0.1".into(),
            min: 41000,
            max: 41100,
            used: 8,
        };
        let relay = RelayStatistics {
            uptime: Duration::from_secs(3),
            sessions: Sessions { current: 3, managed: 2, ..Default::default() },
            totals: Traffic { packets: 5, bytes: 860, errors: 1 },
            proxies: vec![proxy.clone(), proxy],
            interfaces: vec![interface],
            ..RelayStatistics::default()
        };
        let dict = relay.dict();
        let statistics = dict.dict("statistics").unwrap();
        let current = statistics.dict("currentstatistics").unwrap();
        assert_eq!(current.int("sessionstotal"), Some(3));
        assert_eq!(current.int("packetrate_user"), Some(0));
        let total = statistics.dict("totalstatistics").unwrap();
        assert_eq!(total.bytes("uptime").unwrap(), "3");
        assert_eq!(total.int("relayedpacketerrors_user"), Some(1));
        assert_eq!(total.int("relayedbytes"), Some(860));
        assert_eq!(total.bytes("avgcallduration").unwrap(), "0.000000");
        let control = statistics.dict("controlstatistics").unwrap();
        assert_eq!(control.int("totaloffercount"), Some(20));
        let proxy = control.value("proxies").unwrap().items()[0].dict().unwrap();
        assert_eq!(proxy.bytes("offerduration").unwrap(), "0.000422");
        let ports = statistics.value("interfaces").unwrap().items()[0].dict().unwrap();
        assert_eq!(ports.dict("ports").unwrap().bytes("used_pct").unwrap(), "7.92");
        assert_eq!(ports.dict("ports").unwrap().int("free"), Some(93));
    }
}
