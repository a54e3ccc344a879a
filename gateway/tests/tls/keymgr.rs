//! `keymgr tls` asks a gateway that serves: what it prints is so, and what it starts happens.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::dialogue::Dialogue;
use crate::gateway::Gateway;
use crate::pki::{Authority, Leaf};
use crate::scene::{Scene, demand, wait_for_listener};
use crate::upstream::{Answer, Upstream};

const LISTENERS: &str = r#"
[[tls.listener]]
name = "sip"
mode = "terminate"
listen = "127.0.0.1:5061"
upstream = ["127.0.0.1:5060"]
certificate = [{ chain = "sip.pem", key = "sip.key" }]
[[tls.listener]]
name = "broken"
mode = "terminate"
listen = "127.0.0.1:5062"
upstream = ["127.0.0.1:5060"]
certificate = [{ chain = "none.pem", key = "sip.key" }]
"#;

#[test]
fn keymgr_shows_listeners_and_connections_and_renews_what_it_is_asked_to() {
    demand("keymgr", &[], |scene| {
        let authority = Authority::new(&scene.folder, "authority")?;
        authority.sign(Leaf::new("sip", 1, &["sip.example"]))?;
        let _upstream = Upstream::start("127.0.0.1:5060", Answer::Echo)?;
        let gateway = Gateway::start(scene, LISTENERS)?;
        wait_for_listener(5061)?;
        let mut client = s_client(scene)?;
        client.say("hello\n")?;
        client.wait_for("hello")?;

        let listed = succeeds(&keymgr(scene, &["tls", "list", "--connections"])?)?;
        for word in ["sip.example", "serving", "failed", "none.pem", "1.3", "127.0.0.1:5060"] {
            ensure!(listed.contains(word), "{word} is not in {listed}");
        }
        let check = keymgr(scene, &["tls", "list", "--check"])?;
        ensure!(check.status.code() == Some(5), "{check:?}");

        let listed = succeeds(&keymgr(scene, &["--json", "tls", "list", "--connections"])?)?;
        let listed: Value = serde_json::from_str(&listed)?;
        let id = listed["connections"][0]["id"].to_string();
        let updated = keymgr(scene, &["tls", "keyupdate", "--connection", &id, "--dry-run"])?;
        ensure!(succeeds(&updated)?.contains("nothing was changed"), "{updated:?}");
        succeeds(&keymgr(scene, &["tls", "keyupdate", "--connection", &id])?)?;
        client.say("under new keys\n")?;
        client.wait_for("under new keys")?;
        client.wait_for("KeyUpdate")?;
        gateway.wait_for_metric("postern_tls_key_updates_total", &["direction=\"out\""], 1.0)?;
        let gone = keymgr(scene, &["tls", "keyupdate", "--connection", "999999"])?;
        ensure!(gone.status.code() == Some(3), "{gone:?}");

        renewals(scene, &authority)?;
        client.say("and it goes on\n")?;
        client.wait_for("and it goes on")
    });
}

fn renewals(scene: &Scene, authority: &Authority) -> Result<()> {
    succeeds(&keymgr(scene, &["tls", "rotate-tickets"])?)?;
    authority.sign(Leaf::new("sip", 2, &["sip.example"]))?;
    let reloaded = succeeds(&keymgr(scene, &["tls", "reload", "--listener", "sip"])?)?;
    ensure!(reloaded.contains("reloaded"), "{reloaded}");
    fs::write(scene.path("sip.pem"), "no certificate")?;
    let refused = keymgr(scene, &["tls", "reload", "--listener", "sip"])?;
    ensure!(refused.status.code() == Some(5), "{refused:?}");
    ensure!(String::from_utf8_lossy(&refused.stdout).contains("sip.pem"), "{refused:?}");
    let unknown = keymgr(scene, &["tls", "reload", "--listener", "spi"])?;
    ensure!(unknown.status.code() == Some(3), "{unknown:?}");
    Ok(())
}

fn s_client(scene: &Scene) -> Result<Dialogue> {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", "127.0.0.1:5061", "-servername", "sip.example"]);
    command.args(["-CAfile", "authority.pem", "-tls1_3", "-msg"]).current_dir(&scene.folder);
    Dialogue::start(scene, "s_client", &mut command)
}

fn keymgr(scene: &Scene, arguments: &[&str]) -> Result<Output> {
    let mut command = Command::new(program()?);
    command.arg("--admin").arg(scene.path("admin.sock")).args(arguments);
    Ok(command.output()?)
}

fn succeeds(output: &Output) -> Result<String> {
    ensure!(output.status.success(), "{output:?}");
    Ok(String::from_utf8(output.stdout.clone())?)
}

/// The one that was built with the gateway.
fn program() -> Result<PathBuf> {
    let gateway = env::var_os("POSTERN_GATEWAY");
    let gateway = gateway.unwrap_or_else(|| env!("CARGO_BIN_EXE_gateway").into());
    let folder = Path::new(&gateway).parent().context("no folder of the gateway")?;
    let keymgr = folder.join("keymgr");
    ensure!(keymgr.exists(), "build keymgr first: cargo build -p keymgr");
    Ok(keymgr)
}
