//! What the relay runs by: plain values, already read from a configuration by whoever starts it.
//!
//! Nothing here opens a file or a socket. [`Settings::validate`] refuses what cannot work whatever
//! the machine says; what depends on files is the identity's to refuse, what depends on the
//! network the listener's.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

/// The whole relay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// TLS threads; `None`: one for each two CPUs, at least one. A reload cannot change it.
    pub threads: Option<NonZeroUsize>,
    /// Whether records go to the kernel.
    pub kernel: KernelUse,
    /// Which version listeners negotiate first.
    pub prefer: VersionPreference,
    /// Each ticket key signs for this long, and opens for as long again.
    pub ticket_lifetime: Duration,
    /// The listeners; their names and their addresses are unique.
    pub listeners: Vec<ListenerSettings>,
}

/// Whether records are handed to the kernel (kTLS).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KernelUse {
    /// Where the probe says that it works; falling back is told.
    #[default]
    Auto,
    /// Never.
    Off,
    /// A connection that the kernel does not take is closed.
    Require,
}

impl KernelUse {
    /// The name in configurations and in the admin API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Off => "off",
            Self::Require => "require",
        }
    }
}

/// Which version a listener negotiates first where both ends know both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VersionPreference {
    /// TLS 1.3, in software.
    #[default]
    Tls13,
    /// TLS 1.2 where a device takes its records; devices take nothing newer today.
    Tls12Device,
}

/// One listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerSettings {
    /// Its name in metrics, events and on command lines.
    pub name: String,
    /// Which side speaks TLS.
    pub mode: Mode,
    /// Where it listens.
    pub listen: SocketAddr,
    /// Where it connects to, in order of preference.
    pub upstream: Vec<SocketAddr>,
    /// What the upstream is told about the client before the first byte; `terminate` only.
    pub proxy_protocol: ProxyProtocol,
    /// Certificates and whom to trust.
    pub identity: IdentitySettings,
    /// How much at a time, and how long.
    pub limits: Limits,
}

/// Which side of a listener speaks TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Mode {
    /// TLS in, TCP to the upstream.
    Terminate,
    /// TCP in, TLS to the upstream.
    Originate,
}

impl Mode {
    /// The name in configurations and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Terminate => "terminate",
            Self::Originate => "originate",
        }
    }
}

/// Whether a PROXY protocol header precedes the first byte to the upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// No header: the upstream sees the gateway's address alone.
    #[default]
    None,
    /// Version 2, with the TLS fields.
    V2,
}

/// Who the listener is, and whom it believes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdentitySettings {
    /// Its certificates. `terminate` needs one at least; `originate` uses the first, if any, where
    /// the upstream asks for a client certificate.
    pub certificates: Vec<CertificateSource>,
    /// What becomes of a certificate that is over before it is first shown.
    pub expired: ExpiredCertificate,
    /// What a client gets that asks for a name no certificate covers.
    pub unknown_name: UnknownName,
    /// Whether clients show a certificate; `terminate` only.
    pub client_authentication: ClientAuthentication,
    /// PEM file of the authorities that peers' certificates must lead to.
    pub authority: Option<PathBuf>,
    /// Revocation lists, PEM or DER.
    pub revocation_lists: Vec<PathBuf>,
    /// Whom the upstream must be, and the name asked for; `originate` only, and needed there.
    pub server_name: Option<String>,
    /// Protocols, best first; none: ALPN is not spoken.
    pub alpn: Vec<String>,
    /// Which versions may be negotiated.
    pub versions: Versions,
}

/// Where a certificate comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateSource {
    /// Named files.
    Files(CertificateFiles),
    /// A watched directory: each `NAME.pem` or `NAME.crt` with `NAME.key` beside it, and `NAME.ocsp`
    /// if there is one; or `tls.crt` and `tls.key`, as Kubernetes mounts a secret.
    Directory(PathBuf),
}

/// One certificate by its files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The names that it serves; none: those it carries.
    pub names: Vec<String>,
    /// PEM: the certificate, then what signed it.
    pub chain: PathBuf,
    /// Its private key.
    pub key: KeySource,
    /// An OCSP response (DER) to staple.
    pub ocsp: Option<PathBuf>,
}

/// Where a private key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// A PEM file.
    File(PathBuf),
    /// A token: an RFC 7512 URI. Its signatures are made on blocking threads.
    Pkcs11(String),
}

/// What becomes of a certificate that is over before it is first shown. One that ends while it is
/// shown stays, whichever is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExpiredCertificate {
    /// It is refused: the listener does not start, a reload keeps what there was.
    #[default]
    Refuse,
    /// It is shown, with a warning: for peers that do not look at the time.
    Serve,
}

/// What a client gets that asks for a name no certificate covers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnknownName {
    /// The first certificate.
    #[default]
    First,
    /// The alert `unrecognized_name` (RFC 6066, section 3).
    Refuse,
}

/// Whether clients show a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientAuthentication {
    /// They are not asked.
    #[default]
    None,
    /// They are asked; one that is shown must be good.
    Optional,
    /// No connection without one.
    Required,
}

/// Which versions may be negotiated; at least one is set in valid settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    /// TLS 1.2.
    pub tls12: bool,
    /// TLS 1.3.
    pub tls13: bool,
}

impl Default for Versions {
    fn default() -> Self {
        Self { tls12: true, tls13: true }
    }
}

/// How much at a time, and how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at a time, those in their handshake included.
    pub max_connections: usize,
    /// Handshakes at a time; the next one is closed at once and counted.
    pub max_handshakes: usize,
    /// For the whole handshake, the wait for its first byte included.
    pub handshake_timeout: Duration,
    /// Without a byte in either direction; `None`: SIP connections may be silent for days.
    pub idle_timeout: Option<Duration>,
    /// For one upstream address to take the connection.
    pub connect_timeout: Duration,
    /// How long an upstream that failed is left alone while another one serves.
    pub upstream_retry: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 10_000,
            max_handshakes: 1_000,
            handshake_timeout: Duration::from_secs(10),
            idle_timeout: None,
            connect_timeout: Duration::from_secs(3),
            upstream_retry: Duration::from_secs(10),
        }
    }
}

/// Why settings can work nowhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("listener {listener:?}: {fault}")]
pub struct InvalidSettings {
    /// Which listener.
    pub listener: String,
    /// What is wrong, and what to write instead.
    pub fault: SettingsFault,
}

/// What is wrong with a listener's settings.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsFault {
    /// Two have one name.
    #[error("another listener has this name: give each its own")]
    NameTaken,
    /// Two listen on one address.
    #[error("{0} is another listener's address: give each its own")]
    AddressTaken(SocketAddr),
    /// Nowhere to connect to.
    #[error("it has no upstream: name at least one address")]
    NoUpstream,
    /// The relay would be its own client.
    #[error("its upstream {0} is its own listening address: name the SBC's")]
    OwnUpstream(SocketAddr),
    /// A server without a certificate.
    #[error("it terminates TLS and has no certificate: add `certificate`")]
    NoCertificate,
    /// A client that believes anybody.
    #[error("it originates TLS without knowing whom to believe: set `authority`")]
    NoAuthority,
    /// A client that does not know whom it calls.
    #[error("it originates TLS without a name to ask for: set `server_name`")]
    NoServerName,
    /// Asking for certificates that nothing can check.
    #[error("it asks clients for certificates and cannot check them: set `authority`")]
    ClientsUnchecked,
    /// A header that a TLS upstream would take for a broken handshake.
    #[error("PROXY protocol is for `terminate` listeners: a TLS upstream does not expect it")]
    ProxyToTls,
    /// Nothing to negotiate.
    #[error("it allows no TLS version: allow 1.2, 1.3 or both")]
    NoVersion,
    /// A limit that lets nothing through.
    #[error("{0} is zero: nothing would pass")]
    Zero(&'static str),
}

impl Settings {
    /// Each fault that no file and no network can mend.
    pub fn validate(&self) -> Vec<InvalidSettings> {
        let (mut names, mut addresses) = (BTreeSet::new(), BTreeSet::new());
        let mut found = Vec::new();
        for listener in &self.listeners {
            let mut faults = listener.faults();
            if !names.insert(listener.name.as_str()) {
                faults.push(SettingsFault::NameTaken);
            }
            // Port 0 is whatever the system gives, so it is nobody's yet.
            if listener.listen.port() != 0 && !addresses.insert(listener.listen) {
                faults.push(SettingsFault::AddressTaken(listener.listen));
            }
            let name = &listener.name;
            found.extend(
                faults.into_iter().map(|fault| InvalidSettings { listener: name.clone(), fault }),
            );
        }
        found
    }

    /// How many TLS threads on a machine with so many CPUs.
    pub fn threads_on(&self, cpus: NonZeroUsize) -> NonZeroUsize {
        let half = NonZeroUsize::new(cpus.get() / 2).unwrap_or(NonZeroUsize::MIN);
        self.threads.unwrap_or(half)
    }
}

impl ListenerSettings {
    fn faults(&self) -> Vec<SettingsFault> {
        let identity = &self.identity;
        let (terminates, originates) = (self.mode == Mode::Terminate, self.mode == Mode::Originate);
        let asks = identity.client_authentication != ClientAuthentication::None;
        let own = self.upstream.iter().find(|upstream| **upstream == self.listen);
        let zero = self.limits.zero();
        [
            (self.upstream.is_empty(), SettingsFault::NoUpstream),
            (own.is_some(), SettingsFault::OwnUpstream(self.listen)),
            (terminates && identity.certificates.is_empty(), SettingsFault::NoCertificate),
            (terminates && asks && identity.authority.is_none(), SettingsFault::ClientsUnchecked),
            (originates && identity.authority.is_none(), SettingsFault::NoAuthority),
            (originates && identity.server_name.is_none(), SettingsFault::NoServerName),
            (originates && self.proxy_protocol != ProxyProtocol::None, SettingsFault::ProxyToTls),
            (!identity.versions.tls12 && !identity.versions.tls13, SettingsFault::NoVersion),
            (zero.is_some(), SettingsFault::Zero(zero.unwrap_or_default())),
        ]
        .into_iter()
        .filter_map(|(wrong, fault)| wrong.then_some(fault))
        .collect()
    }
}

impl Limits {
    fn zero(&self) -> Option<&'static str> {
        [
            (self.max_connections == 0, "max_connections"),
            (self.max_handshakes == 0, "max_handshakes"),
            (self.handshake_timeout.is_zero(), "handshake_timeout"),
            (self.idle_timeout.is_some_and(|timeout| timeout.is_zero()), "idle_timeout"),
            (self.connect_timeout.is_zero(), "connect_timeout"),
        ]
        .into_iter()
        .find_map(|(zero, name)| zero.then_some(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(name: &str, port: u16) -> ListenerSettings {
        let files = CertificateFiles {
            names: Vec::new(),
            chain: "sip.pem".into(),
            key: KeySource::File("sip.key".into()),
            ocsp: None,
        };
        ListenerSettings {
            name: name.to_owned(),
            mode: Mode::Terminate,
            listen: SocketAddr::from(([127, 0, 0, 1], port)),
            upstream: vec![SocketAddr::from(([127, 0, 0, 1], 5060))],
            proxy_protocol: ProxyProtocol::None,
            identity: IdentitySettings {
                certificates: vec![CertificateSource::Files(files)],
                ..IdentitySettings::default()
            },
            limits: Limits::default(),
        }
    }

    fn settings(listeners: Vec<ListenerSettings>) -> Settings {
        Settings {
            threads: None,
            kernel: KernelUse::Auto,
            prefer: VersionPreference::Tls13,
            ticket_lifetime: Duration::from_secs(6 * 3600),
            listeners,
        }
    }

    fn faults(listeners: Vec<ListenerSettings>) -> Vec<SettingsFault> {
        settings(listeners).validate().into_iter().map(|found| found.fault).collect()
    }

    #[test]
    fn good_settings_have_no_fault() {
        assert_eq!(faults(vec![listener("sip", 5061), listener("other", 5062)]), []);
        assert_eq!(faults(vec![listener("sip", 0), listener("other", 0)]), []);
    }

    #[test]
    fn a_name_and_an_address_belong_to_one_listener() {
        let both = faults(vec![listener("sip", 5061), listener("sip", 5061)]);
        let address = SocketAddr::from(([127, 0, 0, 1], 5061));
        assert_eq!(both, [SettingsFault::NameTaken, SettingsFault::AddressTaken(address)]);
    }

    #[test]
    fn a_client_needs_to_know_whom_it_calls_and_sends_no_proxy_header() {
        let carrier = ListenerSettings {
            mode: Mode::Originate,
            proxy_protocol: ProxyProtocol::V2,
            ..listener("carrier", 5061)
        };
        assert_eq!(
            faults(vec![carrier]),
            [SettingsFault::NoAuthority, SettingsFault::NoServerName, SettingsFault::ProxyToTls]
        );
    }

    #[test]
    fn a_server_needs_a_certificate_an_upstream_other_than_itself_and_limits_above_zero() {
        let mut server = listener("sip", 5060);
        server.identity = IdentitySettings {
            client_authentication: ClientAuthentication::Required,
            versions: Versions { tls12: false, tls13: false },
            ..IdentitySettings::default()
        };
        server.limits.max_handshakes = 0;
        assert_eq!(
            faults(vec![server]),
            [
                SettingsFault::OwnUpstream(SocketAddr::from(([127, 0, 0, 1], 5060))),
                SettingsFault::NoCertificate,
                SettingsFault::ClientsUnchecked,
                SettingsFault::NoVersion,
                SettingsFault::Zero("max_handshakes"),
            ]
        );
    }

    #[test]
    fn two_cpus_have_one_thread_and_a_number_given_is_obeyed() {
        let cpus = |count| NonZeroUsize::new(count).expect("above zero");
        let mut settings = settings(Vec::new());
        assert_eq!(settings.threads_on(cpus(1)), cpus(1));
        assert_eq!(settings.threads_on(cpus(2)), cpus(1));
        assert_eq!(settings.threads_on(cpus(9)), cpus(4));
        settings.threads = Some(cpus(3));
        assert_eq!(settings.threads_on(cpus(1)), cpus(3));
    }
}
