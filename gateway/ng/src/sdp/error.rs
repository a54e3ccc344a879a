//! Why a body was refused, with the line, what was there and what should have been.

use thiserror::Error;

/// Why a body was refused. Lines count from 1; what was found is cut short and escaped, so that
/// no key in a broken line gets into a log.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SdpError {
    /// Larger than any real body.
    #[error("SDP of {found} bytes, expected at most {limit}")]
    TooLarge {
        /// Its bytes.
        found: usize,
        /// The most we take.
        limit: usize,
    },
    /// More of something than any real body has.
    #[error("SDP line {line}: more {what} than {limit}")]
    TooMany {
        /// The first one too many.
        line: usize,
        /// Of what.
        what: &'static str,
        /// The most we take.
        limit: usize,
    },
    /// A line that isn't what its place or its first letter says.
    #[error("SDP line {line}: found \"{found}\", expected {expected}")]
    Malformed {
        /// Where.
        line: usize,
        /// The field at fault.
        found: String,
        /// What belongs there.
        expected: &'static str,
    },
    /// The body ends without a line it must have.
    #[error("SDP has no {what}")]
    Missing {
        /// Which.
        what: &'static str,
    },
    /// Media that we should relay without an address to relay to.
    #[error("SDP line {line}: this media has no c= line of its own nor one in the session part")]
    NoConnection {
        /// Its `m=` line.
        line: usize,
    },
}

impl SdpError {
    pub(super) fn malformed(line: usize, found: &[u8], expected: &'static str) -> Self {
        let short = &found[..found.len().min(FOUND_MAX)];
        Self::Malformed { line, found: short.escape_ascii().to_string(), expected }
    }

    /// What rtpengine answers to such a body, for controllers that match its words.
    pub fn incumbent(&self) -> &'static str {
        match self {
            Self::NoConnection { .. } => "Incomplete SDP specification",
            Self::Missing { what } if *what == NO_MEDIA => "Incomplete SDP specification",
            _ => "Failed to parse SDP",
        }
    }
}

/// [`SdpError::Missing`] of a body without media.
pub(super) const NO_MEDIA: &str = "m= line";

/// Shorter than the way to a key in any line that carries one (`a=crypto:1 AES_…`).
const FOUND_MAX: usize = 24;
