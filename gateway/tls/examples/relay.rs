//! A TLS listener from the command line, without a gateway: to measure, and to try peers against.
//!
//! ```text
//! relay terminate LISTEN UPSTREAM[,UPSTREAM…] CHAIN KEY [OPTION…]
//! relay originate LISTEN UPSTREAM[,UPSTREAM…] AUTHORITY SERVER_NAME [OPTION…]
//!   --threads N   TLS threads (1)          --kernel auto|off|require   kTLS (auto)
//!   --proxy       PROXY protocol v2        --clients AUTHORITY         ask clients for certificates
//!   --alpn NAME   a protocol, repeatable   --connections N             at a time (100000)
//! ```
//!
//! It prints `listening on ADDRESS` when it does, then what the relay tells, and runs until it is
//! killed.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use tls_relay::{
    CertificateFiles, CertificateSource, ClientAuthentication, IdentitySettings, KernelUse,
    KeySource, Limits, ListenerSettings, Mode, ProxyProtocol, Settings, Started, TlsRelay,
    VersionPreference,
};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(settings) = settings(&arguments) else {
        eprintln!("usage: see the head of examples/relay.rs");
        return ExitCode::from(2);
    };
    match TlsRelay::start(settings) {
        Ok(started) if started.faults.is_empty() => serve(started),
        Ok(started) => {
            started.faults.iter().for_each(|fault| eprintln!("{fault}"));
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(started: Started) -> ExitCode {
    let Started { relay, mut notices, .. } = started;
    for listener in relay.status(0, 0).listeners {
        println!("listening on {}", listener.listen);
    }
    while let Some(notice) = notices.blocking_recv() {
        println!("{} {}: {}", notice.kind.name(), notice.object, notice.reason);
    }
    ExitCode::SUCCESS
}

fn settings(arguments: &[String]) -> Option<Settings> {
    let [mode, listen, upstream, first, second, options @ ..] = arguments else { return None };
    let (mode, identity) = match mode.as_str() {
        "terminate" => (Mode::Terminate, server(first, second)),
        "originate" => (Mode::Originate, client(first, second)),
        _ => return None,
    };
    let upstream: Option<Vec<SocketAddr>> =
        upstream.split(',').map(|address| address.parse().ok()).collect();
    let listener = ListenerSettings {
        name: "relay".to_owned(),
        mode,
        listen: listen.parse().ok()?,
        upstream: upstream?,
        proxy_protocol: ProxyProtocol::None,
        identity,
        limits: Limits { max_connections: 100_000, max_handshakes: 10_000, ..Limits::default() },
    };
    let mut settings = Settings {
        threads: Some(std::num::NonZeroUsize::MIN),
        kernel: KernelUse::Auto,
        prefer: VersionPreference::Tls13,
        ticket_lifetime: Duration::from_secs(6 * 3600),
        listeners: vec![listener],
    };
    let mut options = options.iter();
    while let Some(option) = options.next() {
        apply(&mut settings, option, &mut options)?;
    }
    Some(settings)
}

fn apply<'a>(
    settings: &mut Settings,
    option: &str,
    values: &mut impl Iterator<Item = &'a String>,
) -> Option<()> {
    let listener = settings.listeners.first_mut()?;
    match option {
        "--proxy" => listener.proxy_protocol = ProxyProtocol::V2,
        "--threads" => settings.threads = Some(values.next()?.parse().ok()?),
        "--connections" => listener.limits.max_connections = values.next()?.parse().ok()?,
        "--alpn" => listener.identity.alpn.push(values.next()?.clone()),
        "--clients" => {
            listener.identity.authority = Some(values.next()?.into());
            listener.identity.client_authentication = ClientAuthentication::Required;
        }
        "--kernel" => {
            settings.kernel = match values.next()?.as_str() {
                "auto" => KernelUse::Auto,
                "off" => KernelUse::Off,
                "require" => KernelUse::Require,
                _ => return None,
            }
        }
        _ => return None,
    }
    Some(())
}

fn server(chain: &str, key: &str) -> IdentitySettings {
    let files = CertificateFiles {
        names: Vec::new(),
        chain: chain.into(),
        key: KeySource::File(key.into()),
        ocsp: None,
    };
    IdentitySettings {
        certificates: vec![CertificateSource::Files(files)],
        ..IdentitySettings::default()
    }
}

fn client(authority: &str, server_name: &str) -> IdentitySettings {
    IdentitySettings {
        authority: Some(authority.into()),
        server_name: Some(server_name.to_owned()),
        ..IdentitySettings::default()
    }
}
