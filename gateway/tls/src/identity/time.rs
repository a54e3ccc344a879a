//! Times in certificates, as seconds since 1970 (UTC), and how people read them.
//!
//! RFC 5280 section 4.1.2.5 and RFC 6960 section 4.2.2.1 allow two forms, both in UTC and with
//! seconds; others are refused. Days are counted in the proleptic Gregorian calendar.

use std::fmt;

use super::der::{BadDer, Value, tag};

/// Seconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seconds(pub u64);

impl Seconds {
    /// The system's clock.
    pub fn now() -> Self {
        Self(rustls::pki_types::UnixTime::now().as_secs())
    }

    /// A day has 86,400 of them.
    pub const fn days(days: u64) -> u64 {
        days * 86_400
    }

    /// From `UTCTime` or `GeneralizedTime`.
    pub(crate) fn from_der(value: Value<'_>) -> Result<Self, BadDer> {
        let (century, rest) = match value.tag {
            // RFC 5280 section 4.1.2.5.1: 50 to 99 are of the twentieth century.
            tag::UTC_TIME => match two(value.contents, 0)? {
                year @ 50.. => (1900 + year, &value.contents[2..]),
                year => (2000 + year, &value.contents[2..]),
            },
            tag::GENERALIZED_TIME => {
                (two(value.contents, 0)? * 100 + two(value.contents, 2)?, &value.contents[4..])
            }
            _ => return Err(BadDer),
        };
        from_digits(century, rest)
    }
}

/// RFC 3339, as logs have it.
impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = date(self.0 / 86_400);
        let (hour, minute, second) = (self.0 / 3600 % 24, self.0 / 60 % 60, self.0 % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

/// `MMDDHHMMSSZ` of a year.
fn from_digits(year: u64, rest: &[u8]) -> Result<Seconds, BadDer> {
    if rest.len() != 11 || rest[10] != b'Z' {
        return Err(BadDer);
    }
    let (month, day) = (two(rest, 0)?, two(rest, 2)?);
    let (hour, minute, second) = (two(rest, 4)?, two(rest, 6)?, two(rest, 8)?);
    let exists = (1..=12).contains(&month) && (1..=31).contains(&day);
    if !exists || hour > 23 || minute > 59 || second > 59 {
        return Err(BadDer);
    }
    // What was before 1970 is over in any case.
    let days = days_before(year, month).checked_add(day - 1).unwrap_or(0);
    Ok(Seconds(days * 86_400 + hour * 3600 + minute * 60 + second))
}

fn two(bytes: &[u8], at: usize) -> Result<u64, BadDer> {
    match bytes.get(at..at + 2) {
        Some(&[tens @ b'0'..=b'9', ones @ b'0'..=b'9']) => {
            Ok(u64::from(tens - b'0') * 10 + u64::from(ones - b'0'))
        }
        _ => Err(BadDer),
    }
}

/// Days from 1970-01-01 to the first of a month; 0 before that.
fn days_before(year: u64, month: u64) -> u64 {
    let leap_days = |year: u64| year / 4 - year / 100 + year / 400;
    let before_month = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let past = year.saturating_sub(1);
    let this = u64::from(is_leap(year) && month > 2);
    let days = past * 365 + leap_days(past) + before_month[month as usize - 1] + this;
    days.saturating_sub(DAYS_TO_1970)
}

/// Days from 0001-01-01 to 1970-01-01.
const DAYS_TO_1970: u64 = 719_162;

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

/// Year, month and day.
fn date(days: u64) -> (u64, u64, u64) {
    // Years are at least 365 days long, so this guess is never too early.
    let mut year = 1970 + days / 365;
    while days_before(year, 1) > days {
        year -= 1;
    }
    let month = (1..=12).rev().find(|month| days_before(year, *month) <= days).unwrap_or(1);
    (year, month, days - days_before(year, month) + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(tag: u8, text: &str) -> Result<Seconds, BadDer> {
        Seconds::from_der(Value { tag, contents: text.as_bytes(), whole: &[] })
    }

    #[test]
    fn both_forms_are_read_and_shown_alike() {
        for (tag, text, seconds, shown) in [
            (tag::UTC_TIME, "700101000000Z", 0, "1970-01-01T00:00:00Z"),
            (tag::UTC_TIME, "491231235959Z", 2_524_607_999, "2049-12-31T23:59:59Z"),
            (tag::UTC_TIME, "000229120000Z", 951_825_600, "2000-02-29T12:00:00Z"),
            (tag::GENERALIZED_TIME, "21000301000000Z", 4_107_542_400, "2100-03-01T00:00:00Z"),
            (tag::GENERALIZED_TIME, "99991231235959Z", 253_402_300_799, "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(parsed(tag, text), Ok(Seconds(seconds)), "{text}");
            assert_eq!(Seconds(seconds).to_string(), shown);
        }
    }

    #[test]
    fn other_forms_are_refused() {
        for text in ["", "7", "70010100000Z", "700101000000", "700101000000+0100", "701301000000Z"]
        {
            assert_eq!(parsed(tag::UTC_TIME, text), Err(BadDer), "{text}");
        }
        for text in ["2100", "20240101", "202401010000Z", "20240101000000.5Z", "20240100000000Z"] {
            assert_eq!(parsed(tag::GENERALIZED_TIME, text), Err(BadDer), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_back(seconds in 0u64..253_402_300_800) {
            let digits: String =
                Seconds(seconds).to_string().chars().filter(char::is_ascii_digit).collect();
            prop_assert_eq!(
                parsed(tag::GENERALIZED_TIME, &format!("{digits}Z")),
                Ok(Seconds(seconds))
            );
        }
    }
}
