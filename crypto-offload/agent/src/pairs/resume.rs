//! Installing again what ended with our process: the SAs of the user-space engine.
//!
//! Each begins above the highest number that may have been used with its key, as far as the state
//! knows, and the state knows the new beginning before the engine does. An SA without numbers left
//! is lost.

use crypto_offload::{Direction, EngineError, Epoch, PairName, Placement, SequenceNumbers};
use gateway_control::EventKind;

use super::{Pairs, spec};
use crate::{events::News, refusal::Refusal, state::Durability};

impl Pairs {
    pub(super) fn resume(&mut self, name: &PairName, ended: &[(Epoch, Direction)]) {
        for (epoch, direction) in ended {
            let Some(sa) = self.pairs.get(name).and_then(|pair| pair.sa(*epoch, *direction)) else {
                continue;
            };
            let spi = sa.spi;
            let Some(record) = self.pairs.get(name) else { return };
            let id = spec::sa_id(&record.terms, *direction, spi);
            if let Err(Refusal(error)) = self.resume_sa(name, *epoch, *direction) {
                self.lose(id, &format!("not resumed after a restart: {error}"), "gateway");
                continue;
            }
            self.events.push(News {
                kind: EventKind::SaRotationDue,
                object: name.to_string(),
                from: format!("epoch {epoch} {id}"),
                to: "resumed".to_owned(),
                reason:
                    "the user-space engine ended with an agent's process; the SA goes on above \
                         the numbers reserved for it"
                        .to_owned(),
                owner: "gateway",
            });
        }
    }

    fn resume_sa(
        &mut self,
        name: &PairName,
        epoch: Epoch,
        direction: Direction,
    ) -> Result<(), Refusal> {
        let mut record = self.pair(name)?.clone();
        let engine = record.engine_of(epoch).to_owned();
        let Some(sa) = record.sa_mut(epoch, direction) else {
            return Ok(());
        };
        let id = spec::sa_id(&self.pair(name)?.terms, direction, sa.spi);
        let after = self.store().reserved(id, direction, sa.resume_after);
        sa.resume_after = after;
        sa.resumed = true;
        let (spi, keying) = (sa.spi, self.key_of(sa)?);
        if record.terms.sequence_numbers == SequenceNumbers::Short && after >= LAST_SHORT {
            return Err(EngineError {
                class: crypto_offload::ErrorClass::Exhausted,
                operation: "resume SA".to_owned(),
                object: id.to_string(),
                reason: "no sequence numbers are left (32 bits)".to_owned(),
                hint: None,
            }
            .into());
        }
        let sa = spec::sa(&record, direction, spi, keying, after);
        self.commit(record, Vec::new(), Durability::Power)?;
        self.engines.named(&engine)?.install(&sa, Placement::UserSpace)?;
        Ok(())
    }
}

/// The last number of 32 bits.
const LAST_SHORT: u64 = u32::MAX as u64;
