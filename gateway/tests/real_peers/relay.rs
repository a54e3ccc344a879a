//! The relay under test: ours over a given I/O driver, or Debian's rtpengine-daemon. Both get the
//! same address for ng and the same port range, so the SIP proxy cannot tell which one it drives.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{Read, Write};
use std::net::UdpSocket;
use std::ops::RangeInclusive;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::isolation::{Peer, bound_udp_ports};
use crate::media::Restart;

/// Which relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Relay {
    /// Our gateway, told to use this driver.
    Gateway(Io),
    /// Debian's rtpengine-daemon, without its kernel module.
    Rtpengine,
}

/// The gateway's I/O drivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Io {
    Uring,
    Epoll,
}

/// A relay that answers.
pub(crate) struct RunningRelay {
    relay: Relay,
    peer: Peer,
    admin: PathBuf,
}

impl Relay {
    /// Programs that must be installed for it.
    pub(crate) fn programs(self) -> &'static [&'static str] {
        match self {
            Self::Gateway(_) => &[],
            Self::Rtpengine => &["rtpengine"],
        }
    }

    /// Why this machine cannot run it, if so: the gateway's own probe of the driver.
    pub(crate) fn unavailable(self) -> Result<Option<String>> {
        let Self::Gateway(io) = self else { return Ok(None) };
        let output = Command::new(gateway_program()).arg("probe").output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        refusal(&text, io.driver())
            .with_context(|| format!("`gateway probe` says nothing of {}:\n{text}", io.driver()))
    }

    /// Whether the plain source may restart its sequence under this relay.
    pub(crate) fn restart(self) -> Restart {
        match self {
            Self::Gateway(_) => Restart::Sequence,
            // Observed with 10.5.3.5: the restarted sequence is handed on as it is, and libsrtp
            // refuses every packet from then on.
            Self::Rtpengine => Restart::Spared {
                because: "it hands the old sequence on, which an SRTP receiver must refuse",
            },
        }
    }

    /// Starts it with `flags` in this thread's namespace and waits until it answers ng.
    pub(crate) fn start(self, folder: &Path, flags: &[&OsStr]) -> Result<RunningRelay> {
        // Not in `folder`: a Unix socket's path has to be short.
        let run = folder.file_name().unwrap_or_default().display();
        let admin = env::temp_dir().join(format!("real-peers-{}-{run}.sock", process::id()));
        let mut peer = Peer::start("relay", self.command(&admin).args(flags), folder)?;
        peer.wait_until(|| Ok(ask("d7:command4:pinge").is_ok_and(|reply| reply.contains("pong"))))?;
        Ok(RunningRelay { relay: self, peer, admin })
    }

    fn command(self, admin: &Path) -> Command {
        let ports = (PORTS.start().to_string(), PORTS.end().to_string());
        let mut command;
        match self {
            Self::Gateway(io) => {
                command = Command::new(gateway_program());
                command.args(["run", "--ng", NG, "--interface", "127.0.0.1", "--http", "none"]);
                command.args(["--ports", &format!("{}-{}", ports.0, ports.1)]);
                command.args(["--io", &io.to_string(), "--state-dir", "none", "--log", "info"]);
                command.arg("--admin").arg(admin);
            }
            Self::Rtpengine => {
                command = Command::new("rtpengine");
                command.args(["--foreground", "--log-stderr", "--log-level=6", "--table=-1"]);
                command.args(["--interface=127.0.0.1", "--num-threads=2"]);
                command.arg(format!("--listen-ng={NG}"));
                command.arg(format!("--port-min={}", ports.0));
                command.arg(format!("--port-max={}", ports.1));
            }
        }
        command
    }
}

impl RunningRelay {
    /// What moves the packets, as the running relay itself says; fails when a gateway runs on
    /// another driver than it was told to.
    pub(crate) fn driver(&self) -> Result<String> {
        let Relay::Gateway(io) = self.relay else { return Ok("rtpengine, user space".to_owned()) };
        let expected = io.driver();
        let status = self.status()?;
        let workers = status["workers"].as_array().context("no workers in the status")?;
        ensure!(!workers.is_empty(), "the gateway has no worker: {status}");
        for worker in workers {
            ensure!(
                worker["driver"] == expected,
                "told --io {io}, but a worker runs on {}, because {}",
                worker["driver"],
                worker["reason"]
            );
        }
        Ok(expected.to_owned())
    }

    /// Waits until no call is left and no media port is open; names those that stay.
    pub(crate) fn wait_until_free(&self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            let busy = self.still_busy()?;
            if busy.is_empty() {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("5 s after the last BYE: {}", busy.join("; "));
            }
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// What keymgr, built beside the gateway, prints when it asks the gateway for this in JSON.
    pub(crate) fn keymgr(&self, arguments: &[&str]) -> Result<Value> {
        let keymgr = Path::new(&gateway_program()).with_file_name("keymgr");
        ensure!(keymgr.exists(), "build keymgr first: cargo build -p keymgr");
        let mut command = Command::new(keymgr);
        let output =
            command.arg("--json").arg("--admin").arg(&self.admin).args(arguments).output()?;
        ensure!(output.status.success(), "{output:?}");
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// The process behind it.
    pub(crate) fn peer(&mut self) -> &mut Peer {
        &mut self.peer
    }

    fn still_busy(&self) -> Result<Vec<String>> {
        let mut busy = Vec::new();
        let calls = ask("d7:command4:liste")?;
        if !calls.contains("5:callsle") {
            busy.push(format!("ng list still answers {calls}"));
        }
        let open: Vec<u16> =
            bound_udp_ports()?.into_iter().filter(|port| PORTS.contains(port)).collect();
        if !open.is_empty() {
            busy.push(format!("{} media ports are open: {open:?}", open.len()));
        }
        if matches!(self.relay, Relay::Gateway(_)) {
            let status = self.status()?;
            let interfaces = status["interfaces"].as_array().context("no interfaces in status")?;
            let used = interfaces.iter().filter(|interface| interface["ports_used"] != 0);
            busy.extend(used.map(|interface| format!("status still counts ports: {interface}")));
        }
        Ok(busy)
    }

    /// The gateway's status, from its admin socket.
    fn status(&self) -> Result<Value> {
        let mut stream = UnixStream::connect(&self.admin)
            .with_context(|| format!("the admin socket {}", self.admin.display()))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream
            .write_all(b"GET /v1/status HTTP/1.1\r\nhost: gateway\r\nconnection: close\r\n\r\n")?;
        let mut response = String::new();
        stream.read_to_string(&mut response)?;
        let (head, body) = response.split_once("\r\n\r\n").context("no HTTP response")?;
        ensure!(head.starts_with("HTTP/1.1 200"), "status answered {head}\n{body}");
        serde_json::from_str(body).with_context(|| format!("status answered {body}"))
    }
}

impl Drop for RunningRelay {
    fn drop(&mut self) {
        // Only a gateway makes it, and removes it itself when it ends well.
        let _ = std::fs::remove_file(&self.admin);
    }
}

impl fmt::Display for Relay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gateway(io) => write!(f, "gateway-{io}"),
            Self::Rtpengine => f.write_str("rtpengine"),
        }
    }
}

impl Io {
    /// The driver's name in the status and in the probe.
    fn driver(self) -> &'static str {
        match self {
            Self::Uring => "io_uring",
            Self::Epoll => "epoll",
        }
    }
}

impl fmt::Display for Io {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Uring => "uring",
            Self::Epoll => "epoll",
        })
    }
}

/// The gateway to test: a release build when POSTERN_GATEWAY names one.
fn gateway_program() -> OsString {
    env::var_os("POSTERN_GATEWAY").unwrap_or_else(|| env!("CARGO_BIN_EXE_gateway").into())
}

/// What the probe's line `driver <name> yes|no <evidence>` says against a driver; the outer `None`
/// means that there is no such line.
fn refusal(probe: &str, driver: &str) -> Option<Option<String>> {
    probe.lines().find_map(|line| {
        let rest = line.strip_prefix("driver ")?.strip_prefix(driver)?.trim_start();
        let (answer, evidence) = rest.split_once(' ')?;
        match answer {
            "yes" => Some(None),
            "no" => Some(Some(format!("no {driver} here: {}", evidence.trim()))),
            _ => None,
        }
    })
}

/// Asks the relay over ng and returns the reply without its cookie.
pub(crate) fn ask(request: &str) -> Result<String> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    socket.connect(NG)?;
    // A repeated cookie would be answered from the relay's cache.
    let cookie = COOKIE.fetch_add(1, Ordering::Relaxed);
    socket.send(format!("peer{cookie} {request}").as_bytes())?;
    let mut buffer = [0; 65_536];
    let len = socket.recv(&mut buffer).context("no reply over ng")?;
    let reply = String::from_utf8_lossy(&buffer[..len]);
    let (echoed, body) = reply.split_once(' ').context("a reply without a cookie")?;
    ensure!(echoed == format!("peer{cookie}"), "a reply to another request: {reply}");
    Ok(body.to_owned())
}

/// The next cookie.
static COOKIE: AtomicU32 = AtomicU32::new(0);

/// Where kamailio.cfg expects the relay.
const NG: &str = "127.0.0.1:22222";

/// Below the ephemeral range, so that an open port in it is the relay's.
const PORTS: RangeInclusive<u16> = 30_000..=31_999;

#[test]
fn a_driver_that_the_probe_denies_is_refused_with_its_evidence() {
    let probe =
        "kernel  6.1 /proc\ndriver io_uring   no     EPERM from a filter\ndriver epoll  yes  ok";
    let reason = refusal(probe, "io_uring").flatten();
    assert_eq!(reason.as_deref(), Some("no io_uring here: EPERM from a filter"));
    assert_eq!(refusal(probe, "epoll"), Some(None));
    assert_eq!(refusal(probe, "af_xdp"), None);
}
