//! What a sealed state contains, and its bytes.
//!
//! Numbers are big-endian. Reading trusts nothing: a length that the bytes do not bear out ends
//! it, and nothing is allocated for a count before its entries are there.
//!
//! ```text
//! SRTCP index (4) | keys (2) | key... | streams (4) | stream... | SRTCP streams (4) | stream...
//! key:     MKI length (1) | MKI | digest (16) | SRTP packets (8) | SRTCP packets (8)
//! stream:  SSRC (4) | highest index (8) | words (4) | window (8 each)
//! ```

use crate::streams::StreamState;

/// The state of one direction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Content {
    /// The next SRTCP index to send; 0 receiving.
    pub(crate) rtcp_index: u32,
    /// The one in use first.
    pub(crate) keys: Vec<KeyUse>,
    pub(crate) rtp: Vec<StreamState>,
    /// None sending.
    pub(crate) rtcp: Vec<StreamState>,
}

/// A key and how much it has been used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyUse {
    pub(crate) mki: Vec<u8>,
    pub(crate) digest: [u8; 16],
    pub(crate) rtp_packets: u64,
    pub(crate) rtcp_packets: u64,
}

impl Content {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut out = self.rtcp_index.to_be_bytes().to_vec();
        out.extend((self.keys.len() as u16).to_be_bytes());
        for key in &self.keys {
            // An MKI has at most 128 bytes.
            out.push(key.mki.len() as u8);
            out.extend(&key.mki);
            out.extend(key.digest);
            out.extend(key.rtp_packets.to_be_bytes());
            out.extend(key.rtcp_packets.to_be_bytes());
        }
        for streams in [&self.rtp, &self.rtcp] {
            out.extend((streams.len() as u32).to_be_bytes());
            for stream in streams {
                out.extend(stream.ssrc.to_be_bytes());
                out.extend(stream.highest.to_be_bytes());
                out.extend((stream.history.len() as u32).to_be_bytes());
                out.extend(stream.history.iter().flat_map(|word| word.to_be_bytes()));
            }
        }
        out
    }

    /// The content of exactly these bytes.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        let rtcp_index = number(&mut rest).map(u32::from_be_bytes)?;
        let keys = number(&mut rest).map(u16::from_be_bytes)?;
        let keys = (0..keys).map(|_| KeyUse::read(&mut rest)).collect::<Option<_>>()?;
        let mut streams = || {
            let count = number(&mut rest).map(u32::from_be_bytes)?;
            (0..count).map(|_| read_stream(&mut rest)).collect::<Option<Vec<_>>>()
        };
        let content = Self { rtcp_index, keys, rtp: streams()?, rtcp: streams()? };
        rest.is_empty().then_some(content)
    }
}

impl KeyUse {
    fn read(rest: &mut &[u8]) -> Option<Self> {
        let [len] = number(rest)?;
        let (mki, behind) = rest.split_at_checked(usize::from(len))?;
        *rest = behind;
        Some(Self {
            mki: mki.to_vec(),
            digest: number(rest)?,
            rtp_packets: number(rest).map(u64::from_be_bytes)?,
            rtcp_packets: number(rest).map(u64::from_be_bytes)?,
        })
    }
}

fn read_stream(rest: &mut &[u8]) -> Option<StreamState> {
    let ssrc = number(rest).map(u32::from_be_bytes)?;
    let highest = number(rest).map(u64::from_be_bytes)?;
    let words = number(rest).map(u32::from_be_bytes)? as usize;
    let (history, behind) = rest.split_at_checked(words.checked_mul(8)?)?;
    *rest = behind;
    let history = history.as_chunks().0.iter().map(|word| u64::from_be_bytes(*word)).collect();
    Some(StreamState { ssrc, highest, history })
}

fn number<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (number, behind) = rest.split_first_chunk()?;
    *rest = behind;
    Some(*number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stream() -> impl Strategy<Value = StreamState> {
        (any::<u32>(), any::<u64>(), prop::collection::vec(any::<u64>(), 0..4))
            .prop_map(|(ssrc, highest, history)| StreamState { ssrc, highest, history })
    }

    fn key() -> impl Strategy<Value = KeyUse> {
        (prop::collection::vec(any::<u8>(), 0..=128), any::<[u8; 16]>(), any::<[u64; 2]>())
            .prop_map(|(mki, digest, [rtp_packets, rtcp_packets])| KeyUse {
                mki,
                digest,
                rtp_packets,
                rtcp_packets,
            })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_and_no_prefix_of_it(
            rtcp_index: u32,
            keys in prop::collection::vec(key(), 0..4),
            rtp in prop::collection::vec(stream(), 0..4),
            rtcp in prop::collection::vec(stream(), 0..4),
            cut: prop::sample::Index,
        ) {
            let content = Content { rtcp_index, keys, rtp, rtcp };
            let bytes = content.to_bytes();
            prop_assert_eq!(Content::from_bytes(&bytes[..cut.index(bytes.len())]), None);
            prop_assert_eq!(Content::from_bytes(&bytes), Some(content));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            if let Some(content) = Content::from_bytes(&bytes) {
                prop_assert_eq!(content.to_bytes(), bytes);
            }
        }
    }
}
