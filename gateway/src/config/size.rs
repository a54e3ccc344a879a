//! Sizes in bytes as people write them: "16MiB", "64KiB", "1500B".

use std::fmt;
use std::str::FromStr;

/// A number of bytes, written with a binary unit: `B`, `KiB`, `MiB` or `GiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

/// Units from the largest, with their bytes.
const UNITS: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!("\"{text}\" is not a size: write a number and B, KiB, MiB or GiB, as \"64KiB\"")
        };
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let (_, scale) = UNITS.into_iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        number.checked_mul(scale).map(Self).ok_or_else(wrong)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = UNITS.into_iter().find(|(_, scale)| self.0.is_multiple_of(*scale));
        let (unit, scale) = match exact {
            Some(found) if self.0 > 0 => found,
            _ => ("B", 1),
        };
        write!(f, "{}{unit}", self.0 / scale)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_the_largest_exact_unit_and_reads_it_again() {
        for (text, bytes) in [("16MiB", 16 << 20), ("64KiB", 65_536), ("1500B", 1_500), ("0B", 0)] {
            let size: Size = text.parse().unwrap();
            assert_eq!(size.0, bytes);
            assert_eq!(size.to_string(), text);
        }
    }

    #[test]
    fn rejects_decimal_units_because_they_would_be_ambiguous() {
        assert!("16MB".parse::<Size>().is_err());
        assert!("16".parse::<Size>().is_err());
        assert!("99999999999GiB".parse::<Size>().is_err());
    }
}
