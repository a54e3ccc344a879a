//! TLS listeners of a running gateway: a broken one beside a good one, SIGHUP, SIGTERM, `check`.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gateway_control::{EventKind, EventList, Status, TlsListenerState, TlsStatus};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustix::process::Signal;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::process::{Gateway, gateway, own_address};

/// An authority, the files of two listeners, and the SBC behind them, which echoes.
struct Site {
    directory: PathBuf,
    issuer: Issuer<'static, KeyPair>,
    address: std::net::Ipv4Addr,
    sbc: SocketAddr,
}

impl Site {
    fn new() -> Self {
        let address = own_address();
        let directory = std::env::temp_dir().join(format!("postern-tls-site-{address}"));
        fs::create_dir_all(&directory).unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        fs::write(directory.join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        let sbc = echo(TcpListener::bind((address, 0)).unwrap());
        let site = Self { directory, issuer: Issuer::new(params, key), address, sbc };
        site.sign("good");
        site.sign("other");
        site.write_config();
        site
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// A new certificate for `sip.example`, with a key of its own.
    fn sign(&self, name: &str) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["sip.example".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        fs::write(self.file(&format!("{name}.pem")), certificate.pem()).unwrap();
        let path = self.file(&format!("{name}.key"));
        fs::write(&path, key.serialize_pem()).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn write_config(&self) {
        let listeners = ["good", "other"].into_iter().zip(PORTS).map(|(name, port)| {
            let (chain, key) =
                (self.file(&format!("{name}.pem")), self.file(&format!("{name}.key")));
            format!(
                "[[tls.listener]]\nname = \"{name}\"\nmode = \"terminate\"\n\
                 listen = \"{}:{port}\"\nupstream = [\"{}\"]\n\
                 certificate = [{{ chain = \"{}\", key = \"{}\" }}]\n",
                self.address,
                self.sbc,
                chain.display(),
                key.display()
            )
        });
        fs::write(self.file("gateway.toml"), listeners.collect::<String>()).unwrap();
    }

    fn start(&self) -> Gateway {
        let file = self.file("gateway.toml");
        Gateway::start_at(self.address, &["--config", file.to_str().unwrap()])
    }

    fn check(&self) -> (Option<i32>, String) {
        let output = gateway(&["check", "--config", self.file("gateway.toml").to_str().unwrap()]);
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    }

    /// A client of the first or second listener, that believes the authority.
    fn connect(&self, listener: usize) -> StreamOwned<ClientConnection, TcpStream> {
        let mut roots = RootCertStore::empty();
        let authority = CertificateDer::from_pem_file(self.file("ca.pem")).unwrap();
        roots.add(authority).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = "sip.example".try_into().unwrap();
        let connection = ClientConnection::new(Arc::new(config), name).unwrap();
        let stream = TcpStream::connect((self.address, PORTS[listener])).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        StreamOwned::new(connection, stream)
    }
}

/// Of an address that no other test uses, and none that the system gives to whoever asks for any.
const PORTS: [u16; 2] = [5061, 5062];

impl Drop for Site {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Sends everything back, in clear.
fn echo(listener: TcpListener) -> SocketAddr {
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut writer = stream.try_clone().unwrap();
                let _ = std::io::copy(&mut &stream, &mut writer);
            });
        }
    });
    address
}

fn echoed(stream: &mut StreamOwned<ClientConnection, TcpStream>, text: &[u8]) {
    stream.write_all(text).unwrap();
    let mut back = vec![0; text.len()];
    stream.read_exact(&mut back).unwrap();
    assert_eq!(back, text);
}

/// What the client was shown.
fn shown(stream: &StreamOwned<ClientConnection, TcpStream>) -> CertificateDer<'static> {
    stream.conn.peer_certificates().unwrap()[0].clone().into_owned()
}

fn tls(gateway: &Gateway) -> TlsStatus {
    serde_json::from_str(&gateway.admin("/v1/tls").1).unwrap()
}

fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "no {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_broken_listener_is_told_everywhere_and_the_one_beside_it_serves() {
    let site = Site::new();
    fs::write(site.file("other.pem"), "nothing of the kind").unwrap();
    let (code, text) = site.check();
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("other") && text.contains("other.pem"), "{text}");

    let gateway = site.start();
    let mut client = site.connect(0);
    echoed(&mut client, b"REGISTER sip:sip.example SIP/2.0\r\n");
    assert!(TcpStream::connect((site.address, PORTS[1])).is_err(), "whole or not at all");

    let (code, body) = gateway.http("/readyz");
    assert_eq!(code, 200, "calls are taken");
    assert!(body.starts_with("ready\nTLS listener other does not serve: "), "{body}");
    let status: Status = serde_json::from_str(&gateway.admin("/v1/status").1).unwrap();
    assert_eq!(status.problems.len(), 1, "{status:?}");
    let log = gateway.log();
    assert!(log.contains("ERROR") && log.contains("other.pem"), "{log}");
    let serving = log.lines().filter(|line| line.contains("TLS listener listener="));
    assert_eq!(serving.count(), 1, "{log}");
    gateway.wait_for_log("tls.reload_failed");
    let states: Vec<_> = tls(&gateway).listeners.iter().map(|listener| listener.state).collect();
    assert_eq!(states, [TlsListenerState::Serving, TlsListenerState::Failed]);
    assert_eq!(gateway.metric("postern_tls_listener_up{listener=\"good\"}"), 1.0);
    assert_eq!(gateway.metric("postern_tls_listener_up{listener=\"other\"}"), 0.0);
    let done = "postern_tls_handshakes_total{listener=\"good\",reason=\"done\",version=\"1.3\"}";
    assert_eq!(gateway.metric(done), 1.0);
    assert_eq!(gateway.metric("postern_tls_handshake_seconds_count{listener=\"good\"}"), 1.0);
    assert!(gateway.metric("postern_tls_handshake_p99_seconds") > 0.0);
    let opened = "postern_tls_bytes_total{listener=\"good\",direction=\"in\"}";
    until("bytes counted", || (gateway.metric(opened) == 34.0).then_some(()));
}

#[test]
fn sighup_mends_a_broken_listener_and_a_broken_certificate_replaces_no_good_one() {
    let site = Site::new();
    let good = fs::read(site.file("other.pem")).unwrap();
    fs::write(site.file("other.pem"), &good[..good.len() / 2]).unwrap();
    let gateway = site.start();
    let mut old = site.connect(0);
    echoed(&mut old, b"before");
    let first = shown(&old);

    fs::write(site.file("other.pem"), &good).unwrap();
    site.sign("good");
    gateway.signal(Signal::HUP);
    gateway.wait_for_log("config.reloaded");
    let mut other = site.connect(1);
    echoed(&mut other, b"it serves now");
    let mut new = site.connect(0);
    echoed(&mut new, b"with a new certificate");
    let second = shown(&new);
    assert_ne!(first, second);
    echoed(&mut old, b"and this one goes on");
    assert_eq!(gateway.http("/readyz").1, "ready\n");

    fs::write(site.file("good.pem"), "broken").unwrap();
    gateway.signal(Signal::HUP);
    gateway.wait_for_log("TLS listener good goes on as it was");
    let mut third = site.connect(0);
    echoed(&mut third, b"the old certificate stays");
    assert_eq!(shown(&third), second);
    let body = gateway.http("/readyz").1;
    assert!(body.contains("TLS listener good goes on as it was: "), "{body}");
    assert_eq!(gateway.metric("postern_tls_listener_outdated{listener=\"good\"}"), 1.0);
    for client in [&mut old, &mut other, &mut new] {
        echoed(client, b"no connection ends with a reload");
    }
}

#[test]
fn sighup_brings_listeners_and_takes_them_away_but_not_their_connections() {
    let site = Site::new();
    let both = fs::read_to_string(site.file("gateway.toml")).unwrap();
    let first = &both[..both.rfind("[[tls.listener]]").unwrap()];
    fs::write(site.file("gateway.toml"), "").unwrap();
    let gateway = site.start();
    assert!(tls(&gateway).listeners.is_empty());
    assert!(!gateway.http("/metrics").1.contains("postern_tls_"));

    fs::write(site.file("gateway.toml"), &both).unwrap();
    gateway.signal(Signal::HUP);
    until("second listener", || (tls(&gateway).listeners.len() == 2).then_some(()));
    let mut client = site.connect(1);
    echoed(&mut client, b"hello");

    fs::write(site.file("gateway.toml"), first).unwrap();
    gateway.signal(Signal::HUP);
    until("end of it", || (tls(&gateway).listeners.len() == 1).then_some(()));
    until("closed door", || TcpStream::connect((site.address, PORTS[1])).err());
    echoed(&mut client, b"still there");
}

#[test]
fn sigint_ends_at_once_with_tls_connections_up() {
    let site = Site::new();
    let mut gateway = site.start();
    let mut client = site.connect(0);
    echoed(&mut client, b"hello");
    let begun = Instant::now();
    gateway.signal(Signal::INT);
    let status = gateway.wait(Duration::from_secs(3)).expect("it did not end");
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    assert_eq!(status.code(), Some(0));
}

#[test]
fn what_falls_back_is_told_once_with_the_reason_and_the_owner() {
    let site = Site::new();
    let gateway = site.start();
    for _ in 0..3 {
        echoed(&mut site.connect(0), b"hello");
    }
    let places = tls(&gateway).listeners.remove(0).placements;
    let page = gateway.http("/metrics").1;
    let user_space = page.lines().filter(|line| {
        line.starts_with("postern_tls_placements_total{listener=\"good\",direction=\"in\"")
            && line.contains("placement=\"user-space\"")
    });
    let fell: f64 = user_space.map(count_of).sum();
    assert!(fell == 0.0 || fell == 3.0, "all alike: {places:?}");

    let events: EventList = serde_json::from_str(&gateway.admin("/v1/events").1).unwrap();
    let events = events.events.into_iter();
    let told: Vec<_> = events
        .filter(|event| event.kind == EventKind::PlacementFallback)
        .filter(|event| event.object.contains("listener good"))
        .collect();
    assert_eq!(told.len(), usize::from(fell > 0.0), "once for each reason: {told:?}");
    for event in told {
        assert_eq!((event.to.as_str(), event.owner.as_str()), ("user-space", "kernel"));
        assert!(event.reason.contains("kernel TLS"), "{event:?}");
    }
}

fn count_of(line: &str) -> f64 {
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn check_tells_a_taken_port_and_what_would_run() {
    let site = Site::new();
    let (code, text) = site.check();
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("ok       TLS listener good at "), "{text}");
    let taken = TcpListener::bind((site.address, PORTS[1])).unwrap();
    let (code, text) = site.check();
    assert_eq!(code, Some(0), "it may be ours: {text}");
    assert!(text.contains("warning  tls.listener other: "), "{text}");
    assert!(text.contains(&format!("sport = :{}", PORTS[1])), "{text}");
    drop(taken);
}
