//! The configuration as the TLS relay takes it.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use tls_relay as relay;
use tls_relay::{
    CertificateFiles, CertificateSource, IdentitySettings, KernelUse, KeySource, Limits,
    ListenerSettings, Settings, VersionPreference, Versions,
};

use crate::config::tls::{
    Certificate, ClientAuthentication, ExpiredCertificate, Kernel, Prefer, ProxyProtocol, Tls,
    TlsListener, TlsMode, UnknownName, Version,
};

/// All of `[tls]`.
pub(crate) fn settings(tls: &Tls) -> Settings {
    Settings {
        threads: NonZeroUsize::new(tls.threads),
        kernel: match tls.kernel {
            Kernel::Auto => KernelUse::Auto,
            Kernel::Off => KernelUse::Off,
            Kernel::Require => KernelUse::Require,
        },
        prefer: match tls.prefer {
            Prefer::Tls13 => VersionPreference::Tls13,
            Prefer::Tls12Device => VersionPreference::Tls12Device,
        },
        ticket_lifetime: tls.ticket_lifetime.0,
        listeners: tls.listener.iter().map(listener).collect(),
    }
}

fn listener(listener: &TlsListener) -> ListenerSettings {
    ListenerSettings {
        name: listener.name.clone(),
        mode: match listener.mode {
            TlsMode::Terminate => relay::Mode::Terminate,
            TlsMode::Originate => relay::Mode::Originate,
        },
        listen: listener.listen,
        upstream: listener.upstream.clone(),
        proxy_protocol: match listener.proxy_protocol {
            ProxyProtocol::None => relay::ProxyProtocol::None,
            ProxyProtocol::V2 => relay::ProxyProtocol::V2,
        },
        identity: identity(listener),
        limits: Limits {
            max_connections: listener.max_connections,
            max_handshakes: listener.max_handshakes,
            handshake_timeout: listener.handshake_timeout.0,
            // "0s" is another way to write "off".
            idle_timeout: listener.idle_timeout.0.filter(|timeout| !timeout.is_zero()),
            connect_timeout: listener.connect_timeout.0,
            upstream_retry: listener.upstream_retry.0,
        },
    }
}

fn identity(listener: &TlsListener) -> IdentitySettings {
    IdentitySettings {
        certificates: listener.certificate.iter().filter_map(certificate).collect(),
        expired: match listener.expired_certificate {
            ExpiredCertificate::Refuse => relay::ExpiredCertificate::Refuse,
            ExpiredCertificate::Serve => relay::ExpiredCertificate::Serve,
        },
        unknown_name: match listener.unknown_name {
            UnknownName::First => relay::UnknownName::First,
            UnknownName::Refuse => relay::UnknownName::Refuse,
        },
        client_authentication: match listener.client_authentication {
            ClientAuthentication::None => relay::ClientAuthentication::None,
            ClientAuthentication::Optional => relay::ClientAuthentication::Optional,
            ClientAuthentication::Required => relay::ClientAuthentication::Required,
        },
        authority: listener.authority.clone(),
        revocation_lists: listener.crl.clone(),
        server_name: listener.server_name.clone(),
        alpn: listener.alpn.clone(),
        versions: Versions {
            tls12: listener.versions.contains(&Version::Tls12),
            tls13: listener.versions.contains(&Version::Tls13),
        },
    }
}

/// `None` for one that the check of the configuration refuses.
fn certificate(certificate: &Certificate) -> Option<CertificateSource> {
    if let Some(directory) = &certificate.directory {
        return Some(CertificateSource::Directory(directory.clone()));
    }
    Some(CertificateSource::Files(CertificateFiles {
        names: certificate.names.clone(),
        chain: certificate.chain.clone()?,
        key: key(certificate.key.as_deref()?),
        ocsp: certificate.ocsp.clone(),
    }))
}

fn key(key: &str) -> KeySource {
    match key.starts_with(PKCS11) {
        true => KeySource::Pkcs11(key.to_owned()),
        false => KeySource::File(PathBuf::from(key)),
    }
}

/// The scheme of RFC 7512.
pub(crate) const PKCS11: &str = "pkcs11:";

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::Config;

    fn read(text: &str) -> Settings {
        settings(&toml::from_str::<Config>(text).unwrap().tls)
    }

    #[test]
    fn the_defaults_are_those_of_the_relay() {
        let text = "[[tls.listener]]\nname = \"sip\"\nmode = \"terminate\"\n\
                    listen = \"127.0.0.1:5061\"\nupstream = [\"127.0.0.1:5060\"]\n";
        let settings = read(text);
        assert_eq!((settings.threads, settings.kernel), (None, KernelUse::Auto));
        assert_eq!(settings.prefer, VersionPreference::Tls13);
        assert_eq!(settings.listeners[0].limits, Limits::default());
        assert_eq!(settings.listeners[0].identity, IdentitySettings::default());
    }

    #[test]
    fn every_setting_arrives() {
        let text = r#"
[tls]
threads = 3
kernel = "require"
prefer = "tls12-device"
ticket_lifetime = "1h"
[[tls.listener]]
name = "carrier"
mode = "originate"
listen = "127.0.0.1:5062"
upstream = ["192.0.2.1:5061", "192.0.2.2:5061"]
proxy_protocol = "v2"
certificate = [
    { names = ["a.example"], chain = "a.pem", key = "a.key", ocsp = "a.ocsp" },
    { directory = "/etc/postern/tls" },
    { chain = "hsm.pem", key = "pkcs11:token=sip?pin-source=file:/run/pin" },
]
expired_certificate = "serve"
unknown_name = "refuse"
client_authentication = "required"
authority = "ca.pem"
crl = ["ca.crl"]
server_name = "carrier.example"
alpn = ["sip"]
versions = ["1.2"]
max_connections = 7
max_handshakes = 6
handshake_timeout = "5s"
idle_timeout = "0s"
connect_timeout = "4s"
upstream_retry = "2s"
"#;
        let settings = read(text);
        assert_eq!(settings.threads, NonZeroUsize::new(3));
        assert_eq!(settings.kernel, KernelUse::Require);
        assert_eq!(settings.prefer, VersionPreference::Tls12Device);
        assert_eq!(settings.ticket_lifetime, Duration::from_secs(3600));
        let [listener] = settings.listeners.as_slice() else { panic!("one listener") };
        assert_eq!((listener.name.as_str(), listener.mode), ("carrier", relay::Mode::Originate));
        assert_eq!(listener.listen, "127.0.0.1:5062".parse().unwrap());
        assert_eq!(listener.upstream[1], "192.0.2.2:5061".parse().unwrap());
        assert_eq!(listener.proxy_protocol, relay::ProxyProtocol::V2);
        let limits = Limits {
            max_connections: 7,
            max_handshakes: 6,
            handshake_timeout: Duration::from_secs(5),
            idle_timeout: None,
            connect_timeout: Duration::from_secs(4),
            upstream_retry: Duration::from_secs(2),
        };
        assert_eq!(listener.limits, limits);
        assert_eq!(listener.identity, expected_identity());
    }

    fn expected_identity() -> IdentitySettings {
        let token = "pkcs11:token=sip?pin-source=file:/run/pin";
        IdentitySettings {
            certificates: vec![
                CertificateSource::Files(CertificateFiles {
                    names: vec!["a.example".to_owned()],
                    chain: "a.pem".into(),
                    key: KeySource::File("a.key".into()),
                    ocsp: Some("a.ocsp".into()),
                }),
                CertificateSource::Directory("/etc/postern/tls".into()),
                CertificateSource::Files(CertificateFiles {
                    names: Vec::new(),
                    chain: "hsm.pem".into(),
                    key: KeySource::Pkcs11(token.to_owned()),
                    ocsp: None,
                }),
            ],
            expired: relay::ExpiredCertificate::Serve,
            unknown_name: relay::UnknownName::Refuse,
            client_authentication: relay::ClientAuthentication::Required,
            authority: Some("ca.pem".into()),
            revocation_lists: vec!["ca.crl".into()],
            server_name: Some("carrier.example".to_owned()),
            alpn: vec!["sip".to_owned()],
            versions: Versions { tls12: true, tls13: false },
        }
    }
}
