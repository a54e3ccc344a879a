//! openssl: `s_client` at a terminating listener and `s_server` behind an originating one.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::capture::Capture;
use crate::dialogue::Dialogue;
use crate::gateway::Gateway;
use crate::pki::{Authority, Key, Leaf};
use crate::scene::{Scene, demand, wait_for, wait_for_listener};
use crate::upstream::{ANSWER, Answer, Upstream, proxy_header};

/// A cipher suite as openssl calls it, its version, and the certificate that it wants.
const SUITES: [(&str, Version, &str); 9] = [
    ("TLS_AES_128_GCM_SHA256", Version::Tls13, "ecdsa.example"),
    ("TLS_AES_256_GCM_SHA384", Version::Tls13, "rsa.example"),
    ("TLS_CHACHA20_POLY1305_SHA256", Version::Tls13, "ecdsa.example"),
    ("ECDHE-ECDSA-AES128-GCM-SHA256", Version::Tls12, "ecdsa.example"),
    ("ECDHE-ECDSA-AES256-GCM-SHA384", Version::Tls12, "ecdsa.example"),
    ("ECDHE-ECDSA-CHACHA20-POLY1305", Version::Tls12, "ecdsa.example"),
    ("ECDHE-RSA-AES128-GCM-SHA256", Version::Tls12, "rsa.example"),
    ("ECDHE-RSA-AES256-GCM-SHA384", Version::Tls12, "rsa.example"),
    ("ECDHE-RSA-CHACHA20-POLY1305", Version::Tls12, "rsa.example"),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    Tls12,
    Tls13,
}

#[test]
fn s_client_sends_and_gets_exactly_what_is_on_the_wire_under_every_suite() {
    demand("openssl_terminate_suites", &["dumpcap", "tshark"], |scene| {
        let _authority = authority(scene)?;
        let upstream = Upstream::start("127.0.0.1:5060", Answer::EchoWhole(PAYLOAD))?;
        let gateway = Gateway::start(scene, &terminate(""))?;
        wait_for_listener(5061)?;
        let capture = Capture::start(scene, 5061..=5061)?;
        for (index, (suite, version, name)) in SUITES.into_iter().enumerate() {
            let sent = payload(index);
            let arguments = format!("{} -quiet -keylogfile keys", version.suite_arguments(suite));
            let mut client = Dialogue::start(scene, suite, &mut s_client(5061, name, &arguments))?;
            client.say(&sent)?;
            let got = upstream.wait_for_end(index).with_context(|| client.said())?;
            ensure!(got.received == sent, "{suite}: {} bytes upstream", got.received.len());
            let status = client.wait()?;
            ensure!(status.success(), "{suite}: {status}: {}", client.said());
        }
        let decrypted = capture.finish(&scene.text("keys"), SUITES.len())?;
        for (index, (suite, ..)) in SUITES.into_iter().enumerate() {
            let sent = payload(index);
            ensure!(decrypted[index].client == sent, "{suite}: other bytes from the client");
            ensure!(decrypted[index].server == sent, "{suite}: other bytes to the client");
        }
        let of = |version| gateway.metric("postern_tls_handshakes_total", &["\"done\"", version]);
        ensure!(
            of("1.3")? == 3.0 && of("1.2")? == 6.0,
            "{:?}",
            gateway.metrics("postern_tls_handshakes_total")
        );
        Ok(())
    });
}

#[test]
fn s_server_gets_and_sends_exactly_what_is_on_the_wire_under_every_suite() {
    demand("openssl_originate_suites", &["dumpcap", "tshark"], |scene| {
        let _authority = authority(scene)?;
        let mut listeners = String::from("[tls]\n");
        let mut servers = Vec::new();
        for (index, (suite, version, name)) in SUITES.into_iter().enumerate() {
            listeners += &originate(index, name);
            let arguments = format!("{} -quiet -keylogfile keys", version.suite_arguments(suite));
            let mut server = s_server(7000 + index, name, &arguments);
            servers.push(Dialogue::start(scene, suite, &mut server)?);
            wait_for_listener(u16::try_from(7000 + index)?)?;
        }
        let gateway = Gateway::start(scene, &listeners)?;
        let capture = Capture::start(scene, 7000..=7008)?;
        for (index, (suite, ..)) in SUITES.into_iter().enumerate() {
            let (sent, back) = (payload(index), payload(index + 100));
            let address = format!("127.0.0.1:{}", 6000 + index);
            let mut client = TcpStream::connect(&address).with_context(|| address.clone())?;
            client.set_read_timeout(Some(ANSWER))?;
            client.write_all(&sent)?;
            servers[index].wait_for(&String::from_utf8(sent.clone())?)?;
            servers[index].say(&back)?;
            let mut got = vec![0; back.len()];
            client.read_exact(&mut got).with_context(|| format!("{suite}: {}", gateway.log()))?;
            ensure!(got == back, "{suite}: other bytes from the server");
            client.shutdown(Shutdown::Write)?;
            // Our close_notify and FIN end s_server's connection, and so ours.
            ensure!(client.read(&mut [0])? == 0, "{suite}: more bytes than were sent");
        }
        let decrypted = capture.finish(&scene.text("keys"), SUITES.len())?;
        for (index, (suite, ..)) in SUITES.into_iter().enumerate() {
            ensure!(
                decrypted[index].client == payload(index),
                "{suite}: other bytes to the server"
            );
            ensure!(
                decrypted[index].server == payload(index + 100),
                "{suite}: other bytes from it"
            );
        }
        Ok(())
    });
}

#[test]
fn sessions_are_resumed_after_rotations_of_the_ticket_keys_and_not_after_a_restart() {
    demand("openssl_resumption", &[], |scene| {
        let _authority = authority(scene)?;
        let upstream = Upstream::start("127.0.0.1:5060", Answer::Echo)?;
        let gateway = Gateway::start(scene, &terminate(""))?;
        wait_for_listener(5061)?;
        for version in [Version::Tls12, Version::Tls13] {
            let flag = version.flag();
            let first = echo(scene, &upstream, &format!("{flag} -sess_out session"))?;
            ensure!(first.contains("\nNew, "), "{version:?}: {first}");
            let again = || echo(scene, &upstream, &format!("{flag} -sess_in session"));
            let resumed = again()?;
            ensure!(resumed.contains("\nReused, "), "{version:?}, resumed: {resumed}");
            // The last keys go on opening for a lifetime.
            gateway.post("/v1/tls/tickets/rotate")?;
            gateway.post("/v1/tls/tickets/rotate")?;
            let resumed = again()?;
            ensure!(resumed.contains("\nReused, "), "{version:?}, after two rotations: {resumed}");
        }
        gateway.wait_for_metric("postern_tls_resumptions_total", &[], 4.0)?;
        // They are in memory alone: another process opens none of these tickets.
        drop(gateway);
        let _gateway = Gateway::start(scene, &terminate(""))?;
        wait_for_listener(5061)?;
        let refused = echo(scene, &upstream, "-tls1_3 -sess_in session")?;
        ensure!(refused.contains("\nNew, "), "after a restart: {refused}");
        Ok(())
    });
}

#[test]
fn s_client_is_told_of_names_protocols_and_the_stapled_answer() {
    demand("openssl_extensions", &[], |scene| {
        let authority = authority(scene)?;
        authority.answer_ocsp(ECDSA)?;
        let upstream = Upstream::start("127.0.0.1:5060", Answer::Echo)?;
        let more = "alpn = [\"sip\"]\nunknown_name = \"refuse\"\n";
        let tls = terminate(more).replace("\"ecdsa.key\"", "\"ecdsa.key\", ocsp = \"ecdsa.ocsp\"");
        let _gateway = Gateway::start(scene, &tls)?;
        wait_for_listener(5061)?;
        for name in ["ecdsa.example", "rsa.example"] {
            let said = echo_as(scene, &upstream, name, "")?;
            ensure!(said.contains(&format!("subject=CN = {name}")), "{name}: {said}");
        }
        let said = echo(scene, &upstream, "-alpn http/1.1,sip")?;
        ensure!(said.contains("ALPN protocol: sip"), "{said}");
        let said = echo(scene, &upstream, "-status")?;
        ensure!(said.contains("OCSP Response Status: successful"), "{said}");
        ensure!(said.contains("Cert Status: good"), "{said}");

        let said = refused(scene, "ecdsa.example", "-alpn h2")?;
        ensure!(said.contains("alert no application protocol"), "{said}");
        let said = refused(scene, "other.example", "")?;
        // openssl has no words for alert 112, unrecognized_name.
        ensure!(said.contains("alert number 112") || said.contains("unrecognized name"), "{said}");
        Ok(())
    });
}

#[test]
fn a_client_without_a_good_certificate_does_not_reach_the_sbc() {
    demand("openssl_mutual", &[], |scene| {
        let authority = authority(scene)?;
        let strangers = Authority::new(&scene.folder, "strangers")?;
        authority.sign(Leaf::new("phone", 71, &["phone.example"]))?;
        authority.sign(Leaf::new("stolen", 72, &["stolen.example"]))?;
        authority.sign(Leaf { until: 2021, ..Leaf::new("old", 73, &["old.example"]) })?;
        strangers.sign(Leaf::new("stranger", 74, &["stranger.example"]))?;
        authority.revoke("clients", &[72])?;
        let upstream = Upstream::start("127.0.0.1:5060", Answer::Echo)?;
        let more = "client_authentication = \"required\"\nauthority = \"authority.pem\"\n\
                    crl = [\"clients.crl\"]\nproxy_protocol = \"v2\"\nalpn = [\"sip\"]\n";
        let gateway = Gateway::start(scene, &terminate(more))?;
        wait_for_listener(5061)?;

        for version in [Version::Tls12, Version::Tls13] {
            let with =
                |stem| format!("{} -alpn sip -cert {stem}.pem -key {stem}.key", version.flag());
            let before = upstream.count();
            echo(scene, &upstream, &with("phone"))?;
            check_proxy_header(&upstream.wait_for_end(before)?.received, version)?;
            for (stem, alert) in [
                ("stolen", "alert certificate revoked"),
                ("old", "alert certificate expired"),
                ("stranger", "alert unknown ca"),
            ] {
                let said = refused(scene, "ecdsa.example", &with(stem))?;
                ensure!(said.contains(alert), "{version:?}, {stem}: {said}");
            }
            let said = refused(scene, "ecdsa.example", &format!("{} -alpn sip", version.flag()))?;
            ensure!(said.contains("alert certificate required"), "{version:?}, none: {said}");
            ensure!(upstream.count() == before + 1, "the SBC saw a connection of a refused client");
        }
        let failed = gateway.metric("postern_tls_handshakes_total", &[])?
            - gateway.metric("postern_tls_handshakes_total", &["\"done\""])?;
        ensure!(failed >= 8.0, "{:?}", gateway.metrics("postern_tls_handshakes_total"));
        Ok(())
    });
}

#[test]
fn keys_change_at_either_sides_wish_and_no_byte_is_lost() {
    demand("openssl_keyupdate", &["dumpcap", "tshark"], |scene| {
        let _authority = authority(scene)?;
        let upstream = Upstream::start("127.0.0.1:5060", Answer::Echo)?;
        let gateway = Gateway::start(scene, &terminate(""))?;
        wait_for_listener(5061)?;
        let capture = Capture::start(scene, 5061..=5061)?;
        let mut client = s_client(5061, "ecdsa.example", "-tls1_3 -msg -keylogfile keys");
        let mut client = Dialogue::start(scene, "s_client", &mut client)?;
        let mut sent = String::new();
        let mut round = |client: &mut Dialogue, index: usize| -> Result<()> {
            let line = format!("line {index} of those that must come back\n");
            client.say(&line)?;
            sent += &line;
            client.wait_for(&line)
        };
        round(&mut client, 0)?;
        // K asks for ours in return, k does not.
        for (index, command) in (1..).zip(["K\n", "k\n", "k\n", "K\n", "K\n"]) {
            client.say(command)?;
            client.wait_for_times(SENT_UPDATE, index)?;
            round(&mut client, index)?;
        }
        ensure!(client.count(GOT_UPDATE) == 3, "{}", client.said());
        // It goes out before the next record.
        gateway.post("/v1/tls/keyupdate")?;
        round(&mut client, 6)?;
        client.wait_for_times(GOT_UPDATE, 4)?;
        round(&mut client, 7)?;
        client.say("Q\n")?;
        client.wait()?;
        ensure!(upstream.wait_for_end(0)?.received == sent.as_bytes(), "other bytes upstream");
        let decrypted = capture.finish(&scene.text("keys"), 1)?;
        ensure!(decrypted[0].client == sent.as_bytes(), "other bytes from the client on the wire");
        ensure!(decrypted[0].server == sent.as_bytes(), "other bytes to the client on the wire");
        gateway.wait_for_metric("postern_tls_key_updates_total", &[], 6.0)
    });
}

#[test]
fn a_servers_key_update_is_followed_and_answered() {
    demand("openssl_keyupdate_originate", &[], |scene| {
        let _authority = authority(scene)?;
        let mut server = s_server(7000, "ecdsa.example", "-tls1_3 -msg");
        let mut server = Dialogue::start(scene, "s_server", &mut server)?;
        wait_for_listener(7000)?;
        let gateway = Gateway::start(scene, &format!("[tls]\n{}", originate(0, "ecdsa.example")))?;
        let mut client = TcpStream::connect("127.0.0.1:6000")?;
        client.set_read_timeout(Some(ANSWER))?;
        for index in 0..4 {
            let (to, from) = (format!("to {index}\n"), format!("from {index}\n"));
            client.write_all(to.as_bytes())?;
            server.wait_for(&to)?;
            server.say(&from)?;
            let mut got = vec![0; from.len()];
            client.read_exact(&mut got).with_context(|| gateway.log())?;
            ensure!(got == from.as_bytes(), "{:?}", String::from_utf8_lossy(&got));
            server.say(if index % 2 == 0 { "K\n" } else { "k\n" })?;
            server.wait_for_times(SENT_UPDATE, index + 1)?;
        }
        server.wait_for_times(GOT_UPDATE, 2)
    });
}

#[test]
fn what_tls_has_left_behind_is_refused() {
    demand("openssl_refused", &[], |scene| {
        let _authority = authority(scene)?;
        let upstream = Upstream::start("127.0.0.1:5060", Answer::Echo)?;
        let gateway = Gateway::start(scene, &terminate(""))?;
        wait_for_listener(5061)?;
        for old in ["-tls1", "-tls1_1"] {
            let said =
                refused(scene, "ecdsa.example", &format!("{old} -cipher DEFAULT@SECLEVEL=0"))?;
            ensure!(said.contains("alert protocol version"), "{old}: {said}");
        }
        for cipher in ["AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-SHA", "DHE-RSA-AES128-GCM-SHA256"] {
            let said = refused(scene, "ecdsa.example", &format!("-tls1_2 -cipher {cipher}"))?;
            ensure!(said.contains("alert handshake failure"), "{cipher}: {said}");
        }
        ensure!(upstream.count() == 0, "the SBC saw a connection");
        gateway.wait_for_metric("postern_tls_alerts_total", &[], 5.0)
    });
}

#[test]
fn renegotiation_is_refused() {
    demand("openssl_renegotiation", &[], |scene| {
        let _authority = authority(scene)?;
        let upstream = Upstream::start("127.0.0.1:5060", Answer::Echo)?;
        let _gateway = Gateway::start(scene, &terminate(""))?;
        wait_for_listener(5061)?;
        let mut client = Dialogue::start(
            scene,
            "s_client",
            &mut s_client(5061, "ecdsa.example", "-tls1_2 -msg"),
        )?;
        client.say("before\n")?;
        client.wait_for("\nbefore\n")?;
        client.say("R\n")?;
        client.wait_for("RENEGOTIATING")?;
        client.wait()?;
        let said = client.said();
        // Of the first handshake alone.
        ensure!(said.matches("ServerHello\n").count() == 1, "{said}");
        ensure!(said.contains("no renegotiation"), "{said}");
        ensure!(upstream.wait_for_end(0)?.received == b"before\n", "more bytes upstream");
        Ok(())
    });
}

#[test]
fn early_data_never_reach_the_sbc() {
    demand("openssl_early_data", &[], |scene| {
        let _authority = authority(scene)?;
        let upstream = Upstream::start("127.0.0.1:5060", Answer::Echo)?;
        let _gateway = Gateway::start(scene, &terminate(""))?;
        wait_for_listener(5061)?;
        // Our tickets allow none, so s_client gets one elsewhere that does, and sends early data
        // with it to us.
        let mut other = s_server(7000, "ecdsa.example", "-tls1_3 -early_data");
        let _other = Dialogue::start(scene, "other", &mut other)?;
        wait_for_listener(7000)?;
        let mut client = s_client(7000, "ecdsa.example", "-tls1_3 -sess_out session");
        let mut client = Dialogue::start(scene, "elsewhere", &mut client)?;
        wait_for("session elsewhere", || Ok(scene.path("session").exists().then_some(())))?;
        client.say("Q\n")?;
        client.wait()?;
        ensure!(client.said().contains("Max Early Data: 16384"), "{}", client.said());
        fs::write(scene.path("early"), "too early\n")?;
        let said = echo(scene, &upstream, "-tls1_3 -sess_in session -early_data early")?;
        ensure!(said.contains("Early data was rejected"), "{said}");
        let received = upstream.wait_for_end(0)?.received;
        ensure!(received == HELLO.as_bytes(), "{:?}", String::from_utf8_lossy(&received));
        Ok(())
    });
}

impl Version {
    fn flag(self) -> &'static str {
        match self {
            Self::Tls12 => "-tls1_2",
            Self::Tls13 => "-tls1_3",
        }
    }

    fn suite_arguments(self, suite: &str) -> String {
        match self {
            Self::Tls12 => format!("-tls1_2 -cipher {suite}"),
            Self::Tls13 => format!("-tls1_3 -ciphersuites {suite}"),
        }
    }
}

/// An authority, and a server's certificate of each kind of key.
pub(crate) fn authority(scene: &Scene) -> Result<Authority> {
    let authority = Authority::new(&scene.folder, "authority")?;
    authority.sign(ECDSA)?;
    authority.sign(Leaf { key: Key::Rsa2048, ..Leaf::new("rsa", 2, &["rsa.example"]) })?;
    Ok(authority)
}

const ECDSA: Leaf<'_> =
    Leaf { stem: "ecdsa", names: &["ecdsa.example"], serial: 1, key: Key::EcdsaP256, until: 2049 };

/// A listener on 5061 in front of 5060, with more lines for it.
fn terminate(more: &str) -> String {
    format!(
        r#"[tls]
[[tls.listener]]
name = "sip"
mode = "terminate"
listen = "127.0.0.1:5061"
upstream = ["127.0.0.1:5060"]
certificate = [
    {{ names = ["ecdsa.example"], chain = "ecdsa.pem", key = "ecdsa.key" }},
    {{ names = ["rsa.example"], chain = "rsa.pem", key = "rsa.key" }},
]
{more}
"#
    )
}

/// A listener on 6000 + `index` towards a server with this name on 7000 + `index`.
fn originate(index: usize, name: &str) -> String {
    format!(
        r#"[[tls.listener]]
name = "carrier-{index}"
mode = "originate"
listen = "127.0.0.1:{}"
upstream = ["127.0.0.1:{}"]
server_name = "{name}"
authority = "authority.pem"
"#,
        6000 + index,
        7000 + index
    )
}

/// A client of the listener on `port` that asks for `name`.
pub(crate) fn s_client(port: u16, name: &str, arguments: &str) -> Command {
    let mut command = Command::new("openssl");
    let address = format!("127.0.0.1:{port}");
    command.args(["s_client", "-connect", &address, "-CAfile", "authority.pem"]);
    command.args(["-servername", name, "-verify_hostname", name, "-verify_return_error"]);
    command.args(arguments.split_whitespace());
    command
}

fn s_server(port: usize, name: &str, arguments: &str) -> Command {
    let stem = name.trim_end_matches(".example");
    let mut command = Command::new("openssl");
    command.args(["s_server", "-accept", &format!("127.0.0.1:{port}")]);
    command.args(["-cert", &format!("{stem}.pem"), "-key", &format!("{stem}.key")]);
    command.args(arguments.split_whitespace());
    command
}

/// A client that gets one line back and quits. Returns what it said.
fn echo(scene: &Scene, upstream: &Upstream, arguments: &str) -> Result<String> {
    echo_as(scene, upstream, "ecdsa.example", arguments)
}

fn echo_as(scene: &Scene, upstream: &Upstream, name: &str, arguments: &str) -> Result<String> {
    echo_by(scene, upstream, s_client(5061, name, arguments))
}

/// The same at another port.
pub(crate) fn echo_at(scene: &Scene, upstream: &Upstream, port: u16) -> Result<()> {
    echo_by(scene, upstream, s_client(port, "ecdsa.example", "")).map(drop)
}

fn echo_by(scene: &Scene, upstream: &Upstream, mut command: Command) -> Result<String> {
    let index = upstream.count();
    let mut client = Dialogue::start(scene, "s_client", &mut command)?;
    client.say(HELLO)?;
    client.wait_for(HELLO)?;
    client.say("Q\n")?;
    ensure!(client.wait()?.success(), "{command:?}: {}", client.said());
    upstream.wait_for_end(index)?;
    Ok(client.said())
}

/// A client that must fail. Returns what it said.
fn refused(scene: &Scene, name: &str, arguments: &str) -> Result<String> {
    let mut client = Dialogue::start(scene, "s_client", &mut s_client(5061, name, arguments))?;
    // It may be gone before it reads this.
    let _ = client.say(HELLO);
    let status = client.wait()?;
    ensure!(!status.success(), "{name}, {arguments}: accepted: {}", client.said());
    Ok(client.said())
}

/// What the SBC learns of the client.
fn check_proxy_header(bytes: &[u8], version: Version) -> Result<()> {
    let (header, rest) = proxy_header(bytes)?;
    ensure!(rest == HELLO.as_bytes(), "after the header: {:?}", String::from_utf8_lossy(rest));
    let source = header.source.context("no source")?;
    ensure!(source.ip().is_loopback() && source.port() > 1024, "{header:?}");
    ensure!(header.destination == Some(([127, 0, 0, 1], 5061).into()), "{header:?}");
    ensure!(header.authority.as_deref() == Some("ecdsa.example"), "{header:?}");
    ensure!(header.alpn.as_deref() == Some("sip"), "{header:?}");
    let ssl = header.ssl.context("no PP2_TYPE_SSL")?;
    ensure!(ssl.client & 3 == 3 && ssl.verify == 0, "{ssl:?}");
    let expected = match version {
        Version::Tls12 => "TLSv1.2",
        Version::Tls13 => "TLSv1.3",
    };
    ensure!(ssl.version.as_deref() == Some(expected), "{ssl:?}");
    ensure!(ssl.common_name.as_deref() == Some("phone.example"), "{ssl:?}");
    ensure!(ssl.cipher.is_some(), "{ssl:?}");
    Ok(())
}

/// Lines that no program takes for a command, different for each index.
fn payload(index: usize) -> Vec<u8> {
    let line = |number: usize| format!("{index:03} {number:06} {:0>50}\n", number * 7919 + index);
    let mut text: Vec<u8> =
        (0..).map(line).flat_map(String::into_bytes).take(PAYLOAD - 1).collect();
    text.push(b'\n');
    text
}

/// Several records' worth.
const PAYLOAD: usize = 100_000;
const HELLO: &str = "hello from a client\n";
/// What -msg prints of a KeyUpdate.
const SENT_UPDATE: &str = ">>> TLS 1.3, Handshake [length 0005], KeyUpdate";
const GOT_UPDATE: &str = "<<< TLS 1.3, Handshake [length 0005], KeyUpdate";
