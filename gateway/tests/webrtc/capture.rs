//! What is on the wire between a party and us: dumpcap listens, tshark says what it takes each
//! datagram for. Nobody here has told it of keys, ports or SDP.

use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::abroad::{Abroad, HERE};
use crate::browser::{Browser, PROGRAMS};
use crate::call::{Call, Dtls, Offerer};
use crate::dialogue::Dialogue;
use crate::far::{Kind, is_readable};
use crate::relay::Relay;
use crate::scene::{Scene, demand, wait_for};

#[test]
fn nothing_of_a_browsers_call_is_on_the_wire_in_clear() {
    nothing_in_clear(Relay::Ours);
}

#[test]
fn nor_is_it_by_rtpengine() {
    nothing_in_clear(Relay::Rtpengine);
}

fn nothing_in_clear(relay: Relay) {
    let programs = [PROGRAMS, &["dumpcap", "tshark"]].concat();
    demand(&relay.scene("capture"), &relay.programs(&programs), |scene| {
        let abroad = Abroad::new()?;
        let running = relay.start(scene)?;
        let browser = Browser::start(scene, &abroad)?;
        let capture = Capture::start(scene)?;
        for (name, offerer) in [("caller", Offerer::Party), ("callee", Offerer::Far)] {
            let mut party = browser.call(name);
            let audio = &[Kind::Audio];
            let call = Call::set_up(name, relay, &mut party, offerer, audio, Dtls::Default)?;
            thread::sleep(Duration::from_secs(2));
            let tally = call.finish_flawless().with_context(|| running.dropped())?;
            // Else what follows would show nothing.
            ensure!(tally.readable > tally.received / 2, "{name}: {tally:?}");
        }
        demand_secrecy(&capture.finish()?)
    });
}

/// Only STUN, DTLS and SRTP, both ways, and no media that one can read.
fn demand_secrecy(datagrams: &[Datagram]) -> Result<()> {
    let count = |is: &dyn Fn(&Datagram) -> bool| datagrams.iter().filter(|one| is(one)).count();
    // RFC 7983 section 7.
    let first = |one: &Datagram| one.payload.first().copied().unwrap_or(255);
    let stun = count(&|one| (0..4).contains(&first(one)));
    let dtls = count(&|one| (20..64).contains(&first(one)));
    let media = |one: &Datagram| (128..192).contains(&first(one));
    let sent = count(&|one| media(one) && one.ours);
    let received = count(&|one| media(one) && !one.ours);
    println!("on the wire: STUN {stun}, DTLS {dtls}, media {sent} and {received}");
    ensure!(stun > 0 && dtls >= 10 && sent > 100 && received > 100, "too little came");
    ensure!(stun + dtls + sent + received == datagrams.len(), "and other things");
    let profiles = count(&|one| first(one) == 22 && !one.profile.is_empty());
    ensure!(profiles >= 4, "two ClientHellos and two ServerHellos have use_srtp, not {profiles}");
    // RFC 5761 section 4: the types of RTCP.
    let is_rtp = |one: &Datagram| media(one) && !(64..96).contains(&(one.payload[1] & 0x7f));
    let (rtp, encrypted) = (count(&is_rtp), count(&|one| is_rtp(one) && one.encrypted));
    ensure!(encrypted == rtp && rtp > 200, "tshark takes {encrypted} of {rtp} for SRTP");
    // What follows the header of RTP; of RTCP the rest of the first report, as it is encrypted.
    let readable = count(&|one| media(one) && is_readable(&one.payload[12..]));
    ensure!(readable == 0, "{readable} packets can be read");
    Ok(())
}

/// A capture that runs.
struct Capture {
    dumpcap: Dialogue,
    file: PathBuf,
}

/// One UDP datagram, and what tshark takes it for.
#[derive(Clone, Debug)]
struct Datagram {
    /// We sent it.
    ours: bool,
    payload: Vec<u8>,
    /// Of `use_srtp` in a hello.
    profile: String,
    /// It is SRTP, as a handshake before it agreed.
    encrypted: bool,
}

impl Capture {
    /// Listens for UDP on the wire.
    fn start(scene: &Scene) -> Result<Self> {
        let file = scene.path("wire.pcapng");
        let mut command = Command::new("dumpcap");
        command.args(["-q", "-i", "wire", "-B", "64", "-f", "udp", "-w"]).arg(&file);
        let dumpcap = Dialogue::start(scene, "dumpcap", &mut command)?;
        dumpcap.wait_for("File:")?;
        Ok(Self { dumpcap, file })
    }

    /// Ends it, and gives what there was between the two ends of the wire.
    fn finish(self) -> Result<Vec<Datagram>> {
        // dumpcap writes a packet within a tenth of a second or so.
        let mut size = 0;
        wait_for("end of the capture", || {
            thread::sleep(Duration::from_millis(400));
            let before = std::mem::replace(&mut size, std::fs::metadata(&self.file)?.len());
            Ok((size == before && size > 0).then_some(()))
        })?;
        drop(self.dumpcap);
        let mut command = Command::new("tshark");
        command.arg("-r").arg(&self.file).args(["-Y", &format!("ip.addr == {HERE}")]);
        // What looks like RTP it takes for that, and for SRTP where a handshake agreed on it.
        command.args(["--enable-heuristic", "rtp_udp", "-T", "fields"]);
        for field in FIELDS {
            command.args(["-e", field]);
        }
        let output = command.output().context("tshark")?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout)?.lines().map(Datagram::read).collect()
    }
}

impl Datagram {
    /// A line of [`FIELDS`].
    fn read(line: &str) -> Result<Self> {
        let fields: Vec<&str> = line.split('\t').collect();
        let [source, payload, profile, encrypted] = fields[..] else {
            anyhow::bail!("not {} fields: {line}", FIELDS.len())
        };
        Ok(Self {
            ours: source == HERE,
            payload: hex(payload)?,
            profile: profile.to_owned(),
            encrypted: !encrypted.is_empty(),
        })
    }
}

fn hex(text: &str) -> Result<Vec<u8>> {
    let digits: String = text.chars().filter(|digit| *digit != ':').collect();
    ensure!(digits.len().is_multiple_of(2), "not hexadecimal: {text}");
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).context(text.to_owned()))
        .collect()
}

const FIELDS: [&str; 4] =
    ["ip.src", "udp.payload", "dtls.use_srtp.protection_profile", "srtp.enc_payload"];
