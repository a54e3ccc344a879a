//! A share of something, written as a fraction: `0.8`.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A fraction from 0 to 1, in thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(u16);

impl Share {
    /// So many thousandths, at most the whole.
    pub const fn thousandths(thousandths: u16) -> Self {
        Self(if thousandths > WHOLE { WHOLE } else { thousandths })
    }

    /// As a factor.
    pub fn factor(self) -> f64 {
        f64::from(self.0) / f64::from(WHOLE)
    }
}

impl std::fmt::Display for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.factor().fmt(f)
    }
}

impl Serialize for Share {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.factor())
    }
}

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let factor = f64::deserialize(deserializer)?;
        if !(0.0..=1.0).contains(&factor) {
            return Err(D::Error::custom(format!("{factor} is no share: write 0.0 to 1.0")));
        }
        Ok(Self((factor * f64::from(WHOLE)).round() as u16))
    }
}

/// All of it.
const WHOLE: u16 = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct File {
        share: Share,
    }

    #[test]
    fn is_written_as_it_is_read() {
        for text in ["share = 0.8\n", "share = 0.0\n", "share = 1.0\n", "share = 0.125\n"] {
            let file: File = toml::from_str(text).unwrap();
            assert_eq!(toml::to_string(&file).unwrap(), text);
        }
        let whole: File = toml::from_str("share = 1").unwrap();
        assert_eq!(whole.share, Share::thousandths(1000));
    }

    #[test]
    fn what_is_no_share_says_what_would_be() {
        for text in ["share = 1.1", "share = -0.1", "share = nan", "share = 80"] {
            let error = toml::from_str::<File>(text).unwrap_err().to_string();
            assert!(error.contains("0.0 to 1.0"), "{error}");
        }
    }
}
