//! An offload agent as it is shipped, on one of the hosts, under its own supervisor; and what a
//! gateway says to it.
//!
//! A request whose answer is lost with the agent is asked again, as a gateway does: every verb is
//! idempotent.

use std::{
    cell::RefCell,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use crypto_offload::{Effective, Epoch, InstalledSa, PairName, SaPair};
use gateway_control::{
    Event, EventKind, KeyOffer, PairStatus,
    agent::{AGENT_VERSION, AgentError, Request, Response},
};

use super::{
    client::{Client, hello},
    hosts::{Hosts, Side},
};

/// Ended, with its SAs and policies, when dropped.
pub(crate) struct Agent {
    process: Child,
    directory: PathBuf,
    client: RefCell<Client>,
}

impl Agent {
    /// With `engines` as the command line names them, best first.
    pub(crate) fn start(hosts: &Hosts, side: Side, engines: &str) -> Result<Self> {
        let namespace = hosts.namespace(side);
        let directory = std::env::temp_dir().join(format!("agent-{namespace}"));
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory)?;
        let log = fs::File::create(directory.join("log"))?;
        let process = Command::new("ip")
            .args(["netns", "exec", &namespace, program(), "run", "--supervise"])
            .args(["--flush-on-exit", "--engine", engines, "--socket"])
            .arg(directory.join("socket"))
            .arg("--state-dir")
            .arg(directory.join("state"))
            .arg("--runtime-dir")
            .arg(directory.join("runtime"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("starting offload-agent")?;
        let client = RefCell::new(greet(&directory)?);
        Ok(Self { process, directory, client })
    }

    /// The answer, which is no refusal.
    pub(crate) fn ask(&self, request: &Request) -> Result<Response> {
        match self.answer(request)? {
            Response::Refused(refusal) => bail!("{request:?} is refused: {refusal}"),
            answer => Ok(answer),
        }
    }

    /// Why it is refused.
    pub(crate) fn refusal(&self, request: &Request) -> Result<AgentError> {
        match self.answer(request)? {
            Response::Refused(refusal) => Ok(refusal),
            answer => bail!("{request:?} is not refused: {answer:?}"),
        }
    }

    fn answer(&self, request: &Request) -> Result<Response> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let outcome = self.client.borrow().try_ask(request);
            match outcome {
                Ok(answer) => return Ok(answer),
                Err(error) if Instant::now() > deadline => return Err(error.into()),
                Err(_) => *self.client.borrow_mut() = greet(&self.directory)?,
            }
        }
    }

    pub(crate) fn define(&self, pair: &SaPair) -> Result<()> {
        self.ask(&Request::Define { pair: Box::new(pair.clone()) }).map(drop)
    }

    pub(crate) fn prepare(&self, name: &PairName, epoch: u64) -> Result<(KeyOffer, Effective)> {
        match self.ask(&prepare(name, epoch))? {
            Response::Prepared { offer, placement } => Ok((offer, placement)),
            other => bail!("to Prepare: {other:?}"),
        }
    }

    pub(crate) fn install_outbound(
        &self,
        name: &PairName,
        epoch: u64,
        offer: KeyOffer,
    ) -> Result<Effective> {
        let (name, epoch) = (name.clone(), Epoch(epoch));
        match self.ask(&Request::InstallOutbound { name, epoch, offer })? {
            Response::Installed { placement } => Ok(placement),
            other => bail!("to InstallOutbound: {other:?}"),
        }
    }

    pub(crate) fn switch(&self, name: &PairName, epoch: u64) -> Result<()> {
        self.ask(&Request::Switch { name: name.clone(), epoch: Epoch(epoch) }).map(drop)
    }

    pub(crate) fn show(&self, name: &PairName) -> Result<PairStatus> {
        match self.ask(&Request::Show { name: name.clone() })? {
            Response::Pair(status) => Ok(*status),
            other => bail!("to Show: {other:?}"),
        }
    }

    pub(crate) fn foreign(&self) -> Result<Vec<InstalledSa>> {
        match self.ask(&Request::Foreign { after: None, limit: 100 })? {
            Response::Foreign(list) => Ok(list.sas),
            other => bail!("to Foreign: {other:?}"),
        }
    }

    pub(crate) fn statistic(&self, name: &str) -> Result<u64> {
        let Response::Statistics { counters } = self.ask(&Request::Statistics)? else {
            bail!("no statistics");
        };
        let found = counters.iter().find(|(_, known, _)| known == name);
        found
            .map(|(_, _, value)| *value)
            .with_context(|| format!("no counter {name}: {counters:?}"))
    }

    /// The first event of that kind about an object whose name begins so; waits for it.
    pub(crate) fn event(&self, kind: EventKind, object: &str) -> Result<Event> {
        let deadline = Instant::now() + PATIENCE;
        let (mut after, mut seen) = (0, Vec::new());
        while Instant::now() < deadline {
            let Response::Events { events } = self.ask(&Request::Events { after, wait_ms: 500 })?
            else {
                bail!("no events");
            };
            for event in events {
                after = event.seq;
                if event.kind == kind && event.object.starts_with(object) {
                    return Ok(event);
                }
                seen.push(event);
            }
        }
        bail!("no {kind:?} of {object} in {seen:#?}\n{}", self.log())
    }

    /// SIGKILL of the working process; its supervisor is left to do its duty.
    pub(crate) fn kill(&self) -> Result<()> {
        let supervisor = self.process.id();
        let children = format!("/proc/{supervisor}/task/{supervisor}/children");
        let children = fs::read_to_string(children)?;
        let worker = children.split_whitespace().next().context("the supervisor has no child")?;
        let killed = Command::new("kill").args(["-KILL", worker]).status()?;
        ensure!(killed.success(), "kill failed");
        Ok(())
    }

    pub(crate) fn log(&self) -> String {
        let text = fs::read_to_string(self.directory.join("log")).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    /// SIGTERM, and waits for the end.
    pub(crate) fn stop(&mut self) {
        let _ = Command::new("kill").args(["-TERM", &self.process.id().to_string()]).status();
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if matches!(self.process.try_wait(), Ok(Some(_))) {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if thread::panicking() {
            println!("{}", self.log());
        }
        self.stop();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

pub(crate) fn prepare(name: &PairName, epoch: u64) -> Request {
    Request::Prepare { name: name.clone(), epoch: Epoch(epoch), given: None }
}

/// In the VM it is found by its name, elsewhere where cargo has put it.
fn program() -> &'static str {
    match std::env::var_os("POSTERN_VM") {
        Some(_) => "offload-agent",
        None => env!("CARGO_BIN_EXE_offload-agent"),
    }
}

fn greet(directory: &Path) -> Result<Client> {
    let socket = directory.join("socket");
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Ok(client) = Client::connect(&socket)
            && let Ok(Response::Hello(_)) = client.try_ask(&hello(AGENT_VERSION))
        {
            return Ok(client);
        }
        if Instant::now() > deadline {
            let log = fs::read_to_string(directory.join("log")).unwrap_or_default();
            bail!("nobody listens at {}:\n{log}", socket.display());
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// An emulated CPU takes a second to start a process, and beside builds it stands still for longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
