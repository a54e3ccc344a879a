//! The SBC sees TCP, not TLS: a Kamailio behind a terminating listener registers a TLS client,
//! calls it over the connection that the client made, and ends calls over that same connection.
//! Its configuration, sbc.cfg, is the one that the operator guide tells to copy.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::gateway::Gateway;
use crate::isolation::{Peer, bound_udp_ports};
use crate::pki::{Authority, Leaf};
use crate::scene::{Scene, demand, wait_for, wait_for_listener};
use crate::sip::{Message, SERVER, TlsPhone, UdpPhone, expect};

#[test]
fn an_sbc_that_is_told_of_the_client_registers_calls_and_is_called_over_one_connection() {
    demand("sbc_with_proxy_v2", &["kamailio"], |scene| calls(scene, Told::OfTheClient));
}

#[test]
fn an_sbc_that_is_told_nothing_registers_calls_and_is_called_over_one_connection() {
    demand("sbc_without_proxy", &["kamailio"], |scene| calls(scene, Told::Nothing));
}

/// Whether the SBC gets a PROXY header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    OfTheClient,
    Nothing,
}

fn calls(scene: &Scene, told: Told) -> Result<()> {
    let authority = Authority::new(&scene.folder, "authority")?;
    authority.sign(Leaf::new("sip", 1, &[SERVER]))?;
    let mut sbc = start_sbc(scene, told)?;
    let proxy = match told {
        Told::OfTheClient => "v2",
        Told::Nothing => "none",
    };
    let gateway = Gateway::start(scene, &listener(proxy))?;
    wait_for_listener(5061)?;

    let mut alice = TlsPhone::connect(scene, "alice", "127.0.0.9:0", "")?;
    let bob = UdpPhone::new("127.0.0.1:5080", "127.0.0.1:5070")?;
    register(&mut alice, told)?;
    alice.keep_alive()?;
    bob_calls_alice_who_hangs_up(&mut alice, &bob).context("bob calls alice")?;
    alice_calls_bob_who_hangs_up(&mut alice, &bob).context("alice calls bob")?;

    let listing = gateway.admin("/v1/tls")?;
    let accepted = gateway.metric("postern_tls_handshakes_total", &["\"done\""])?;
    ensure!(accepted == 1.0, "{accepted} connections, not one: {listing}");
    ensure!(sbc.ended()?.is_none(), "Kamailio ended: {}", sbc.last_words());
    // A client that is gone cannot be called: its contact goes with its connection.
    drop(alice);
    wait_for("contact that is gone", || {
        bob.send(&invite_to_alice("gone"))?;
        // None comes where the connection ended while this was on its way through it.
        let Some(answer) = bob.receive_within(Duration::from_secs(1))? else { return Ok(None) };
        acknowledge_refusal(&bob, &answer)?;
        Ok(answer.start().contains(" 404 ").then_some(()))
    })
}

fn start_sbc(scene: &Scene, told: Told) -> Result<Peer> {
    let config = scene.path("sbc.cfg");
    let text = include_str!("sbc.cfg");
    let text = match told {
        Told::OfTheClient => text.to_owned(),
        Told::Nothing => text.replace("#!define WITH_PROXY_V2\n", ""),
    };
    ensure!(told == Told::OfTheClient || text.len() < include_str!("sbc.cfg").len(), "no define");
    fs::write(&config, text)?;
    // It looks up the name that it advertises, and a namespace of its own has no resolver.
    fs::write(scene.path("hosts"), format!("127.0.0.1 localhost {SERVER}\n"))?;
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", "mount --bind hosts /etc/hosts && exec \"$@\"", "sh"]);
    command.args(["kamailio", "-DD", "-E", "-f"]).arg(&config);
    command.arg("-w").arg(&scene.folder).arg("-Y").arg(&scene.folder).current_dir(&scene.folder);
    let mut sbc = Peer::start("kamailio", &mut command, &scene.folder)?;
    sbc.wait_until(|| Ok(bound_udp_ports()?.contains(&5070)))?;
    wait_for_listener(5060)?;
    Ok(sbc)
}

/// REGISTER; the answer's Via says where the SBC thinks it came from.
fn register(alice: &mut TlsPhone, told: Told) -> Result<()> {
    alice.send(&format!(
        "REGISTER sip:{SERVER} SIP/2.0\r\nVia: SIP/2.0/TLS 192.168.7.7:4321;rport;branch=z9hG4bKreg\r\n\
         Max-Forwards: 70\r\nFrom: <sip:alice@{SERVER}>;tag=a\r\nTo: <sip:alice@{SERVER}>\r\n\
         Call-ID: register\r\nCSeq: 1 REGISTER\r\nContact: <{ALICE}>\r\nExpires: 600\r\n\
         Content-Length: 0\r\n\r\n"
    ))?;
    let answer = alice.receive()?;
    expect(&answer, "SIP/2.0 200")?;
    let seen = match told {
        Told::OfTheClient => "received=127.0.0.9",
        // The gateway's own address: this is what is lost.
        Told::Nothing => "received=127.0.0.1",
    };
    ensure!(answer.header("Via")?.contains(seen), "not {seen}: {}", answer.text);
    Ok(())
}

fn bob_calls_alice_who_hangs_up(alice: &mut TlsPhone, bob: &UdpPhone) -> Result<()> {
    bob.send(&invite_to_alice("first"))?;
    let invite = alice.receive()?;
    expect(&invite, "INVITE ")?;
    // What a client would connect to for the next request, were its connection gone.
    let routes = invite.all("Record-Route");
    ensure!(routes.len() == 2, "{routes:?}");
    ensure!(routes[0].contains("sip.example.com:5061;transport=tls"), "{routes:?}");
    ensure!(invite.header("Via")?.contains(" sip.example.com:5061"), "{}", invite.text);

    alice.send(&invite.response("180 Ringing", "alice1", &format!("Contact: <{ALICE}>\r\n")))?;
    expect(&bob.receive()?, "SIP/2.0 180")?;
    alice.send(&invite.response("200 OK", "alice1", &format!("Contact: <{ALICE}>\r\n")))?;
    let ok = bob.receive()?;
    expect(&ok, "SIP/2.0 200")?;
    bob.send(&in_dialogue("ACK", 1, &ok, "UDP 127.0.0.1:5080", Role::Caller)?)?;
    expect(&alice.receive()?, "ACK ")?;

    // The callee's BYE, over the connection that the INVITE came by.
    alice.send(&in_dialogue("BYE", 2, &invite, "TLS 192.168.7.7:4321", Role::Callee("alice1"))?)?;
    let bye = bob.receive()?;
    expect(&bye, "BYE ")?;
    bob.send(&bye.response("200 OK", "", ""))?;
    expect(&alice.receive()?, "SIP/2.0 200")
}

fn alice_calls_bob_who_hangs_up(alice: &mut TlsPhone, bob: &UdpPhone) -> Result<()> {
    alice.send(&format!(
        "INVITE sip:bob@{SERVER} SIP/2.0\r\nVia: SIP/2.0/TLS 192.168.7.7:4321;rport;branch=z9hG4bKout\r\n\
         Max-Forwards: 70\r\nFrom: <sip:alice@{SERVER}>;tag=a2\r\nTo: <sip:bob@{SERVER}>\r\n\
         Call-ID: second\r\nCSeq: 1 INVITE\r\nContact: <{ALICE}>\r\nContent-Length: 0\r\n\r\n"
    ))?;
    let invite = bob.receive()?;
    expect(&invite, "INVITE ")?;
    bob.send(&invite.response("200 OK", "bob2", &format!("Contact: <{BOB}>\r\n")))?;
    let ok = alice.receive()?;
    expect(&ok, "SIP/2.0 200")?;
    // For the caller the route set is turned round: its first route is the TLS listener.
    let routes = ok.all("Record-Route");
    ensure!(routes.last().is_some_and(|route| route.contains("transport=tls")), "{routes:?}");
    alice.send(&in_dialogue("ACK", 1, &ok, "TLS 192.168.7.7:4321", Role::Caller)?)?;
    expect(&bob.receive()?, "ACK ")?;

    bob.send(&in_dialogue("BYE", 2, &invite, "UDP 127.0.0.1:5080", Role::Callee("bob2"))?)?;
    let bye = alice.receive()?;
    expect(&bye, "BYE ")?;
    alice.send(&bye.response("200 OK", "", ""))?;
    expect(&bob.receive()?, "SIP/2.0 200")
}

/// Whose request it is: the caller knows the dialogue by the 200, the callee by the INVITE.
#[derive(Clone, Copy, Debug)]
enum Role<'a> {
    Caller,
    Callee(&'a str),
}

/// A request within the dialogue that `known` made (RFC 3261 section 12.2.1.1).
fn in_dialogue(
    method: &str,
    cseq: u32,
    known: &Message,
    via: &str,
    role: Role<'_>,
) -> Result<String> {
    let mut routes = known.all("Record-Route");
    let (from, to) = match role {
        Role::Caller => {
            routes.reverse();
            (known.header("From")?.to_owned(), known.header("To")?.to_owned())
        }
        Role::Callee(tag) => {
            (format!("{};tag={tag}", known.header("To")?), known.header("From")?.to_owned())
        }
    };
    let routes: String = routes.iter().map(|route| format!("Route: {route}\r\n")).collect();
    let (target, call) = (known.uri("Contact")?, known.header("Call-ID")?);
    Ok(format!(
        "{method} {target} SIP/2.0\r\nVia: SIP/2.0/{via};rport;branch=z9hG4bK{method}{call}\r\n\
         Max-Forwards: 70\r\n{routes}From: {from}\r\nTo: {to}\r\nCall-ID: {call}\r\n\
         CSeq: {cseq} {method}\r\nContent-Length: 0\r\n\r\n"
    ))
}

fn invite_to_alice(call: &str) -> String {
    // Another branch each time, or it would be a retransmission.
    static BRANCH: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let branch = BRANCH.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    format!(
        "INVITE sip:alice@{SERVER} SIP/2.0\r\n\
         Via: SIP/2.0/UDP 127.0.0.1:5080;rport;branch=z9hG4bKin{branch}\r\n\
         Max-Forwards: 70\r\nFrom: <sip:bob@{SERVER}>;tag=b{branch}\r\nTo: <sip:alice@{SERVER}>\r\n\
         Call-ID: {call}{branch}\r\nCSeq: 1 INVITE\r\nContact: <{BOB}>\r\nContent-Length: 0\r\n\r\n"
    )
}

/// ACK for a final answer that is no 2xx (RFC 3261 section 17.1.1.3).
fn acknowledge_refusal(bob: &UdpPhone, answer: &Message) -> Result<()> {
    bob.send(&format!(
        "ACK sip:alice@{SERVER} SIP/2.0\r\nVia: {}\r\nMax-Forwards: 70\r\nFrom: {}\r\nTo: {}\r\n\
         Call-ID: {}\r\nCSeq: 1 ACK\r\nContent-Length: 0\r\n\r\n",
        answer.header("Via")?,
        answer.header("From")?,
        answer.header("To")?,
        answer.header("Call-ID")?
    ))
}

fn listener(proxy: &str) -> String {
    format!(
        r#"[tls]
[[tls.listener]]
name = "sip"
mode = "terminate"
listen = "127.0.0.1:5061"
upstream = ["127.0.0.1:5060"]
proxy_protocol = "{proxy}"
certificate = [{{ names = ["{SERVER}"], chain = "sip.pem", key = "sip.key" }}]
"#
    )
}

/// As a phone behind a NAT writes itself.
const ALICE: &str = "sip:alice@192.168.7.7:4321;transport=tls";
const BOB: &str = "sip:bob@127.0.0.1:5080";
