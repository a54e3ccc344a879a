//! Two gateways rotate their SAs under steady traffic, and are killed while they do.
//!
//! Two hosts (network namespaces), on each an offload agent and a gateway as they are shipped,
//! talking mTLS to each other; keymgr asks them to rotate. Traffic runs both ways through every
//! pair of SAs all the while, every packet is accounted for at its end, and every ESP packet is
//! seen on the wire, where no IV may come twice under one key.
//!
//! `make test` runs these; by hand `cargo test -p gateway --test ipsec -- --show-output`, with
//! POSTERN_PROGRAMS naming the folder of the binaries. They need root.
#![expect(clippy::print_stdout, reason = "a test says what it did")]

mod certificates;
mod hosts;
mod pressure;
mod proxy;
mod site;
mod stream;
mod wire;

use std::{
    collections::HashMap,
    env, fs,
    path::PathBuf,
    process::Child,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    certificates::Authority,
    hosts::{Hosts, Side},
    pressure::Pressure,
    proxy::{Held, Moment},
    site::{Programs, Site, Terms},
    stream::{Account, Traffic},
    wire::Wire,
};

#[test]
fn fifty_rotations_of_all_pairs_lose_and_repeat_nothing() {
    demand("fifty_rotations", || {
        let mut network = Network::new(&terms())?;
        let account = network.under_traffic(|network| {
            for rotation in 0..ROTATIONS {
                network.rotate_all(if rotation % 2 == 0 { Side::Left } else { Side::Right })?;
            }
            Ok(())
        })?;
        println!("{account:?}, {ROTATIONS} rotations of {PAIRS} pairs");
        network.demand_flawless(&account)
    });
}

#[test]
fn a_rotation_asked_for_before_the_last_one_ended_waits_for_that() {
    demand("queued", || {
        let mut network = Network::new(&terms())?;
        let account = network.under_traffic(|network| {
            // The last one still ends, here or at the other side.
            for side in [Side::Left, Side::Left, Side::Right, Side::Right, Side::Left] {
                for _ in 0..2 {
                    network.site(side).ask(&["sa", "rotate", "--all"])?;
                }
            }
            network.demand_settled()
        })?;
        ensure!(network.epochs()?.iter().all(|epoch| *epoch >= 11), "{:?}", network.epochs());
        network.demand_flawless(&account)
    });
}

#[test]
fn both_sides_may_rotate_at_the_same_moment() {
    demand("both_at_once", || {
        let mut network = Network::new(&terms())?;
        let account = network.under_traffic(|network| {
            for _ in 0..10 {
                let children = Side::BOTH.map(|side| {
                    network.site(side).keymgr_command(&["sa", "rotate", "--all"]).spawn()
                });
                for child in children {
                    child?.wait()?;
                }
                network.demand_settled()?;
            }
            Ok(())
        })?;
        network.demand_flawless(&account)
    });
}

#[test]
fn a_killed_gateway_loses_nothing_at_any_step() {
    demand("killed_gateway", || {
        for victim in Side::BOTH {
            let strike = |network: &mut Network| network.site_mut(victim).kill_gateway();
            strike_everywhere(strike, RATE, Duration::ZERO)?;
        }
        Ok(())
    });
}

#[test]
fn a_killed_keymgr_loses_nothing_and_its_rotation_goes_on() {
    demand("killed_keymgr", || {
        let mut network = Network::new(&terms())?;
        let account = network.under_traffic(|network| {
            for _ in 0..5 {
                let before = network.epochs()?;
                let (mut keymgr, held) =
                    hold(network, Side::Left, "install_outbound", Moment::Asked)?;
                keymgr.kill()?;
                keymgr.wait()?;
                drop(held);
                network.demand_settled()?;
                let after = network.epochs()?;
                let went_on = after.iter().zip(&before).any(|(after, before)| after > before);
                ensure!(went_on, "the rotation ended with keymgr");
            }
            Ok(())
        })?;
        network.demand_flawless(&account)
    });
}

#[test]
fn a_killed_agent_costs_a_second_at_most_at_any_step() {
    demand("killed_agent", || {
        for victim in Side::BOTH {
            let strike = |network: &mut Network| network.site_mut(victim).kill_agent();
            strike_everywhere(strike, RATE, RESTART_GAP)?;
        }
        Ok(())
    });
}

/// A restarted agent refuses what its replay floors may have let in before: some hundred packets,
/// which are half a second of much traffic and ten of a call's.
#[test]
fn a_killed_agent_costs_a_second_at_most_of_slow_traffic_too() {
    demand("killed_agent_slow", || {
        for victim in Side::BOTH {
            let strike = |network: &mut Network| network.site_mut(victim).kill_agent();
            strike_everywhere(strike, SLOW_RATE, RESTART_GAP)?;
        }
        Ok(())
    });
}

/// Strikes once at each moment of each step of a rotation, at either side's agent. What is lost
/// may make gaps of `gap` at most.
fn strike_everywhere(
    strike: impl Fn(&mut Network) -> Result<()>,
    rate: f64,
    gap: Duration,
) -> Result<()> {
    let mut network = Network::new(&terms())?;
    network.rate = rate;
    for observed in Side::BOTH {
        for verb in VERBS {
            for moment in [Moment::Asked, Moment::Answered] {
                let at = format!("{observed:?}, {verb}, {moment:?}");
                strike_in_time(&mut network, observed, verb, moment, gap, &strike).context(at)?;
            }
        }
    }
    network.demand_unique_nonces()
}

/// Nothing may be lost where no gap is allowed. A gap that is too long is the machine's where
/// others kept it busy all the while, and gets two more chances; elsewhere it gets none.
fn strike_in_time(
    network: &mut Network,
    observed: Side,
    verb: &'static str,
    moment: Moment,
    gap: Duration,
    strike: &impl Fn(&mut Network) -> Result<()>,
) -> Result<()> {
    let mut chances = if gap == Duration::ZERO { 1 } else { 3 };
    loop {
        let pressure = Pressure::now();
        let account = network
            .under_traffic(|network| strike_once(network, observed, verb, moment, strike))?;
        println!("{observed:?}, {verb}, {moment:?}: {account:?}");
        let judged = match gap {
            Duration::ZERO => network.demand_flawless(&account),
            gap => network.demand_gap(&account, gap),
        };
        chances -= 1;
        if judged.is_ok() || chances == 0 || !pressure.is_high_since() {
            return judged;
        }
    }
}

fn strike_once(
    network: &mut Network,
    observed: Side,
    verb: &'static str,
    moment: Moment,
    strike: impl Fn(&mut Network) -> Result<()>,
) -> Result<()> {
    let (mut keymgr, held) = hold(network, observed, verb, moment)?;
    strike(network)?;
    drop(held);
    // It may be told that its gateway is gone, or that the rotation was undone: both are true.
    keymgr.wait()?;
    network.demand_settled()
}

/// Starts a rotation, and holds it at that moment. Where the other side has begun one of its own,
/// as after a restart, the step may not come here: it is asked for again.
fn hold(
    network: &Network,
    observed: Side,
    verb: &'static str,
    moment: Moment,
) -> Result<(Child, Held)> {
    let proxy = &network.site(observed).proxy;
    let trap = proxy.set_trap(verb, moment);
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        let left = network.site(Side::Left);
        let mut keymgr = left.keymgr_command(&["sa", "rotate", "--all"]).spawn()?;
        loop {
            if let Ok(held) = trap.recv_timeout(Duration::from_millis(20)) {
                proxy.clear();
                return Ok((keymgr, held));
            }
            if keymgr.try_wait()?.is_some() {
                break;
            }
            if start.elapsed() > PATIENCE {
                keymgr.kill()?;
                keymgr.wait()?;
            }
        }
    }
    proxy.clear();
    bail!("no such step")
}

/// Both sites, and what was seen on the wire between them.
struct Network {
    sites: [Site; 2],
    hosts: Hosts,
    wire: Option<Wire>,
    terms: Terms,
    /// Packets a second each way, over all pairs.
    rate: f64,
    /// Names of keys by SPI, from both sides.
    keys: HashMap<u32, String>,
}

impl Network {
    fn new(terms: &Terms) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let directory =
            state_folder().join(format!("postern-ipsec-{}-{count}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory)?;
        let programs = programs().context("no programs")?;
        let hosts = Hosts::new(terms.pairs)?;
        let wire = Some(Wire::listen(&hosts, Side::Left)?);
        let authority = Authority::new()?;
        let start = |side| Site::start(&hosts, side, &programs, terms, &authority, &directory);
        let sites = [start(Side::Left)?, start(Side::Right)?];
        let (terms, keys) = (terms.clone(), HashMap::new());
        let mut network = Self { sites, hosts, wire, terms, rate: RATE, keys };
        network.demand_settled()?;
        Ok(network)
    }

    fn site(&self, side: Side) -> &Site {
        &self.sites[usize::from(side == Side::Right)]
    }

    fn site_mut(&mut self, side: Side) -> &mut Site {
        &mut self.sites[usize::from(side == Side::Right)]
    }

    /// Runs `work` while every pair carries traffic both ways.
    fn under_traffic(&mut self, work: impl FnOnce(&mut Self) -> Result<()>) -> Result<Account> {
        let traffic = Traffic::start(&self.hosts, self.terms.pairs, self.rate)?;
        let worked = work(self);
        let account = traffic.finish(self.rate / self.terms.pairs as f64)?;
        worked?;
        Ok(account)
    }

    fn rotate_all(&mut self, side: Side) -> Result<()> {
        self.site(side).ask(&["sa", "rotate", "--all"])?;
        self.demand_settled()
    }

    /// Waits until both sides have one epoch of each pair, and the same ones.
    fn demand_settled(&mut self) -> Result<()> {
        let start = Instant::now();
        loop {
            let states = Side::BOTH.map(|side| self.site(side).settled());
            self.note_keys();
            if let [Some(left), Some(right)] = &states
                && left == right
                && left.len() == self.terms.pairs
            {
                return Ok(());
            }
            if start.elapsed() > PATIENCE {
                let logs = Side::BOTH.map(|side| {
                    let site = self.site(side);
                    format!("{side:?}\n{}\n{}", site.log("gateway"), site.log("agent"))
                });
                bail!("not settled: {states:?}\n{}", logs.join("\n"));
            }
            std::thread::sleep(Duration::from_millis(30));
        }
    }

    fn note_keys(&mut self) {
        let pairs = Side::BOTH.into_iter().filter_map(|side| self.site(side).pairs().ok());
        let epochs = pairs.flatten().flat_map(|pair| pair.epochs);
        let sas = epochs.flat_map(|epoch| [epoch.inbound, epoch.outbound]).flatten();
        let keys: Vec<_> = sas.map(|sa| (sa.spi.value(), sa.key)).collect();
        self.keys.extend(keys);
    }

    fn epochs(&self) -> Result<Vec<u64>> {
        self.site(Side::Left).settled().context("not settled")
    }

    fn demand_flawless(&mut self, account: &Account) -> Result<()> {
        self.demand_gap(account, Duration::ZERO)?;
        ensure!(account.lost == 0, "lost: {account:?}");
        for side in Side::BOTH {
            for pair in self.site(side).pairs()? {
                for sa in pair.epochs.into_iter().filter_map(|epoch| epoch.inbound) {
                    let drops = sa.usage.replayed + sa.usage.late + sa.usage.forged;
                    ensure!(drops == 0, "{side:?}, {}: {:?}", pair.pair.name, sa.usage);
                }
            }
        }
        Ok(())
    }

    fn demand_gap(&self, account: &Account, gap: Duration) -> Result<()> {
        ensure!(account.sent > 100, "no traffic: {account:?}");
        ensure!(account.duplicated == 0 && account.damaged == 0, "{account:?}");
        ensure!(account.longest_gap <= gap, "a gap of more than {gap:?}: {account:?}");
        Ok(())
    }

    /// Of everything that was on the wire, no IV came twice under one key.
    fn demand_unique_nonces(&mut self) -> Result<()> {
        let seen = self.wire.take().context("listened already")?.finish()?;
        ensure!(seen.packets > 1_000, "only {} ESP packets seen", seen.packets);
        ensure!(seen.repeated.is_empty(), "SPI and IV twice: {:?}", &seen.repeated[..1]);
        let mut by_key: HashMap<&str, u32> = HashMap::new();
        for spi in seen.by_spi.keys() {
            let Some(key) = self.keys.get(spi) else { continue };
            // One SPI a key: so no IV can come twice under it by way of another SPI.
            if let Some(other) = by_key.insert(key, *spi) {
                bail!("SPIs {spi:#x} and {other:#x} have one key");
            }
        }
        println!("{} ESP packets under {} SPIs, no IV twice", seen.packets, seen.by_spi.len());
        Ok(())
    }
}

/// In memory, as an agent's state is by default: reservations of sequence numbers wait for durable
/// writes, and a disk that others keep busy for seconds is another test.
fn state_folder() -> PathBuf {
    let memory = PathBuf::from("/dev/shm");
    if memory.is_dir() { memory } else { env::temp_dir() }
}

/// Runs a test, or says why it cannot be run here.
fn demand(name: &str, test: impl FnOnce() -> Result<()>) {
    if let Some(reason) = lacking() {
        println!("SKIPPED ipsec::{name}: {reason}");
        return;
    }
    if let Err(error) = test() {
        panic!("{name}: {error:#}");
    }
}

fn lacking() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("network namespaces need root".to_owned());
    }
    if programs().is_none() {
        return Some(
            "POSTERN_PROGRAMS names no folder with gateway, offload-agent, keymgr".to_owned(),
        );
    }
    let tun = PathBuf::from("/dev/net/tun").exists();
    (!tun).then(|| "no /dev/net/tun".to_owned())
}

fn programs() -> Option<Programs> {
    let folder = PathBuf::from(env::var_os("POSTERN_PROGRAMS")?);
    let program = |name: &str| Some(folder.join(name)).filter(|path| path.exists());
    Some(Programs {
        gateway: program("gateway")?,
        agent: program("offload-agent")?,
        keymgr: program("keymgr")?,
    })
}

fn terms() -> Terms {
    Terms {
        pairs: PAIRS,
        engines: ["user-space"; 2],
        aead: "aes-256-gcm",
        udp: true,
        overlap: Duration::from_millis(200),
        agent_socket: "proxy.sock",
    }
}

/// The agent's verbs of a rotation, in order.
const VERBS: [&str; 5] =
    ["prepare", "install_outbound", "switch", "retire_outbound", "retire_inbound"];
const PAIRS: usize = 4;
const ROTATIONS: usize = 50;
/// Packets a second each way, over all pairs.
const RATE: f64 = 5_000.0;
/// As a call's in each pair.
const SLOW_RATE: f64 = 200.0;
const RESTART_GAP: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(15);
