//! One site: an offload agent, a gateway and its files, on one host.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use gateway_control::PairStatus;

use crate::{
    certificates::Authority,
    hosts::{Hosts, Side},
    proxy::Proxy,
};

/// The programs under test.
#[derive(Clone)]
pub(crate) struct Programs {
    pub(crate) gateway: PathBuf,
    pub(crate) agent: PathBuf,
    pub(crate) keymgr: PathBuf,
}

/// What the SAs of a site are like.
#[derive(Clone)]
pub(crate) struct Terms {
    pub(crate) pairs: usize,
    /// Of each side's agent: `user-space` or `xfrm`.
    pub(crate) engines: [&'static str; 2],
    pub(crate) aead: &'static str,
    pub(crate) udp: bool,
    pub(crate) overlap: Duration,
    /// Which socket the gateways use: the agent's, or the proxy's before it.
    pub(crate) agent_socket: &'static str,
}

/// One side, running.
pub(crate) struct Site {
    side: Side,
    hosts_namespace: String,
    directory: PathBuf,
    programs: Programs,
    engine: &'static str,
    agent: Option<Child>,
    gateway: Option<Child>,
    pub(crate) proxy: Proxy,
}

impl Site {
    pub(crate) fn start(
        hosts: &Hosts,
        side: Side,
        programs: &Programs,
        terms: &Terms,
        authority: &Authority,
        directory: &Path,
    ) -> Result<Self> {
        let directory = directory.join(side.name());
        fs::create_dir_all(directory.join("state"))?;
        fs::create_dir_all(directory.join("agent-runtime"))?;
        authority.write(&directory, &format!("gw-{}", side.name()))?;
        fs::write(directory.join("gateway.toml"), config(side, terms, &directory))?;
        let proxy = Proxy::listen(&directory.join("proxy.sock"), &directory.join("agent.sock"))?;
        let engine = terms.engines[usize::from(side == Side::Right)];
        let hosts_namespace = hosts.namespace(side);
        let programs = programs.clone();
        let mut site = Self {
            side,
            hosts_namespace,
            directory,
            programs,
            engine,
            agent: None,
            gateway: None,
            proxy,
        };
        site.start_agent()?;
        site.start_gateway()?;
        Ok(site)
    }

    /// The agent, under its own supervisor, which starts it again when it is killed.
    fn start_agent(&mut self) -> Result<()> {
        let socket = self.directory.join("agent.sock");
        let mut command = self.command(&self.programs.agent.clone());
        command
            .args(["run", "--supervise", "--engine", self.engine, "--socket"])
            .arg(&socket)
            .arg("--state-dir")
            .arg(self.directory.join("agent-state"))
            .arg("--runtime-dir")
            .arg(self.directory.join("agent-runtime"));
        self.agent = Some(self.spawn(command, "agent")?);
        within(PATIENCE, || socket.exists().then_some(())).context("the agent does not come up")
    }

    pub(crate) fn start_gateway(&mut self) -> Result<()> {
        let mut command = self.command(&self.programs.gateway.clone());
        command.args(["run", "--config"]).arg(self.directory.join("gateway.toml"));
        self.gateway = Some(self.spawn(command, "gateway")?);
        within(PATIENCE, || self.keymgr(&["sa", "list"]).ok()?.status.success().then_some(()))
            .context("the gateway does not come up")
    }

    fn spawn(&self, mut command: Command, name: &str) -> Result<Child> {
        let log = self.directory.join(format!("{name}.log"));
        let log = fs::OpenOptions::new().create(true).append(true).open(log)?;
        let child = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn();
        child.with_context(|| format!("starting {name}"))
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.hosts_namespace]).arg(program);
        command
    }

    /// SIGKILL, and a new gateway at once, as systemd would.
    pub(crate) fn kill_gateway(&mut self) -> Result<()> {
        if let Some(mut gateway) = self.gateway.take() {
            gateway.kill()?;
            gateway.wait()?;
        }
        self.start_gateway()
    }

    /// Kills the agent's working process; its supervisor is left to do its duty.
    pub(crate) fn kill_agent(&mut self) -> Result<()> {
        let supervisor = self.agent.as_ref().context("no agent")?.id();
        let children = format!("/proc/{supervisor}/task/{supervisor}/children");
        let children = fs::read_to_string(children)?;
        let worker = children.split_whitespace().next().context("the supervisor has no child")?;
        let killed = Command::new("kill").args(["-KILL", worker]).status()?;
        ensure!(killed.success(), "kill failed");
        Ok(())
    }

    /// Runs keymgr against this site's gateway.
    pub(crate) fn keymgr(&self, arguments: &[&str]) -> Result<Output> {
        Ok(self.keymgr_command(arguments).output()?)
    }

    pub(crate) fn keymgr_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.programs.keymgr);
        command.arg("--admin").arg(self.directory.join("admin.sock")).args(arguments);
        command.stdin(Stdio::null());
        command
    }

    /// The same, which must succeed.
    pub(crate) fn ask(&self, arguments: &[&str]) -> Result<String> {
        let output = self.keymgr(arguments)?;
        let said = String::from_utf8_lossy(&output.stderr);
        let side = self.side.name();
        ensure!(output.status.success(), "{side}: keymgr {}: {said}", arguments.join(" "));
        Ok(String::from_utf8(output.stdout)?)
    }

    pub(crate) fn pairs(&self) -> Result<Vec<PairStatus>> {
        Ok(serde_json::from_str(&self.ask(&["sa", "list", "--json"])?)?)
    }

    /// Each pair has one epoch with both SAs, in use; the answer is the epochs.
    pub(crate) fn settled(&self) -> Option<Vec<u64>> {
        let pairs = self.pairs().ok()?;
        let epochs = pairs.iter().map(|pair| {
            let [epoch] = pair.epochs.as_slice() else { return None };
            let whole = epoch.inbound.is_some() && epoch.outbound.is_some();
            (whole && pair.active == Some(epoch.epoch)).then_some(epoch.epoch.0)
        });
        epochs.collect()
    }

    /// The last lines of a log, for a message.
    pub(crate) fn log(&self, name: &str) -> String {
        let text = fs::read_to_string(self.directory.join(format!("{name}.log")));
        let text = text.unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        for child in [&mut self.gateway, &mut self.agent].into_iter().flatten() {
            // The supervisor hands SIGTERM on; what does not go within its time is killed.
            let _ = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
            let ended = within(Duration::from_secs(3), || child.try_wait().ok().flatten());
            if ended.is_none() {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }
}

/// Waits until there is something, for `time` at most.
pub(crate) fn within<T>(time: Duration, mut what: impl FnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    loop {
        let found = what();
        if found.is_some() || start.elapsed() > time {
            return found;
        }
        thread::sleep(Duration::from_millis(20));
    }
}

fn config(side: Side, terms: &Terms, directory: &Path) -> String {
    let directory = directory.display();
    let (own, peer) = (side.name(), side.other().name());
    let agent_socket = terms.agent_socket;
    let (outer, peer_outer) = (side.outer(), side.other().outer());
    let mut text = format!(
        "[admin]\nlisten = \"{directory}/admin.sock\"\n\
         [admin.tls]\nlisten = \"{outer}:9443\"\ncertificate = \"{directory}/certificate.pem\"\n\
         key = \"{directory}/key.pem\"\nclient_ca = \"{directory}/ca.pem\"\n\
         [http]\nlisten = \"none\"\n\
         [state]\ndir = \"{directory}/state\"\n\
         [ipsec]\nagent = \"{directory}/{agent_socket}\"\ngateway_id = \"{own}\"\n\
         [[ipsec.peer]]\nname = \"{peer}\"\nidentity = \"gw-{peer}\"\n\
         admin = \"https://{peer_outer}:9443\"\n"
    );
    for index in 0..terms.pairs {
        let (local_net, _) = side.inner(index);
        let (remote_net, _) = side.other().inner(index);
        text += &format!(
            "[[ipsec.sa]]\nname = \"pair-{index}\"\npeer = \"{peer}\"\nlocal = \"{outer}\"\n\
             remote = \"{peer_outer}\"\nlocal_net = \"{local_net}\"\nremote_net = \"{remote_net}\"\n\
             aead = \"{}\"\nrotation = {{ overlap = \"{}ms\" }}\n",
            terms.aead,
            terms.overlap.as_millis()
        );
        if terms.udp {
            text += "encapsulation = { local_port = 4500, remote_port = 4500 }\n";
        }
    }
    text
}

const PATIENCE: Duration = Duration::from_secs(15);
