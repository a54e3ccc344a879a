//! OpenSSL at the other end, in both roles, asking for new keys and being asked.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kernel_tls::{AskPeer, Reading, Received, Support};
use rustls::SupportedCipherSuite;
use rustls::crypto::aws_lc_rs::ALL_CIPHER_SUITES;

use crate::ground::{Deadline, Place, TLS12, TLS13, flush, suite, takes_tls13};
use crate::support::end::{End, Talk};
use crate::support::pki::{ClientAuthentication, NAME, Pki};

/// `openssl s_client` or `s_server`, whose commands are letters at the beginning of a line.
struct OpenSsl {
    process: Child,
    said: Arc<Mutex<Vec<u8>>>,
}

impl OpenSsl {
    fn start(arguments: &[&str]) -> Self {
        let mut process = Command::new("openssl")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("openssl");
        let said = Arc::new(Mutex::new(Vec::new()));
        let mut output = process.stdout.take().expect("its output");
        let heard = Arc::clone(&said);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = output.read(&mut buffer) {
                heard.lock().expect("not poisoned").extend_from_slice(&buffer[..read]);
            }
        });
        Self { process, said }
    }

    /// Each line goes alone: a command is known only at the beginning of what is read.
    fn line(&mut self, line: &str) {
        let input = self.process.stdin.as_mut().expect("its input");
        input.write_all(format!("{line}\n").as_bytes()).expect("written");
    }

    fn has_said(&self, words: &str) -> bool {
        let said = self.said.lock().expect("not poisoned");
        said.windows(words.len()).any(|window| window == words.as_bytes())
    }
}

impl Drop for OpenSsl {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.process.kill();
        let _status = self.process.wait();
    }
}

fn version(suite: SupportedCipherSuite) -> &'static str {
    match suite {
        SupportedCipherSuite::Tls12(_) => "-tls1_2",
        SupportedCipherSuite::Tls13(_) => "-tls1_3",
    }
}

fn shake(mut end: End) -> Talk {
    let until = Deadline::new();
    while !end.advance().expect("a handshake with OpenSSL") {
        until.check("the handshake with OpenSSL");
        std::thread::sleep(Duration::from_millis(1));
    }
    Talk::new(end, Support::shared(), &Place::Kernel.policy())
}

/// We serve, `s_client` asks.
fn serve(suite: SupportedCipherSuite) -> (Talk, OpenSsl) {
    let config = Pki::new().server(&[suite], ClientAuthentication::None);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = listener.local_addr().expect("an address").to_string();
    let peer =
        OpenSsl::start(&["s_client", "-connect", &address, version(suite), "-servername", NAME]);
    let (socket, _) = listener.accept().expect("OpenSSL");
    socket.set_nonblocking(true).expect("non-blocking");
    (shake(End::server(OwnedFd::from(socket), config.into(), Reading::Exact)), peer)
}

/// We ask, `s_server` serves.
fn ask(suite: SupportedCipherSuite) -> (Talk, OpenSsl) {
    let pki = Pki::new();
    let (chain, key) = pki.issue(NAME);
    std::fs::write("/tmp/ktls.crt", &chain[0]).expect("written");
    std::fs::write("/tmp/ktls.key", key.secret_der()).expect("written");
    let free = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = free.local_addr().expect("an address").to_string();
    drop(free);
    let files = ["-cert", "/tmp/ktls.crt", "-certform", "DER", "-key", "/tmp/ktls.key"];
    let rest = ["-keyform", "DER", "-accept", &address, version(suite)];
    let peer = OpenSsl::start(&[&["s_server"][..], &files, &rest].concat());
    let until = Deadline::new();
    let socket = loop {
        if let Ok(socket) = TcpStream::connect(&address) {
            break socket;
        }
        until.check("s_server");
        std::thread::sleep(Duration::from_millis(20));
    };
    socket.set_nonblocking(true).expect("non-blocking");
    let config = pki.client(&[suite], &[suite.version()]);
    (shake(End::client(OwnedFd::from(socket), config.into(), Reading::Exact)), peer)
}

/// What we send is printed there, what is typed there is read here.
fn exchange(talk: &mut Talk, peer: &mut OpenSsl, words: &str) {
    let until = Deadline::new();
    let ours = format!("from the kernel: {words}\n");
    assert_eq!(talk.write(ours.as_bytes()).expect("written"), ours.len());
    peer.line(&format!("typed: {words}"));
    let expected = format!("typed: {words}\n");
    let mut came = Vec::new();
    while came.len() < expected.len() || !peer.has_said(&ours) {
        came.extend(talk.read_all().expect("data"));
        flush(talk);
        until.check(words);
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(String::from_utf8_lossy(&came), expected);
}

/// Reads until keys were renewed so often: ours, the peer's.
fn renewed(talk: &mut Talk, times: (u64, u64)) {
    let until = Deadline::new();
    while talk.stream.renewals() != times {
        assert_eq!(talk.read_all().expect("no data"), b"");
        flush(talk);
        until.check(&format!("renewals {:?} of {times:?}", talk.stream.renewals()));
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn talk_with(mut talk: Talk, mut peer: OpenSsl, suite: SupportedCipherSuite) {
    assert!(talk.stream.is_kernel(), "{suite:?}");
    exchange(&mut talk, &mut peer, "under the first keys");
    if matches!(suite, SupportedCipherSuite::Tls13(_)) {
        peer.line("k");
        renewed(&mut talk, (0, 1));
        exchange(&mut talk, &mut peer, "behind an update");
        peer.line("K");
        renewed(&mut talk, (1, 2));
        exchange(&mut talk, &mut peer, "behind an update that asks for ours");
        talk.stream.update_keys(&talk.socket, AskPeer::Renew).expect("ours");
        exchange(&mut talk, &mut peer, "behind an update that asks for theirs");
        // It has read that by now, and answers in front of what it sends next.
        exchange(&mut talk, &mut peer, "behind an update that we asked for");
        assert_eq!(talk.stream.renewals(), (2, 3));
    }
    talk.stream.close_write(&talk.socket).expect("closed");
    let until = Deadline::new();
    loop {
        match talk.read() {
            Ok(Received::CloseNotify) => break,
            Ok(other) => panic!("{other:?}"),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock, "{error}"),
        }
        until.check("close_notify");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn suites_here() -> Vec<SupportedCipherSuite> {
    let mut suites = vec![suite(TLS12)];
    if takes_tls13() {
        suites.extend([suite(TLS13), suite("TLS13_CHACHA20")]);
    }
    assert!(suites.iter().all(|suite| ALL_CIPHER_SUITES.contains(suite)));
    suites
}

#[test]
fn openssl_as_a_client_talks_and_renews_keys_with_the_kernel() {
    for suite in suites_here() {
        let (talk, peer) = serve(suite);
        talk_with(talk, peer, suite);
    }
}

#[test]
fn openssl_as_a_server_talks_and_renews_keys_with_the_kernel() {
    for suite in suites_here() {
        let (talk, peer) = ask(suite);
        talk_with(talk, peer, suite);
    }
}
