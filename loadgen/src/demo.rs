//! `loadgen demo`: a gateway of its own, with its defaults, and 100 calls through it.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::cli;
use crate::control::Control;
use crate::run::{self, Verdict};

/// Long enough for a cold start on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(10);

/// Starts a gateway, runs the load through it, and stops it.
pub fn demo(options: &cli::Demo) -> Result<Verdict> {
    let binary = options.gateway.clone().map_or_else(beside_us, Ok)?;
    let mut gateway = Gateway::start(&binary)?;
    let control = gateway.wait_until_ready()?;
    let details = format!("{} run", binary.file_name().unwrap_or_default().display());
    let run = run::measure(control, Some(details), &options.load, &options.output)?;
    // A busy machine makes the latencies say little, which the table states; that every packet
    // arrived holds all the same.
    Ok(run::loss(&run))
}

fn beside_us() -> Result<PathBuf> {
    let own = std::env::current_exe().context("finding our own binary")?;
    let path = own.with_file_name("gateway");
    if !path.exists() {
        bail!(
            "no gateway binary at {}: build it with `cargo build --release -p gateway`, \
             or name one with --gateway",
            path.display()
        );
    }
    Ok(path)
}

/// A gateway process; stopped when dropped.
struct Gateway {
    child: Child,
    ng: SocketAddr,
}

impl Gateway {
    /// Defaults, but for the control listeners: the demo must run beside a relay that already
    /// has the usual ports.
    fn start(binary: &Path) -> Result<Self> {
        let ng = free_port()?;
        let child = Command::new(binary)
            .args(["run", "--http", "none", "--admin", "none", "--log", "info"])
            .args(["--ng", &ng.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| format!("starting {}", binary.display()))?;
        Ok(Self { child, ng })
    }

    fn wait_until_ready(&mut self) -> Result<Control> {
        let deadline = Instant::now() + START_LIMIT;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                bail!("the gateway ended at once with {status}; its message is above");
            }
            let mut control = Control::connect(self.ng)?;
            if control.ping_once(Duration::from_millis(100)).is_ok() {
                return Ok(control);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!("the gateway did not answer a ping at {} within {START_LIMIT:?}", self.ng)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // Already gone is as good as killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A UDP port that is free now, for the ng listener.
fn free_port() -> Result<SocketAddr> {
    let probe = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).context("finding a free UDP port")?;
    Ok(probe.local_addr()?)
}
