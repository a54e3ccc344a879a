//! What an engine can do, and how we know.
//!
//! The kernel has no query for what a device's IPsec engine can do, and says yes to requests that
//! it then ignores. So an entry is worth what its evidence is worth.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Aead, Mode, Placement};

/// Something that an SA may need of an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Feature {
    /// There is such an engine at all.
    Engine,
    /// This algorithm.
    Aead(Aead),
    /// Transport or tunnel mode.
    Mode(Mode),
    /// Outer IPv6.
    Ipv6,
    /// ESP in UDP.
    UdpEncapsulation,
    /// 64-bit sequence numbers.
    Esn,
    /// Replay windows up to this many packets.
    ReplayWindow(u32),
    /// Limits of packets and bytes, not of time alone.
    CountedLimits,
}

/// How we know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Evidence {
    /// Somebody says so: a driver's feature bit, our own code.
    Declared {
        /// Who: `esp-hw-offload of eth0`, `this program`.
        by: String,
    },
    /// A throwaway SA was installed, read back and removed.
    Probed {
        /// What the kernel answered, where it refused.
        errno: Option<i32>,
        /// Its extack text, or what the reading back showed.
        message: Option<String>,
    },
    /// It happened to an SA in use.
    Observed {
        /// What happened.
        what: String,
    },
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Declared { by } => write!(f, "declared by {by}"),
            Self::Probed { errno, message } => {
                f.write_str("probed")?;
                if let Some(errno) = errno {
                    let error = std::io::Error::from_raw_os_error(*errno);
                    write!(f, ": {error}")?;
                }
                message.as_ref().map_or(Ok(()), |message| write!(f, ": {message}"))
            }
            Self::Observed { what } => write!(f, "observed: {what}"),
        }
    }
}

/// Whether it can.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It can.
    Yes,
    /// It cannot.
    No,
    /// Only trying will tell.
    Unknown,
}

/// One thing that can or cannot be done in one place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capability {
    /// Where.
    pub placement: Placement,
    /// By which device, where one does it.
    pub device: Option<String>,
    /// What.
    pub feature: Feature,
    /// Whether.
    pub answer: Answer,
    /// How we know.
    pub evidence: Evidence,
}

/// All that is known of one engine. Later entries override earlier ones about the same thing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// In the order in which they were learnt.
    pub entries: Vec<Capability>,
}

impl Capabilities {
    /// Everything known about one placement, on one device or on none.
    pub fn of<'a>(
        &'a self,
        placement: Placement,
        device: Option<&'a str>,
    ) -> impl DoubleEndedIterator<Item = &'a Capability> {
        self.entries
            .iter()
            .filter(move |entry| entry.placement == placement && entry.device.as_deref() == device)
    }
}
