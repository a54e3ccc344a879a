//! Two ends of a connection over a socket pair, with configurations for every version and cipher.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use kernel_tls::{
    Handshake, HandshakeError, HelloReader, KernelUse, Policy, Progress, Reading, Scratch, Stream,
    Support,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    ClientConfig, RootCertStore, ServerConfig, SupportedCipherSuite, SupportedProtocolVersion,
};

/// A certificate authority and what it has issued.
pub(crate) struct Pki {
    issuer: CertifiedIssuer<'static, KeyPair>,
    roots: Arc<RootCertStore>,
}

impl Pki {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("an authority");
        let mut roots = RootCertStore::empty();
        roots.add(issuer.der().clone()).expect("a root");
        Self { issuer, roots: Arc::new(roots) }
    }

    pub(crate) fn issue(
        &self,
        name: &str,
    ) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        (vec![certificate.der().clone()], key.into())
    }

    pub(crate) fn server(
        &self,
        suites: &[SupportedCipherSuite],
        client: ClientAuthentication,
    ) -> ServerConfig {
        let (chain, key) = self.issue(NAME);
        let builder = ServerConfig::builder_with_provider(provider(suites))
            .with_protocol_versions(VERSIONS)
            .expect("versions");
        let builder = match client {
            ClientAuthentication::None => builder.with_no_client_auth(),
            ClientAuthentication::Required => {
                let roots = Arc::clone(&self.roots);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider(suites));
                builder.with_client_cert_verifier(verifier.build().expect("a verifier"))
            }
        };
        let mut config = builder.with_single_cert(chain, key).expect("a server");
        config.alpn_protocols = vec![b"sip".to_vec()];
        config
    }

    pub(crate) fn client(
        &self,
        suites: &[SupportedCipherSuite],
        versions: &[&'static SupportedProtocolVersion],
    ) -> ClientConfig {
        let (chain, key) = self.issue("client.example");
        let mut config = ClientConfig::builder_with_provider(provider(suites))
            .with_protocol_versions(versions)
            .expect("versions")
            .with_root_certificates(Arc::clone(&self.roots))
            .with_client_auth_cert(chain, key)
            .expect("a client");
        config.alpn_protocols = vec![b"sip".to_vec()];
        config
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientAuthentication {
    None,
    Required,
}

fn provider(suites: &[SupportedCipherSuite]) -> Arc<CryptoProvider> {
    let mut provider = aws_lc_rs::default_provider();
    if !suites.is_empty() {
        provider.cipher_suites = suites.to_vec();
    }
    Arc::new(provider)
}

/// The name in the server's certificate.
pub(crate) const NAME: &str = "sip.example.com";

pub(crate) const VERSIONS: &[&SupportedProtocolVersion] =
    &[&rustls::version::TLS12, &rustls::version::TLS13];

/// One end, during and after its handshake.
pub(crate) struct End {
    pub(crate) socket: UnixStream,
    phase: Phase,
    reading: Reading,
    unsent: Vec<u8>,
}

enum Phase {
    Gathering(Box<HelloReader>, Arc<ServerConfig>),
    Shaking(Box<Handshake>),
    Done,
}

impl End {
    pub(crate) fn server(socket: UnixStream, config: Arc<ServerConfig>, reading: Reading) -> Self {
        Self::new(socket, Phase::Gathering(Box::default(), config), reading)
    }

    pub(crate) fn client(socket: UnixStream, config: Arc<ClientConfig>, reading: Reading) -> Self {
        let name = ServerName::try_from(NAME).expect("a name");
        let handshake = Handshake::client(config, name).expect("a client");
        Self::new(socket, Phase::Shaking(Box::new(handshake)), reading)
    }

    fn new(socket: UnixStream, phase: Phase, reading: Reading) -> Self {
        socket.set_nonblocking(true).expect("non-blocking");
        Self { socket, phase, reading, unsent: Vec::new() }
    }

    /// Goes as far as the socket lets it. `Some` once, when the handshake is over and all of it is
    /// sent.
    pub(crate) fn advance(&mut self) -> Result<Option<Box<Handshake>>, HandshakeError> {
        loop {
            self.send();
            let complete = match &mut self.phase {
                Phase::Shaking(handshake) => {
                    handshake.step(&mut self.unsent)? == Progress::Complete
                }
                _ => false,
            };
            self.send();
            if complete && self.unsent.is_empty() {
                let Phase::Shaking(handshake) = std::mem::replace(&mut self.phase, Phase::Done)
                else {
                    unreachable!("it was shaking");
                };
                return Ok(Some(handshake));
            }
            let wanted = match &self.phase {
                Phase::Gathering(reader, _) => reader.wanted(),
                Phase::Shaking(handshake) => handshake.wanted(self.reading),
                Phase::Done => return Ok(None),
            };
            let mut buffer = vec![0; wanted];
            let read = match self.socket.read(&mut buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Ok(0) | Err(_) => return Ok(None),
                Ok(read) => read,
            };
            self.receive(&buffer[..read])?;
        }
    }

    fn receive(&mut self, bytes: &[u8]) -> Result<(), HandshakeError> {
        match &mut self.phase {
            Phase::Gathering(reader, config) => {
                if let Some(hello) = reader.received(bytes)? {
                    let handshake = Handshake::server(Arc::clone(config), hello)?;
                    self.phase = Phase::Shaking(Box::new(handshake));
                }
            }
            Phase::Shaking(handshake) => handshake.received(bytes),
            Phase::Done => {}
        }
        Ok(())
    }

    fn send(&mut self) {
        while !self.unsent.is_empty() {
            match self.socket.write(&self.unsent) {
                Ok(sent) => drop(self.unsent.drain(..sent)),
                Err(_) => return,
            }
        }
    }
}

/// An established stream and its socket.
pub(crate) struct Talk {
    pub(crate) stream: Stream,
    pub(crate) socket: UnixStream,
    pub(crate) scratch: Scratch,
    pub(crate) resumed: bool,
}

impl Talk {
    pub(crate) fn new(end: End, handshake: Handshake) -> Self {
        let resumed = handshake.is_resumed();
        let stream =
            Stream::establish(handshake, &end.socket, &Support::default(), &in_user_space());
        Self {
            stream: stream.expect("a stream"),
            socket: end.socket,
            scratch: Scratch::new(),
            resumed,
        }
    }

    /// Everything that is there to be read.
    pub(crate) fn read_all(&mut self) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        loop {
            match self.stream.read(&self.socket, &mut self.scratch) {
                Ok(kernel_tls::Received::Data(data)) => all.extend_from_slice(data),
                Ok(kernel_tls::Received::Nothing) => {}
                Ok(_) => return Ok(all),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(all),
                Err(error) => return Err(error),
            }
        }
    }

    pub(crate) fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.stream.write(&self.socket, data, &mut self.scratch)
    }
}

pub(crate) fn in_user_space() -> Policy {
    Policy { kernel: KernelUse::Off, ..Policy::default() }
}

/// Both ends of a finished handshake: server, client.
pub(crate) fn connect(
    server: &Arc<ServerConfig>,
    client: &Arc<ClientConfig>,
    reading: Reading,
) -> (Talk, Talk) {
    let (left, right) = UnixStream::pair().expect("a socket pair");
    let mut server = End::server(left, Arc::clone(server), reading);
    let mut client = End::client(right, Arc::clone(client), reading);
    let (mut served, mut asked) = (None, None);
    for _ in 0..100 {
        served = served.or_else(|| server.advance().expect("the server's side"));
        asked = asked.or_else(|| client.advance().expect("the client's side"));
        if served.is_some() && asked.is_some() {
            break;
        }
    }
    let served = served.expect("the server's handshake is over");
    let asked = asked.expect("the client's handshake is over");
    (Talk::new(server, *served), Talk::new(client, *asked))
}
