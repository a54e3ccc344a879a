//! The range that media ports come from.

use std::fmt;
use std::str::FromStr;

/// An inclusive range of UDP ports that holds at least one even/odd pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    /// The lowest port.
    pub min: u16,
    /// The highest port.
    pub max: u16,
}

impl PortRange {
    /// The first even port.
    pub fn first_even(self) -> u16 {
        self.min + self.min % 2
    }

    /// How many even/odd pairs lie in the range.
    pub fn pairs(self) -> usize {
        (usize::from(self.max) + 1).saturating_sub(usize::from(self.first_even())) / 2
    }

    /// Whether the two share a port.
    pub fn overlaps(self, other: Self) -> bool {
        self.min <= other.max && other.min <= self.max
    }
}

impl FromStr for PortRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |what: &str| format!("\"{text}\" {what}: write MIN-MAX, as \"30000-39999\"");
        let (min, max) = text.split_once('-').ok_or_else(|| wrong("is not a port range"))?;
        let min: u16 = min.trim().parse().map_err(|_| wrong("has no port before the hyphen"))?;
        let max: u16 = max.trim().parse().map_err(|_| wrong("has no port after the hyphen"))?;
        // Port 0 means "any" to bind, and 65535 is odd: an even first port never overflows here.
        if min < 2 || min == u16::MAX {
            return Err(wrong("starts outside 2 to 65534"));
        }
        let range = Self { min, max };
        if max < min || range.pairs() == 0 {
            return Err(wrong("holds no pair of an even port and the next"));
        }
        Ok(range)
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.min, self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_only_whole_pairs() {
        for (text, pairs) in
            [("30000-39999", 5000), ("30001-30004", 1), ("30000-30001", 1), ("65534-65535", 1)]
        {
            assert_eq!(text.parse::<PortRange>().unwrap().pairs(), pairs, "{text}");
        }
    }

    #[test]
    fn rejects_ranges_without_a_pair() {
        for text in ["30001-30002", "30000", "0-10", "40000-30000", "65535-65535", "1-70000", "a-b"]
        {
            let error = text.parse::<PortRange>().unwrap_err();
            assert!(error.contains("MIN-MAX"), "{text}: {error}");
        }
    }

    #[test]
    fn overlap_includes_the_ends() {
        let ours = PortRange { min: 30000, max: 39999 };
        assert!(ours.overlaps(PortRange { min: 39999, max: 60999 }));
        assert!(!ours.overlaps(PortRange { min: 40000, max: 60999 }));
    }
}
