//! Where the HTTP and admin listeners listen, or that they don't.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// A TCP address, or "none".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listen {
    /// No listener.
    Off,
    /// This address.
    At(SocketAddr),
}

/// Where the admin API listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminListen {
    /// `gateway.sock` in the first directory that exists and is ours: `$RUNTIME_DIRECTORY`,
    /// `/run/postern`, `$XDG_RUNTIME_DIR`.
    Auto,
    /// No listener.
    Off,
    /// A Unix socket here.
    Path(PathBuf),
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self::Off);
        }
        text.parse().map(Self::At).map_err(|_| {
            format!(
                "\"{text}\" is not an address: write ADDR:PORT, as \"127.0.0.1:9431\", or \"none\""
            )
        })
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("none"),
            Self::At(address) => address.fmt(f),
        }
    }
}

impl FromStr for AdminListen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "none" => Ok(Self::Off),
            "" => Err("an empty path: write the path of a Unix socket, or \"none\"".to_owned()),
            _ if text.parse::<SocketAddr>().is_ok() => Err(format!(
                "\"{text}\" is a TCP address: the admin API over TCP needs mutual TLS, which \
                 [admin.tls] sets up; write the path of a Unix socket, or \"none\""
            )),
            _ => Ok(Self::Path(PathBuf::from(text))),
        }
    }
}

impl fmt::Display for AdminListen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Off => f.write_str("none"),
            Self::Path(path) => path.display().fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn admin_over_plain_tcp_is_refused_with_the_reason() {
        let error = "127.0.0.1:9000".parse::<AdminListen>().unwrap_err();
        assert!(error.contains("mutual TLS"), "{error}");
        assert_eq!("none".parse::<AdminListen>(), Ok(AdminListen::Off));
        assert_eq!("/run/x.sock".parse(), Ok(AdminListen::Path(PathBuf::from("/run/x.sock"))));
    }

    #[test]
    fn http_listens_on_an_address_or_not_at_all() {
        assert_eq!("none".parse::<Listen>(), Ok(Listen::Off));
        assert!("9431".parse::<Listen>().is_err());
        assert_eq!("[::1]:9431".parse::<Listen>().unwrap().to_string(), "[::1]:9431");
    }
}
