//! Durations as people write them: "30s", "500ms", "100us", "1h"; and timeouts that can be "off".

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A length of time, written as a whole number and a unit: `us`, `ms`, `s`, `m`, `h` or `d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

/// A [`Span`], or "off" for never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeout(pub Option<Duration>);

/// Units from the longest, with their microseconds.
const UNITS: [(&str, u64); 6] = [
    ("d", 86_400_000_000),
    ("h", 3_600_000_000),
    ("m", 60_000_000),
    ("s", 1_000_000),
    ("ms", 1_000),
    ("us", 1),
];

impl Span {
    /// A span of whole seconds.
    pub const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }
}

impl Timeout {
    /// A timeout of whole seconds.
    pub const fn seconds(seconds: u64) -> Self {
        Self(Some(Duration::from_secs(seconds)))
    }

    /// Never.
    pub const OFF: Self = Self(None);
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "\"{text}\" is not a duration: write a number and us, ms, s, m, h or d, as \"30s\""
            )
        };
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let (_, scale) = UNITS.into_iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        let microseconds = number.checked_mul(scale).ok_or_else(wrong)?;
        Ok(Self(Duration::from_micros(microseconds)))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let microseconds = self.0.as_micros() as u64;
        if microseconds == 0 {
            return f.write_str("0s");
        }
        let exact = UNITS.into_iter().find(|(_, scale)| microseconds.is_multiple_of(*scale));
        let (unit, scale) = exact.unwrap_or(("us", 1));
        write!(f, "{}{unit}", microseconds / scale)
    }
}

impl FromStr for Timeout {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self::OFF);
        }
        let span: Span = text.parse().map_err(|error| format!("{error}, or \"off\""))?;
        Ok(Self(Some(span.0)))
    }
}

impl fmt::Display for Timeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(duration) => Span(duration).fmt(f),
            None => f.write_str("off"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_the_longest_unit_that_is_exact_and_reads_it_again() {
        for (text, microseconds) in [
            ("1h", 3_600_000_000),
            ("90s", 90_000_000),
            ("2m", 120_000_000),
            ("1500ms", 1_500_000),
            ("100us", 100),
            ("0s", 0),
        ] {
            let span: Span = text.parse().unwrap();
            assert_eq!(span.0.as_micros(), microseconds);
            assert_eq!(span.to_string(), text);
        }
    }

    #[test]
    fn rejects_a_number_without_a_unit_and_says_how_to_write_one() {
        let error = "30".parse::<Span>().unwrap_err();
        assert!(error.contains("\"30\"") && error.contains("\"30s\""), "{error}");
        assert!("s".parse::<Span>().is_err());
        assert!("-3s".parse::<Span>().is_err());
        assert!("99999999999999999999d".parse::<Span>().is_err());
    }

    #[test]
    fn off_is_a_timeout_that_never_comes() {
        assert_eq!("off".parse::<Timeout>(), Ok(Timeout::OFF));
        assert_eq!("60s".parse::<Timeout>(), Ok(Timeout::seconds(60)));
        assert_eq!(Timeout::OFF.to_string(), "off");
    }
}
