//! Where an admin API is, as people write it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Where an admin API answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A Unix socket.
    Unix(PathBuf),
    /// TCP and mutual TLS.
    Tls(AdminUrl),
}

impl FromStr for Place {
    type Err = BadUrl;

    /// A path, or an URL.
    fn from_str(text: &str) -> Result<Self, BadUrl> {
        match text.contains("://") {
            true => text.parse().map(Self::Tls),
            false => Ok(Self::Unix(PathBuf::from(text))),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => path.display().fmt(f),
            Self::Tls(url) => url.fmt(f),
        }
    }
}

/// `https://host:port`: the admin API has no other paths to begin with and no default port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminUrl {
    host: String,
    port: u16,
}

/// Not such an URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not an admin URL: write https://HOST:PORT, as \"https://192.0.2.2:9443\"")]
pub struct BadUrl(String);

impl AdminUrl {
    /// A name or an address, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// TCP.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// As the `Host` header has it.
    pub(crate) fn authority(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }
}

impl FromStr for AdminUrl {
    type Err = BadUrl;

    fn from_str(text: &str) -> Result<Self, BadUrl> {
        let bad = || BadUrl(text.to_owned());
        let rest = text.strip_prefix("https://").ok_or_else(bad)?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = rest.rsplit_once(':').ok_or_else(bad)?;
        let bare = match host.strip_prefix('[') {
            Some(rest) => rest.strip_suffix(']').ok_or_else(bad)?,
            None if host.contains(':') => return Err(bad()),
            None => host,
        };
        rustls::pki_types::ServerName::try_from(bare).map_err(|_| bad())?;
        match port.parse() {
            Ok(port) if port != 0 => Ok(Self { host: bare.to_owned(), port }),
            _ => Err(bad()),
        }
    }
}

impl fmt::Display for AdminUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}", self.authority())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_url_has_a_host_and_a_port_and_nothing_else() {
        for text in ["https://gw-b.example:9443", "https://192.0.2.2:9443", "https://[::1]:9443"] {
            assert_eq!(text.parse::<AdminUrl>().unwrap().to_string(), text);
        }
        for text in [
            "http://192.0.2.2:9443",
            "https://192.0.2.2",
            "https://192.0.2.2:0",
            "https://::1:9443",
            "https://gw b:9443",
            "https://gw-b:9443/v1",
            "https://[::1:9443",
        ] {
            assert!(text.parse::<AdminUrl>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_no_url_is_a_path() {
        assert_eq!("/run/x.sock".parse(), Ok(Place::Unix("/run/x.sock".into())));
        assert!("http://x:1".parse::<Place>().is_err());
    }
}
