//! The gateway under test: `gateway run` with the listeners that a scenario writes down as an
//! operator would, and what its admin API, its metrics and its log say.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::dialogue::Dialogue;
use crate::scene::{Scene, wait_for};

/// A gateway that answers.
pub(crate) struct Gateway {
    pub(crate) process: Dialogue,
    folder: PathBuf,
}

impl Gateway {
    /// With `tls` as the part of the configuration below `[tls]`. Bare file names in it are the
    /// scene's. Waits until the admin API answers and each listener that can does listen.
    pub(crate) fn start(scene: &Scene, tls: &str) -> Result<Self> {
        Self::start_with(scene, tls, |_| {})
    }

    /// The same, with more said to the program.
    pub(crate) fn start_with(
        scene: &Scene,
        tls: &str,
        say: impl FnOnce(&mut Command),
    ) -> Result<Self> {
        fs::write(scene.path("gateway.toml"), configuration(scene, tls))?;
        let mut command = Command::new(program());
        command.arg("run").arg("--config").arg(scene.path("gateway.toml"));
        command.current_dir(&scene.folder);
        say(&mut command);
        let mut process = Dialogue::start(scene, "gateway", &mut command)?;
        let folder = scene.folder.clone();
        wait_for("gateway that answers", || {
            ensure!(process.ended()?.is_none(), "it ended: {}", process.said());
            let answer = http(UnixStream::connect(folder.join("admin.sock")), "GET", "/v1/status");
            Ok(answer.ok())
        })?;
        Ok(Self { process, folder })
    }

    /// What the admin API answers to GET.
    pub(crate) fn admin(&self, path: &str) -> Result<Value> {
        self.ask("GET", path)
    }

    /// What the admin API answers to POST with an empty request.
    pub(crate) fn post(&self, path: &str) -> Result<Value> {
        self.ask("POST", path)
    }

    fn ask(&self, method: &str, path: &str) -> Result<Value> {
        let body = http(UnixStream::connect(self.folder.join("admin.sock")), method, path)?;
        serde_json::from_str(&body).with_context(|| format!("{path} answered {body}"))
    }

    /// Every metric of this name: labels and value.
    pub(crate) fn metrics(&self, name: &str) -> Result<Vec<(String, f64)>> {
        let page = http(TcpStream::connect(HTTP), "GET", "/metrics")?;
        let ours = page.lines().filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let labels = series.strip_prefix(name)?;
            (labels.is_empty() || labels.starts_with('{')).then(|| (labels.to_owned(), value))
        });
        ours.map(|(labels, value)| Ok((labels, value.parse()?))).collect()
    }

    /// The sum of the series of a metric whose labels contain all of these.
    pub(crate) fn metric(&self, name: &str, labels: &[&str]) -> Result<f64> {
        let series = self.metrics(name)?;
        let wanted =
            series.iter().filter(|(text, _)| labels.iter().all(|label| text.contains(label)));
        Ok(wanted.map(|(_, value)| value).sum())
    }

    /// Waits until a metric is at least this.
    pub(crate) fn wait_for_metric(&self, name: &str, labels: &[&str], at_least: f64) -> Result<()> {
        wait_for(&format!("{name}{labels:?} >= {at_least}"), || {
            Ok((self.metric(name, labels)? >= at_least).then_some(()))
        })
        .with_context(|| format!("{name}: {:?}", self.metrics(name).unwrap_or_default()))
    }

    /// What it logged so far.
    pub(crate) fn log(&self) -> String {
        self.process.said()
    }

    /// Waits until it has logged this.
    pub(crate) fn wait_for_log(&self, text: &str) -> Result<()> {
        wait_for(&format!("log line with \"{text}\""), || {
            Ok(self.log().contains(text).then_some(()))
        })
        .with_context(|| self.log())
    }

    /// Resident memory in KiB.
    pub(crate) fn resident(&self) -> Result<u64> {
        self.of_status("VmRSS:")
    }

    fn of_status(&self, field: &str) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        Ok(line.context("no such field")?.trim().trim_end_matches(" kB").parse()?)
    }
}

/// `gateway check` on a configuration like that of [`Gateway::start`].
pub(crate) fn check(scene: &Scene, tls: &str) -> Result<Output> {
    fs::write(scene.path("check.toml"), configuration(scene, tls))?;
    let mut command = Command::new(program());
    command.arg("check").arg("--config").arg(scene.path("check.toml"));
    Ok(command.current_dir(&scene.folder).output()?)
}

fn configuration(scene: &Scene, tls: &str) -> String {
    let admin = scene.text("admin.sock");
    let relay = if tls.contains("[relay]") { "" } else { "[relay]\nworkers = 1\n" };
    format!(
        "{relay}[ng]\nlisten = \"127.0.0.1:2223\"\n\
         [http]\nlisten = \"{HTTP}\"\n[admin]\nlisten = \"{admin}\"\n{tls}"
    )
}

/// The gateway to test: a release build when POSTERN_GATEWAY names one.
fn program() -> OsString {
    env::var_os("POSTERN_GATEWAY").unwrap_or_else(|| env!("CARGO_BIN_EXE_gateway").into())
}

fn http<S: Read + Write>(stream: std::io::Result<S>, method: &str, path: &str) -> Result<String> {
    let mut stream = stream.with_context(|| path.to_owned())?;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: gateway\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: 2\r\n\r\n{{}}"
    )?;
    let mut response = String::new();
    stream.read_to_string(&mut response)?;
    let (head, body) = response.split_once("\r\n\r\n").context("no HTTP response")?;
    ensure!(head.starts_with("HTTP/1.1 2"), "{method} {path}: {head}\n{body}");
    Ok(body.to_owned())
}

const HTTP: &str = "127.0.0.1:9431";
