//! openssl as the party of a leg, in both roles and with each profile; then media under the keys
//! that it exported, by our own sockets at its port. The SRTP is our own crate's on both sides, so
//! what this shows is that both sides have the same keys, each for its direction.

use std::io::ErrorKind;
use std::net::UdpSocket;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use srtp::{MasterKey, Policy, Profile, Receiver, Sender};

use crate::abroad::{Abroad, THERE};
use crate::dialogue::Dialogue;
use crate::far::payload;
use crate::gateway::Gateway;
use crate::relay::{configuration, dropped};
use crate::scene::{Scene, demand, wait_for};
use crate::secure_peer::{Certificate, Leg, Side, serve};

#[test]
fn media_pass_under_the_keys_that_openssl_exports_in_both_roles_with_each_profile() {
    demand("openssl", &[], |scene| {
        let abroad = Abroad::new()?;
        let gateway = Gateway::start(scene, &configuration(""))?;
        let certificate = Certificate::new(scene, "openssl", 0)?;
        let cases = [Side::Client, Side::Server]
            .into_iter()
            .flat_map(|side| Profile::COMMON.map(|profile| (side, profile)));
        for (port, (side, profile)) in (6000..).zip(cases) {
            let case = format!("{side:?}-{}", profile.name());
            call_of(scene, &abroad, &certificate, (side, profile), port)
                .with_context(|| format!("{case}: {:?}", dropped(&gateway)))?;
            println!("{case}: {PACKETS} packets each way");
        }
        Ok(())
    });
}

/// One handshake, and media after it.
fn call_of(
    scene: &Scene,
    abroad: &Abroad,
    certificate: &Certificate,
    (side, profile): (Side, Profile),
    port: u16,
) -> Result<()> {
    let length = (2 * (profile.key_len() + profile.salt_len())).to_string();
    let (label, name) = ("EXTRACTOR-dtls_srtp", openssls_name(profile));
    let options = ["-use_srtp", name, "-keymatexport", label, "-keymatexportlen", &length];
    let id = format!("openssl-{port}");
    let (leg, openssl) = match side {
        Side::Client => {
            let leg = Leg::new(&id, port, &certificate.fingerprint)?;
            let client = leg.shake_hands(scene, abroad, certificate, &options)?;
            (leg, client)
        }
        Side::Server => {
            let server = serve(scene, abroad, certificate, port, &options)?;
            (Leg::of(&id, port, &certificate.fingerprint, side)?, server)
        }
    };
    leg.wait_for("secured").with_context(|| openssl.said())?;
    let material = wait_for("keying material", || keying_material(&openssl))
        .with_context(|| openssl.said())?;
    // Killed: it says no good-bye, and its port is free.
    drop(openssl);
    let [client, server] = split(&material, profile)?;
    let (send, receive) = if side == Side::Client { (client, server) } else { (server, client) };
    let policy = Policy::default();
    exchange(abroad, &leg, Sender::new(&send, &policy)?, Receiver::new(&receive, &policy)?)
}

/// Sends and receives for a second, and demands that all came.
fn exchange(abroad: &Abroad, leg: &Leg, mut sender: Sender, mut receiver: Receiver) -> Result<()> {
    let port = leg.port;
    let socket = abroad.run(move || Ok(UdpSocket::bind((THERE, port))?))?;
    socket.set_nonblocking(true)?;
    let mut opened = 0;
    leg.far.speak();
    for number in 0..PACKETS {
        let mut buffer = [0; 256];
        let plain = packet(number);
        buffer[..plain.len()].copy_from_slice(&plain);
        let sealed =
            sender.protect_rtp(&mut buffer, plain.len()).map_err(|no| anyhow!("{no:?}"))?;
        socket.send_to(&buffer[..sealed.len], leg.relay)?;
        thread::sleep(Duration::from_millis(20));
        opened += open_all(&socket, &mut receiver)?;
    }
    leg.far.hush();
    thread::sleep(Duration::from_millis(300));
    opened += open_all(&socket, &mut receiver)?;
    let tally = leg.far.tallies()[0];
    ensure!(tally.received == PACKETS && tally.numbered == PACKETS, "{tally:?}");
    ensure!(opened == tally.sent && opened > 0, "{opened} came of {tally:?}");
    Ok(())
}

/// How many RTP packets came; all must open.
fn open_all(socket: &UdpSocket, receiver: &mut Receiver) -> Result<u32> {
    let (mut buffer, mut opened) = ([0; 2048], 0);
    loop {
        let length = match socket.recv(&mut buffer) {
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(opened),
            Err(error) => return Err(error.into()),
        };
        // RFC 5761 section 4; RFC 7983: consent is for nobody, as there is no ICE.
        let packet = &mut buffer[..length];
        if (200..=207).contains(&packet[1]) {
            receiver.open_rtcp(packet).map_err(|no| anyhow!("RTCP: {no:?}"))?;
        } else {
            receiver.open_rtp(packet).map_err(|no| anyhow!("RTP: {no:?}"))?;
            opened += 1;
        }
    }
}

/// RFC 3550 section 5.1; PCMU as a far end writes it.
fn packet(number: u32) -> Vec<u8> {
    let mut packet = vec![0x80, 0];
    packet.extend((number as u16).to_be_bytes());
    packet.extend((number * 160).to_be_bytes());
    packet.extend(0x0dd5_0000_u32.to_be_bytes());
    packet.extend(payload(number));
    packet
}

/// `    Keying material: 0123…`, once it is there as a whole.
fn keying_material(openssl: &Dialogue) -> Result<Option<Vec<u8>>> {
    let said = openssl.said();
    let lines = said.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    let mut material = lines.filter_map(|line| line.trim().strip_prefix("Keying material: "));
    let Some(digits) = material.next() else { return Ok(None) };
    let byte = |at: usize| digits.get(at..at + 2).and_then(|two| u8::from_str_radix(two, 16).ok());
    let bytes: Option<_> = (0..digits.len()).step_by(2).map(byte).collect();
    bytes.context("hexadecimal").map(Some)
}

/// The client's key and the server's, from RFC 5764 section 4.2's order.
fn split(material: &[u8], profile: Profile) -> Result<[MasterKey; 2]> {
    let (keys, salts) = material.split_at_checked(2 * profile.key_len()).context("too short")?;
    let key = |index: usize| {
        let key = keys.chunks(profile.key_len()).nth(index).context("no key")?;
        let salt = salts.chunks(profile.salt_len()).nth(index).context("no salt")?;
        Ok::<_, anyhow::Error>(MasterKey::from_concatenated(profile, &[key, salt].concat())?)
    };
    Ok([key(0)?, key(1)?])
}

fn openssls_name(profile: Profile) -> &'static str {
    match profile {
        Profile::AeadAes256Gcm => "SRTP_AEAD_AES_256_GCM",
        Profile::AeadAes128Gcm => "SRTP_AEAD_AES_128_GCM",
        Profile::AesCm128HmacSha1_32 => "SRTP_AES128_CM_SHA1_32",
        _ => "SRTP_AES128_CM_SHA1_80",
    }
}

const PACKETS: u32 = 50;
