//! When an SA wants a successor, and when it must stop.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How much one SA may be used; `None` sets no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Packets.
    pub packets: Option<u64>,
    /// Bytes as the engine counts them: the kernel's are those of the ESP payload.
    pub bytes: Option<u64>,
    /// Seconds since the SA was installed.
    pub seconds: Option<u64>,
}

/// Soft limits ask for a rotation, hard ones end the SA (RFC 4301 section 4.4.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Lifetimes {
    /// Ask for a successor.
    pub soft: Limits,
    /// No packet after that.
    pub hard: Limits,
}

impl Default for Lifetimes {
    /// A day, with the rotation asked for at nine tenths of it.
    fn default() -> Self {
        const DAY: u64 = 24 * 60 * 60;
        Self {
            soft: Limits { seconds: Some(DAY / 10 * 9), ..Limits::default() },
            hard: Limits { seconds: Some(DAY), ..Limits::default() },
        }
    }
}

impl Lifetimes {
    /// Packets that 32-bit sequence numbers give, less a margin for what is sent while a rotation
    /// is under way. Without ESN a sequence number must not wrap (RFC 4303 section 3.3.3).
    pub const PACKETS_WITHOUT_ESN: u64 = (u32::MAX - (1 << 20)) as u64;

    /// # Errors
    /// The first limit that cannot be meant: 0, or a soft limit that is not below its hard one.
    pub fn check(&self) -> Result<(), BadLifetime> {
        let pairs = [
            ("packets", self.soft.packets, self.hard.packets),
            ("bytes", self.soft.bytes, self.hard.bytes),
            ("seconds", self.soft.seconds, self.hard.seconds),
        ];
        for (unit, soft, hard) in pairs {
            if soft == Some(0) || hard == Some(0) {
                return Err(BadLifetime::Zero { unit });
            }
            if let (Some(soft), Some(hard)) = (soft, hard)
                && soft >= hard
            {
                return Err(BadLifetime::SoftNotBelowHard { unit, soft, hard });
            }
        }
        Ok(())
    }

    /// How long until the soft limit of time, for an SA of this age.
    pub fn time_to_soft(&self, age: Duration) -> Option<Duration> {
        Some(Duration::from_secs(self.soft.seconds?).saturating_sub(age))
    }
}

/// Why lifetimes are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadLifetime {
    /// A limit of 0 would end the SA before it begins.
    #[error("a limit of 0 {unit} would end the SA at once: leave it out for no limit")]
    Zero {
        /// packets, bytes or seconds
        unit: &'static str,
    },
    /// There must be room for a rotation between them.
    #[error("the soft limit of {soft} {unit} is not below the hard limit of {hard}")]
    SoftNotBelowHard {
        /// packets, bytes or seconds
        unit: &'static str,
        /// Asked for.
        soft: u64,
        /// Asked for.
        hard: u64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_leaves_room_for_a_rotation() {
        assert_eq!(Lifetimes::default().check(), Ok(()));
    }

    #[test]
    fn a_soft_limit_at_its_hard_limit_is_refused_with_both() {
        let lifetimes = Lifetimes {
            soft: Limits { packets: Some(10), ..Limits::default() },
            hard: Limits { packets: Some(10), ..Limits::default() },
        };
        let message = lifetimes.check().expect_err("no room").to_string();
        assert_eq!(message, "the soft limit of 10 packets is not below the hard limit of 10");
    }
}
