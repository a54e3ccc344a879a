//! A running gateway: started on an address of its own, asked over its listeners, killed at the
//! end of the test.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use gateway_control::Status;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// A gateway and where it is.
pub(crate) struct Gateway {
    child: Child,
    directory: PathBuf,
    /// Media, ng and HTTP are all here.
    pub(crate) address: Ipv4Addr,
    /// What it said of itself at the start.
    pub(crate) status: Status,
}

static NEXT: AtomicU8 = AtomicU8::new(1);

/// An address that no other test of this run uses. The process id keeps runs apart.
pub(crate) fn own_address() -> Ipv4Addr {
    let run = std::process::id() % 200;
    Ipv4Addr::new(127, 20 + run as u8, NEXT.fetch_add(1, Ordering::Relaxed), 1)
}

/// Runs the binary to its end.
pub(crate) fn gateway(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gateway")).args(arguments).output().unwrap()
}

impl Gateway {
    /// With these flags beside those that every test needs.
    pub(crate) fn start(flags: &[&str]) -> Self {
        Self::start_at(own_address(), flags)
    }

    /// At this address.
    pub(crate) fn start_at(address: Ipv4Addr, flags: &[&str]) -> Self {
        let directory = std::env::temp_dir().join(format!("postern-test-{address}"));
        fs::create_dir_all(&directory).unwrap();
        let admin = directory.join("admin.sock");
        let log = File::create(directory.join("log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_gateway"))
            .arg("run")
            .args(["--interface", &address.to_string(), "--ports", "20000-20199"])
            .args(["--ng", &format!("{address}:0"), "--http", &format!("{address}:0")])
            .args(["--workers", "1", "--admin"])
            .arg(&admin)
            .args(flags)
            .stderr(log)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut gateway = Self { child, directory, address, status: unknown() };
        gateway.status = gateway.wait_until_up();
        gateway
    }

    fn wait_until_up(&mut self) -> Status {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            if let Ok((200, body)) = self.try_admin("/v1/status") {
                return serde_json::from_str(&body).unwrap();
            }
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("gateway ended with {status}: {}", self.log());
            }
            assert!(Instant::now() < deadline, "gateway does not come up: {}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// What it logged so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    /// Waits until it has logged this.
    pub(crate) fn wait_for_log(&self, text: &str) {
        let deadline = Instant::now() + Duration::from_secs(5);
        while !self.log().contains(text) {
            assert!(Instant::now() < deadline, "no \"{text}\" in {}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// A file beside its log.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// How it ended, if it does within this time.
    pub(crate) fn wait(&mut self, patience: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().unwrap() {
                return Some(status);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        None
    }

    /// GET over the admin socket: status code and body.
    pub(crate) fn admin(&self, path: &str) -> (u16, String) {
        self.try_admin(path).unwrap()
    }

    fn try_admin(&self, path: &str) -> std::io::Result<(u16, String)> {
        http_get(UnixStream::connect(self.file("admin.sock"))?, path, "")
    }

    /// GET over the admin socket with a header line.
    pub(crate) fn admin_with(&self, path: &str, header: &str) -> (u16, String) {
        http_get(UnixStream::connect(self.file("admin.sock")).unwrap(), path, header).unwrap()
    }

    /// GET over the HTTP listener.
    pub(crate) fn http(&self, path: &str) -> (u16, String) {
        http_get(TcpStream::connect(self.status.http.unwrap()).unwrap(), path, "").unwrap()
    }

    /// A metric's value, by the whole text before it.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let (code, page) = self.http("/metrics");
        assert_eq!(code, 200);
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in\n{page}")).parse().unwrap()
    }

    /// A new SBC at its ng socket.
    pub(crate) fn ng(&self) -> Ng {
        let socket = UdpSocket::bind((self.address, 0)).unwrap();
        socket.connect(self.status.ng).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        Ng { socket, next: 0 }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("gateway's log:\n{}", self.log());
        }
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// A client of ng over UDP that speaks JSON.
pub(crate) struct Ng {
    pub(crate) socket: UdpSocket,
    next: u32,
}

impl Ng {
    /// Asks under a new cookie.
    pub(crate) fn ask(&mut self, request: &Value) -> Value {
        self.next += 1;
        let port = self.socket.local_addr().unwrap().port();
        let cookie = format!("{port}_{}", self.next);
        let reply = self.exchange(format!("{cookie} {request}").as_bytes());
        let reply = String::from_utf8(reply).unwrap();
        let (echoed, body) = reply.split_once(' ').unwrap();
        assert_eq!(echoed, cookie);
        serde_json::from_str(body).unwrap()
    }

    /// Sends these bytes and returns what comes back.
    pub(crate) fn exchange(&self, datagram: &[u8]) -> Vec<u8> {
        self.socket.send(datagram).unwrap();
        self.receive().expect("no reply")
    }

    /// The next reply.
    pub(crate) fn receive(&self) -> Option<Vec<u8>> {
        let mut buffer = vec![0; 65_536];
        let length = self.socket.recv(&mut buffer).ok()?;
        buffer.truncate(length);
        Some(buffer)
    }
}

fn http_get(
    mut stream: impl Read + Write,
    path: &str,
    header: &str,
) -> std::io::Result<(u16, String)> {
    write!(stream, "GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n{header}\r\n")?;
    let mut response = String::new();
    stream.read_to_string(&mut response)?;
    let bad = || std::io::Error::other("not an HTTP response");
    let (head, body) = response.split_once("\r\n\r\n").ok_or_else(bad)?;
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or_else(bad)?;
    Ok((code, body.to_owned()))
}

/// Before it was asked.
fn unknown() -> Status {
    Status {
        api_version: 0,
        version: String::new(),
        pid: 0,
        uptime_seconds: 0.0,
        lifecycle: gateway_control::Lifecycle::Running,
        calls: 0,
        ng: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        http: None,
        workers: Vec::new(),
        interfaces: Vec::new(),
        problems: Vec::new(),
    }
}
