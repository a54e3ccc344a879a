//! Settings with a fixed set of words, the same on the command line and in the file.

use std::fmt;
use std::str::FromStr;

use clap::ValueEnum;
use ng::request::EndpointLearning;
use serde::{Deserialize, Serialize};
use srtp::{Profile, Weakness};

use crate::weakness;

/// Which driver moves packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Io {
    /// io_uring where this kernel has what it takes, else epoll; the reason is shown
    Auto,
    /// io_uring with multishot receive, or an error
    Uring,
    /// epoll with recvmmsg and sendmmsg
    Epoll,
    /// AF_XDP (not in this release)
    Xdp,
}

/// Whose defaults the ng protocol follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compat {
    /// Postern's: secure where no SBC depends on the contrary
    Postern,
    /// rtpengine's order of SRTP suites: short tags are not put last
    Rtpengine,
}

/// How a stream finds out where its peer really sends from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Learning {
    /// Prefer the signalled address for a while, then the best match
    Heuristic,
    /// Whatever sends three seconds into the call
    Delayed,
    /// The first packet's source
    Immediate,
    /// Only the signalled address
    Off,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

/// An SRTP suite by its SDP name, in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suite(pub Profile);

/// Something that an agreement on SRTP may lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted(pub Weakness);

impl From<Learning> for EndpointLearning {
    fn from(learning: Learning) -> Self {
        match learning {
            Learning::Heuristic => Self::Heuristic,
            Learning::Delayed => Self::Delayed,
            Learning::Immediate => Self::Immediate,
            Learning::Off => Self::Off,
        }
    }
}

impl FromStr for Suite {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Profile::from_name(text).map(Self).ok_or_else(|| {
            let known: Vec<_> = Profile::ALL.into_iter().map(Profile::name).collect();
            format!("\"{text}\" is not a suite that we have: use {}", known.join(", "))
        })
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name())
    }
}

impl FromStr for Accepted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        weakness::named(text).map(Self).ok_or_else(|| {
            let known = weakness::ALL.map(weakness::name);
            format!("\"{text}\" is nothing that SRTP can do without: use {}", known.join(", "))
        })
    }
}

impl fmt::Display for Accepted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(weakness::name(self.0))
    }
}

impl Serialize for Accepted {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        super::text::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for Accepted {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        super::text::deserialize(deserializer)
    }
}

impl Serialize for Suite {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        super::text::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for Suite {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        super::text::deserialize(deserializer)
    }
}
