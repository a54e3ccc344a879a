//! Names of SAs: the SPI, and what makes it unique.

use std::{fmt, net::IpAddr, num::NonZeroU32};

use serde::{Deserialize, Deserializer, Serialize, de::Error};

/// A security parameters index (RFC 4303 section 2.1), chosen by the receiver of the packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Spi(NonZeroU32);

impl Spi {
    /// Where SPIs that we choose come from: strongSwan's default range too, and far from those
    /// that people number by hand.
    pub const CHOSEN: std::ops::RangeInclusive<u32> = 0xc000_0000..=0xcfff_ffff;

    /// # Errors
    /// Below 256: 0 means "none", and 1 to 255 are reserved by IANA (RFC 4303 section 2.1).
    pub const fn new(value: u32) -> Result<Self, ReservedSpi> {
        match NonZeroU32::new(value) {
            Some(spi) if value >= 256 => Ok(Self(spi)),
            _ => Err(ReservedSpi(value)),
        }
    }

    /// As somebody else uses it: reserved numbers too, which no standard gives to SAs and no kernel
    /// refuses. `None` for 0, which is none.
    pub const fn observed(value: u32) -> Option<Self> {
        match NonZeroU32::new(value) {
            Some(spi) => Some(Self(spi)),
            None => None,
        }
    }

    /// The number, in host byte order.
    pub const fn value(self) -> u32 {
        self.0.get()
    }
}

impl TryFrom<u32> for Spi {
    type Error = ReservedSpi;

    fn try_from(value: u32) -> Result<Self, ReservedSpi> {
        Self::new(value)
    }
}

impl From<Spi> for u32 {
    fn from(spi: Spi) -> u32 {
        spi.value()
    }
}

impl fmt::Display for Spi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#010x}", self.0)
    }
}

/// An SPI that no SA may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("SPI {0} is reserved (RFC 4303 section 2.1): use 256 or above")]
pub struct ReservedSpi(pub u32);

/// What tells an ESP SA from every other in a network namespace: where its packets go, and the SPI
/// (RFC 4301 section 4.1; the kernel's `xfrm_usersa_id`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SaId {
    /// The outer destination address.
    pub destination: IpAddr,
    /// Chosen by whoever has that address. Read as [observed](Spi::observed): an SA may be
    /// anybody's.
    #[serde(deserialize_with = "observed")]
    pub spi: Spi,
}

fn observed<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Spi, D::Error> {
    let value = u32::deserialize(deserializer)?;
    Spi::observed(value).ok_or_else(|| D::Error::custom("SPI 0 is no SA's"))
}

impl fmt::Display for SaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.spi, self.destination)
    }
}

/// Ties the SAs and policies of one pair together (`reqid` of the kernel's templates); never 0,
/// which packet offload refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Reqid(pub NonZeroU32);

/// Which generation of a pair's keys, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The one after it. The last one there is stays, and nothing can follow it.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// Whether it is so far above `highest` that nobody came there by counting. Peers name epochs:
    /// one that named the last would leave the pair none for new keys, for ever.
    pub const fn is_beyond_reach_of(self, highest: Self) -> bool {
        self.0.saturating_sub(highest.0) > LONGEST_LEAP
    }
}

/// A pair that lost its state begins at 0 again, and the other side may have come this far: with
/// a rotation each second, in 136 years.
const LONGEST_LEAP: u64 = 1 << 32;

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_sa_of_somebody_else_may_have_a_reserved_number() {
        let json = r#"{"destination":"192.0.2.1","spi":16}"#;
        let id: SaId = serde_json::from_str(json).expect("somebody's");
        assert_eq!(Some(id.spi), Spi::observed(16));
        assert_eq!(serde_json::to_string(&id).expect("serializes"), json);
        assert!(serde_json::from_str::<SaId>(&json.replace("16", "0")).is_err());
        assert!(serde_json::from_str::<Spi>("16").is_err());
    }

    #[test]
    fn reserved_numbers_are_no_spis() {
        assert_eq!(Spi::new(0), Err(ReservedSpi(0)));
        assert_eq!(Spi::new(255), Err(ReservedSpi(255)));
        assert_eq!(Spi::new(256).map(Spi::value), Ok(256));
        assert_eq!(Spi::new(256).expect("free").to_string(), "0x00000100");
    }

    #[test]
    fn epochs_neither_wrap_nor_leap_to_their_end() {
        assert_eq!(Epoch(u64::MAX).next(), Epoch(u64::MAX));
        assert!(!Epoch(1 << 32).is_beyond_reach_of(Epoch(0)));
        assert!(Epoch((1 << 32) + 1).is_beyond_reach_of(Epoch(0)));
        assert!(!Epoch(3).is_beyond_reach_of(Epoch(u64::MAX)));
    }
}
