//! A relay as a child process, pinned to one core: rtpengine or our gateway.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Serialize;

/// Where every relay under test listens for ng.
pub const NG: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 22_223);

/// Which relay, and how it is driven.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Relay {
    /// rtpengine-daemon in user space with one thread.
    Rtpengine,
    /// Our gateway on io_uring.
    Uring,
    /// Our gateway on epoll.
    Epoll,
}

impl Relay {
    /// All that are compared.
    pub const ALL: [Self; 3] = [Self::Rtpengine, Self::Uring, Self::Epoll];

    /// The name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rtpengine => "rtpengine",
            Self::Uring => "gateway io_uring",
            Self::Epoll => "gateway epoll",
        }
    }

    fn command(self, core: usize, ports: (u16, u16)) -> Result<Command> {
        let mut command = Command::new("taskset");
        command.args(["-c", &core.to_string()]);
        match self {
            Self::Rtpengine => command
                .args(["rtpengine", "--config-file=none", "--num-threads=1", "--table=-1"])
                .args(["--foreground", "--log-stderr", "--log-level=1", "--interface=127.0.0.1"])
                .arg(format!("--listen-ng={NG}"))
                .arg(format!("--port-min={}", ports.0))
                .arg(format!("--port-max={}", ports.1)),
            Self::Uring | Self::Epoll => command
                .arg(gateway_binary()?)
                .args(["run", "--workers", "1", "--interface", "127.0.0.1"])
                .args(["--admin", "none", "--http", "none", "--log", "warn"])
                .args(["--io", if self == Self::Uring { "uring" } else { "epoll" }])
                .args(["--ng", &NG.to_string()])
                .args(["--ports", &format!("{}-{}", ports.0, ports.1)]),
        };
        Ok(command)
    }
}

/// The release build of `gateway` beside this binary.
pub(crate) fn gateway_binary() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let path = own.with_file_name("gateway");
    if path.exists() {
        Ok(path)
    } else {
        bail!("{} is missing: build it with `cargo build --release -p gateway`", path.display())
    }
}

/// A running relay; killed when dropped.
pub struct RelayProcess {
    child: Child,
}

impl RelayProcess {
    /// Starts `relay` on `core` with media ports `ports` and waits until it answers a ping.
    pub fn start(relay: Relay, core: usize, ports: (u16, u16)) -> Result<Self> {
        Self::spawn(&mut relay.command(core, ports)?, relay.name())
    }

    /// Starts a relay whatever its arguments are, and waits until it answers a ping at [`NG`].
    pub(crate) fn spawn(command: &mut Command, name: &str) -> Result<Self> {
        let log = fs::File::create(std::env::temp_dir().join("postern-bench-relay.log"))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        let process = Self { child };
        process.wait_for_pong().with_context(|| format!("{name} did not start"))?;
        Ok(process)
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn wait_for_pong(&self) -> Result<()> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.connect(NG)?;
        socket.set_read_timeout(Some(Duration::from_millis(50)))?;
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut reply = [0; 256];
        while Instant::now() < deadline {
            // A relay that isn't up yet shows as ECONNREFUSED on either call.
            let _ = socket.send(b"ping d7:command4:pinge");
            match socket.recv(&mut reply) {
                Ok(length) if reply[..length].ends_with(b"d6:result4:ponge") => return Ok(()),
                _ => std::thread::sleep(Duration::from_millis(20)),
            }
        }
        bail!("no pong from {NG} within 10 s")
    }
}

impl Drop for RelayProcess {
    fn drop(&mut self) {
        // Already gone is as good as killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
