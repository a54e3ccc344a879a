//! What a configuration must satisfy as a whole, beyond each value's own form.

use std::borrow::Cow;
use std::collections::HashSet;
use std::net::IpAddr;
use std::time::Duration;

use crypto_offload::{PairName, Selector};
use tracing_subscriber::EnvFilter;

use super::{Config, Io, Listen, Suite};
use crate::admin::access;

/// A setting that cannot work, where it is and what to write instead.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{setting} = {value}: {reason}")]
pub struct SettingError {
    /// The setting, as `section.key`.
    pub setting: &'static str,
    /// What it says.
    pub value: String,
    /// Why that cannot work and what would.
    pub reason: Cow<'static, str>,
}

/// Refuses what this release or no machine can do.
pub fn check(config: &Config) -> Result<(), SettingError> {
    let refuse = |setting, value: &dyn std::fmt::Display, reason: &'static str| {
        Err(SettingError { setting, value: value.to_string(), reason: reason.into() })
    };
    if config.relay.io == Io::Xdp {
        let reason = "AF_XDP is not in this release; use \"auto\", \"uring\" or \"epoll\"";
        return refuse("relay.io (--io)", &"xdp", reason);
    }
    if config.relay.workers > MAX_WORKERS {
        let reason = "more than 1024 workers; 0 takes one for each CPU";
        return refuse("relay.workers (--workers)", &config.relay.workers, reason);
    }
    if !REPLAY_WINDOWS.contains(&config.relay.replay_window) {
        let reason = "SRTP (RFC 3711 section 3.3.2) needs 64 packets or more; 32768 is the most";
        return refuse("relay.replay_window", &config.relay.replay_window, reason);
    }
    if config.state.directory().is_some_and(|directory| !directory.is_absolute()) {
        let reason = "not an absolute path; write one, or \"none\"";
        return refuse("state.dir (--state-dir)", &config.state.dir, reason);
    }
    if config.ng.suites.is_empty() {
        return refuse("ng.suites", &"[]", "no suite to offer; name at least one");
    }
    let accepted = config.accepted();
    let weak =
        |suite: &&Suite| suite.0.weakness().is_some_and(|weakness| !accepted.contains(weakness));
    if let Some(suite) = config.ng.suites.iter().find(weak) {
        let reason = "this suite needs \"null-cipher\" or \"f8\" in srtp.accept, or ng.compat \
                      \"rtpengine\"";
        return refuse("ng.suites", suite, reason);
    }
    if !KEYS_A_LINE.contains(&config.srtp.mki_keys) {
        let reason = "a line of ours has 1 to 8 keys; 1 for no MKIs";
        return refuse("srtp.mki_keys", &config.srtp.mki_keys, reason);
    }
    if config.relay.receive_buffer.0 > MAX_RECEIVE_BUFFER {
        let reason = "more than \"1GiB\" for each media socket";
        return refuse("relay.receive_buffer", &config.relay.receive_buffer, reason);
    }
    if config.relay.linger.0.is_some_and(|linger| linger > LONGEST_LINGER) {
        let reason = "more than \"1ms\", which calls would hear; \"off\" for not at all";
        return refuse("relay.linger", &config.relay.linger, reason);
    }
    if EnvFilter::try_new(&config.log.filter).is_err() {
        let reason = "not a filter; write a level or target=level, as \"gateway=debug,info\"";
        return refuse("log.filter (--log)", &config.log.filter, reason);
    }
    check_interfaces(config)?;
    check_listeners(config)?;
    check_remote(config)?;
    check_pairs(config)?;
    config.webrtc.check()?;
    super::tls::check::check(config)
}

/// Peers: each name and identity is one peer's, and nobody is peer and operator at once.
fn check_remote(config: &Config) -> Result<(), SettingError> {
    let refuse = |setting, value: &str, reason: &'static str| {
        Err(SettingError { setting, value: value.to_owned(), reason: reason.into() })
    };
    let operators = config.admin.tls.iter().flat_map(|tls| &tls.operators);
    let mut identities: HashSet<String> = HashSet::new();
    for operator in operators {
        if operator.is_empty() {
            return refuse("admin.tls.operators", "\"\"", "an empty identity");
        }
        identities.insert(access::normal(operator));
    }
    let mut names: HashSet<&str> = HashSet::new();
    for peer in &config.ipsec.peer {
        if config.admin.tls.is_none() {
            let reason = "peers are spoken to over mutual TLS; set up [admin.tls]";
            return refuse("ipsec.peer", &peer.name, reason);
        }
        if peer.name.is_empty() || peer.identity.is_empty() {
            return refuse("ipsec.peer", &peer.name, "name and identity may not be empty");
        }
        if !names.insert(&peer.name) {
            return refuse("ipsec.peer.name", &peer.name, "named twice");
        }
        if !identities.insert(access::normal(&peer.identity)) {
            let reason = "another peer or an operator has this identity; give it a certificate of \
                          its own";
            return refuse("ipsec.peer.identity", &peer.identity, reason);
        }
    }
    Ok(())
}

/// SA pairs: each for itself, then no two for the same traffic.
fn check_pairs(config: &Config) -> Result<(), SettingError> {
    let refuse = |name: &PairName, reason: String| {
        Err(SettingError { setting: "ipsec.sa", value: name.to_string(), reason: reason.into() })
    };
    let mut names = HashSet::new();
    let mut selectors: Vec<(&PairName, Selector)> = Vec::new();
    for sa in &config.ipsec.sa {
        if !names.insert(&sa.name) {
            return refuse(&sa.name, "named twice".to_owned());
        }
        let selector = match sa.pair() {
            Ok(pair) => pair.outbound_selector(),
            Err(error) => return refuse(&sa.name, error.to_string()),
        };
        let known = |name: &String| config.ipsec.peer.iter().any(|peer| &peer.name == name);
        if let Some(peer) = sa.peer.as_ref().filter(|name| !known(name)) {
            return refuse(&sa.name, format!("no [[ipsec.peer]] is named \"{peer}\""));
        }
        if let Some((other, _)) = selectors.iter().find(|(_, taken)| taken.overlaps(&selector)) {
            let reason = format!("{selector} overlaps {other}: narrow one of them");
            return refuse(&sa.name, reason);
        }
        selectors.push((&sa.name, selector));
    }
    Ok(())
}

fn check_interfaces(config: &Config) -> Result<(), SettingError> {
    let refuse = |value: String, reason: &'static str| {
        Err(SettingError { setting: "interface (--interface)", value, reason: reason.into() })
    };
    if config.interface.is_empty() {
        return refuse("[]".to_owned(), "no address for media; name at least one");
    }
    for (index, interface) in config.interface.iter().enumerate() {
        if interface.address.is_unspecified() || interface.address.is_multicast() {
            let reason = "media needs one address of this host, since SDP names it";
            return refuse(interface.to_string(), reason);
        }
        let families = (interface.address.is_ipv4(), interface.advertised.map(|a| a.is_ipv4()));
        if matches!(families, (ours, Some(told)) if ours != told) {
            return refuse(
                interface.to_string(),
                "address and advertised address differ in family",
            );
        }
        let same = |other: &&super::Interface| {
            other.address == interface.address && other.name == interface.name
        };
        if config.interface[..index].iter().any(|other| same(&other)) {
            return refuse(interface.to_string(), "named twice");
        }
    }
    Ok(())
}

fn check_listeners(config: &Config) -> Result<(), SettingError> {
    let Listen::At(http) = config.http.listen else { return Ok(()) };
    let ng = config.ng.listen;
    let same_address = http.ip() == ng.ip() || is_any(http.ip()) || is_any(ng.ip());
    if config.ng.tcp && http.port() != 0 && http.port() == ng.port() && same_address {
        return Err(SettingError {
            setting: "http.listen (--http)",
            value: http.to_string(),
            reason: "ng listens on this TCP port too; give one of them another port".into(),
        });
    }
    Ok(())
}

fn is_any(address: IpAddr) -> bool {
    address.is_unspecified()
}

/// What a reload makes of a running configuration: the new one, but for the settings that cannot
/// change while running, which keep their value and are named.
pub fn reload(old: &Config, mut new: Config) -> (Config, Vec<&'static str>) {
    let mut kept = Vec::new();
    let (relay, ours) = (&old.relay, &mut new.relay);
    keep("relay.workers", &relay.workers, &mut ours.workers, &mut kept);
    keep("relay.io", &relay.io, &mut ours.io, &mut kept);
    keep("relay.ports", &relay.ports, &mut ours.ports, &mut kept);
    keep("relay.receive_buffer", &relay.receive_buffer, &mut ours.receive_buffer, &mut kept);
    keep("relay.linger", &relay.linger, &mut ours.linger, &mut kept);
    keep("relay.replay_window", &relay.replay_window, &mut ours.replay_window, &mut kept);
    keep("interface", &old.interface, &mut new.interface, &mut kept);
    keep("ng.listen", &old.ng.listen, &mut new.ng.listen, &mut kept);
    keep("ng.tcp", &old.ng.tcp, &mut new.ng.tcp, &mut kept);
    keep("http.listen", &old.http.listen, &mut new.http.listen, &mut kept);
    keep("admin.listen", &old.admin.listen, &mut new.admin.listen, &mut kept);
    match (&old.admin.tls, &mut new.admin.tls) {
        (Some(old), Some(new)) => keep("admin.tls.listen", &old.listen, &mut new.listen, &mut kept),
        (old, new) => keep("admin.tls", old, new, &mut kept),
    }
    let (limits, ours) = (&old.limits, &mut new.limits);
    keep("limits.ng_connections", &limits.ng_connections, &mut ours.ng_connections, &mut kept);
    keep("limits.stall_timeout", &limits.stall_timeout, &mut ours.stall_timeout, &mut kept);
    keep("state.dir", &old.state.dir, &mut new.state.dir, &mut kept);
    let (ipsec, ours) = (&old.ipsec, &mut new.ipsec);
    keep("ipsec.agent", &ipsec.agent, &mut ours.agent, &mut kept);
    keep("ipsec.gateway_id", &ipsec.gateway_id, &mut ours.gateway_id, &mut kept);
    keep("tls.threads", &old.tls.threads, &mut new.tls.threads, &mut kept);
    let (webrtc, ours) = (&old.webrtc, &mut new.webrtc);
    keep("webrtc.enabled", &webrtc.enabled, &mut ours.enabled, &mut kept);
    keep("webrtc.threads", &webrtc.threads, &mut ours.threads, &mut kept);
    keep("log.format", &old.log.format, &mut new.log.format, &mut kept);
    (new, kept)
}

fn keep<T: Clone + PartialEq>(
    name: &'static str,
    old: &T,
    new: &mut T,
    kept: &mut Vec<&'static str>,
) {
    if new != old {
        new.clone_from(old);
        kept.push(name);
    }
}

/// Beyond any machine, and a typo away from exhausting threads.
const MAX_WORKERS: usize = 1024;

/// Half the sequence space: beyond it an old packet could not be told from a new one.
const REPLAY_WINDOWS: std::ops::RangeInclusive<usize> = 64..=32_768;

/// Eight keys of six suites make an offer of 4 KiB, for which SIP already needs TCP (RFC 3261 section
/// 18.1.1).
const KEYS_A_LINE: std::ops::RangeInclusive<u8> = 1..=8;

/// A packet of speech is 20 ms: a twentieth of it is the most that batching may cost.
const LONGEST_LINGER: Duration = Duration::from_millis(1);

/// The kernel takes an `int` and doubles it.
const MAX_RECEIVE_BUFFER: u64 = 1 << 30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_accepted() {
        assert_eq!(check(&Config::default()), Ok(()));
    }

    #[test]
    fn what_is_not_in_this_release_says_so_and_names_the_setting() {
        let mut config = Config::default();
        config.relay.io = Io::Xdp;
        let error = check(&config).unwrap_err().to_string();
        assert!(error.contains("--io") && error.contains("not in this release"), "{error}");
    }

    #[test]
    fn a_state_directory_is_an_absolute_path() {
        let mut config = Config::default();
        config.state.dir = "postern".to_owned();
        let error = check(&config).unwrap_err().to_string();
        assert!(error.contains("--state-dir") && error.contains("absolute"), "{error}");
        config.state.dir = "/var/lib/postern".to_owned();
        assert_eq!(check(&config), Ok(()));
    }

    #[test]
    fn two_pairs_for_the_same_traffic_are_refused_by_name() {
        let pair = |name: &str, net: &str| {
            let text = format!(
                "[[ipsec.sa]]\nname = \"{name}\"\nlocal = \"192.0.2.1\"\nremote = \"192.0.2.2\"\n\
                 local_net = \"10.1.0.0/16\"\nremote_net = \"{net}\"\n"
            );
            toml::from_str::<Config>(&text).unwrap().ipsec.sa.remove(0)
        };
        let mut config = Config::default();
        config.ipsec.sa = vec![pair("a", "10.2.0.0/16"), pair("b", "10.3.0.0/16")];
        assert_eq!(check(&config), Ok(()));
        config.ipsec.sa.push(pair("c", "10.2.9.0/24"));
        let error = check(&config).unwrap_err().to_string();
        assert!(error.contains("ipsec.sa = c") && error.contains("overlaps a"), "{error}");
        config.ipsec.sa[2] = pair("b", "10.4.0.0/16");
        assert!(check(&config).unwrap_err().to_string().contains("named twice"));
    }

    #[test]
    fn a_line_has_one_to_eight_keys() {
        let mut config = Config::default();
        for (keys, fits) in [(0, false), (1, true), (8, true), (9, false)] {
            config.srtp.mki_keys = keys;
            assert_eq!(check(&config).is_ok(), fits, "{keys}");
        }
        let error = check(&config).unwrap_err().to_string();
        assert!(error.starts_with("srtp.mki_keys = 9: "), "{error}");
    }

    #[test]
    fn a_weak_suite_is_offered_only_where_it_is_accepted() {
        let mut config = Config::default();
        config.ng.suites.push("NULL_HMAC_SHA1_80".parse().unwrap());
        let error = check(&config).unwrap_err().to_string();
        assert!(error.starts_with("ng.suites = NULL_HMAC_SHA1_80: "), "{error}");
        config.srtp.accept = vec!["f8".parse().unwrap()];
        assert!(check(&config).is_err());
        config.srtp.accept.push("null-cipher".parse().unwrap());
        assert_eq!(check(&config), Ok(()));
        config.srtp.accept.clear();
        config.ng.compat = super::super::Compat::Rtpengine;
        assert_eq!(check(&config), Ok(()));
    }

    #[test]
    fn a_worker_may_linger_for_a_millisecond_or_not_at_all() {
        let mut config = Config::default();
        for text in ["off", "0us", "100us", "1ms"] {
            config.relay.linger = text.parse().unwrap();
            assert_eq!(check(&config), Ok(()), "{text}");
        }
        config.relay.linger = "1001us".parse().unwrap();
        let error = check(&config).unwrap_err().to_string();
        assert!(error.contains("relay.linger = 1001us") && error.contains("\"1ms\""), "{error}");
    }

    #[test]
    fn an_interface_must_be_one_address_of_one_family() {
        for text in ["0.0.0.0", "::", "224.0.0.1", "10.0.0.1!2001:db8::1"] {
            let config = Config { interface: vec![text.parse().unwrap()], ..Config::default() };
            assert!(check(&config).is_err(), "{text}");
        }
        let interface = vec!["a/10.0.0.1".parse().unwrap(), "a/10.0.0.1".parse().unwrap()];
        let config = Config { interface, ..Config::default() };
        assert!(check(&config).unwrap_err().to_string().contains("twice"));
    }

    #[test]
    fn http_and_ng_cannot_share_a_tcp_port() {
        let mut config = Config::default();
        config.http.listen = Listen::At(config.ng.listen);
        assert!(check(&config).is_err());
        config.ng.tcp = false;
        assert_eq!(check(&config), Ok(()));
    }

    #[test]
    fn reload_names_what_needs_a_restart_and_not_what_does_not() {
        let old = Config::default();
        let mut new = old.clone();
        new.relay.workers = 3;
        new.relay.linger = super::super::Timeout::OFF;
        new.relay.timeout = super::super::Timeout::OFF;
        let (effective, kept) = reload(&old, new);
        assert_eq!(kept, ["relay.workers", "relay.linger"]);
        assert_eq!(effective.relay.workers, old.relay.workers);
        assert_eq!(effective.relay.timeout, super::super::Timeout::OFF);
    }
}
