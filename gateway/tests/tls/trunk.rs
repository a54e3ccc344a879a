//! SIP trunks: some hundred calls between two sipp agents with a TLS hop of somebody else's between
//! them. Kamailio's tls module is the client of a terminating listener and the server of an
//! originating one; so is a later Debian's sipp, which has TLS (scripts/fetch-sipp-tls); and with
//! neither, one listener of ours originates what the other terminates.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::dialogue::Dialogue;
use crate::gateway::Gateway;
use crate::isolation::Peer;
use crate::pki::{Authority, Leaf};
use crate::scene::{Scene, demand, wait_for_listener, wait_up_to};

#[test]
fn calls_of_kamailios_tls_client_arrive() {
    demand("kamailio_client", &["kamailio", "sipp"], |scene| {
        certificates(scene)?;
        let mut answering = Agent::answer(scene, "sipp", &["-t", "t1"], 5060)?;
        let gateway = Gateway::start(scene, &terminate())?;
        wait_for_listener(5061)?;
        let mut kamailio = kamailio(scene, Side::Client)?;
        let mut calling = Agent::call(scene, "sipp", &["-t", "t1"], 5095, "127.0.0.1:5070")?;
        calling.finish().with_context(|| kamailio.last_words())?;
        answering.finish()?;
        ensure!(kamailio.ended()?.is_none(), "Kamailio ended: {}", kamailio.last_words());
        ensure!(gateway.metric("postern_tls_handshakes_total", &["\"done\""])? >= 1.0);
        Ok(())
    });
}

#[test]
fn calls_reach_kamailios_tls_server_that_demands_a_certificate() {
    demand("kamailio_server", &["kamailio", "sipp"], |scene| {
        certificates(scene)?;
        let mut answering = Agent::answer(scene, "sipp", &["-t", "t1"], 5090)?;
        let mut kamailio = kamailio(scene, Side::Server)?;
        wait_for_listener(7061)?;
        let _gateway = Gateway::start(scene, &originate())?;
        wait_for_listener(6060)?;
        let mut calling = Agent::call(scene, "sipp", &["-t", "t1"], 5095, "127.0.0.1:6060")?;
        calling.finish().with_context(|| kamailio.last_words())?;
        answering.finish()?;
        let said = fs::read_to_string(scene.path("kamailio.log"))?;
        ensure!(said.contains("verified 1 of gateway.example"), "{said}");
        ensure!(kamailio.ended()?.is_none(), "Kamailio ended: {}", kamailio.last_words());
        Ok(())
    });
}

#[test]
fn calls_of_sipps_tls_client_arrive() {
    demand_sipp_tls("sipp_client", |scene, sipp, version, connections| {
        // Where each call has a connection it ends them without close_notify, which the sipp that
        // answers gets as a reset: Debian 12's gives up at the first of those.
        let mut answering = Agent::answer(scene, sipp, &["-t", "t1"], 5060)?;
        let gateway = Gateway::start(scene, &terminate())?;
        wait_for_listener(5061)?;
        let tls = tls_transport(connections.over_tls(), version);
        Agent::call(scene, sipp, &tls, 5095, "127.0.0.1:5061")?.finish()?;
        answering.finish()?;
        ensure_handshakes(&gateway, version, connections)
    });
}

#[test]
fn calls_reach_sipps_tls_server() {
    demand_sipp_tls("sipp_server", |scene, sipp, version, connections| {
        let mut answering = Agent::answer(scene, sipp, &tls_transport("l1", version), 7061)?;
        let gateway = Gateway::start(scene, &originate())?;
        wait_for_listener(6060)?;
        let tcp = ["-t", connections.over_tcp()];
        Agent::call(scene, "sipp", &tcp, 5095, "127.0.0.1:6060")?.finish()?;
        answering.finish()?;
        ensure_handshakes(&gateway, version, connections)
    });
}

#[test]
fn calls_pass_from_our_originating_listener_to_our_terminating_one() {
    demand("sipp_both", &["sipp"], |scene| {
        certificates(scene)?;
        let mut answering = Agent::answer(scene, "sipp", &["-t", "t1"], 5060)?;
        let both = originate().replace("127.0.0.1:7061", "127.0.0.1:5061")
            + &terminate().replace("[tls]\n", "");
        let gateway = Gateway::start(scene, &both)?;
        wait_for_listener(6060)?;
        // A connection for each call.
        Agent::call(scene, "sipp", &["-t", "tn"], 5095, "127.0.0.1:6060")?.finish()?;
        answering.finish()?;
        let handshakes = gateway.metric("postern_tls_handshakes_total", &["\"done\""])?;
        ensure!(handshakes >= 2.0 * f64::from(CALLS), "{handshakes} handshakes");
        Ok(())
    });
}

/// A sipp that calls or answers.
struct Agent {
    process: Dialogue,
    name: &'static str,
    folder: PathBuf,
}

impl Agent {
    /// Answers on `port` over `transport`, in sipp's own words.
    fn answer(scene: &Scene, sipp: &str, transport: &[&str], port: u16) -> Result<Self> {
        fs::write(scene.path("uas.xml"), include_str!("uas.xml"))?;
        let agent = Self::start(scene, sipp, "uas", transport, port, &["-sf", "uas.xml"])?;
        wait_for_listener(port)?;
        Ok(agent)
    }

    /// Makes the calls.
    fn call(scene: &Scene, sipp: &str, transport: &[&str], port: u16, to: &str) -> Result<Self> {
        let rate = ["-sn", "uac", "-r", "100", "-d", "200", "-l", "100", "-max_socket", "1000", to];
        Self::start(scene, sipp, "uac", transport, port, &rate)
    }

    fn start(
        scene: &Scene,
        sipp: &str,
        name: &'static str,
        transport: &[&str],
        port: u16,
        more: &[&str],
    ) -> Result<Self> {
        let mut command = Command::new(sipp);
        command.args(["-nostdin", "-i", "127.0.0.1"]).args(transport);
        command.args(["-p", &port.to_string(), "-m", &CALLS.to_string()]);
        command.args(["-trace_err", "-error_file", &format!("{name}.errors")]).args(more);
        let process = Dialogue::start(scene, name, &mut command)?;
        Ok(Self { process, name, folder: scene.folder.clone() })
    }

    /// Waits until its calls are over; each must have gone well, by sipp's own count.
    fn finish(&mut self) -> Result<()> {
        let status = wait_up_to(CALLING, "end of sipp", || self.process.ended())
            .with_context(|| self.errors())?;
        // One that answers may still see the caller's program end its connection with a reset.
        let answered = self.name == "uas" && self.successful()? == CALLS;
        ensure!(
            status.success() || answered,
            "{} ended with {status}: {}",
            self.name,
            self.errors()
        );
        Ok(())
    }

    /// Calls that went well, as its last screen has it.
    fn successful(&self) -> Result<u32> {
        let said = self.process.said();
        let line = said.lines().rfind(|line| line.trim_start().starts_with("Successful call"));
        let count = line.and_then(|line| line.rsplit('|').next()).map(str::trim);
        count.context("no count of calls")?.parse().with_context(|| said.clone())
    }

    fn errors(&self) -> String {
        let errors = self.folder.join(format!("{}.errors", self.name));
        let mut text = fs::read_to_string(errors).unwrap_or_default();
        text.truncate(2000);
        let said = self.process.said();
        text + &said[said.len().saturating_sub(2000)..]
    }
}

/// Which end of the trunk Kamailio is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Client,
    Server,
}

fn kamailio(scene: &Scene, side: Side) -> Result<Peer> {
    fs::write(scene.path("trunk.cfg"), include_str!("trunk.cfg"))?;
    let file = |name: &str| scene.text(name);
    let ours = format!(
        "private_key = {}\ncertificate = {}\nca_list = {}\nverify_certificate = yes\n",
        file("trunk.key"),
        file("trunk.pem"),
        file("authority.pem")
    );
    let tls = format!(
        "[server:default]\nmethod = TLSv1.2+\nrequire_certificate = yes\n{ours}\
         [client:default]\nmethod = TLSv1.2+\nrequire_certificate = yes\nserver_name = {NAME}\n{ours}"
    );
    fs::write(scene.path("tls.cfg"), tls)?;
    let mut command = Command::new("kamailio");
    if side == Side::Client {
        command.args(["-A", "CLIENT"]);
    }
    command.args(["-DD", "-E", "-f", "trunk.cfg"]).current_dir(&scene.folder);
    command.arg("-w").arg(&scene.folder).arg("-Y").arg(&scene.folder);
    let kamailio = Peer::start("kamailio", &mut command, &scene.folder)?;
    wait_for_listener(if side == Side::Client { 5070 } else { 5091 })?;
    Ok(kamailio)
}

/// How many connections carry the calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Connections {
    One,
    OneEach,
}

impl Connections {
    /// sipp's word for it.
    fn over_tls(self) -> &'static str {
        match self {
            Self::One => "l1",
            Self::OneEach => "ln",
        }
    }

    /// The same without TLS.
    fn over_tcp(self) -> &'static str {
        match self {
            Self::One => "t1",
            Self::OneEach => "tn",
        }
    }

    fn count(self) -> f64 {
        match self {
            Self::One => 1.0,
            Self::OneEach => f64::from(CALLS),
        }
    }
}

/// What makes sipp speak one version of TLS, show its certificate and verify ours.
fn tls_transport<'a>(mode: &'a str, version: &'a str) -> Vec<&'a str> {
    let own = ["-tls_cert", "trunk.pem", "-tls_key", "trunk.key"];
    // It takes an authority only with a revocation list.
    let peer = ["-tls_ca", "authority.pem", "-tls_crl", "none.crl"];
    [["-t", mode, "-tls_version", version], own, peer].concat()
}

/// One handshake for each connection, each of this version, and none that failed.
fn ensure_handshakes(gateway: &Gateway, version: &str, connections: Connections) -> Result<()> {
    let name = "postern_tls_handshakes_total";
    let done = gateway.metric(name, &["\"done\"", version])?;
    let expected = done == connections.count() && gateway.metric(name, &[])? == done;
    ensure!(expected, "{:?}", gateway.metrics(name)?);
    Ok(())
}

/// Runs `test` in each version of TLS, with one connection and with one for each call, if a sipp
/// that has TLS can be fetched.
fn demand_sipp_tls(
    name: &str,
    test: impl Fn(&Scene, &str, &str, Connections) -> Result<()> + Sync,
) {
    let sipp = match sipp_with_tls() {
        Ok(sipp) => sipp,
        Err(reason) => {
            println!("SKIPPED tls::{name}: {}", reason.to_string().replace('\n', "; "));
            return;
        }
    };
    for version in ["1.2", "1.3"] {
        for connections in [Connections::One, Connections::OneEach] {
            demand(name, &["sipp"], |scene| {
                certificates(scene)?;
                test(scene, &sipp, version, connections)
                    .with_context(|| format!("TLS {version}, connections: {connections:?}"))
            });
        }
    }
}

fn sipp_with_tls() -> Result<String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/fetch-sipp-tls");
    let output = Command::new(script).output().context("scripts/fetch-sipp-tls")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// One of the listener and of the far end, and one that we show to carriers.
fn certificates(scene: &Scene) -> Result<()> {
    let authority = Authority::new(&scene.folder, "authority")?;
    authority.sign(Leaf::new("trunk", 1, &[NAME]))?;
    authority.sign(Leaf::new("gateway", 2, &["gateway.example"]))?;
    authority.revoke("none", &[])
}

fn terminate() -> String {
    format!(
        r#"[tls]
[[tls.listener]]
name = "trunk-in"
mode = "terminate"
listen = "127.0.0.1:5061"
upstream = ["127.0.0.1:5060"]
certificate = [{{ names = ["{NAME}"], chain = "trunk.pem", key = "trunk.key" }}]
client_authentication = "required"
authority = "authority.pem"
"#
    )
}

fn originate() -> String {
    format!(
        r#"[tls]
[[tls.listener]]
name = "trunk-out"
mode = "originate"
listen = "127.0.0.1:6060"
upstream = ["127.0.0.1:7061"]
server_name = "{NAME}"
authority = "authority.pem"
certificate = [{{ names = [], chain = "gateway.pem", key = "gateway.key" }}]
"#
    )
}

const NAME: &str = "trunk.example";
const CALLS: u32 = 300;
/// 300 calls at 100 a second, of 0.2 s each, and what a loaded machine adds.
const CALLING: Duration = Duration::from_secs(30);
