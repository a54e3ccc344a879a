//! SAs as the kernel tells of them: `struct xfrm_usersa_info` with its attributes, in answers and
//! in events.

use std::net::IpAddr;

use crypto_offload::{Aead, KeyFingerprint, KeyingMaterial, SaId, SecretKey, Spi};

use super::{
    netlink::{Fields, attribute, attributes, text_of},
    numbers::{
        IPPROTO_ESP, XFRM_OFFLOAD_PACKET, XFRMA_ALG_AEAD, XFRMA_ALG_AUTH, XFRMA_ALG_AUTH_TRUNC,
        XFRMA_ALG_CRYPT, XFRMA_OFFLOAD_DEV, XFRMA_REPLAY_ESN_VAL, XFRMA_REPLAY_VAL, XFRMA_SA_DIR,
    },
    sa::{Depth, LIFETIME_CONFIG_LEN, Offload, kernel_name},
    selector::{SELECTOR_LEN, address},
};

/// Names an SA of any protocol, whatever its SPI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) destination: IpAddr,
    pub(crate) spi: u32,
    pub(crate) protocol: u8,
}

impl Identity {
    /// From the `struct xfrm_usersa_id` of XFRM_MSG_DELSA.
    pub(crate) fn decode(payload: &[u8]) -> Option<Self> {
        let mut fields = Fields(payload);
        let (destination, spi) = (fields.address()?, fields.be32()?);
        let (family, protocol) = (fields.u16()?, fields.u8()?);
        Some(Self { destination: address(family, destination)?, spi, protocol })
    }

    /// As an ESP SA; its SPI may be one that RFC 4303 reserves.
    pub(crate) fn esp(self) -> Option<SaId> {
        let spi = Spi::observed(self.spi)?;
        (self.protocol == IPPROTO_ESP).then_some(SaId { destination: self.destination, spi })
    }
}

/// An SA that the kernel has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) identity: Identity,
    pub(crate) source: IpAddr,
    pub(crate) reqid: u32,
    pub(crate) bytes: u64,
    pub(crate) packets: u64,
    /// Of the wall clock, in seconds since 1970.
    pub(crate) added: u64,
    /// The same; 0 for never.
    pub(crate) first_used: u64,
    pub(crate) late: u32,
    pub(crate) replayed: u32,
    pub(crate) forged: u32,
    /// The highest sequence number either way: an SA has but one.
    pub(crate) sequence: u64,
    pub(crate) algorithm: Algorithm,
    pub(crate) offload: Option<Offload>,
    /// XFRM_SA_DIR_*, of kernels that know it.
    pub(crate) direction: Option<u8>,
}

/// What an SA ciphers with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    /// Nothing yet: a reserved SPI.
    Larval,
    /// One that we know, and the name of its key unless the kernel hides it (lockdown).
    Known(Aead, Option<KeyFingerprint>),
    /// Somebody else's, by the kernel's name.
    Other(String),
}

impl State {
    /// From XFRM_MSG_NEWSA or XFRM_MSG_UPDSA.
    pub(crate) fn decode(payload: &[u8]) -> Option<Self> {
        let mut fields = Fields(payload);
        fields.take(SELECTOR_LEN)?;
        let (destination, spi) = (fields.address()?, fields.be32()?);
        let protocol = fields.u8()?;
        fields.take(3)?;
        let source = fields.address()?;
        fields.take(LIFETIME_CONFIG_LEN)?;
        let (bytes, packets) = (fields.u64()?, fields.u64()?);
        let (added, first_used) = (fields.u64()?, fields.u64()?);
        let (late, replayed, forged) = (fields.u32()?, fields.u32()?, fields.u32()?);
        fields.take(4)?; // whose ACQUIRE it answers
        let reqid = fields.u32()?;
        let family = fields.u16()?;
        fields.take(10)?; // mode, replay window, flags, padding
        let identity = Identity { destination: address(family, destination)?, spi, protocol };
        Some(Self {
            identity,
            source: address(family, source)?,
            reqid,
            bytes,
            packets,
            added,
            first_used,
            late,
            replayed,
            forged,
            sequence: sequence(fields.0).unwrap_or(0),
            algorithm: algorithm(fields.0),
            offload: attribute(fields.0, XFRMA_OFFLOAD_DEV).and_then(offload),
            direction: attribute(fields.0, XFRMA_SA_DIR).and_then(|bytes| bytes.first().copied()),
        })
    }

    /// From the `struct xfrm_user_expire` of XFRM_MSG_EXPIRE.
    pub(crate) fn decode_expiry(payload: &[u8]) -> Option<(Self, Limit)> {
        let state = Self::decode(payload.get(..INFO_LEN)?)?;
        let limit = if *payload.get(INFO_LEN)? == 0 { Limit::Soft } else { Limit::Hard };
        Some((state, limit))
    }
}

/// Which limit an SA reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    Soft,
    Hard,
}

/// Of `struct xfrm_replay_state_esn`, or of the older `struct xfrm_replay_state`.
fn sequence(rest: &[u8]) -> Option<u64> {
    let wide = |high: u32, low: u32| u64::from(high) << 32 | u64::from(low);
    if let Some(extended) = attribute(rest, XFRMA_REPLAY_ESN_VAL) {
        let mut fields = Fields(extended);
        fields.u32()?;
        let (oseq, seq) = (fields.u32()?, fields.u32()?);
        let (oseq_high, seq_high) = (fields.u32()?, fields.u32()?);
        return Some(wide(oseq_high, oseq).max(wide(seq_high, seq)));
    }
    let mut fields = Fields(attribute(rest, XFRMA_REPLAY_VAL)?);
    let (oseq, seq) = (fields.u32()?, fields.u32()?);
    Some(oseq.max(seq).into())
}

fn offload(bytes: &[u8]) -> Option<Offload> {
    let mut fields = Fields(bytes);
    let index = fields.u32()?;
    let packet = fields.u8()? & XFRM_OFFLOAD_PACKET != 0;
    Some(Offload { index, depth: if packet { Depth::Packet } else { Depth::Crypto } })
}

fn algorithm(rest: &[u8]) -> Algorithm {
    if let Some(aead) = attribute(rest, XFRMA_ALG_AEAD) {
        let known = known(aead).map(|(aead, key)| Algorithm::Known(aead, key));
        return known.unwrap_or_else(|| Algorithm::Other(name(aead)));
    }
    let names: Vec<String> = attributes(rest)
        .filter(|(kind, _)| {
            matches!(*kind, XFRMA_ALG_CRYPT | XFRMA_ALG_AUTH_TRUNC | XFRMA_ALG_AUTH)
        })
        .map(|(_, payload)| name(payload))
        .collect();
    match names.as_slice() {
        [] => Algorithm::Larval,
        // The kernel tells of one authentication twice, for old readers.
        [first, .., last] if first != last => Algorithm::Other(format!("{first} {last}")),
        [first, ..] => Algorithm::Other(first.clone()),
    }
}

fn known(bytes: &[u8]) -> Option<(Aead, Option<KeyFingerprint>)> {
    let name = name(bytes);
    let mut fields = Fields(bytes);
    fields.take(NAME_LEN)?;
    let (key_bits, icv_bits) = (fields.u32()?, fields.u32()?);
    let key = fields.take(key_bits as usize / 8)?;
    let fits = |aead: &Aead| {
        kernel_name(*aead) == name
            && key.len() == aead.key_len() + Aead::SALT_LEN
            && icv_bits as usize == Aead::ICV_LEN * 8
    };
    let aead = Aead::ALL.into_iter().find(fits)?;
    // A kernel in lockdown answers with zeros.
    let hidden = key.iter().all(|byte| *byte == 0);
    let keying = KeyingMaterial::new(aead, SecretKey::copy_from(key)).ok()?;
    Some((aead, (!hidden).then(|| keying.fingerprint())))
}

fn name(algorithm: &[u8]) -> String {
    text_of(algorithm.get(..NAME_LEN).unwrap_or_default())
}

/// Bytes of `struct xfrm_usersa_info`.
const INFO_LEN: usize = 224;
/// Bytes of an algorithm's name, zeros included.
const NAME_LEN: usize = 64;

#[cfg(test)]
mod tests {
    use crypto_offload::SaSpec;

    use super::*;
    use crate::{
        example,
        wire::sa::{DirectedSas, Install, install, remove},
    };

    fn payload(sa: &SaSpec, offload: Option<Offload>) -> Vec<u8> {
        install(sa, Install::New, offload, DirectedSas::Known).finish(1, 0)[16..].to_vec()
    }

    #[test]
    fn an_sa_is_read_back_as_it_was_asked_for() {
        let sa = SaSpec { resume_after: (5 << 32) + 6, ..example::inbound() };
        let offload = Some(Offload { index: 7, depth: Depth::Packet });
        let state = State::decode(&payload(&sa, offload)).expect("an SA");
        assert_eq!(state.identity.esp(), Some(sa.id));
        assert_eq!((state.source, state.reqid), (sa.source, 77));
        assert_eq!(state.sequence, (5 << 32) + 6);
        assert_eq!(state.offload, offload);
        assert_eq!(state.direction, Some(1));
        let key = sa.keying.fingerprint();
        assert_eq!(state.algorithm, Algorithm::Known(Aead::Aes128Gcm, Some(key)));
    }

    #[test]
    fn a_hidden_key_has_no_fingerprint() {
        let mut bytes = payload(&example::outbound(), None);
        let key = INFO_LEN + 4 + NAME_LEN + 8;
        bytes[key..key + 20].fill(0);
        let state = State::decode(&bytes).expect("an SA");
        assert_eq!(state.algorithm, Algorithm::Known(Aead::Aes128Gcm, None));
    }

    #[test]
    fn an_sa_under_a_reserved_spi_is_named_all_the_same_and_one_without_is_none() {
        let mut bytes = payload(&example::outbound(), None);
        let spi = SELECTOR_LEN + 16;
        for (value, expected) in [(16, Spi::observed(16)), (0, None)] {
            bytes[spi..spi + 4].copy_from_slice(&u32::to_be_bytes(value));
            let id = State::decode(&bytes).expect("an SA").identity.esp();
            assert_eq!(id.map(|id| id.spi), expected);
        }
    }

    #[test]
    fn an_icv_of_another_length_is_somebody_elses() {
        let mut bytes = payload(&example::outbound(), None);
        let icv = INFO_LEN + 4 + NAME_LEN + 4;
        bytes[icv..icv + 4].copy_from_slice(&64u32.to_ne_bytes());
        let state = State::decode(&bytes).expect("an SA");
        assert_eq!(state.algorithm, Algorithm::Other("rfc4106(gcm(aes))".to_owned()));
    }

    #[test]
    fn an_sa_without_an_algorithm_is_a_reservation() {
        let bytes = payload(&example::outbound(), None);
        let state = State::decode(&bytes[..INFO_LEN]).expect("an SA");
        assert_eq!(state.algorithm, Algorithm::Larval);
    }

    #[test]
    fn an_expiry_tells_its_limit() {
        let mut bytes = payload(&example::outbound(), None)[..INFO_LEN].to_vec();
        assert_eq!(State::decode_expiry(&bytes), None);
        bytes.extend([1, 0, 0, 0, 0, 0, 0, 0]);
        let (state, limit) = State::decode_expiry(&bytes).expect("an expiry");
        assert_eq!((state.identity.spi, limit), (0xc000_0001, Limit::Hard));
        bytes[INFO_LEN] = 0;
        assert_eq!(State::decode_expiry(&bytes).map(|(_, limit)| limit), Some(Limit::Soft));
    }

    #[test]
    fn a_removal_names_its_sa() {
        let id = example::outbound().id;
        let bytes = remove(id).finish(1, 0);
        let identity = Identity::decode(&bytes[16..]).expect("a removal");
        assert_eq!(identity.esp(), Some(id));
    }

    #[test]
    fn an_sa_cut_anywhere_is_an_sa_or_nothing() {
        let whole = payload(&example::outbound(), Some(Offload { index: 7, depth: Depth::Crypto }));
        for end in 0..whole.len() {
            assert_eq!(State::decode(&whole[..end]).is_some(), end >= INFO_LEN, "{end}");
        }
    }
}
