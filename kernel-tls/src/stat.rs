//! `/proc/net/tls_stat`: what the kernel counts of TLS in this network namespace.
//!
//! The names are the kernel's, which has added some over the years (`TlsTxRekeyOk` with 6.14): so
//! they are kept as they come, and one that a kernel does not know is `None`, not nought. These
//! are sums over every socket of the namespace, other programs' included: of one socket only
//! [`diagnose`](crate::diagnose) tells the truth.

use std::{fs, io};

/// The counters, as they were when they were read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsStatistics {
    counters: Vec<(String, u64)>,
}

impl TlsStatistics {
    /// Reads them.
    ///
    /// # Errors
    /// `NotFound` where the kernel has no TLS, or its module is not loaded.
    pub fn read() -> io::Result<Self> {
        fs::read_to_string(PATH).map(|text| Self::parse(&text))
    }

    /// Every counter with its name, in the kernel's order.
    pub fn counters(&self) -> &[(String, u64)] {
        &self.counters
    }

    /// One counter: `TlsDecryptError`. `None` where this kernel does not have it.
    pub fn counter(&self, name: &str) -> Option<u64> {
        self.counters.iter().find(|(known, _)| known == name).map(|(_, value)| *value)
    }

    /// A line that is not a name and a number is passed over: the file is the kernel's, and may grow.
    fn parse(text: &str) -> Self {
        let counters = text
            .lines()
            .filter_map(|line| {
                let (name, value) = line.split_once(char::is_whitespace)?;
                Some((name.to_owned(), value.trim().parse().ok()?))
            })
            .collect();
        Self { counters }
    }
}

const PATH: &str = "/proc/net/tls_stat";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_by_name_and_unknown_ones_are_not_nought() {
        let text = "TlsCurrTxSw                     \t3\nTlsDecryptError                 \t0\n\nnew thing\n";
        let statistics = TlsStatistics::parse(text);
        assert_eq!(statistics.counter("TlsCurrTxSw"), Some(3));
        assert_eq!(statistics.counter("TlsDecryptError"), Some(0));
        assert_eq!(statistics.counter("TlsTxRekeyOk"), None);
        assert_eq!(statistics.counters().len(), 2);
    }
}
