//! Keys and SPIs: made here or given, unused so far, and what becomes of keys whose SAs are gone.

use crypto_offload::{
    Aead, Direction, Epoch, ErrorClass, IpsecEngine, KeyFingerprint, KeyingMaterial, PairName,
    SaId, SecretKey, Spi,
};
use gateway_control::{KeyOffer, agent::AgentErrorCode};
use ring::rand::SecureRandom;
use zeroize::Zeroizing;

use super::{Pairs, spec};
use crate::{
    refusal::Refusal,
    state::{Durability, Entry, KeyName, PairRecord, SaRecord},
};

impl Pairs {
    pub(super) fn given(
        &self,
        record: &PairRecord,
        offer: &KeyOffer,
    ) -> Result<KeyingMaterial, Refusal> {
        check_aead(record.terms.aead, offer.aead)?;
        let keying = offer.keying()?;
        self.check_unused(&record.terms.name, &keying, Direction::Inbound)?;
        self.check_free(record, Direction::Inbound, offer.spi)?;
        Ok(keying)
    }

    pub(super) fn check_unused(
        &self,
        name: &PairName,
        keying: &KeyingMaterial,
        direction: Direction,
    ) -> Result<(), Refusal> {
        self.ledger.check(keying.fingerprint(), direction).map_err(|reused| {
            Refusal::new(AgentErrorCode::KeyReused, "key", format!("{name}: {reused}"))
                .hint("make a new key at the side that receives")
        })
    }

    pub(super) fn check_free(
        &self,
        record: &PairRecord,
        direction: Direction,
        spi: Spi,
    ) -> Result<(), Refusal> {
        let id = spec::sa_id(&record.terms, direction, spi);
        let Some(whose) = self.index.get(&id) else { return Ok(()) };
        let message = format!("{id} is in use by {} epoch {}", whose.name, whose.epoch);
        Err(Refusal::new(AgentErrorCode::Conflict, "spi", message).hint("choose another SPI"))
    }

    /// An SPI that neither we nor any engine has; the engines are asked again when it is reserved.
    pub(super) fn free_spi(&self, record: &PairRecord) -> Result<Spi, Refusal> {
        for _ in 0..ATTEMPTS {
            let mut bytes = [0; 4];
            if self.random.fill(&mut bytes).is_err() {
                break;
            }
            let span = Spi::CHOSEN.end() - Spi::CHOSEN.start() + 1;
            let number = Spi::CHOSEN.start() + u32::from_ne_bytes(bytes) % span;
            if let Ok(spi) = Spi::new(number)
                && self.check_free(record, Direction::Inbound, spi).is_ok()
            {
                return Ok(spi);
            }
        }
        Err(Refusal::new(AgentErrorCode::Engine(ErrorClass::Exhausted), "spi", "found no free SPI"))
    }

    pub(super) fn fresh_key(&self, aead: Aead) -> Result<KeyingMaterial, Refusal> {
        let mut bytes = Zeroizing::new(vec![0; aead.key_len() + Aead::SALT_LEN]);
        self.random.fill(&mut bytes).map_err(|_| {
            let code = AgentErrorCode::Engine(ErrorClass::Fatal);
            Refusal::new(code, "key", "the kernel gave no random bytes")
        })?;
        Ok(KeyingMaterial::new(aead, SecretKey::copy_from(&bytes))?)
    }

    pub(super) fn key_of(&self, sa: &SaRecord) -> Result<KeyingMaterial, Refusal> {
        let keying = self.keys.get(&sa.key.0).map(KeyingMaterial::dangerous_duplicate);
        keying.ok_or_else(|| {
            let message = format!("the key {} was given up", sa.key.0);
            Refusal::new(AgentErrorCode::UnknownEpoch, "key", message)
        })
    }

    /// The key of an epoch's inbound SA that is about to go, if it has opened nothing.
    pub(super) fn unopened(&mut self, record: &PairRecord, epoch: Epoch) -> Option<KeyFingerprint> {
        let sa = record.sa(epoch, Direction::Inbound)?;
        // What a resumed one opened before, its counters do not say.
        let fresh = !sa.resumed && sa.resume_after == 0;
        let id = spec::sa_id(&record.terms, Direction::Inbound, sa.spi);
        let engine = self.engines.named(record.engine_of(epoch)).ok()?;
        opened_nothing(engine, id).then_some(sa.key.0).filter(|_| fresh)
    }

    /// Keys that may open again. Failing to write so leaves them spent.
    pub(super) fn note_unopened(&mut self, keys: impl IntoIterator<Item = KeyFingerprint>) {
        for key in keys {
            let entry = [Entry::Unopened(KeyName(key))];
            let written = self.store().append(&entry, &[], Durability::Process);
            match written {
                Ok(()) => self.ledger.opened_nothing(key),
                Err(error) => tracing::warn!(%key, %error, "a key that opened nothing stays spent"),
            }
        }
    }
}

/// Packets that come between this and the SA's removal are for an epoch that nobody uses.
pub(super) fn opened_nothing(engine: &mut dyn IpsecEngine, id: SaId) -> bool {
    engine.usage(id).is_ok_and(|usage| (usage.packets, usage.sequence) == (0, 0))
}

pub(super) fn check_aead(expected: Aead, found: Aead) -> Result<(), Refusal> {
    if expected == found {
        return Ok(());
    }
    let message = format!("the key is for {found}, the pair uses {expected}");
    Err(Refusal::new(AgentErrorCode::Invalid, "aead", message)
        .hint("define the pair alike at both gateways"))
}

/// A repeated request must ask for the same.
pub(super) fn check_same(
    name: &PairName,
    sa: &SaRecord,
    keying: &KeyingMaterial,
    given: Option<&KeyOffer>,
) -> Result<(), Refusal> {
    let Some(offer) = given else { return Ok(()) };
    if offer.spi == sa.spi
        && offer.keying()?.fingerprint() == sa.key.0
        && keying.fingerprint() == sa.key.0
    {
        return Ok(());
    }
    let message = format!("{name}: this epoch has other keys, with SPI {}", sa.spi);
    Err(Refusal::new(AgentErrorCode::Conflict, "key", message).hint("use the next epoch"))
}

/// Of 2^28 SPIs few are taken.
const ATTEMPTS: usize = 64;
