//! `[tls]`: listeners that terminate TLS in front of the SBC, or wrap in it what the SBC sends out.
//!
//! What a file may say, and no more: [`check`] refuses what cannot work together,
//! [`crate::tls::settings`] makes of it what the relay runs by. No key is ever in the file: it names
//! files, credentials and tokens. Whether those are any good is for `gateway check` and the start.

pub mod check;

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Span, Timeout, text};

/// `[tls]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// Threads that serve TLS; 0 takes one for each two CPUs that we may run on, at least one.
    pub threads: usize,
    /// Whether the kernel is given the records of connections (kTLS).
    pub kernel: Kernel,
    /// Which version is negotiated first where both ends know both.
    pub prefer: Prefer,
    /// A ticket key seals tickets for this long, and opens them for as long again.
    #[serde(with = "text")]
    pub ticket_lifetime: Span,
    /// The listeners.
    pub listener: Vec<TlsListener>,
}

impl Default for Tls {
    fn default() -> Self {
        Self {
            threads: 0,
            kernel: Kernel::Auto,
            prefer: Prefer::Tls13,
            ticket_lifetime: Span::seconds(6 * 3600),
            listener: Vec::new(),
        }
    }
}

/// Whether the kernel is given the records of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kernel {
    /// Where it has what that takes; where not, each reason is told once.
    Auto,
    /// Never.
    Off,
    /// Always: a connection that the kernel does not take is closed.
    Require,
}

/// Which version is negotiated first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Prefer {
    /// TLS 1.3.
    Tls13,
    /// TLS 1.2 where a device offloads it, which none does with 1.3.
    Tls12Device,
}

/// `[[tls.listener]]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsListener {
    /// What metrics, events and `keymgr tls` call it.
    pub name: String,
    /// Which side is TLS.
    pub mode: TlsMode,
    /// Where it listens.
    pub listen: SocketAddr,
    /// Where it connects to, in order of preference.
    pub upstream: Vec<SocketAddr>,
    /// What the upstream is told of the client before the first byte.
    #[serde(default)]
    pub proxy_protocol: ProxyProtocol,
    /// What it shows of itself.
    #[serde(default)]
    pub certificate: Vec<Certificate>,
    /// What becomes of a certificate that has expired before it is first shown.
    #[serde(default)]
    pub expired_certificate: ExpiredCertificate,
    /// What a client gets that asks for a name of which there is no certificate.
    #[serde(default)]
    pub unknown_name: UnknownName,
    /// Whether clients show certificates.
    #[serde(default)]
    pub client_authentication: ClientAuthentication,
    /// The authorities of clients, and in `originate` of the upstream: a PEM file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority: Option<PathBuf>,
    /// What those authorities have revoked: PEM or DER files.
    #[serde(default)]
    pub crl: Vec<PathBuf>,
    /// In `originate`: whom the upstream's certificate must name, and the SNI.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// Protocols to agree on (ALPN), best first; none: it is not spoken.
    #[serde(default)]
    pub alpn: Vec<String>,
    /// Versions of TLS.
    #[serde(default = "both_versions")]
    pub versions: Vec<Version>,
    /// Most connections at a time, those in their handshake included.
    #[serde(default = "default_max_connections")]
    pub max_connections: usize,
    /// Most handshakes at a time.
    #[serde(default = "default_max_handshakes")]
    pub max_handshakes: usize,
    /// How long a handshake may take as a whole.
    #[serde(with = "text", default = "default_handshake_timeout")]
    pub handshake_timeout: Span,
    /// End a connection on which neither side said anything for this long.
    #[serde(with = "text", default = "default_idle_timeout")]
    pub idle_timeout: Timeout,
    /// How long an upstream may take to answer.
    #[serde(with = "text", default = "default_connect_timeout")]
    pub connect_timeout: Span,
    /// When an upstream that failed is tried again.
    #[serde(with = "text", default = "default_upstream_retry")]
    pub upstream_retry: Span,
}

/// Which side of a listener is TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TlsMode {
    /// TLS in, TCP to the upstream.
    Terminate,
    /// TCP in, TLS to the upstream.
    Originate,
}

/// What the upstream is told of the client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProxyProtocol {
    /// Nothing: it sees our address.
    #[default]
    None,
    /// The client's address, and what TLS knows of it.
    V2,
}

/// What becomes of a certificate that has expired before it is first shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExpiredCertificate {
    /// The listener does not start with it, and a reload keeps what there was.
    #[default]
    Refuse,
    /// It is shown, with a warning, to peers that do not look at the time.
    Serve,
}

/// What a client gets that asks for a name of which there is no certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UnknownName {
    /// The first certificate.
    #[default]
    First,
    /// The alert `unrecognized_name`.
    Refuse,
}

/// Whether clients show certificates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientAuthentication {
    /// They are not asked.
    #[default]
    None,
    /// They are asked, and may have none.
    Optional,
    /// They are asked and must.
    Required,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Version {
    /// RFC 5246.
    #[serde(rename = "1.2")]
    Tls12,
    /// RFC 8446.
    #[serde(rename = "1.3")]
    Tls13,
}

/// One of `certificate`: files by name, or a directory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Certificate {
    /// For clients that ask for one of these; none: for the names that are in it.
    pub names: Vec<String>,
    /// The certificate and what leads to its authority: a PEM file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chain: Option<PathBuf>,
    /// Its key: a PEM file, a name given by `LoadCredential=`, or a `pkcs11:` URI.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// An answer of its authority to staple: a DER file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ocsp: Option<PathBuf>,
    /// Instead: all that are in here, and change there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub directory: Option<PathBuf>,
}

impl TlsListener {
    /// Every key, for what a file may contain.
    pub(super) fn example() -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], 5061));
        Self {
            name: "sip".to_owned(),
            mode: TlsMode::Terminate,
            listen: address,
            upstream: vec![address],
            proxy_protocol: ProxyProtocol::default(),
            certificate: vec![Certificate::example()],
            expired_certificate: ExpiredCertificate::default(),
            unknown_name: UnknownName::default(),
            client_authentication: ClientAuthentication::default(),
            authority: Some(PathBuf::from("clients.pem")),
            crl: vec![PathBuf::from("clients.crl")],
            server_name: Some("carrier.example".to_owned()),
            alpn: vec!["sip".to_owned()],
            versions: both_versions(),
            max_connections: default_max_connections(),
            max_handshakes: default_max_handshakes(),
            handshake_timeout: default_handshake_timeout(),
            idle_timeout: default_idle_timeout(),
            connect_timeout: default_connect_timeout(),
            upstream_retry: default_upstream_retry(),
        }
    }
}

impl Certificate {
    fn example() -> Self {
        Self {
            names: vec!["sip.example.com".to_owned()],
            chain: Some(PathBuf::from("sip.pem")),
            key: Some("sip.key".to_owned()),
            ocsp: Some(PathBuf::from("sip.ocsp")),
            directory: Some(PathBuf::from("/etc/postern/tls")),
        }
    }
}

fn both_versions() -> Vec<Version> {
    vec![Version::Tls12, Version::Tls13]
}

const fn default_max_connections() -> usize {
    10_000
}

const fn default_max_handshakes() -> usize {
    1_000
}

const fn default_handshake_timeout() -> Span {
    Span::seconds(10)
}

/// A registered phone may say nothing for an hour.
const fn default_idle_timeout() -> Timeout {
    Timeout::OFF
}

const fn default_connect_timeout() -> Span {
    Span::seconds(3)
}

const fn default_upstream_retry() -> Span {
    Span::seconds(10)
}
