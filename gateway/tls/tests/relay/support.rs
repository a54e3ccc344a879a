//! A relay, its certificates, an SBC and TLS peers.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
    SupportedProtocolVersion,
};
use tls_relay::{
    CertificateFiles, CertificateSource, IdentitySettings, KernelUse, KeySource, Limits,
    ListenerCounters, ListenerSettings, Mode, Notices, ProxyProtocol, Settings, Started, TlsRelay,
    VersionPreference,
};

pub(crate) type Client = StreamOwned<ClientConnection, TcpStream>;
pub(crate) type Server = StreamOwned<ServerConnection, TcpStream>;
pub(crate) type Version = &'static SupportedProtocolVersion;

pub(crate) const BOTH: [Version; 2] = [&rustls::version::TLS12, &rustls::version::TLS13];

/// Files in memory, removed again.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let memory = Path::new("/dev/shm");
        let base = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = base.join(format!("postern-tls-relay-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn file(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, contents).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _gone = fs::remove_dir_all(&self.0);
    }
}

/// An authority, and what it signed.
pub(crate) struct Pki {
    pub(crate) folder: Folder,
    certificate: rcgen::Certificate,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate with its key, and their files.
pub(crate) struct Issued {
    pub(crate) chain: PathBuf,
    pub(crate) key: PathBuf,
}

impl Pki {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "tests' authority");
        let certificate = params.self_signed(&key).unwrap();
        let folder = Folder::new();
        folder.file("authority.pem", certificate.pem());
        Self { folder, certificate, issuer: Issuer::new(params, key) }
    }

    pub(crate) fn authority(&self) -> PathBuf {
        self.folder.0.join("authority.pem")
    }

    pub(crate) fn issue(&self, name: &str) -> Issued {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Issued {
            chain: self.folder.file(&format!("{name}.pem"), certificate.pem()),
            key: self.folder.file(&format!("{name}.key"), key.serialize_pem()),
        }
    }

    pub(crate) fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.der().clone()).unwrap();
        roots
    }

    pub(crate) fn client_config(&self, version: Version) -> ClientConfig {
        self.client_config_of(&[version])
    }

    pub(crate) fn client_config_of(&self, versions: &[Version]) -> ClientConfig {
        ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(self.roots())
            .with_no_client_auth()
    }

    pub(crate) fn client_config_as(&self, version: Version, own: &Issued) -> ClientConfig {
        let (chain, key) = own.load();
        ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(self.roots())
            .with_client_auth_cert(chain, key)
            .unwrap()
    }

    pub(crate) fn server_config(&self, version: Version, own: &Issued) -> Arc<ServerConfig> {
        let (chain, key) = own.load();
        let config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[version])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        Arc::new(config)
    }

    /// Settings of a listener that terminates TLS as `localhost`.
    pub(crate) fn terminate(&self, upstream: &[SocketAddr]) -> ListenerSettings {
        let own = self.issue("localhost");
        let files = CertificateFiles {
            names: Vec::new(),
            chain: own.chain,
            key: KeySource::File(own.key),
            ocsp: None,
        };
        ListenerSettings {
            name: "sip".to_owned(),
            mode: Mode::Terminate,
            listen: any_port(),
            upstream: upstream.to_vec(),
            proxy_protocol: ProxyProtocol::None,
            identity: IdentitySettings {
                certificates: vec![CertificateSource::Files(files)],
                ..IdentitySettings::default()
            },
            limits: Limits::default(),
        }
    }

    /// Settings of a listener that originates TLS to `localhost`.
    pub(crate) fn originate(&self, upstream: &[SocketAddr]) -> ListenerSettings {
        ListenerSettings {
            name: "carrier".to_owned(),
            mode: Mode::Originate,
            identity: IdentitySettings {
                authority: Some(self.authority()),
                server_name: Some("localhost".to_owned()),
                ..IdentitySettings::default()
            },
            ..self.terminate(upstream)
        }
    }

    /// A client that has shaken hands.
    pub(crate) fn connect(&self, version: Version, address: SocketAddr) -> Client {
        connect(Arc::new(self.client_config(version)), address).unwrap()
    }
}

impl Issued {
    fn load(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let chain: Result<Vec<_>, _> =
            CertificateDer::pem_file_iter(&self.chain).unwrap().collect();
        (chain.unwrap(), PrivateKeyDer::from_pem_file(&self.key).unwrap())
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

pub(crate) fn connect(config: Arc<ClientConfig>, address: SocketAddr) -> std::io::Result<Client> {
    let name = ServerName::try_from("localhost").unwrap();
    let socket = TcpStream::connect(address)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut client = StreamOwned::new(
        ClientConnection::new(config, name).map_err(std::io::Error::other)?,
        socket,
    );
    while client.conn.is_handshaking() {
        client.conn.complete_io(&mut client.sock)?;
    }
    Ok(client)
}

/// The server's side of the next connection.
pub(crate) fn accept_tls(listener: &TcpListener, config: &Arc<ServerConfig>) -> Server {
    let socket = accept(listener);
    let mut server = StreamOwned::new(ServerConnection::new(Arc::clone(config)).unwrap(), socket);
    while server.conn.is_handshaking() {
        server.conn.complete_io(&mut server.sock).unwrap();
    }
    server
}

/// A plain peer that listens.
pub(crate) fn sbc() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind(any_port()).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// The next connection, within a while.
pub(crate) fn accept(listener: &TcpListener) -> TcpStream {
    listener.set_nonblocking(true).unwrap();
    let socket = eventually("a connection comes", || listener.accept().ok()).0;
    socket.set_nonblocking(false).unwrap();
    socket.set_nodelay(true).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// Says back whatever comes, until the end; for as many connections as come.
pub(crate) fn echo(listener: TcpListener) {
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let Ok(mut socket) = socket else { return };
            std::thread::spawn(move || {
                let mut buffer = vec![0; 65536];
                while let Ok(count) = socket.read(&mut buffer)
                    && count > 0
                    && socket.write_all(&buffer[..count]).is_ok()
                {}
            });
        }
    });
}

/// An address where nobody listens.
pub(crate) fn nobody() -> SocketAddr {
    sbc().1
}

pub(crate) fn any_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// A relay with these listeners, all of which must start.
pub(crate) struct Relay {
    pub(crate) relay: TlsRelay,
    pub(crate) notices: Notices,
    pub(crate) settings: Settings,
}

impl Relay {
    pub(crate) fn start(listeners: Vec<ListenerSettings>) -> Self {
        let settings = settings(listeners);
        let Started { relay, notices, faults } = TlsRelay::start(settings.clone()).unwrap();
        assert_eq!(faults, []);
        Self { relay, notices, settings }
    }

    /// Where the listener of this number listens.
    pub(crate) fn address(&self, number: usize) -> SocketAddr {
        self.relay.status(0, 0).listeners[number].listen
    }

    pub(crate) fn counters(&self) -> ListenerCounters {
        self.relay.counters().remove(0)
    }

    /// How many ended so.
    pub(crate) fn ended(&self, ending: &str) -> u64 {
        self.counters().ended.iter().find(|(name, _)| *name == ending).unwrap().1
    }
}

pub(crate) fn settings(listeners: Vec<ListenerSettings>) -> Settings {
    Settings {
        threads: std::num::NonZeroUsize::new(2),
        kernel: KernelUse::Auto,
        prefer: VersionPreference::Tls13,
        ticket_lifetime: Duration::from_secs(3600),
        listeners,
    }
}

/// Asks until there is an answer.
pub(crate) fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < until, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until it is so.
pub(crate) fn until(what: &str, mut is: impl FnMut() -> bool) {
    eventually(what, || is().then_some(()));
}

pub(crate) fn read_exactly(from: &mut impl Read, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    from.read_exact(&mut bytes).unwrap();
    bytes
}

/// Bytes that show when some are lost, doubled or swapped.
pub(crate) fn pattern(count: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 11) as u8
    };
    std::iter::repeat_with(next).take(count).collect()
}

/// Whatever must happen happens within this, on the slowest machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
