//! Two hosts, an agent on the left one or on both, and somebody who sends without end.

use std::{
    fs,
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow, ensure};
use crypto_offload::{Placement, PlacementPolicy, SaPair};
use gateway_control::agent::Request;

use crate::{
    agent::Agent,
    ground::{self, Terms, ip_says, name, pair},
    hosts::{Hosts, Side},
};

/// What every packet of the sender has in it.
pub(crate) const MARK: &[u8] = b"nobody else may read this sentence";
/// Where it goes.
pub(crate) const PORT: u16 = 7100;

/// Which addresses the inner traffic has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inner {
    Ipv4,
    Ipv6,
}

impl Inner {
    pub(crate) fn address(self, side: Side) -> IpAddr {
        let text = match (self, side) {
            (Self::Ipv4, side) => side.inner(0).1,
            (Self::Ipv6, Side::Left) => "fd01::1".to_owned(),
            (Self::Ipv6, Side::Right) => "fd02::1".to_owned(),
        };
        text.parse().unwrap_or(IpAddr::from([0; 4]))
    }
}

/// `false`, said, where this machine gives no hosts.
pub(crate) fn has_hosts(test: &str) -> bool {
    let is_root = rustix::process::geteuid().is_root();
    let has = is_root && fs::metadata("/dev/net/tun").is_ok();
    if !has {
        println!("SKIPPED {test}: it needs root and /dev/net/tun");
    }
    has
}

/// Each way to run an agent here, as its command line names engines, with where keys then are. An
/// emulated machine takes its time: there only what no other has.
pub(crate) fn engines() -> Vec<(&'static str, Placement)> {
    let guarded = ("xfrm,user-space", Placement::UserSpace);
    match std::env::var_os("POSTERN_VM") {
        Some(_) => vec![guarded, ("xfrm", Placement::KernelSoftware)],
        None => vec![("user-space", Placement::UserSpace), guarded],
    }
}

/// Hosts that reach each other by default routes, for both families, and hand on packets.
pub(crate) fn hosts() -> Result<Hosts> {
    let hosts = ground::hosts(1)?;
    ground::add_ipv6(&hosts)?;
    for side in Side::BOTH {
        let forward = hosts.spawn(side, || {
            fs::write("/proc/sys/net/ipv4/ip_forward", "1")?;
            fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1")?;
            Ok(())
        })?;
        forward.join().map_err(|_| anyhow!("panic"))??;
    }
    Ok(hosts)
}

/// The pair, whose keys go where `placement` says.
pub(crate) fn terms(side: Side, inner: Inner, placement: PlacementPolicy) -> Result<SaPair> {
    let mut pair = pair(side, 0, &Terms::placed(placement))?;
    if inner == Inner::Ipv6 {
        let net = |side| ipnet::IpNet::new(inner.address(side), 64).map(|net| net.trunc());
        pair.local_net = net(side)?;
        pair.remote_net = net(side.other())?;
    }
    Ok(pair)
}

pub(crate) fn undefine(agent: &Agent) -> Result<()> {
    agent.ask(&Request::Undefine { name: name(0)? }).map(drop)
}

/// Sends from the left's inner address to the right's, until stopped, whatever its kernel says.
pub(crate) struct Sender {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Sender {
    pub(crate) fn start(hosts: &Hosts, from: Side, inner: Inner) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let sent = Arc::new(AtomicU64::new(0));
        let (told, tries) = (Arc::clone(&stop), Arc::clone(&sent));
        let to = SocketAddr::new(inner.address(from.other()), PORT);
        let thread = hosts.spawn(from, move || {
            let socket = UdpSocket::bind(SocketAddr::new(inner.address(from), 0))?;
            while !told.load(Ordering::Relaxed) {
                let _ = socket.send_to(MARK, to);
                tries.fetch_add(1, Ordering::Relaxed);
                thread::sleep(Duration::from_millis(1));
            }
            Ok(())
        })?;
        Ok(Self { stop, sent, thread: Some(thread) })
    }

    /// Waits until `count` more packets have been sent, or refused.
    pub(crate) fn more(&self, count: u64) -> Result<()> {
        let goal = self.sent.load(Ordering::Relaxed) + count;
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.sent.load(Ordering::Relaxed) < goal {
            ensure!(Instant::now() < deadline, "the sender stands still");
            thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Policies and routes of ours on the left host; nothing, where nothing is left.
pub(crate) fn left_behind(hosts: &Hosts) -> Result<String> {
    let mut all = ip_says(hosts, Side::Left, "xfrm policy list")?;
    for family in ["-4", "-6"] {
        let routes = ip_says(hosts, Side::Left, &format!("{family} route show"))?;
        let ours = |line: &&str| line.contains("unreachable") || line.contains("postern0");
        all.extend(routes.lines().filter(ours));
    }
    Ok(all)
}
