//! curl and gnutls-cli through a terminating listener: big transfers both ways to a plain HTTP
//! server, many requests in one connection, and GnuTLS's own ideas of versions, re-keying and
//! resumption.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::thread;

use anyhow::{Context, Result, bail, ensure};

use crate::dialogue::Dialogue;
use crate::gateway::Gateway;
use crate::pki::{Authority, Leaf};
use crate::scene::{Scene, demand, wait_for_listener};
use crate::upstream::{Answer, Upstream};

#[test]
fn curl_moves_much_both_ways_and_asks_often() {
    demand("curl", &["curl"], |scene| {
        certificates(scene)?;
        serve_http("127.0.0.1:8080")?;
        let gateway = Gateway::start(scene, &listener(8080))?;
        wait_for_listener(8443)?;
        for version in ["--tls-max 1.2", "--tlsv1.3"] {
            let down = scene.path("down");
            curl(scene, &format!("{version} -o down {URL}/{BIG}"))?;
            ensure!(
                sum(File::open(&down)?)? == sum(pattern(BIG))?,
                "{version}: other bytes came down"
            );
            let answer = curl(scene, &format!("{version} -T down {URL}/up"))?;
            ensure!(
                answer == format!("{} {}", BIG, sum(pattern(BIG))?),
                "{version}: upload: {answer}"
            );

            // One connection, a hundred requests and answers of changing size.
            let answers = curl(scene, &format!("{version} -w %{{num_connects}}, {URL}/[1-100]"))?;
            let (bytes, connects) = count_connects(&answers);
            ensure!(
                bytes == 5050 && connects == 1,
                "{version}: {bytes} bytes, {connects} connections"
            );
        }
        // Both at a time, each way.
        let parallel =
            (0..4).map(|index| format!("-o p{index} {URL}/{}", BIG / 4)).collect::<Vec<_>>();
        curl(scene, &format!("--parallel {}", parallel.join(" ")))?;
        for index in 0..4 {
            let got = sum(File::open(scene.path(&format!("p{index}")))?)?;
            ensure!(got == sum(pattern(BIG / 4))?, "parallel transfer {index}: other bytes");
        }
        let bytes = gateway.metric("postern_tls_bytes_total", &[])?;
        ensure!(
            bytes >= 2.0 * 2.0 * BIG as f64,
            "{:?}",
            gateway.metrics("postern_tls_bytes_total")
        );
        Ok(())
    });
}

#[test]
fn gnutls_speaks_each_version_and_changes_its_keys() {
    demand("gnutls", &["gnutls-cli"], |scene| {
        certificates(scene)?;
        let upstream = Upstream::start("127.0.0.1:8080", Answer::Echo)?;
        let _gateway = Gateway::start(scene, &listener(8080))?;
        wait_for_listener(8443)?;
        for priority in [
            "NORMAL",
            "NORMAL:-VERS-ALL:+VERS-TLS1.2",
            "NORMAL:-VERS-ALL:+VERS-TLS1.3",
            "NORMAL:-VERS-ALL:+VERS-TLS1.3:-GROUP-ALL:+GROUP-SECP256R1",
            "NORMAL:-VERS-ALL:+VERS-TLS1.3:-CIPHER-ALL:+CHACHA20-POLY1305",
            "SECURE192:-VERS-ALL:+VERS-TLS1.2:+SIGN-ALL:+GROUP-ALL:+CURVE-ALL",
            // Small records, and a server that is asked for them.
            "NORMAL:%COMPAT",
        ] {
            let said = gnutls_echo(scene, &upstream, &["--priority", priority])
                .with_context(|| priority.to_owned())?;
            ensure!(said.contains("- Handshake was completed"), "{priority}: {said}");
        }
        gnutls_echo(scene, &upstream, &["--recordsize", "512"])?;
        rekeys(scene, &upstream)?;
        resumes(scene, &upstream)?;
        for refused in [
            "NORMAL:-VERS-ALL:+VERS-TLS1.1:%UNSAFE_RENEGOTIATION",
            "NORMAL:-KX-ALL:+RSA:-VERS-TLS1.3",
        ] {
            let before = upstream.count();
            let mut client =
                Dialogue::start(scene, "gnutls", &mut gnutls(&["--priority", refused]))?;
            ensure!(!client.wait()?.success(), "{refused}: {}", client.said());
            ensure!(upstream.count() == before, "{refused}: a connection upstream");
        }
        Ok(())
    });
}

/// `^rekey^` is a KeyUpdate in TLS 1.3.
fn rekeys(scene: &Scene, upstream: &Upstream) -> Result<()> {
    let index = upstream.count();
    let arguments = ["--inline-commands", "--priority", "NORMAL:-VERS-ALL:+VERS-TLS1.3"];
    let mut client = Dialogue::start(scene, "gnutls_rekey", &mut gnutls(&arguments))?;
    let mut sent = String::new();
    for round in 0..5 {
        let line = format!("line {round}\n");
        client.say(&line)?;
        sent += &line;
        client.wait_for(&line)?;
        client.say("^rekey^\n")?;
        client.wait_for_times("- Rekey was completed", round + 1)?;
    }
    client.hush();
    client.wait()?;
    let received = upstream.wait_for_end(index)?.received;
    ensure!(received == sent.as_bytes(), "{:?}", String::from_utf8_lossy(&received));
    Ok(())
}

fn resumes(scene: &Scene, upstream: &Upstream) -> Result<()> {
    for version in ["1.2", "1.3"] {
        let index = upstream.count();
        let priority = format!("NORMAL:-VERS-ALL:+VERS-TLS{version}");
        // It asks twice by itself; a ticket has to be there by then.
        let arguments = ["--resume", "--waitresumption", "--priority", &priority];
        let mut client = Dialogue::start(scene, "gnutls_resume", &mut gnutls(&arguments))?;
        client.wait_for("This is a resumed session")?;
        client.say("resumed\n")?;
        client.wait_for("\nresumed\n")?;
        client.hush();
        client.wait()?;
        ensure!(upstream.wait_for_end(index + 1)?.received == b"resumed\n", "{version}");
    }
    Ok(())
}

fn gnutls_echo(scene: &Scene, upstream: &Upstream, arguments: &[&str]) -> Result<String> {
    let index = upstream.count();
    let mut client = Dialogue::start(scene, "gnutls", &mut gnutls(arguments))?;
    client.say("hello from GnuTLS\n")?;
    client.wait_for("\nhello from GnuTLS\n")?;
    client.hush();
    ensure!(client.wait()?.success(), "{}", client.said());
    ensure!(
        upstream.wait_for_end(index)?.received == b"hello from GnuTLS\n",
        "other bytes upstream"
    );
    Ok(client.said())
}

fn gnutls(arguments: &[&str]) -> Command {
    let mut command = Command::new("gnutls-cli");
    command.args(["--port", "8443", "--x509cafile", "authority.pem"]);
    command
        .args(["--sni-hostname", NAME, "--verify-hostname", NAME])
        .args(arguments)
        .arg("127.0.0.1");
    command
}

fn curl(scene: &Scene, arguments: &str) -> Result<String> {
    let mut command = Command::new("curl");
    command.current_dir(&scene.folder).args([
        "--silent",
        "--show-error",
        "--fail",
        "--max-time",
        "60",
    ]);
    command.args(["--cacert", "authority.pem", "--resolve", &format!("{NAME}:8443:127.0.0.1")]);
    let output = command.args(arguments.split_whitespace()).output().context("curl")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "curl {arguments}: {}: {said}", output.status);
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Bodies are NULs here and there; curl writes how many connections each request made after each.
fn count_connects(answers: &str) -> (usize, u32) {
    let connects = answers.split(',').filter_map(|part| part.chars().last()?.to_digit(10)).sum();
    (answers.chars().filter(|letter| *letter == '\0').count(), connects)
}

fn certificates(scene: &Scene) -> Result<()> {
    Authority::new(&scene.folder, "authority")?.sign(Leaf::new("web", 1, &[NAME]))
}

fn listener(upstream: u16) -> String {
    format!(
        r#"[tls]
[[tls.listener]]
name = "web"
mode = "terminate"
listen = "127.0.0.1:8443"
upstream = ["127.0.0.1:{upstream}"]
certificate = [{{ names = ["{NAME}"], chain = "web.pem", key = "web.key" }}]
"#
    )
}

/// A plain HTTP server: `GET /n` gives n bytes of the pattern (NULs up to 100), PUT answers with the
/// length and sum of what came.
fn serve_http(address: &str) -> Result<()> {
    let listener = TcpListener::bind(address)?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A client that goes away in the middle fails the scenario by what it reports.
            thread::spawn(move || drop(serve_requests(stream)));
        }
    });
    Ok(())
}

fn serve_requests(stream: TcpStream) -> Result<()> {
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::with_capacity(65_536, stream);
    loop {
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if line == "\r\n" {
                break;
            }
            head.push(line);
        }
        let mut words = head[0].split(' ');
        match (words.next(), words.next()) {
            (Some("GET"), Some(path)) => {
                let length: usize = path.trim_start_matches('/').parse()?;
                write!(writer, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n")?;
                if length <= 100 {
                    writer.write_all(&vec![0; length])?;
                } else {
                    std::io::copy(&mut pattern(length), &mut writer)?;
                }
            }
            (Some("PUT"), _) => {
                let field = |name: &str| {
                    head.iter().find_map(|line| {
                        let (key, value) = line.split_once(':')?;
                        key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
                    })
                };
                let length: u64 = field("content-length").context("no length")?.parse()?;
                if field("expect").is_some() {
                    write!(writer, "HTTP/1.1 100 Continue\r\n\r\n")?;
                }
                let answer = format!("{length} {}", sum((&mut reader).take(length))?);
                write!(
                    writer,
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{answer}",
                    answer.len()
                )?;
            }
            other => bail!("not a request: {other:?}"),
        }
    }
}

/// Bytes that differ from their neighbours near and far, so that a lost or moved piece shows.
struct Pattern {
    at: usize,
    length: usize,
}

fn pattern(length: usize) -> Pattern {
    Pattern { at: 0, length }
}

impl Read for Pattern {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = buffer.len().min(self.length - self.at);
        for (at, byte) in (self.at..).zip(&mut buffer[..count]) {
            *byte = (at ^ (at >> 8) ^ (at >> 16)) as u8;
        }
        self.at += count;
        Ok(count)
    }
}

/// FNV-1a over 64 bits: order counts.
fn sum(mut bytes: impl Read) -> Result<u64> {
    let mut buffer = vec![0; 65_536];
    let mut sum = 0xcbf2_9ce4_8422_2325_u64;
    loop {
        let length = bytes.read(&mut buffer)?;
        if length == 0 {
            return Ok(sum);
        }
        for byte in &buffer[..length] {
            sum = (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        }
    }
}

const NAME: &str = "web.example";
const URL: &str = "https://web.example:8443";
const BIG: usize = 32 << 20;
