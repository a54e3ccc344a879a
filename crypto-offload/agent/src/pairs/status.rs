//! What is shown: pairs with their counters, foreign SAs, the engines' own counters.

use crypto_offload::{Direction, Epoch, ErrorClass, InstalledSa, PairName, SaId, SaUsage};
use gateway_control::{
    EpochStatus, ForeignList, PairList, PairStatus, SaStatus,
    agent::{MAX_MESSAGE, Response},
};

use super::{Pairs, spec};
use crate::{
    refusal::Refusal,
    state::{EpochRecord, PairRecord, SaRecord, Stage},
};

impl Pairs {
    pub(super) fn show(&mut self, name: &PairName) -> Result<Response, Refusal> {
        self.pair(name)?;
        let status = self.status(name);
        let status = match status {
            Some(status) => status,
            None => self.bare(self.pair(name)?),
        };
        Ok(Response::Pair(Box::new(status)))
    }

    /// As many as fit into one message.
    pub(super) fn list(&mut self, after: Option<&PairName>, limit: usize) -> Response {
        let names: Vec<PairName> = self
            .pairs
            .range::<PairName, _>((
                after.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded),
                std::ops::Bound::Unbounded,
            ))
            .map(|(name, _)| name.clone())
            .take(limit.clamp(1, PAGE).saturating_add(1))
            .collect();
        let mut pairs = Vec::new();
        let (mut size, mut more) = (0, names.len() > limit.clamp(1, PAGE));
        for name in names.iter().take(limit.clamp(1, PAGE)) {
            let Some(status) = self.status(name) else { continue };
            let length = length(&status);
            if size + length > ROOM && !pairs.is_empty() {
                more = true;
                break;
            }
            size += length;
            pairs.push(status);
        }
        Response::Pairs(PairList { pairs, total: self.pairs.len(), more })
    }

    pub(super) fn foreign(
        &mut self,
        after: Option<SaId>,
        limit: usize,
    ) -> Result<Response, Refusal> {
        let mut sas: Vec<InstalledSa> = Vec::new();
        for engine in self.engines.iter_mut() {
            sas.extend(engine.list()?);
        }
        sas.retain(|sa| !self.index.contains_key(&sa.id) && after.is_none_or(|id| sa.id > id));
        sas.sort_by_key(|sa| sa.id);
        let mut size = 0;
        let fits = sas.iter().take(limit.clamp(1, PAGE)).take_while(|sa| {
            size += length(sa);
            size <= ROOM
        });
        let kept = fits.count();
        let more = sas.len() > kept;
        sas.truncate(kept);
        Ok(Response::Foreign(ForeignList { sas, more }))
    }

    pub(super) fn statistics(&mut self) -> Result<Response, Refusal> {
        let mut counters = Vec::new();
        for engine in self.engines.iter_mut() {
            let of = engine.name().to_owned();
            let values = engine.statistics()?.into_iter();
            counters.extend(values.map(|(name, value)| (of.clone(), name, value)));
        }
        Ok(Response::Statistics { counters })
    }

    /// A pair with its counters. SAs that turn out to be gone are lost, and left out.
    fn status(&mut self, name: &PairName) -> Option<PairStatus> {
        let record = self.pairs.get(name)?.clone();
        let epochs: Vec<EpochStatus> = record
            .epochs
            .iter()
            .map(|(epoch, keys)| EpochStatus {
                epoch: *epoch,
                inbound: self.sa_status(&record, *epoch, keys, Direction::Inbound),
                outbound: self.sa_status(&record, *epoch, keys, Direction::Outbound),
            })
            .filter(|epoch| epoch.inbound.is_some() || epoch.outbound.is_some())
            .collect();
        let active = self.pairs.get(name)?.active;
        Some(PairStatus { epochs, active, ..self.bare(&record) })
    }

    fn bare(&self, record: &PairRecord) -> PairStatus {
        PairStatus {
            pair: record.terms.clone(),
            epochs: Vec::new(),
            active: record.active,
            highest: record.highest,
            unguarded: self.unguarded(record),
        }
    }

    fn sa_status(
        &mut self,
        record: &PairRecord,
        epoch: Epoch,
        keys: &EpochRecord,
        direction: Direction,
    ) -> Option<SaStatus> {
        let sa = record.sa(epoch, direction).filter(|sa| sa.stage == Stage::Installed)?;
        let id = spec::sa_id(&record.terms, direction, sa.spi);
        match self.engines.named(&keys.engine).and_then(|engine| engine.usage(id)) {
            Ok(usage) => Some(shown(record, keys, sa, usage)),
            Err(error) if error.class == ErrorClass::Gone => {
                self.lose(id, &error.reason, "kernel");
                None
            }
            // It may well be there: shown without its counters.
            Err(error) => {
                tracing::warn!(%id, %error, "cannot read counters");
                Some(shown(record, keys, sa, SaUsage::default()))
            }
        }
    }
}

fn shown(record: &PairRecord, keys: &EpochRecord, sa: &SaRecord, usage: SaUsage) -> SaStatus {
    let to_soft = record.terms.lifetimes.time_to_soft(usage.age);
    SaStatus {
        spi: sa.spi,
        engine: keys.engine.clone(),
        placement: sa.placement.clone(),
        key: sa.key.0.to_string(),
        usage,
        seconds_to_soft: to_soft.map(|time| time.as_secs_f64()),
        resumed: sa.resumed,
    }
}

/// Bytes in a message, with the comma.
fn length(item: &impl serde::Serialize) -> usize {
    serde_json::to_vec(item).map_or(ROOM, |bytes| bytes.len() + 1)
}

/// At most this many in one answer, whatever their size.
const PAGE: usize = 1000;

/// Bytes for the items of a list; the rest is for what stands around them.
const ROOM: usize = MAX_MESSAGE - 4096;
