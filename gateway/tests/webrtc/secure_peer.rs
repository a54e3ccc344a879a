//! A leg with DTLS-SRTP and no ICE: signalling names the party's address, and what the party does
//! there is the test's choice. Its handshakes are openssl's.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::abroad::{Abroad, HERE, THERE};
use crate::call::{Dtls, towards_plain};
use crate::dialogue::Dialogue;
use crate::far::{Far, Kind};
use crate::ng;
use crate::scene::{Scene, wait_for};
use crate::sdp::sections;

/// A leg whose party is at one port abroad, and the plain leg beside it.
pub(crate) struct Leg {
    id: String,
    pub(crate) port: u16,
    pub(crate) far: Far,
    /// Where the relay is for the party.
    pub(crate) relay: SocketAddr,
}

/// What a party is in the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// It sends the ClientHello.
    Client,
    Server,
}

/// A certificate with its key, and what signalling says of it.
pub(crate) struct Certificate {
    /// The certificate and its key.
    pub(crate) files: [PathBuf; 2],
    pub(crate) fingerprint: String,
}

impl Leg {
    /// Signals a party at `port` that will send the ClientHello, under this certificate.
    pub(crate) fn new(id: &str, port: u16, fingerprint: &str) -> Result<Self> {
        Self::of(id, port, fingerprint, Side::Client)
    }

    /// Signals a party at `port` that is this side of the handshake; a server is there already.
    pub(crate) fn of(id: &str, port: u16, fingerprint: &str, side: Side) -> Result<Self> {
        let (said, wanted) = match side {
            Side::Client => ("active", "passive"),
            Side::Server => ("passive", "active"),
        };
        let far = Far::new(HERE, &[Kind::Audio])?;
        let sdp = format!(
            "v=0\r\no=- 1 1 IN IP4 {THERE}\r\ns=-\r\nt=0 0\r\nm=audio {port} UDP/TLS/RTP/SAVP 0\r\n\
             c=IN IP4 {THERE}\r\na=sendrecv\r\na=rtcp-mux\r\na=setup:{said}\r\n\
             a=fingerprint:sha-256 {fingerprint}\r\n"
        );
        let signal = |command: &str, sdp: &str, mut request: Value| {
            request["command"] = command.into();
            request["call-id"] = id.into();
            request["from-tag"] = "party".into();
            request["sdp"] = sdp.into();
            let reply = ng::ask(&request)?;
            Ok::<_, anyhow::Error>(reply["sdp"].as_str().context("no SDP")?.to_owned())
        };
        let offer = signal("offer", &sdp, towards_plain(Dtls::Default))?;
        let answer = signal("answer", &far.answer(&offer)?, json!({"to-tag": "far"}))?;
        let sections = sections(&answer)?;
        let section = sections.first().with_context(|| answer.clone())?;
        ensure!(section.value("setup") == Some(wanted), "not {wanted}: {answer}");
        Ok(Self { id: id.to_owned(), port, far, relay: section.address()? })
    }

    /// Lets openssl shake hands from the signalled port.
    pub(crate) fn shake_hands(
        &self,
        scene: &Scene,
        abroad: &Abroad,
        certificate: &Certificate,
        more: &[&str],
    ) -> Result<Dialogue> {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-connect", &self.relay.to_string()]);
        command.args(["-bind", &format!("{THERE}:{}", self.port)]);
        certificate.add_to(&mut command).args(more);
        let (scene, name) = (scene.clone(), self.id.clone());
        abroad.run(move || Dialogue::start(&scene, &name, &mut command))
    }

    /// What `query` says of the call.
    pub(crate) fn query(&self) -> Result<String> {
        Ok(ng::ask(&json!({"command": "query", "call-id": self.id}))?["tags"].to_string())
    }

    /// Waits until `query` says this.
    pub(crate) fn wait_for(&self, words: &str) -> Result<()> {
        wait_for(&format!("\"{words}\" of {}", self.id), || {
            Ok(self.query()?.contains(words).then_some(()))
        })
        .with_context(|| self.query().unwrap_or_default())
    }
}

/// An openssl that waits for a ClientHello at `port`, and asks for a certificate.
pub(crate) fn serve(
    scene: &Scene,
    abroad: &Abroad,
    certificate: &Certificate,
    port: u16,
    more: &[&str],
) -> Result<Dialogue> {
    let mut command = Command::new("openssl");
    // -Verify minds neither who signed ours nor that nobody knows it.
    command.args(["s_server", "-accept", &format!("{THERE}:{port}"), "-Verify", "1"]);
    certificate.add_to(&mut command).args(more);
    let (scene, name) = (scene.clone(), format!("server-{port}"));
    let server = abroad.run(move || Dialogue::start(&scene, &name, &mut command))?;
    server.wait_for("ACCEPT")?;
    Ok(server)
}

impl Certificate {
    fn add_to<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        let [chain, key] = &self.files;
        command.args(["-dtls1_2", "-mtu", "1200", "-cert"]).arg(chain).arg("-key").arg(key)
    }

    /// A self-signed one with as many alternative names.
    pub(crate) fn new(scene: &Scene, name: &str, names: usize) -> Result<Self> {
        let files = ["pem", "key"].map(|kind| scene.path(&format!("{name}.{kind}")));
        let settings = scene.path(&format!("{name}.cnf"));
        let names: Vec<String> =
            (0..names).map(|index| format!("DNS:{index:060}.example")).collect();
        let more = if names.is_empty() {
            String::new()
        } else {
            format!("subjectAltName = {}\n", names.join(","))
        };
        let text = "[req]\ndistinguished_name = dn\nx509_extensions = ext\nprompt = no\n[dn]\n\
                    CN = peer\n[ext]\nbasicConstraints = CA:FALSE\n";
        fs::write(&settings, format!("{text}{more}"))?;
        let mut command = Command::new("openssl");
        command.args(["req", "-x509", "-nodes", "-newkey", "ec", "-days", "30"]);
        command.args(["-pkeyopt", "ec_paramgen_curve:P-256"]);
        command
            .arg("-config")
            .arg(settings)
            .arg("-out")
            .arg(&files[0])
            .arg("-keyout")
            .arg(&files[1]);
        run(&mut command)?;
        let mut command = Command::new("openssl");
        command.args(["x509", "-noout", "-sha256", "-fingerprint", "-in"]).arg(&files[0]);
        let said = run(&mut command)?;
        let (_, fingerprint) = said.trim().split_once('=').with_context(|| said.clone())?;
        Ok(Self { files, fingerprint: fingerprint.to_owned() })
    }
}

fn run(command: &mut Command) -> Result<String> {
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {said}");
    Ok(String::from_utf8(output.stdout)?)
}
