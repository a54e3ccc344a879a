//! Peers that mean no good, by our own sockets: half-open, truncated, endless and oversize
//! handshakes, and clear text. Whatever they do, the listener beside them serves.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::dialogue::Dialogue;
use crate::gateway::Gateway;
use crate::openssl::{authority, echo_at, s_client};
use crate::scene::{Scene, demand, wait_for_listener};
use crate::upstream::{ANSWER, Answer, Upstream};

#[test]
fn ten_thousand_half_open_handshakes_cost_bounded_memory_and_nobody_else() {
    demand("half_open", &[], |scene| {
        let own = raise_descriptors(2 * HALF_OPEN)?;
        let _authority = authority(scene)?;
        let upstream = Upstream::start("127.0.0.1:5060", Answer::Echo)?;
        let gateway = Gateway::start(scene, &listeners("handshake_timeout = \"5s\"\n"))?;
        wait_for_listener(5061)?;
        wait_for_listener(5062)?;
        let hello = client_hello(scene)?;
        let mut served =
            Dialogue::start(scene, "served", &mut s_client(5061, "ecdsa.example", "-quiet"))?;
        served.say("before\n")?;
        served.wait_for("before\n")?;
        let resident = gateway.resident()?;

        let begun = Instant::now();
        let mut held = Vec::new();
        for index in 0..HALF_OPEN.min(own / 2) {
            let mut stream = TcpStream::connect("127.0.0.1:5061")?;
            // All of it but the last byte, or nearly nothing. It may be closed at once.
            let length = if index % 2 == 0 { hello.len() - 1 } else { 3 };
            let _ = stream.write_all(&hello[..length]);
            held.push(stream);
        }
        println!("{} half-open handshakes in {:?}", held.len(), begun.elapsed());
        // Who is up goes on; who comes to another listener is served.
        served.say("during\n")?;
        served.wait_for("during\n")?;
        echo_at(scene, &upstream, 5062)?;
        let handshaking = gateway.metric("postern_tls_handshaking", &["\"sip\""])?;
        ensure!(handshaking <= MAX_HANDSHAKES, "{handshaking} handshakes at a time");
        let grown = gateway.resident()?.saturating_sub(resident);
        ensure!(grown < GROWTH, "{grown} KiB more");
        println!("{grown} KiB for {handshaking} handshakes held");
        let refused = gateway.metric("postern_tls_refused_total", &["\"max_handshakes\""])?;
        ensure!(refused > 0.0, "{:?}", gateway.metrics("postern_tls_refused_total"));

        // Held open by their makers, they are ended all the same, and the listener serves again.
        gateway.wait_for_metric("postern_tls_handshakes_total", &["\"timeout\""], 100.0)?;
        crate::scene::wait_for("end of all handshakes", || {
            Ok((gateway.metric("postern_tls_handshaking", &["\"sip\""])? == 0.0).then_some(()))
        })?;
        echo_at(scene, &upstream, 5061)?;
        served.say("after\n")?;
        served.wait_for("after\n")?;
        drop(held);
        Ok(())
    });
}

#[test]
fn a_handshake_cut_anywhere_leaves_nothing_behind() {
    demand("truncated", &[], |scene| {
        let _authority = authority(scene)?;
        let upstream = Upstream::start("127.0.0.1:5060", Answer::Echo)?;
        let gateway = Gateway::start(scene, &listeners(""))?;
        wait_for_listener(5061)?;
        let hello = client_hello(scene)?;
        for length in 0..=hello.len() {
            let mut stream = TcpStream::connect("127.0.0.1:5061")?;
            stream.set_read_timeout(Some(ANSWER))?;
            stream.write_all(&hello[..length])?;
            if length % 2 == 0 {
                stream.shutdown(Shutdown::Write)?;
                read_to_end(&mut stream).with_context(|| format!("cut at {length}"))?;
            }
        }
        crate::scene::wait_for("end of all handshakes", || {
            Ok((gateway.metric("postern_tls_handshaking", &[])? == 0.0).then_some(()))
        })?;
        ensure!(upstream.count() == 0, "the SBC saw a connection");
        echo_at(scene, &upstream, 5061)
    });
}

#[test]
fn what_is_no_tls_gets_an_alert_and_never_reaches_the_sbc() {
    demand("clear_text", &[], |scene| {
        let _authority = authority(scene)?;
        let upstream = Upstream::start("127.0.0.1:5060", Answer::Echo)?;
        let gateway = Gateway::start(scene, &listeners(""))?;
        wait_for_listener(5061)?;
        let oversize = [&[22_u8, 3, 1, 0x48, 0x01][..], &[1; 0x4801]].concat();
        let other_type = [&[23_u8, 3, 3, 0, 5][..], &[0; 5]].concat();
        let hello_of_nothing = [22_u8, 3, 1, 0, 4, 1, 0, 0, 0].to_vec();
        // A handshake message of 16 MiB, which would have to be gathered.
        let endless =
            [&[22_u8, 3, 1, 0x40, 0][..], &[1, 0xff, 0xff, 0xff], &[0; 0x4000 - 4]].concat();
        for (name, bytes) in [
            ("HTTP", b"GET / HTTP/1.1\r\nHost: sip.example.com\r\n\r\n".to_vec()),
            (
                "SIP",
                b"OPTIONS sip:sip.example.com SIP/2.0\r\nVia: SIP/2.0/TCP 10.0.0.1\r\n\r\n"
                    .to_vec(),
            ),
            ("SSH", b"SSH-2.0-OpenSSH_9.2p1\r\n".to_vec()),
            ("an oversize record", oversize),
            ("application data", other_type),
            ("an empty ClientHello", hello_of_nothing),
            ("an endless ClientHello", endless),
            ("zeros", vec![0; 100]),
        ] {
            let begun = Instant::now();
            let mut stream = TcpStream::connect("127.0.0.1:5061")?;
            stream.set_read_timeout(Some(ANSWER))?;
            // It may be refused before it is all written.
            let _ = stream.write_all(&bytes);
            let answer = read_to_end(&mut stream).with_context(|| name.to_owned())?;
            // Nothing, where it was cut off, or a fatal alert: type 21, seven bytes in all.
            let alert = answer.len() == 7 && answer[0] == 21 && answer[5] == 2;
            ensure!(answer.is_empty() || alert, "{name}: answered with {answer:02x?}");
            ensure!(begun.elapsed() < Duration::from_secs(5), "{name}: {:?}", begun.elapsed());
        }
        ensure!(upstream.count() == 0, "the SBC saw a connection");
        let done = gateway.metric("postern_tls_handshakes_total", &["\"done\""])?;
        ensure!(done == 0.0, "{done} handshakes done");
        echo_at(scene, &upstream, 5061)
    });
}

#[test]
fn a_handshake_that_drips_is_ended_in_time() {
    demand("slow", &[], |scene| {
        let _authority = authority(scene)?;
        let upstream = Upstream::start("127.0.0.1:5060", Answer::Echo)?;
        let gateway = Gateway::start(scene, &listeners("handshake_timeout = \"2s\"\n"))?;
        wait_for_listener(5061)?;
        let hello = client_hello(scene)?;
        let begun = Instant::now();
        let mut stream = TcpStream::connect("127.0.0.1:5061")?;
        stream.set_read_timeout(Some(Duration::from_millis(100)))?;
        let mut bytes = hello.iter();
        loop {
            // A byte in a tenth of a second: 20 or so of some hundreds.
            match stream.read(&mut [0; 100]) {
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Ok(0) | Err(_) => break,
                Ok(_) => continue,
            }
            let byte = bytes.next().context("it took all of the ClientHello")?;
            if stream.write_all(&[*byte]).is_err() {
                break;
            }
        }
        let took = begun.elapsed();
        ensure!(took >= Duration::from_millis(1_900), "ended after {took:?}");
        ensure!(took < Duration::from_secs(4), "ended after {took:?}");
        gateway.wait_for_metric("postern_tls_handshakes_total", &["\"timeout\""], 1.0)?;
        ensure!(upstream.count() == 0, "the SBC saw a connection");
        Ok(())
    });
}

/// The bytes of a real ClientHello, openssl's.
fn client_hello(scene: &Scene) -> Result<Vec<u8>> {
    let listener = TcpListener::bind("127.0.0.1:9999")?;
    let _client = Dialogue::start(scene, "hello", &mut s_client(9999, "ecdsa.example", ""))?;
    let (mut stream, _) = listener.accept()?;
    let mut head = [0; 5];
    stream.read_exact(&mut head)?;
    let mut body = vec![0; usize::from(u16::from_be_bytes([head[3], head[4]]))];
    stream.read_exact(&mut body)?;
    Ok([&head[..], &body].concat())
}

/// What comes until the connection ends, in order or cut off.
fn read_to_end(stream: &mut TcpStream) -> Result<Vec<u8>> {
    let mut all = Vec::new();
    match stream.read_to_end(&mut all) {
        Ok(_) => Ok(all),
        Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(all),
        Err(error) => Err(error).context("the connection was not ended"),
    }
}

/// Asks for so many descriptors, and says how many there are.
fn raise_descriptors(wanted: usize) -> Result<usize> {
    let limit = getrlimit(Resource::Nofile);
    let wanted = u64::try_from(wanted)? + 1_000;
    let granted = limit.maximum.map_or(wanted, |maximum| maximum.min(wanted));
    let current = Some(limit.current.map_or(granted, |current| current.max(granted)));
    setrlimit(Resource::Nofile, Rlimit { current, maximum: limit.maximum })?;
    Ok(usize::try_from(granted)?)
}

/// One on 5061 with more lines for it, one on 5062.
fn listeners(more: &str) -> String {
    let one = |name: &str, port: u16, more: &str| {
        format!(
            r#"[[tls.listener]]
name = "{name}"
mode = "terminate"
listen = "127.0.0.1:{port}"
upstream = ["127.0.0.1:5060"]
certificate = [{{ names = ["ecdsa.example"], chain = "ecdsa.pem", key = "ecdsa.key" }}]
{more}"#
        )
    };
    format!("[tls]\n{}{}", one("sip", 5061, more), one("beside", 5062, ""))
}

const HALF_OPEN: usize = 10_000;
/// The default of `max_handshakes`.
const MAX_HANDSHAKES: f64 = 1_000.0;
/// KiB: for 1,000 handshakes at a time, 64 KiB each.
const GROWTH: u64 = 64_000;
