//! baresip: a SIP phone with ICE and DTLS-SRTP. We are the SBC of one call: its SIP is ours to
//! speak, and the SDP in it is the relay's.

use std::fs;
use std::net::UdpSocket;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::abroad::{Abroad, HERE, THERE};
use crate::call::{Call, Dtls, Offerer};
use crate::dialogue::Dialogue;
use crate::far::Kind;
use crate::party::Party;
use crate::relay::Relay;
use crate::scene::{Scene, demand, wait_for};

#[test]
fn baresip_calls_and_is_called() {
    baresip_calls(Relay::Ours);
}

#[test]
fn the_same_baresip_calls_and_is_called_by_rtpengine() {
    baresip_calls(Relay::Rtpengine);
}

fn baresip_calls(relay: Relay) {
    demand(&relay.scene("baresip"), &relay.programs(&["baresip"]), |scene| {
        let abroad = Abroad::new()?;
        let running = relay.start(scene)?;
        let audio = &[Kind::Audio];
        for (name, offerer) in [("caller", Offerer::Party), ("callee", Offerer::Far)] {
            let mut phone = Phone::start(scene, &abroad, name, offerer)?;
            let call = Call::set_up(name, relay, &mut phone, offerer, audio, Dtls::Default)?;
            thread::sleep(Duration::from_secs(1));
            call.demand_flawless().with_context(|| running.dropped())?;
        }
        Ok(())
    });
}

/// One that runs, and the SIP between it and us.
struct Phone {
    process: Dialogue,
    socket: UdpSocket,
    /// Its INVITE, or its answer to ours.
    invite: Option<Message>,
    offerer: Offerer,
}

/// What it sent.
#[derive(Clone)]
struct Message(String);

impl Phone {
    /// Starts it abroad; as the offerer it dials at once.
    fn start(scene: &Scene, abroad: &Abroad, name: &str, offerer: Offerer) -> Result<Self> {
        let folder = scene.path(name);
        fs::create_dir_all(&folder)?;
        let tone = folder.join("tone.wav");
        fs::write(&tone, wave())?;
        let source = format!("audio_source aufile,{}\n", tone.display());
        fs::write(folder.join("config"), format!("{source}{CONFIG}"))?;
        let account = format!("<sip:baresip@{THERE}:{PORT}>;regint=0;{ACCOUNT}\n");
        fs::write(folder.join("accounts"), account)?;
        fs::write(folder.join("contacts"), "")?;
        let socket = UdpSocket::bind((HERE, 0))?;
        socket.set_read_timeout(Some(Duration::from_secs(10)))?;
        let own = socket.local_addr()?;
        let mut command = Command::new("baresip");
        command.arg("-v").arg("-f").arg(&folder);
        if offerer == Offerer::Party {
            command.args(["-e", &format!("/dial sip:sbc@{own}")]);
        }
        let (scene, name) = (scene.clone(), name.to_owned());
        let process = abroad.run(move || Dialogue::start(&scene, &name, &mut command))?;
        process.wait_for("baresip is ready")?;
        Ok(Self { process, socket, invite: None, offerer })
    }

    /// The next message that begins like this.
    fn receive(&self, start: &str) -> Result<Message> {
        let mut buffer = vec![0; 65_536];
        loop {
            let length = self.socket.recv(&mut buffer).with_context(|| format!("no {start}"))?;
            let message = Message(String::from_utf8(buffer[..length].to_vec())?);
            if message.0.starts_with(start) {
                return Ok(message);
            }
            // 100, 180 and repetitions are passed over, a refusal is not.
            ensure!(
                !["SIP/2.0 4", "SIP/2.0 5", "SIP/2.0 6"].iter().any(|no| message.0.starts_with(no)),
                "not {start}: {}",
                message.0
            );
        }
    }

    fn send(&self, text: &str) -> Result<()> {
        self.socket.send_to(text.as_bytes(), (THERE, PORT))?;
        Ok(())
    }

    /// A request of ours within the dialogue, or the one that opens it.
    fn request(&self, method: &str, number: u32, body: &str) -> Result<()> {
        let own = self.socket.local_addr()?;
        let (from, to, id) = match (&self.invite, self.offerer) {
            (Some(invite), Offerer::Party) => (
                format!("{};tag=sbc", invite.header("To")?),
                invite.header("From")?,
                invite.header("Call-ID")?,
            ),
            (Some(answer), Offerer::Far) => {
                (answer.header("From")?, answer.header("To")?, answer.header("Call-ID")?)
            }
            (None, _) => (
                format!("<sip:sbc@{own}>;tag=sbc"),
                format!("<sip:baresip@{THERE}:{PORT}>"),
                format!("call-of-{own}"),
            ),
        };
        let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        self.send(&format!(
            "{method} sip:baresip@{THERE}:{PORT} SIP/2.0\r\n\
             Via: SIP/2.0/UDP {own};branch=z9hG4bK{method}{number};rport\r\nMax-Forwards: 70\r\n\
             From: {from}\r\nTo: {to}\r\nCall-ID: {id}\r\nCSeq: {number} {method}\r\n\
             Contact: <sip:sbc@{own}>\r\n{kind}Content-Length: {}\r\n\r\n{body}",
            body.len()
        ))
    }

    /// Answers its INVITE.
    fn accept(&self, body: &str) -> Result<()> {
        let invite = self.invite.as_ref().context("no INVITE")?;
        let own = self.socket.local_addr()?;
        let mut text = String::from("SIP/2.0 200 OK\r\n");
        for name in ["Via", "From", "Call-ID", "CSeq"] {
            text += &format!("{name}: {}\r\n", invite.header(name)?);
        }
        text += &format!("To: {};tag=sbc\r\nContact: <sip:sbc@{own}>\r\n", invite.header("To")?);
        text += "Content-Type: application/sdp\r\n";
        self.send(&format!("{text}Content-Length: {}\r\n\r\n{body}", body.len()))?;
        self.receive("ACK ").map(drop)
    }

    /// What it says of its RTP when a call is over: `PR` are packets received, `PL` those lost each
    /// way. `PS` are packets sent until its last report, not until the end.
    fn summary(&self) -> Result<Value> {
        let said = self.process.said();
        let line = said.lines().find(|line| line.contains("EX=BareSip;")).context("no summary")?;
        let field = |name: &str| {
            let found = line.split(';').find_map(|field| field.strip_prefix(name));
            found.with_context(|| format!("no {name} in {line}"))
        };
        let lost: Vec<&str> = field("PL=")?.split(',').collect();
        Ok(json!([{
            "received": field("PR=")?.parse::<u32>()?,
            "lost": lost.first().context("PL")?.parse::<i64>()?,
        }]))
    }
}

impl Party for Phone {
    fn ask(&mut self, verb: &str, argument: Value) -> Result<Value> {
        let sdp = argument["sdp"].as_str().unwrap_or_default();
        match verb {
            "offer" => {
                let invite = self.receive("INVITE ")?;
                let offer = invite.body().into();
                self.invite = Some(invite);
                Ok(offer)
            }
            "answer" => {
                self.request("INVITE", 1, sdp)?;
                let answer = self.receive("SIP/2.0 200")?;
                let body = answer.body().into();
                self.invite = Some(answer);
                self.request("ACK", 1, "")?;
                Ok(body)
            }
            "accept" => self.accept(sdp).map(|()| Value::Null),
            "state" => {
                // It opens its decoder after the handshake, and until then counts nothing.
                let up = self.process.said().contains("audio rx pipeline:");
                Ok(if up { "connected" } else { "connecting" }.into())
            }
            "stop" => {
                self.request("BYE", 2, "")?;
                self.receive("SIP/2.0 200")?;
                wait_for("baresip's summary", || Ok(self.summary().ok()))?;
                Ok(Value::Null)
            }
            "counts" => self.summary(),
            "close" => Ok(Value::Null),
            other => bail!("baresip is not asked to {other}"),
        }
    }
}

impl Message {
    fn header(&self, name: &str) -> Result<String> {
        let lines = self.0.lines().filter_map(|line| line.split_once(':'));
        let mut values = lines.filter(|(key, _)| key.eq_ignore_ascii_case(name));
        let (_, value) = values.next().with_context(|| format!("no {name} in\n{}", self.0))?;
        Ok(value.trim().to_owned())
    }

    fn body(&self) -> &str {
        self.0.split_once("\r\n\r\n").map_or("", |(_, body)| body)
    }
}

/// A minute of a square wave: 16 bits, mono, 8,000 a second.
fn wave() -> Vec<u8> {
    let samples = (0..60 * 8000_u32).map(|at| if at / 10 % 2 == 0 { 8000_i16 } else { -8000 });
    let data: Vec<u8> = samples.flat_map(i16::to_le_bytes).collect();
    let length = data.len() as u32;
    let mut file = Vec::from(*b"RIFF");
    file.extend((length + 36).to_le_bytes());
    file.extend(*b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    file.extend(8000_u32.to_le_bytes());
    file.extend(16_000_u32.to_le_bytes());
    file.extend(*b"\x02\0\x10\0data");
    file.extend(length.to_le_bytes());
    file.extend(data);
    file
}

const PORT: u16 = 5080;
const ACCOUNT: &str = "mediaenc=dtls_srtp;medianat=ice;audio_codecs=PCMU/8000/1;answermode=auto";
/// A tone in and nothing out; summaries of RTP at the end of a call.
const CONFIG: &str = "sip_listen 0.0.0.0:5080
audio_player aubridge,none
rtp_ports 40000-41000
rtcp_mux yes
module_path /usr/lib/baresip/modules
module stdio.so
module g711.so
module aufile.so
module aubridge.so
module uuid.so
module stun.so
module ice.so
module dtls_srtp.so
module_app account.so
module_app menu.so
module_app rtcpsummary.so
";
