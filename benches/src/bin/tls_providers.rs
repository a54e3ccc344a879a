//! `tls_providers`: what the server's side of a TLS 1.3 handshake costs, without sockets, under
//! aws-lc-rs and under ring, through `kernel_tls::Handshake`.
//!
//! CPU time of the thread, while the server is at work and no longer; contestants take turns, so
//! that a busy machine is busy for all of them. The client is the same for everyone.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use benches::report::Quartiles;
use benches::tls::identity::NAME;
use clap::Parser;
use kernel_tls::{Handshake, HelloReader, Progress};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustix::time::{ClockId, clock_gettime};
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs, ring};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use rustls::server::ProducesTickets;
use rustls::version::TLS13;
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, ServerConfig};

/// Compares providers of rustls.
#[derive(Parser)]
#[command(name = "tls_providers", version)]
struct Cli {
    /// Handshakes of each kind in each round.
    #[arg(long, default_value_t = 200)]
    handshakes: u32,
    /// Rounds.
    #[arg(long, default_value_t = 15)]
    rounds: usize,
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    let identity = Identity::new()?;
    let contestants = contestants(&identity)?;
    let mut cases = Vec::new();
    for contestant in &contestants {
        for (kind, resumption) in [
            (HandshakeKind::Full, Resumption::disabled()),
            (HandshakeKind::Resumed, Resumption::in_memory_sessions(64)),
        ] {
            let client = Arc::new(client(&identity, contestant.group, resumption)?);
            let mut case = Case { contestant, client, kind: HandshakeKind::Full };
            // Brings a ticket, and pays for what is done once.
            case.handshake()?;
            case.kind = kind;
            cases.push((case, Vec::new()));
        }
    }
    for _ in 0..cli.rounds {
        for (case, costs) in &mut cases {
            let mut spent = Duration::ZERO;
            for _ in 0..cli.handshakes {
                spent += case.handshake()?;
            }
            costs.push(spent.as_secs_f64() * 1e6 / f64::from(cli.handshakes));
        }
    }
    println!("µs of CPU, server's side: median (quartiles)");
    for (case, costs) in cases {
        let Quartiles { lower, median, upper } = Quartiles::of(&costs);
        let kind = format!("{:?}", case.kind);
        println!("{:<28} {kind:<8} {median:7.1} ({lower:.1} to {upper:.1})", case.contestant.name);
    }
    Ok(())
}

/// A provider, and the one group that its clients offer.
struct Contestant {
    name: &'static str,
    group: &'static dyn SupportedKxGroup,
    server: Arc<ServerConfig>,
}

fn contestants(identity: &Identity) -> Result<Vec<Contestant>> {
    let (aws, ring) = (aws_lc_rs::default_provider, ring::default_provider);
    let (aws_tickets, ring_tickets) = (aws_lc_rs::Ticketer::new, ring::Ticketer::new);
    let x25519 = aws_lc_rs::kx_group::X25519;
    let hybrid = aws_lc_rs::kx_group::X25519MLKEM768;
    Ok(vec![
        Contestant {
            name: "aws-lc-rs, X25519",
            group: x25519,
            server: server(identity, aws(), aws_tickets()?)?,
        },
        Contestant {
            name: "ring, X25519",
            group: x25519,
            server: server(identity, ring(), ring_tickets()?)?,
        },
        Contestant {
            name: "aws-lc-rs, X25519MLKEM768",
            group: hybrid,
            server: server(identity, aws(), aws_tickets()?)?,
        },
    ])
}

struct Identity {
    certificate: CertificateDer<'static>,
    key: PrivatePkcs8KeyDer<'static>,
}

impl Identity {
    fn new() -> Result<Self> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let certificate = CertificateParams::new(vec![NAME.to_owned()])?.self_signed(&key)?;
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        Ok(Self { certificate: certificate.der().clone(), key })
    }
}

fn server(
    identity: &Identity,
    provider: CryptoProvider,
    ticketer: Arc<dyn ProducesTickets>,
) -> Result<Arc<ServerConfig>> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![identity.certificate.clone()], identity.key.clone_key().into())?;
    config.ticketer = ticketer;
    Ok(Arc::new(config))
}

fn client(
    identity: &Identity,
    group: &'static dyn SupportedKxGroup,
    resumption: Resumption,
) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(identity.certificate.clone())?;
    let provider = CryptoProvider { kx_groups: vec![group], ..aws_lc_rs::default_provider() };
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = resumption;
    Ok(config)
}

struct Case<'a> {
    contestant: &'a Contestant,
    client: Arc<ClientConfig>,
    /// What is expected.
    kind: HandshakeKind,
}

impl Case<'_> {
    /// One handshake; says what the server spent.
    fn handshake(&self) -> Result<Duration> {
        let mut client =
            ClientConnection::new(Arc::clone(&self.client), ServerName::try_from(NAME)?)?;
        let hello = written_by(&mut client)?;
        let (mut flight, config) = (Vec::new(), Arc::clone(&self.contestant.server));
        let before = thread_time();
        let hello = HelloReader::new().received(&hello).ok().flatten().context("no hello")?;
        let mut server = Handshake::server(config, hello)?;
        server.step(&mut flight)?;
        let mut spent = thread_time() - before;
        read_by(&mut client, &flight)?;
        let finished = written_by(&mut client)?;
        let mut tickets = Vec::new();
        let before = thread_time();
        server.received(&finished);
        let progress = server.step(&mut tickets)?;
        spent += thread_time() - before;
        ensure!(progress == Progress::Complete, "the handshake is not over");
        read_by(&mut client, &tickets)?;
        ensure!(client.handshake_kind() == Some(self.kind), "{:?}", client.handshake_kind());
        Ok(spent)
    }
}

fn written_by(client: &mut ClientConnection) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut bytes)?;
    }
    Ok(bytes)
}

fn read_by(client: &mut ClientConnection, mut bytes: &[u8]) -> Result<()> {
    while !bytes.is_empty() {
        client.read_tls(&mut bytes)?;
        client.process_new_packets()?;
    }
    Ok(())
}

fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}
