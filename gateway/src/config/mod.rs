//! The configuration: one value with a default for everything, from a TOML file and flags.
//!
//! [`Config`] mirrors the file section by section. [`mod@file`] reads it and answers a typo with the
//! nearest key that exists; flags then override single values; [`check`] refuses what cannot work
//! together. Nothing here touches a socket or the system.

pub mod check;
mod choice;
mod duration;
pub mod file;
mod interface;
pub mod ipsec;
mod listen;
mod port_range;
pub mod remote;
mod share;
mod size;
mod text;
pub mod tls;
pub mod webrtc;

pub use choice::{Accepted, Compat, Io, Learning, LogFormat, Suite};
pub use duration::{Span, Timeout};
pub use interface::Interface;
pub use ipsec::Ipsec;
pub use listen::{AdminListen, Listen};
pub use port_range::PortRange;
pub use remote::{AdminTls, Peer};
pub use share::Share;
pub use size::Size;
pub use tls::Tls;
pub use webrtc::{IceMode, WebRtc, WebRtcCertificate};

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};
use srtp::{Profile, Weaknesses};

use crate::session::settings::{INCUMBENTS_SUITES, SUITES};
use crate::weakness;

/// Everything that can be set; `Default` is what `gateway run` does without a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Workers, ports and calls.
    pub relay: Relay,
    /// The ng listener.
    pub ng: Ng,
    /// What SRTP may go without.
    pub srtp: Srtp,
    /// The read-only HTTP listener.
    pub http: Http,
    /// The admin API.
    pub admin: Admin,
    /// TLS listeners.
    pub tls: Tls,
    /// DTLS-SRTP and ICE.
    pub webrtc: WebRtc,
    /// What protects us from too much.
    pub limits: Limits,
    /// What is kept over a restart.
    pub state: State,
    /// What is logged.
    pub log: Log,
    /// The offload agent and its SAs.
    pub ipsec: Ipsec,
    /// Addresses that media uses.
    pub interface: Vec<Interface>,
}

/// `[relay]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Relay {
    /// Worker threads; 0 takes one for each CPU that we may run on.
    pub workers: usize,
    /// The I/O driver.
    pub io: Io,
    /// The range that media ports come from, on every interface address.
    #[serde(with = "text")]
    pub ports: PortRange,
    /// Endpoint learning, where signalling asks for nothing else.
    pub endpoint_learning: Learning,
    /// SRTP replay window in packets, 64 to 32768.
    pub replay_window: usize,
    /// Accept media only from the learned address; signalling can ask for it per call too. Left
    /// out, it is on, and off where `ng.compat` is `rtpengine`.
    pub strict_source: Option<bool>,
    /// TOS / traffic class of what we send, 0 to 255.
    pub tos: u8,
    /// SO_RCVBUF of each media socket, as far as the kernel grants it; "0B" leaves the system's default.
    #[serde(with = "text")]
    pub receive_buffer: Size,
    /// How long a busy worker lets packets gather between two turns, 1 ms at most; "off" or zero
    /// for not at all.
    #[serde(with = "text")]
    pub linger: Timeout,
    /// End a call that got no packet for this long.
    #[serde(with = "text")]
    pub timeout: Timeout,
    /// The same while signalling has every direction off (hold).
    #[serde(with = "text")]
    pub silent_timeout: Timeout,
    /// End an offer that got no answer for this long.
    #[serde(with = "text")]
    pub offer_timeout: Timeout,
    /// End every call this long after it was made.
    #[serde(with = "text")]
    pub final_timeout: Timeout,
    /// Keep a deleted call for this long, in case an offer brings it back.
    #[serde(with = "text")]
    pub delete_delay: Span,
    /// After SIGTERM, end calls that are still up after this long.
    #[serde(with = "text")]
    pub drain_timeout: Timeout,
}

/// `[ng]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ng {
    /// Where the SBC reaches us, over UDP and TCP.
    pub listen: SocketAddr,
    /// Also listen on TCP, same address and port.
    pub tcp: bool,
    /// Whose defaults to follow.
    pub compat: Compat,
    /// SRTP suites to offer, best first.
    pub suites: Vec<Suite>,
}

/// `[srtp]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Srtp {
    /// What an agreement may lack. Where `ng.compat` is `rtpengine`, everything may be lacking.
    pub accept: Vec<Accepted>,
    /// Keys of ours, told apart by MKI, on a line for a party that names several itself, 1 to 8; 1:
    /// never several.
    pub mki_keys: u8,
    /// So many in offers too.
    pub offer_mki: bool,
}

/// `[http]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    /// Where `/metrics`, `/healthz` and `/readyz` are.
    #[serde(with = "text")]
    pub listen: Listen,
}

/// `[admin]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// The admin API's Unix socket.
    #[serde(with = "text")]
    pub listen: AdminListen,
    /// And from afar, over mutual TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<AdminTls>,
}

/// `[limits]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Most calls at a time; 0 sets no limit besides ports.
    pub max_calls: usize,
    /// Most ng connections over TCP at a time.
    pub ng_connections: usize,
    /// Longest time that a worker may take to answer before we reply without its numbers.
    #[serde(with = "text")]
    pub report_timeout: Span,
    /// A worker that answers nothing for this long is stalled.
    #[serde(with = "text")]
    pub stall_timeout: Span,
}

/// `[state]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct State {
    /// The directory of our exchange key and the log of rotations; "none" keeps neither. Calls
    /// are not kept in this release.
    pub dir: String,
}

/// `[log]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// What to log, as `info` or `gateway=debug,info`.
    pub filter: String,
    /// How.
    pub format: LogFormat,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            relay: Relay::default(),
            ng: Ng::default(),
            srtp: Srtp::default(),
            http: Http::default(),
            admin: Admin::default(),
            tls: Tls::default(),
            webrtc: WebRtc::default(),
            limits: Limits::default(),
            state: State::default(),
            log: Log::default(),
            ipsec: Ipsec::default(),
            interface: vec![Interface::unnamed(IpAddr::V4(Ipv4Addr::LOCALHOST))],
        }
    }
}

impl Config {
    /// Fills in what follows from other settings: the incumbent's suites, where its ways are wanted
    /// and no other suites are named.
    pub fn settle(&mut self) {
        if self.ng.compat == Compat::Rtpengine && self.ng.suites == suites(&SUITES) {
            self.ng.suites = suites(&INCUMBENTS_SUITES);
        }
    }

    /// What an agreement on SRTP may lack.
    pub(crate) fn accepted(&self) -> Weaknesses {
        match self.ng.compat {
            Compat::Rtpengine => weakness::every(),
            Compat::Postern => {
                let accept = self.srtp.accept.iter();
                accept.fold(Weaknesses::NONE, |set, Accepted(weakness)| set.with(*weakness))
            }
        }
    }
}

fn suites(profiles: &[Profile]) -> Vec<Suite> {
    profiles.iter().copied().map(Suite).collect()
}

/// With the system's own, which holds 277 short packets, a flood at a call's port has the call lose
/// packets whenever its worker is away for 3 ms. The kernel doubles what it is asked for, so even where
/// it grants no more than its default there is room for twice as many.
pub(crate) const RECEIVE_BUFFER: Size = Size(512 << 10);

impl Default for Relay {
    /// Timeouts and ports are rtpengine's, so that a replaced one is missed by nobody.
    fn default() -> Self {
        Self {
            workers: 0,
            io: Io::Auto,
            ports: PortRange { min: 30000, max: 39999 },
            endpoint_learning: Learning::Heuristic,
            replay_window: 1024,
            strict_source: None,
            tos: 0,
            receive_buffer: RECEIVE_BUFFER,
            linger: Timeout(Some(packet_io::uring::Config::default().linger)),
            timeout: Timeout::seconds(60),
            silent_timeout: Timeout::seconds(3600),
            offer_timeout: Timeout::seconds(3600),
            final_timeout: Timeout::OFF,
            delete_delay: Span::seconds(30),
            drain_timeout: Timeout::seconds(3600),
        }
    }
}

impl Default for Ng {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 2223)),
            tcp: true,
            compat: Compat::Postern,
            suites: suites(&SUITES),
        }
    }
}

impl Default for Srtp {
    fn default() -> Self {
        Self { accept: Vec::new(), mki_keys: 2, offer_mki: false }
    }
}

impl Default for Http {
    fn default() -> Self {
        Self { listen: Listen::At(SocketAddr::from((Ipv4Addr::LOCALHOST, 9431))) }
    }
}

impl Default for Admin {
    fn default() -> Self {
        Self { listen: AdminListen::Auto, tls: None }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_calls: 0,
            ng_connections: 64,
            report_timeout: Span::seconds(1),
            stall_timeout: Span::seconds(5),
        }
    }
}

impl Default for State {
    fn default() -> Self {
        Self { dir: State::NONE.to_owned() }
    }
}

impl State {
    /// Keeps no state.
    pub const NONE: &'static str = "none";

    /// Where it is kept, if it is.
    pub fn directory(&self) -> Option<&std::path::Path> {
        (self.dir != Self::NONE).then(|| std::path::Path::new(&self.dir))
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { filter: "info".to_owned(), format: LogFormat::Text }
    }
}
