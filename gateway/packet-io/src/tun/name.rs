//! Names of network interfaces, checked as the kernel checks them.

use std::ffi::{CStr, CString};
use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// The name of an interface: 1 to 15 bytes, no white space, `/`, `:` or `%`, and not `.` or `..`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct InterfaceName(CString);

/// Why a text is not an [`InterfaceName`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BadName {
    /// Longer than 15 bytes, or empty.
    #[error("interface name {0:?} has {len} bytes: 1 to 15 are allowed", len = .0.len())]
    Length(String),
    /// The kernel refuses it or, as with `%`, makes another of it.
    #[error("interface name {0:?}: no white space, '/', ':', '%' or NUL, and not '.' or '..'")]
    Characters(String),
}

impl InterfaceName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        // Made from a str, so it is one.
        self.0.to_str().unwrap_or_default()
    }

    /// The name as the kernel takes it.
    pub(crate) fn as_c_str(&self) -> &CStr {
        &self.0
    }
}

impl FromStr for InterfaceName {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        if text.is_empty() || text.len() > 15 {
            return Err(BadName::Length(text.to_owned()));
        }
        let strange = |c: char| c.is_whitespace() || c.is_control() || "/:%".contains(c);
        if text.contains(strange) || text == "." || text == ".." {
            return Err(BadName::Characters(text.to_owned()));
        }
        CString::new(text).map(Self).map_err(|_| BadName::Characters(text.to_owned()))
    }
}

impl fmt::Display for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_as_the_kernel_does() {
        for good in ["postern0", "a", "fifteen-bytes-x", "esp.1"] {
            assert_eq!(good.parse::<InterfaceName>().unwrap().to_string(), good);
        }
        for long in ["", "sixteen-bytes-xx"] {
            assert_eq!(long.parse::<InterfaceName>(), Err(BadName::Length(long.to_owned())));
        }
        for strange in ["a b", "a/b", "tun%d", "a:1", ".", "..", "a\0"] {
            let refused = Err(BadName::Characters(strange.to_owned()));
            assert_eq!(strange.parse::<InterfaceName>(), refused, "{strange:?}");
        }
    }
}
