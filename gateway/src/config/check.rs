//! What a configuration must satisfy as a whole, beyond each value's own form.

use std::net::IpAddr;

use super::{AdminListen, Config, Io, Listen, State};

/// A setting that cannot work, where it is and what to write instead.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{setting} = {value}: {reason}")]
pub struct SettingError {
    /// The setting, as `section.key`.
    pub setting: &'static str,
    /// What it says.
    pub value: String,
    /// Why that cannot work and what would.
    pub reason: &'static str,
}

/// Refuses what this release or no machine can do.
pub fn check(config: &Config) -> Result<(), SettingError> {
    let refuse = |setting, value: &dyn std::fmt::Display, reason| {
        Err(SettingError { setting, value: value.to_string(), reason })
    };
    if config.relay.io == Io::Xdp {
        let reason = "AF_XDP is not in this release; use \"auto\", \"uring\" or \"epoll\"";
        return refuse("relay.io (--io)", &"xdp", reason);
    }
    if config.relay.workers > MAX_WORKERS {
        let reason = "more than 1024 workers; 0 takes one for each CPU";
        return refuse("relay.workers (--workers)", &config.relay.workers, reason);
    }
    if config.state.dir != State::NONE {
        let reason = "keeping calls over a restart is not in this release; use \"none\"";
        return refuse("state.dir (--state-dir)", &config.state.dir, reason);
    }
    if config.ng.suites.is_empty() {
        return refuse("ng.suites", &"[]", "no suite to offer; name at least one");
    }
    if config.relay.receive_buffer.0 > MAX_RECEIVE_BUFFER {
        let reason = "more than \"1GiB\" for each media socket";
        return refuse("relay.receive_buffer", &config.relay.receive_buffer, reason);
    }
    check_interfaces(config)?;
    check_listeners(config)
}

fn check_interfaces(config: &Config) -> Result<(), SettingError> {
    let refuse = |value: String, reason| {
        Err(SettingError { setting: "interface (--interface)", value, reason })
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
            reason: "ng listens on this TCP port too; give one of them another port",
        });
    }
    Ok(())
}

fn is_any(address: IpAddr) -> bool {
    address.is_unspecified()
}

/// Settings that differ and cannot take effect while running, for SIGHUP to name.
pub fn needs_restart(old: &Config, new: &Config) -> Vec<&'static str> {
    let admin = |config: &Config| -> AdminListen { config.admin.listen.clone() };
    let differs = [
        ("relay.workers", old.relay.workers != new.relay.workers),
        ("relay.io", old.relay.io != new.relay.io),
        ("relay.ports", old.relay.ports != new.relay.ports),
        ("relay.receive_buffer", old.relay.receive_buffer != new.relay.receive_buffer),
        ("interface", old.interface != new.interface),
        ("ng.listen", old.ng.listen != new.ng.listen),
        ("ng.tcp", old.ng.tcp != new.ng.tcp),
        ("http.listen", old.http.listen != new.http.listen),
        ("admin.listen", admin(old) != admin(new)),
        ("log.format", old.log.format != new.log.format),
    ];
    differs.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
}

/// Beyond any machine, and a typo away from exhausting threads.
const MAX_WORKERS: usize = 1024;

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

        let mut config = Config::default();
        config.state.dir = "/var/lib/postern".to_owned();
        let error = check(&config).unwrap_err().to_string();
        assert!(error.contains("--state-dir") && error.contains("not in this release"), "{error}");
    }

    #[test]
    fn an_interface_must_be_one_address_of_one_family() {
        for text in ["0.0.0.0", "::", "224.0.0.1", "10.0.0.1!2001:db8::1"] {
            let mut config = Config::default();
            config.interface = vec![text.parse().unwrap()];
            assert!(check(&config).is_err(), "{text}");
        }
        let mut config = Config::default();
        config.interface = vec!["a/10.0.0.1".parse().unwrap(), "a/10.0.0.1".parse().unwrap()];
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
        new.relay.timeout = super::super::Timeout::OFF;
        assert_eq!(needs_restart(&old, &new), ["relay.workers"]);
    }
}
