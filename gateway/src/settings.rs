//! From the configuration to what the parts take: call settings, driver choice, socket options.

use std::time::Duration;

use packet_io::{SocketOptions, uring};

use crate::config::{Compat, Config, Io, Suite, Timeout};
use crate::relay::worker::WorkerConfig;
use crate::session::{self, Interface, LocalAddress};

/// The logical interfaces, each with its addresses, in the order they were first named.
pub(crate) fn interfaces(config: &Config) -> Vec<Interface> {
    let mut interfaces: Vec<Interface> = Vec::new();
    for entry in &config.interface {
        let address = LocalAddress { bind: entry.address, advertised: entry.advertised };
        match interfaces.iter_mut().find(|interface| interface.name == entry.name) {
            Some(interface) => interface.addresses.push(address),
            None => {
                interfaces.push(Interface { name: entry.name.clone(), addresses: vec![address] })
            }
        }
    }
    interfaces
}

/// What the call state goes by.
pub(crate) fn session(config: &Config) -> session::Settings {
    let relay = &config.relay;
    session::Settings {
        interfaces: interfaces(config),
        suites: config.ng.suites.iter().map(|Suite(profile)| *profile).collect(),
        accepted: config.accepted(),
        keys_a_line: config.srtp.mki_keys,
        offer_several_keys: config.srtp.offer_mki,
        compat: config.ng.compat.into(),
        learning: relay.endpoint_learning.into(),
        strict_source: relay.strict_source.unwrap_or(config.ng.compat == Compat::Postern),
        tos: (relay.tos != 0).then_some(relay.tos),
        delete_delay: relay.delete_delay.0,
        timeout: or_never(relay.timeout),
        silent_timeout: or_never(relay.silent_timeout),
        offer_timeout: or_never(relay.offer_timeout),
        max_sessions: (config.limits.max_calls != 0).then_some(config.limits.max_calls),
        webrtc: None,
    }
}

/// How media sockets are opened.
pub(crate) fn socket_options(config: &Config) -> SocketOptions {
    let bytes = u32::try_from(config.relay.receive_buffer.0).unwrap_or(u32::MAX);
    SocketOptions {
        receive_buffer: (bytes != 0).then_some(bytes),
        tos: (config.relay.tos != 0).then_some(config.relay.tos),
    }
}

/// How many workers to run.
pub(crate) fn workers(config: &Config) -> usize {
    match config.relay.workers {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        workers => workers,
    }
}

/// How a worker is started.
pub(crate) fn worker(config: &Config, index: usize) -> WorkerConfig {
    let idle_after = or_never(config.relay.timeout) / IDLE_SHARE;
    WorkerConfig {
        index,
        io: config.relay.io.into(),
        uring: uring::Config {
            linger: config.relay.linger.0.unwrap_or_default(),
            ..uring::Config::default()
        },
        replay_window: config.relay.replay_window,
        idle_after: idle_after.clamp(IDLE_SHORTEST, IDLE_LONGEST),
        ..WorkerConfig::default()
    }
}

/// "off", as a time that adds to any instant without overflow and outlives every machine.
fn or_never(timeout: Timeout) -> Duration {
    timeout.0.unwrap_or(NEVER)
}

const NEVER: Duration = Duration::from_secs(100 * 365 * 86_400);

/// A silent call is reported this many times before `relay.timeout` is over, so that it ends on
/// time to within such a share.
const IDLE_SHARE: u32 = 8;

/// Reports of a silent call come no more often, however short the timeout.
const IDLE_SHORTEST: Duration = Duration::from_millis(100);

/// And no more seldom, so that a reload's shorter timeout takes effect soon.
const IDLE_LONGEST: Duration = Duration::from_secs(5);

impl From<Compat> for session::Compat {
    fn from(compat: Compat) -> Self {
        match compat {
            Compat::Postern => Self::Secure,
            Compat::Rtpengine => Self::Rtpengine,
        }
    }
}

impl From<Io> for packet_io::Choice {
    fn from(io: Io) -> Self {
        match io {
            // AF_XDP is refused when the configuration is checked.
            Io::Auto | Io::Xdp => Self::Auto,
            Io::Uring => Self::Uring,
            Io::Epoll => Self::Epoll,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_of_one_name_become_one_interface_and_the_first_stays_first() {
        let interface = ["pub/127.0.0.1", "priv/127.0.0.2", "pub/::1!2001:db8::1"]
            .map(|text| text.parse().unwrap())
            .to_vec();
        let interfaces = interfaces(&Config { interface, ..Config::default() });
        assert_eq!(interfaces.len(), 2);
        assert_eq!((interfaces[0].name.as_str(), interfaces[0].addresses.len()), ("pub", 2));
        assert_eq!(interfaces[0].addresses[1].advertised, Some("2001:db8::1".parse().unwrap()));
    }

    /// 100,000 spoofed packets a second at a call's port, its worker away for 5 ms: what waits then
    /// must not push the call's own packets out.
    #[test]
    fn a_media_socket_holds_what_a_flood_brings_in_5_ms() {
        let options = socket_options(&Config::default());
        let ours = packet_io::open_media_socket("127.0.0.1:0".parse().unwrap(), options).unwrap();
        let flood = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        for _ in 0..500 {
            flood.send_to(&[0; 172], ours.local_addr().unwrap()).unwrap();
        }
        let held = (0..500).take_while(|_| ours.recv(&mut [0; 172]).is_ok()).count();
        assert_eq!(held, 500);
    }

    #[test]
    fn a_worker_lingers_as_configured() {
        let mut config = Config::default();
        assert_eq!(worker(&config, 0).uring, uring::Config::default());
        config.relay.linger = "250us".parse().unwrap();
        assert_eq!(worker(&config, 0).uring.linger, Duration::from_micros(250));
        config.relay.linger = Timeout::OFF;
        assert_eq!(worker(&config, 0).uring.linger, Duration::ZERO);
    }

    #[test]
    fn strict_source_is_on_unless_the_incumbents_defaults_are_wanted_or_the_file_says() {
        let mut config = Config::default();
        assert!(session(&config).strict_source);
        config.ng.compat = Compat::Rtpengine;
        assert!(!session(&config).strict_source);
        config.relay.strict_source = Some(true);
        assert!(session(&config).strict_source);
        config.ng.compat = Compat::Postern;
        config.relay.strict_source = Some(false);
        assert!(!session(&config).strict_source);
    }

    #[test]
    fn the_defaults_are_those_of_the_session() {
        let ours = session(&Config::default());
        let theirs = session::Settings::default();
        assert_eq!(ours.timeout, theirs.timeout);
        assert_eq!(ours.silent_timeout, theirs.silent_timeout);
        assert_eq!(ours.offer_timeout, theirs.offer_timeout);
        assert_eq!(ours.delete_delay, theirs.delete_delay);
        assert_eq!(ours.suites, theirs.suites);
        assert_eq!(ours.max_sessions, theirs.max_sessions);
        assert_eq!(ours.tos, theirs.tos);
    }
}
