//! Janus as the far end: its echo test gives back what it gets.

use std::fs;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::abroad::Abroad;
use crate::call::{Call, Dtls, Offerer};
use crate::dialogue::Dialogue;
use crate::far::Kind;
use crate::party::Party;
use crate::relay::Relay;
use crate::scene::{Scene, demand, wait_for};
use crate::web;

#[test]
fn janus_echoes_every_packet() {
    janus_echoes(Relay::Ours);
}

#[test]
fn the_same_echo_by_rtpengine() {
    janus_echoes(Relay::Rtpengine);
}

fn janus_echoes(relay: Relay) {
    demand(&relay.scene("janus"), &relay.programs(&["janus"]), |scene| {
        let abroad = Abroad::new()?;
        let _running = relay.start(scene)?;
        let mut janus = Janus::start(scene, &abroad)?;
        let audio = &[Kind::Audio];
        let call = Call::set_up("echo", relay, &mut janus, Offerer::Far, audio, Dtls::Default)?;
        thread::sleep(Duration::from_secs(1));
        call.far.hush();
        thread::sleep(Duration::from_millis(500));
        let tally = call.far.tallies()[0];
        println!("janus: {tally:?}");
        ensure!(tally.sent > 0 && tally.numbered == tally.sent, "{tally:?}");
        ensure!(tally.received == tally.sent && tally.repeated + tally.strangers == 0, "{tally:?}");
        call.end()
    });
}

/// One that runs, with one handle of its echo test.
struct Janus<'a> {
    abroad: &'a Abroad,
    process: Dialogue,
    session: String,
    handle: String,
    up: bool,
}

impl<'a> Janus<'a> {
    fn start(scene: &Scene, abroad: &'a Abroad) -> Result<Self> {
        let folder = scene.path("janus");
        fs::create_dir_all(&folder)?;
        // Everything else is as it comes; it reads the files of this folder alone.
        let plugins = format!("plugins: {{\n disable = \"{OTHER_PLUGINS}\"\n}}\n");
        fs::write(
            folder.join("janus.jcfg"),
            format!("general: {{\n debug_level = 4\n}}\n{plugins}"),
        )?;
        let http = format!("general: {{\n http = true\n port = {PORT}\n ip = \"127.0.0.1\"\n}}\n");
        fs::write(folder.join("janus.transport.http.jcfg"), http)?;
        let mut command = Command::new("janus");
        command.env("NICE_DEBUG", "all").env("G_MESSAGES_DEBUG", "all");
        command.arg("--configs-folder").arg(&folder).arg("--disable-colors");
        let own = scene.clone();
        let process = abroad.run(move || Dialogue::start(&own, "janus", &mut command))?;
        let (session, handle) = (String::from("/janus"), String::new());
        let mut janus = Self { abroad, process, session, handle, up: false };
        let id = wait_for("Janus that answers", || {
            ensure!(janus.process.ended()?.is_none(), "it ended: {}", janus.process.said());
            Ok(janus.post("/janus", json!({"janus": "create"})).ok())
        })?;
        janus.session = format!("/janus/{}", id["data"]["id"]);
        let attach = json!({"janus": "attach", "plugin": "janus.plugin.echotest"});
        let handle = janus.post(&janus.session, attach)?;
        janus.handle = format!("{}/{}", janus.session, handle["data"]["id"]);
        Ok(janus)
    }

    fn post(&self, path: &str, mut body: Value) -> Result<Value> {
        body["transaction"] = "postern".into();
        let path = path.to_owned();
        let address = format!("127.0.0.1:{PORT}");
        let answer = self.abroad.run(move || web::exchange(&address, "POST", &path, &body))?;
        ensure!(answer["janus"] != "error", "{answer}");
        Ok(answer)
    }

    /// The next event; Janus holds the question until there is one.
    fn event(&self) -> Result<Value> {
        let path = format!("{}?maxev=1", self.session);
        let address = format!("127.0.0.1:{PORT}");
        self.abroad.run(move || web::exchange(&address, "GET", &path, &Value::Null))
    }
}

impl Party for Janus<'_> {
    fn ask(&mut self, verb: &str, argument: Value) -> Result<Value> {
        match verb {
            "answer" => {
                let message = json!({
                    "janus": "message",
                    "body": {"audio": true},
                    "jsep": {"type": "offer", "sdp": argument["sdp"]},
                });
                self.post(&self.handle, message)?;
                for _ in 0..EVENTS {
                    let event = self.event()?;
                    if let Some(sdp) = event["jsep"]["sdp"].as_str() {
                        return Ok(sdp.into());
                    }
                }
                bail!("no answer of Janus: {}", self.process.said())
            }
            "state" => {
                for _ in 0..EVENTS {
                    if self.up {
                        return Ok("connected".into());
                    }
                    let event = self.event()?;
                    self.up = event["janus"] == "webrtcup";
                    ensure!(event["janus"] != "hangup", "{event}");
                }
                bail!("Janus did not connect: {}", self.process.said())
            }
            "close" => self.post(&self.handle, json!({"janus": "hangup"})),
            other => bail!("Janus is not asked to {other}"),
        }
        .with_context(|| format!("Janus: {verb}"))
    }
}

const PORT: u16 = 8088;
/// More than come before the one that is waited for.
const EVENTS: usize = 10;
const OTHER_PLUGINS: &str = "libjanus_audiobridge.so,libjanus_duktape.so,libjanus_lua.so,\
    libjanus_nosip.so,libjanus_recordplay.so,libjanus_sip.so,libjanus_streaming.so,\
    libjanus_textroom.so,libjanus_videocall.so,libjanus_videoroom.so,libjanus_voicemail.so";
