//! TLS listeners: TLS in and TCP to the SBC, or TCP in and TLS out.
//!
//! [`TlsRelay::start`] takes [`Settings`] and runs threads of its own; a connection lives on one of
//! them for life, and no media worker ever sees a handshake. Nothing here reads a configuration,
//! serves an admin API or renders metrics: the gateway does, through this handle.

mod accept;
mod connection;
mod counters;
mod handshake;
pub mod identity;
mod inventory;
mod limits;
mod listener;
mod notice;
mod proxy_protocol;
mod pump;
mod registry;
mod relay;
mod settings;
mod socket;
mod splice;
mod thread;
mod upstream;
mod warned;

pub use counters::{AlertCount, HandshakeCount, ListenerCounters, PlacementCount, UpstreamCount};
pub use notice::{Notice, Notices};
pub use relay::{ListenerFault, StartError, Started, TlsRelay, UnknownListener};
pub use settings::{
    CertificateFiles, CertificateSource, ClientAuthentication, ExpiredCertificate,
    IdentitySettings, InvalidSettings, KernelUse, KeySource, Limits, ListenerSettings, Mode,
    ProxyProtocol, Settings, SettingsFault, UnknownName, VersionPreference, Versions,
};
