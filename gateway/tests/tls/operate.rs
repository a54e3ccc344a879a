//! An operator's day: upstreams that go and come back, ports that are taken, certificates that must
//! not be shown, and a kernel without TLS. Nobody who is connected notices any of it.

use std::fs;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;

use crate::dialogue::Dialogue;
use crate::gateway::{Gateway, check};
use crate::openssl::{authority, echo_at, s_client};
use crate::pki::Leaf;
use crate::scene::{Scene, demand, wait_for, wait_for_listener};
use crate::upstream::{Answer, Upstream};

#[test]
fn connections_go_to_the_next_upstream_and_back_to_the_first() {
    demand("failover", &[], |scene| {
        let _authority = authority(scene)?;
        let second = Upstream::start("127.0.0.1:5070", Answer::Echo)?;
        let more = "upstream = [\"127.0.0.1:5060\", \"127.0.0.1:5070\"]\nupstream_retry = \"1s\"\n";
        let gateway = Gateway::start(scene, &listener("sip", 5061, more))?;
        wait_for_listener(5061)?;
        echo_at(scene, &second, 5061)?;
        gateway.wait_for_log("tls.upstream_down")?;
        echo_at(scene, &second, 5061)?;

        let first = Upstream::start("127.0.0.1:5060", Answer::Echo)?;
        wait_for("return to the first upstream", || {
            let before = (first.count(), second.count());
            let mut client = Dialogue::start(scene, "back", &mut s_client(5061, NAME, ""))?;
            client.say("back\n")?;
            client.wait_for("\nback\n")?;
            ensure!(first.count() + second.count() == before.0 + before.1 + 1, "two at once");
            Ok((first.count() > before.0).then_some(()))
        })?;
        gateway.wait_for_log("tls.upstream_up")
    });
}

#[test]
fn a_client_is_told_when_no_upstream_is_there() {
    demand("no_upstream", &[], |scene| {
        let _authority = authority(scene)?;
        let gateway = Gateway::start(scene, &listener("sip", 5061, ONE_UPSTREAM))?;
        wait_for_listener(5061)?;
        let mut client = Dialogue::start(scene, "s_client", &mut s_client(5061, NAME, "-quiet"))?;
        client.wait()?;
        gateway.wait_for_metric("postern_tls_upstream_failures_total", &["\"refused\""], 1.0)?;
        let status = gateway.admin("/v1/tls")?;
        ensure!(status["listeners"][0]["upstreams"][0]["up"] == false, "{status}");
        // Once there is one, the next client reaches it.
        let upstream = Upstream::start("127.0.0.1:5060", Answer::Echo)?;
        echo_at(scene, &upstream, 5061)
    });
}

#[test]
fn a_listener_whose_port_is_taken_fails_alone_and_is_named() {
    demand("port_taken", &[], |scene| {
        let _authority = authority(scene)?;
        let upstream = Upstream::start("127.0.0.1:5060", Answer::Echo)?;
        let _squatter = TcpListener::bind("127.0.0.1:5061")?;
        let both = listener("sip", 5061, ONE_UPSTREAM)
            + &listener("beside", 5062, ONE_UPSTREAM).replace("[tls]\n", "");
        let gateway = Gateway::start(scene, &both)?;
        wait_for_listener(5062)?;
        echo_at(scene, &upstream, 5062)?;
        let status = gateway.admin("/v1/tls")?;
        let states = [0, 1].map(|index| status["listeners"][index]["state"].clone());
        ensure!(states == ["failed", "serving"], "{status}");
        let problem = status["listeners"][0]["problem"].as_str().unwrap_or_default().to_owned();
        ensure!(problem.contains("127.0.0.1:5061"), "{problem}");
        let log = gateway.log();
        ensure!(log.lines().any(|line| line.contains("sip") && line.contains("5061")), "{log}");
        ensure!(gateway.metric("postern_tls_listener_up", &["\"sip\""])? == 0.0);
        Ok(())
    });
}

#[test]
fn check_names_the_listener_and_the_file_that_is_wrong() {
    demand("check", &[], |scene| {
        let authority = authority(scene)?;
        authority.sign(Leaf { until: 2021, ..Leaf::new("old", 9, &[NAME]) })?;
        let good = check(scene, &listener("sip", 5061, ONE_UPSTREAM))?;
        ensure!(good.status.success(), "{good:?}");
        fs::write(scene.path("cut.pem"), "-----BEGIN CERTIFICATE-----\nMIIB\n")?;
        for (chain, key, named) in [
            ("old.pem", "old.key", "old.pem"),
            ("ecdsa.pem", "rsa.key", "rsa.key"),
            ("missing.pem", "ecdsa.key", "missing.pem"),
            ("cut.pem", "ecdsa.key", "cut.pem"),
        ] {
            let tls = listener("sip", 5061, ONE_UPSTREAM).replace("ecdsa.pem", "CHAIN");
            let tls = tls.replace("ecdsa.key", key).replace("CHAIN", chain);
            let output = check(scene, &tls)?;
            let said = [&output.stdout[..], &output.stderr].concat();
            let said = String::from_utf8_lossy(&said);
            ensure!(!output.status.success(), "{chain} and {key} are good: {said}");
            ensure!(said.contains("sip") && said.contains(named), "{chain}, {key}: {said}");
        }
        Ok(())
    });
}

#[test]
fn a_bad_certificate_at_reload_changes_nothing_and_a_good_one_drops_nobody() {
    demand("reload", &[], |scene| {
        let authority = authority(scene)?;
        let upstream = Upstream::start("127.0.0.1:5060", Answer::Echo)?;
        let gateway = Gateway::start(scene, &listener("sip", 5061, ONE_UPSTREAM))?;
        wait_for_listener(5061)?;
        let mut held = Vec::new();
        for index in 0..10 {
            let name = format!("held-{index}");
            held.push(Dialogue::start(scene, &name, &mut s_client(5061, NAME, "-quiet"))?);
        }
        let load = Load::start(scene);

        // As `mv` puts files in their place: the chain first, then its key.
        let serials = |wanted: &str| -> Result<()> {
            let said = shown(scene)?;
            ensure!(said.contains(wanted), "not {wanted}: {said}");
            Ok(())
        };
        serials("serial=01")?;
        let old = Leaf { until: 2021, ..Leaf::new("ecdsa", 0x21, &[NAME]) };
        authority.sign(old)?;
        gateway.process.signal(Signal::HUP)?;
        wait_for("refusal", || {
            Ok(refusal(&gateway)?.filter(|reason| reason.contains("ecdsa.pem")))
        })?;
        serials("serial=01")?;
        fs::copy(scene.path("rsa.key"), scene.path("ecdsa.key"))?;
        gateway.post("/v1/tls/reload")?;
        wait_for("refusal", || {
            Ok(refusal(&gateway)?.filter(|reason| reason.contains("ecdsa.key")))
        })?;
        serials("serial=01")?;
        ensure!(gateway.metric("postern_tls_listener_outdated", &["\"sip\""])? == 1.0);

        authority.sign(Leaf::new("ecdsa", 0x22, &[NAME]))?;
        gateway.process.signal(Signal::HUP)?;
        wait_for("new certificate", || Ok(shown(scene)?.contains("serial=22").then_some(())))?;
        ensure!(refusal(&gateway)?.is_none(), "{:?}", refusal(&gateway));
        ensure!(gateway.metric("postern_tls_listener_outdated", &["\"sip\""])? == 0.0);

        load.finish()?;
        for (index, client) in held.iter_mut().enumerate() {
            client.say(format!("still {index}\n"))?;
            client.wait_for(&format!("still {index}\n"))?;
        }
        ensure!(upstream.count() > 10, "no load");
        Ok(())
    });
}

#[test]
fn what_stays_in_user_space_is_said_with_its_reason() {
    demand("fallback", &[], |scene| {
        let _authority = authority(scene)?;
        let _upstream = Upstream::start("127.0.0.1:5060", Answer::Echo)?;
        let gateway = Gateway::start(scene, &listener("sip", 5061, ONE_UPSTREAM))?;
        wait_for_listener(5061)?;
        let mut clients = Vec::new();
        for index in 0..3 {
            let mut client =
                Dialogue::start(scene, &format!("c{index}"), &mut s_client(5061, NAME, "-quiet"))?;
            client.say("hello\n")?;
            client.wait_for("hello\n")?;
            clients.push(client);
        }
        let status = gateway.admin("/v1/tls?connections=true")?;
        let Some(problem) = status["kernel_problem"].as_str() else {
            println!("SKIPPED tls::fallback: this kernel has TLS; the test VM shows what it does");
            return Ok(());
        };
        ensure!(problem.contains("TCP_ULP"), "{problem}");
        let connections = status["connections"].as_array().context("no connections")?;
        ensure!(connections.len() == 3, "{status}");
        for connection in connections {
            for direction in ["inbound", "outbound"] {
                ensure!(connection[direction].to_string().contains("user-space"), "{connection}");
            }
        }
        let listed = status["listeners"][0]["placements"].to_string();
        ensure!(listed.contains("TCP_ULP"), "{listed}");
        let there = gateway.metric("postern_tls_placements", &["user-space", "TCP_ULP"])?;
        ensure!(there == 6.0, "{:?}", gateway.metrics("postern_tls_placements"));
        // Once for all of them.
        let told = gateway.log().matches("kind=\"placement.fallback\"").count();
        ensure!(told == 1, "told {told} times: {}", gateway.log());
        Ok(())
    });
}

/// Clients that come and go all the while; each must be served.
struct Load {
    stop: Arc<AtomicBool>,
    thread: thread::JoinHandle<Result<u32>>,
}

impl Load {
    fn start(scene: &Scene) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (asked, folder) = (Arc::clone(&stop), scene.folder.clone());
        let thread = thread::spawn(move || {
            let scene = Scene { folder };
            let mut served = 0;
            while !asked.load(Ordering::Relaxed) {
                let mut client = Dialogue::start(&scene, "load", &mut s_client(5061, NAME, ""))?;
                client.say("load\n")?;
                client.wait_for("\nload\n")?;
                client.say("Q\n")?;
                ensure!(client.wait()?.success(), "{}", client.said());
                served += 1;
            }
            Ok(served)
        });
        Self { stop, thread }
    }

    fn finish(self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let served = self.thread.join().expect("the load's thread")?;
        ensure!(served > 0, "no load");
        println!("{served} clients served during the reloads");
        Ok(())
    }
}

/// The serial number of the certificate that is shown now.
fn shown(scene: &Scene) -> Result<String> {
    let client = Dialogue::start(scene, "shown", &mut s_client(5061, NAME, ""))?;
    client.wait_for("-----END CERTIFICATE-----")?;
    let said = client.said();
    let begin = said.find("-----BEGIN CERTIFICATE-----").context("no certificate")?;
    fs::write(scene.path("shown.pem"), &said[begin..])?;
    let output = std::process::Command::new("openssl")
        .args(["x509", "-noout", "-serial", "-in", &scene.text("shown.pem")])
        .output()?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Why the listener's last reload was refused, if it was.
fn refusal(gateway: &Gateway) -> Result<Option<String>> {
    let status = gateway.admin("/v1/tls")?;
    Ok(status["listeners"][0]["problem"].as_str().map(str::to_owned))
}

fn listener(name: &str, port: u16, more: &str) -> String {
    format!(
        r#"[tls]
[[tls.listener]]
name = "{name}"
mode = "terminate"
listen = "127.0.0.1:{port}"
certificate = [{{ names = ["{NAME}"], chain = "ecdsa.pem", key = "ecdsa.key" }}]
{more}"#
    )
}

const NAME: &str = "ecdsa.example";
const ONE_UPSTREAM: &str = "upstream = [\"127.0.0.1:5060\"]\nupstream_retry = \"1s\"\n";
