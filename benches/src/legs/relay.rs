//! The relay that legs are made at: our gateway or rtpengine, and which core it has.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use serde::Serialize;

use crate::figures::{LOAD_CORE, RELAY_CORE};
use crate::relay_process::{NG, RelayProcess, gateway_binary};

/// Which relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Relay {
    /// Our gateway.
    Gateway,
    /// Debian's rtpengine-daemon, forwarding in user space.
    Rtpengine,
}

/// Which of the two cores a relay's threads run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// All of them on [`RELAY_CORE`].
    Alone,
    /// The one that relays media on [`RELAY_CORE`], all others on [`LOAD_CORE`]. rtpengine's
    /// threads all relay media, and handshake.
    MediaApart,
}

impl Relay {
    /// Ours first.
    pub const ALL: [Self; 2] = [Self::Gateway, Self::Rtpengine];

    /// The name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Rtpengine => "rtpengine",
        }
    }

    /// What the program says it is.
    pub fn version(self) -> Result<String> {
        let mut command = match self {
            Self::Gateway => Command::new(gateway_binary()?),
            Self::Rtpengine => Command::new("rtpengine"),
        };
        let output = command.arg("--version").output();
        let output = output.with_context(|| format!("asking {} its version", self.name()))?;
        let said = [output.stdout, output.stderr].concat();
        Ok(String::from_utf8_lossy(&said).lines().next().unwrap_or_default().trim().to_owned())
    }

    /// Without the program's path: what stands in the results.
    pub fn arguments(self) -> Vec<String> {
        let (least, most) = PORTS;
        let (fixed, addresses): (&[&str], Vec<String>) = match self {
            Self::Gateway => (
                &["run", "--workers=1", "--interface=127.0.0.1", "--admin=none", "--log=error"],
                vec![
                    format!("--http={HTTP}"),
                    format!("--ng={NG}"),
                    format!("--ports={least}-{most}"),
                ],
            ),
            Self::Rtpengine => (
                &[
                    "--config-file=none",
                    "--num-threads=1",
                    "--table=-1",
                    "--foreground",
                    "--log-stderr",
                    "--log-level=1",
                    "--interface=127.0.0.1",
                    "--dtls-cert-cipher=prime256v1",
                ],
                vec![
                    format!("--listen-ng={NG}"),
                    format!("--port-min={least}"),
                    format!("--port-max={most}"),
                ],
            ),
        };
        fixed.iter().map(ToString::to_string).chain(addresses).collect()
    }
}

/// A running relay; killed when dropped.
pub struct Process {
    relay: Relay,
    process: RelayProcess,
}

impl Process {
    /// Starts `relay` and waits until it answers a ping.
    pub fn start(relay: Relay, placement: Placement) -> Result<Self> {
        let mut command = Command::new("taskset");
        command.args(["-c", &RELAY_CORE.to_string()]);
        match relay {
            Relay::Gateway => command.arg(gateway_binary()?),
            Relay::Rtpengine => command.arg("rtpengine"),
        };
        command.args(relay.arguments());
        let process = Self { relay, process: RelayProcess::spawn(&mut command, relay.name())? };
        if (relay, placement) == (Relay::Gateway, Placement::MediaApart) {
            process.move_others()?;
        }
        Ok(process)
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// p99.9 of the time that packets spent in the relay since its start, in microseconds; `None`
    /// where the relay doesn't measure that.
    pub fn residence_p999_us(&self) -> Result<Option<f64>> {
        match self.relay {
            Relay::Gateway => {
                let page = page("/metrics")?;
                Ok(Some(1e6 * sample(&page, "postern_residence_p999_seconds")?))
            }
            Relay::Rtpengine => Ok(None),
        }
    }

    /// Whatever is no worker goes to the load's core.
    fn move_others(&self) -> Result<()> {
        let tasks = format!("/proc/{}/task", self.pid());
        let mut workers = 0;
        for task in fs::read_dir(&tasks).with_context(|| tasks.clone())? {
            let task = task?;
            let name = fs::read_to_string(task.path().join("comm"))?;
            if name.starts_with(WORKER) {
                workers += 1;
                continue;
            }
            let id = task.file_name();
            let taskset =
                Command::new("taskset").args(["-c", "-p", &LOAD_CORE.to_string()]).arg(id).output();
            let output = taskset.context("moving a thread")?;
            ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        ensure!(workers == 1, "{workers} threads are called {WORKER}, not one");
        Ok(())
    }
}

/// A page of the gateway's.
fn page(path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(HTTP).context("asking the gateway for its figures")?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    // HTTP/1.0: the body comes whole and ends with the connection.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {HTTP}\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("an answer without a body")?;
    ensure!(head.split(' ').nth(1) == Some("200"), "{path}: {head}");
    Ok(body.to_owned())
}

/// The value of a sample without labels.
fn sample(page: &str, name: &str) -> Result<f64> {
    let mut values = page.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let value = values.next().with_context(|| format!("the figures have no {name}"))?;
    value.trim().parse().with_context(|| format!("{name} is {value:?}"))
}

/// Where the gateway shows its figures.
const HTTP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 22_224);
/// What names of worker threads begin with.
const WORKER: &str = "relay-";
/// Four a call, for 2,000 calls of the handshakes' figure, with room to spare.
const PORTS: (u16, u16) = (10_000, 29_999);

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# HELP postern_residence_p999_seconds Residence time.\n\
                        # TYPE postern_residence_p999_seconds gauge\n\
                        postern_residence_p999_seconds 0.000125\n\
                        postern_residence_p999_seconds_more 7\n\
                        postern_worker_calls{worker=\"0\"} 3\n";

    #[test]
    fn a_sample_is_found_by_its_whole_name() {
        assert_eq!(sample(PAGE, "postern_residence_p999_seconds").unwrap(), 0.000_125);
        assert!(sample(PAGE, "postern_residence").is_err());
        assert!(sample(PAGE, "postern_worker_calls").is_err(), "that one has labels");
    }

    #[test]
    fn both_relays_listen_where_they_are_asked() {
        for relay in Relay::ALL {
            let arguments = relay.arguments();
            assert!(arguments.iter().any(|argument| argument.ends_with(&format!("ng={NG}"))));
        }
    }
}
