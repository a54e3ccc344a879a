//! The admin API from afar: `[admin.tls]` and the gateways in `[[ipsec.peer]]`.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use admin_client::{AdminUrl, TlsFiles};
use serde::{Deserialize, Serialize};

use super::text;

/// `[admin.tls]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdminTls {
    /// Where operators and peer gateways reach us.
    pub listen: SocketAddr,
    /// Our certificate and what leads to its authority, PEM. We show it to peers too.
    pub certificate: PathBuf,
    /// Its key, PEM, 0600; a bare name is looked for in `$CREDENTIALS_DIRECTORY`.
    pub key: PathBuf,
    /// The authorities of operators and peers, PEM.
    pub client_ca: PathBuf,
    /// Whose certificates may do everything.
    #[serde(default)]
    pub operators: Vec<String>,
}

/// `[[ipsec.peer]]`: a gateway that we rotate keys with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    /// What `[[ipsec.sa]]` calls it.
    pub name: String,
    /// Whom its certificate names: the first DNS name in it, or else the first URI.
    pub identity: String,
    /// Its admin API.
    #[serde(with = "text")]
    pub admin: AdminUrl,
    /// The outer address of its SAs, where all have the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
}

impl AdminTls {
    /// The files, as server and as a peer's client.
    pub fn files(&self) -> TlsFiles {
        TlsFiles {
            certificate: self.certificate.clone(),
            key: self.key.clone(),
            authority: self.client_ca.clone(),
        }
    }

    /// Every key, for what a file may contain.
    pub(super) fn example() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 9443)),
            certificate: PathBuf::from("/etc/postern/gateway.pem"),
            key: PathBuf::from("/etc/postern/gateway.key"),
            client_ca: PathBuf::from("/etc/postern/ca.pem"),
            operators: vec!["ops.example".to_owned()],
        }
    }
}

impl Peer {
    /// Every key, for what a file may contain.
    #[expect(clippy::expect_used, reason = "an URL that is written below")]
    pub(super) fn example() -> Self {
        Self {
            name: "gw-b".to_owned(),
            identity: "gw-b.example".to_owned(),
            admin: "https://192.0.2.2:9443".parse().expect("https, an address and a port"),
            address: Some(IpAddr::from([192, 0, 2, 2])),
        }
    }
}
