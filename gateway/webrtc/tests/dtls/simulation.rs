//! Handshakes over a bad network, seeded and in virtual time: loss, duplication, reordering and
//! fragmentation. Each ends, secured or failed, within the bound; those that are secured agree.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use srtp::Profile;
use webrtc::dtls::{DtlsSettings, Failure};

use crate::pair::{Pair, Side, identity};

/// How bad a network is, each in 1,000.
#[derive(Clone, Copy)]
struct Network {
    loss: u64,
    duplication: u64,
    /// Datagrams that take up to a second more than others.
    delay: u64,
}

/// SplitMix64: a seed's network is the same on every machine.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn happens(&mut self, in_thousand: u64) -> bool {
        self.roll() % 1000 < in_thousand
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum To {
    Client,
    Server,
}

struct Simulation {
    pair: Pair,
    network: Network,
    dice: Dice,
    /// In the order of arrival.
    under_way: BTreeMap<(Instant, u64), (To, Vec<u8>)>,
    count: u64,
}

impl Simulation {
    fn new(seed: u64, network: Network, settings: &DtlsSettings) -> Self {
        let common = &Profile::COMMON;
        let pair = Pair::between(&identity(0), &identity(1), settings, common, common);
        Self { pair, network, dice: Dice(seed), under_way: BTreeMap::new(), count: 0 }
    }

    fn send(&mut self, to: To, datagram: Vec<u8>) {
        let copies = 1 + u64::from(self.dice.happens(self.network.duplication));
        for _ in 0..copies {
            if self.dice.happens(self.network.loss) {
                continue;
            }
            let mut millis = 20 + self.dice.roll() % 20;
            if self.dice.happens(self.network.delay) {
                millis += self.dice.roll() % 1000;
            }
            self.count += 1;
            let arrival = self.pair.now + Duration::from_millis(millis);
            self.under_way.insert((arrival, self.count), (to, datagram.clone()));
        }
    }

    fn drain(&mut self) {
        for datagram in self.pair.client.drain() {
            self.send(To::Server, datagram);
        }
        for datagram in self.pair.server.drain() {
            self.send(To::Client, datagram);
        }
    }

    /// Until nothing is under way and nobody has a deadline.
    fn run(mut self) -> Pair {
        loop {
            self.drain();
            let arrival = self.under_way.keys().next().map(|(at, _)| *at);
            let timeouts = [self.pair.client.outcome.timeout, self.pair.server.outcome.timeout];
            let Some(next) = timeouts.into_iter().chain([arrival]).flatten().min() else {
                return self.pair;
            };
            self.pair.now = next.max(self.pair.now);
            if arrival.is_some_and(|at| at <= self.pair.now)
                && let Some((_, (to, datagram))) = self.under_way.pop_first()
            {
                let side = match to {
                    To::Client => &mut self.pair.client,
                    To::Server => &mut self.pair.server,
                };
                side.association.receive(&datagram, self.pair.now);
            }
            self.pair.client.association.handle_timeout(self.pair.now);
            self.pair.server.association.handle_timeout(self.pair.now);
        }
    }
}

/// How a run ended for a side: never neither, never both.
fn assert_ended(seed: u64, side: &Side) {
    let outcome = &side.outcome;
    assert!(
        outcome.secured.is_some() != outcome.failed.is_some(),
        "seed {seed}: {:?}, {:?}",
        outcome.profile(),
        outcome.failed
    );
    assert!(
        matches!(outcome.failed, None | Some(Failure::TimedOut)),
        "seed {seed}: {:?}",
        outcome.failed
    );
}

/// Runs `seeds` and gives in how many both sides were secured.
fn run(seeds: u64, network: Network, settings: &DtlsSettings) -> u64 {
    let mut secured = 0;
    for seed in 0..seeds {
        let simulation = Simulation::new(seed, network, settings);
        let start = simulation.pair.now;
        let pair = simulation.run();
        assert_ended(seed, &pair.client);
        // A server that never heard a ClientHello still waits for it.
        if pair.server.outcome.failed.is_some() || pair.server.outcome.secured.is_some() {
            assert_ended(seed, &pair.server);
        }
        // The server's bound begins with the first ClientHello, which can be the client's last; and
        // datagrams arrive later than the last deadline.
        assert!(pair.now - start <= 2 * settings.handshake_timeout + Duration::from_secs(2));
        if pair.client.outcome.secured.is_some() && pair.server.outcome.secured.is_some() {
            pair.assert_secured();
            secured += 1;
        }
    }
    secured
}

#[test]
fn a_good_network_always_secures() {
    let network = Network { loss: 0, duplication: 0, delay: 0 };
    assert_eq!(run(20, network, &DtlsSettings::default()), 20);
}

#[test]
fn duplication_and_reordering_always_secure() {
    let network = Network { loss: 0, duplication: 300, delay: 300 };
    assert_eq!(run(100, network, &DtlsSettings::default()), 100);
}

#[test]
fn a_third_lost_still_nearly_always_secures() {
    let network = Network { loss: 300, duplication: 100, delay: 200 };
    let secured = run(300, network, &DtlsSettings::default());
    assert!(secured >= 270, "{secured} of 300");
}

#[test]
fn fragments_over_a_bad_network_end_too() {
    let network = Network { loss: 300, duplication: 100, delay: 200 };
    let settings = DtlsSettings { mtu: 300, ..DtlsSettings::default() };
    let secured = run(200, network, &settings);
    assert!(secured >= 100, "{secured} of 200");
}

#[test]
fn a_dead_network_ends_at_the_bound() {
    let network = Network { loss: 1000, duplication: 0, delay: 0 };
    assert_eq!(run(5, network, &DtlsSettings::default()), 0);
}
