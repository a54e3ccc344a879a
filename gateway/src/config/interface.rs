//! One address that media uses: `[NAME/]ADDR[!ADVERTISED]`, as on the command line.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An address of a logical interface. Several entries of one name give it several addresses;
/// the first interface named is the one that calls use when signalling names none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interface {
    /// What signalling calls it in `direction`.
    #[serde(default = "default_name")]
    pub name: String,
    /// The address that sockets bind to.
    pub address: IpAddr,
    /// The address written into SDP, where it differs (1:1 NAT).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advertised: Option<IpAddr>,
}

fn default_name() -> String {
    Interface::DEFAULT_NAME.to_owned()
}

impl Interface {
    /// The name of an interface that was given none.
    pub const DEFAULT_NAME: &'static str = "default";

    /// An address under the default name.
    pub fn unnamed(address: IpAddr) -> Self {
        Self { name: default_name(), address, advertised: None }
    }
}

impl FromStr for Interface {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |what: &str| {
            format!("{what} in \"{text}\": write [NAME/]ADDR[!ADVERTISED], as \"pub/192.0.2.1\"")
        };
        let (name, rest) = text.split_once('/').unwrap_or((Self::DEFAULT_NAME, text));
        if name.is_empty() {
            return Err(wrong("empty interface name"));
        }
        let (address, advertised) = match rest.split_once('!') {
            Some((address, advertised)) => (address, Some(advertised)),
            None => (rest, None),
        };
        let address = parse_address(address).ok_or_else(|| wrong("no IP address"))?;
        let advertised = match advertised {
            Some(text) => {
                Some(parse_address(text).ok_or_else(|| wrong("no IP address after \"!\""))?)
            }
            None => None,
        };
        Ok(Self { name: name.to_owned(), address, advertised })
    }
}

/// IPv6 also in brackets, as in a URL.
fn parse_address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    bare.parse().ok()
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.name, self.address)?;
        match self.advertised {
            Some(advertised) => write!(f, "!{advertised}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_and_advertised_address_are_optional() {
        let plain: Interface = "192.0.2.1".parse().unwrap();
        assert_eq!(plain, Interface::unnamed("192.0.2.1".parse().unwrap()));
        let full: Interface = "pub/10.0.0.1!203.0.113.5".parse().unwrap();
        assert_eq!(full.name, "pub");
        assert_eq!(full.advertised, Some("203.0.113.5".parse().unwrap()));
        assert_eq!(full.to_string(), "pub/10.0.0.1!203.0.113.5");
        assert_eq!(
            "v6/[2001:db8::1]".parse::<Interface>().unwrap().address.to_string(),
            "2001:db8::1"
        );
    }

    #[test]
    fn rejects_what_is_no_address_and_shows_the_form() {
        for text in ["eth0", "pub/", "/10.0.0.1", "10.0.0.1!", "10.0.0.1!nat"] {
            let error = text.parse::<Interface>().unwrap_err();
            assert!(error.contains(text) && error.contains("[NAME/]ADDR"), "{error}");
        }
    }
}
