//! boringtun, the user-space WireGuard, as a peer: `boringtun-cli` at both ends, one thread each.

use std::{
    fs,
    io::Write,
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use super::{
    Tunnel,
    topology::{Host, Topology},
    wait_until_it_carries,
};

/// Both ends; stopped when dropped.
pub struct Boringtun {
    ends: [Child; 2],
}

impl Boringtun {
    /// Starts both and waits until the first packet has passed.
    ///
    /// # Errors
    /// When `boringtun-cli` or `wg` is missing.
    pub fn start(topology: &Topology) -> Result<Self> {
        let hosts = [&topology.left, &topology.right];
        let ends = [start_end(hosts[0], DEVICES[0])?, start_end(hosts[1], DEVICES[1])?];
        let tunnel = Self { ends };
        let keys = [key_pair()?, key_pair()?];
        for side in 0..2 {
            let (own, peer) = (hosts[side], hosts[1 - side]);
            configure(own, DEVICES[side], &keys[side].0, peer, &keys[1 - side].1)?;
        }
        wait_until_it_carries(topology, &tunnel)?;
        Ok(tunnel)
    }
}

impl Tunnel for Boringtun {
    fn processes(&self) -> [u32; 2] {
        [self.ends[0].id(), self.ends[1].id()]
    }

    fn right_device(&self) -> &str {
        DEVICES[1]
    }
}

impl Drop for Boringtun {
    fn drop(&mut self) {
        for end in &mut self.ends {
            let _ = end.kill();
            let _ = end.wait();
        }
    }
}

fn start_end(host: &Host, device: &str) -> Result<Child> {
    let program = std::env::var("BORINGTUN").unwrap_or_else(|_| "boringtun-cli".to_owned());
    let child = host
        .command(&program)
        .args(["--foreground", "--disable-drop-privileges", "--threads", "1", device])
        .stdout(Stdio::null())
        .spawn()
        .context("starting boringtun-cli")?;
    let socket = PathBuf::from(format!("/var/run/wireguard/{device}.sock"));
    let start = Instant::now();
    while !socket.exists() {
        ensure!(start.elapsed() < PATIENCE, "boringtun-cli does not come up: {device}");
        thread::sleep(Duration::from_millis(10));
    }
    Ok(child)
}

fn configure(own: &Host, device: &str, key: &str, peer: &Host, peer_key: &str) -> Result<()> {
    let file = std::env::temp_dir().join(format!("postern-{device}-{}.key", std::process::id()));
    fs::write(&file, key)?;
    let status = own
        .command("wg")
        .args(["set", device, "listen-port", PORT, "private-key"])
        .arg(&file)
        .args(["peer", peer_key.trim(), "allowed-ips", peer.network])
        .args(["endpoint", &format!("{}:{PORT}", peer.outer)])
        .status();
    fs::remove_file(&file)?;
    ensure!(status.context("running wg")?.success(), "wg set {device} failed");
    own.ip(&format!("link set {device} mtu {MTU} up"))?;
    own.ip(&format!("route add {} dev {device} src {}", peer.network, own.inner))
}

/// Private and public.
fn key_pair() -> Result<(String, String)> {
    let private = Command::new("wg").arg("genkey").output().context("running wg")?.stdout;
    let mut wg = Command::new("wg");
    let mut wg = wg.arg("pubkey").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    wg.stdin.take().context("a pipe")?.write_all(&private)?;
    let public = wg.wait_with_output()?.stdout;
    Ok((String::from_utf8(private)?, String::from_utf8(public)?))
}

const DEVICES: [&str; 2] = ["boring-left", "boring-right"];
const PORT: &str = "51820";
/// 1,500 less IPv4, UDP and WireGuard's 32 bytes, as wg-quick has it.
const MTU: &str = "1420";
const PATIENCE: Duration = Duration::from_secs(10);
