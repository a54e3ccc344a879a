//! What engines tell by themselves: limits, SAs that are gone, devices that came and went.

use std::collections::BTreeMap;

use crypto_offload::{Direction, EngineEvent, InstalledSa, SaId};
use crypto_offload_xfrm::reconcile::{self, Moved, Wanted};
use gateway_control::EventKind;

use super::{Pairs, sas, spec};
use crate::{
    events::News,
    state::{Durability, PairRecord, Stage},
};

impl Pairs {
    /// Takes in what happened since the last time.
    pub fn watch(&mut self) {
        let mut news = Vec::new();
        for engine in self.engines.iter_mut() {
            match engine.events() {
                Ok(events) => news.extend(events.into_iter().map(|event| (engine.name(), event))),
                Err(error) => tracing::warn!(engine = engine.name(), %error, "events are lost"),
            }
        }
        for (engine, event) in news {
            self.take_in(engine, event);
        }
    }

    fn take_in(&mut self, engine: &'static str, event: EngineEvent) {
        match event {
            EngineEvent::HardLimit(id) | EngineEvent::Removed(id)
                if !self.index.contains_key(&id) =>
            {
                self.foreign_sa(id, "there", "gone");
            }
            EngineEvent::SoftLimit(id) => self.rotation_due(id),
            EngineEvent::HardLimit(id) => self.lose(id, "its hard limit was reached", "kernel"),
            EngineEvent::Removed(id) => self.lose(id, "somebody removed it", "operator"),
            EngineEvent::Foreign(id) if self.index.contains_key(&id) => {
                tracing::warn!(%id, engine, "another program changed an SA of ours");
            }
            EngineEvent::Foreign(id) => self.foreign_sa(id, "", "there"),
            EngineEvent::DeviceDown(device) => {
                let reason = format!("device {device} went down");
                self.events.push(News {
                    kind: EventKind::PlacementFallback,
                    object: device,
                    from: "up".to_owned(),
                    to: "down".to_owned(),
                    reason: "its engine lost its SAs; new ones go to the next place".to_owned(),
                    owner: "kernel",
                });
                self.reconcile(engine, &reason);
                self.probe_quietly(engine);
            }
            EngineEvent::DeviceUp(device) => {
                tracing::info!(device, engine, "a device may take SAs");
                self.avoid.clear();
                self.probe_quietly(engine);
            }
            EngineEvent::Resync => self.reconcile(engine, "it was gone after events were lost"),
        }
    }

    /// Compares what we believe an engine has with what it has.
    fn reconcile(&mut self, name: &'static str, reason: &str) {
        let list = match self.engines.named(name).and_then(|engine| engine.list()) {
            Ok(list) => list,
            Err(error) => {
                tracing::warn!(engine = name, %error, "cannot list SAs");
                return;
            }
        };
        let wanted = self.wanted(name);
        let reqids = self.pairs.values().map(|pair| pair.reqid.0.get()).collect();
        let differences = reconcile::reconcile(&wanted, &reqids, &list);
        for id in differences.missing.into_iter().chain(differences.replaced) {
            self.lose(id, reason, "kernel");
        }
        for moved in differences.moved {
            self.moved(&moved, reason);
        }
    }

    /// What an engine should have.
    fn wanted(&self, engine: &str) -> Vec<Wanted> {
        let at = |record: &PairRecord, epoch| record.engine_of(epoch) == engine;
        let of = |record: &PairRecord| -> Vec<Wanted> {
            sas(record)
                .filter(|(epoch, _, sa)| at(record, *epoch) && sa.stage == Stage::Installed)
                .map(|(_, direction, sa)| Wanted {
                    id: spec::sa_id(&record.terms, direction, sa.spi),
                    reqid: record.reqid.0.get(),
                    fingerprint: sa.key.0,
                    placement: sa.placement.effective,
                })
                .collect()
        };
        self.pairs.values().flat_map(of).collect()
    }

    /// An SA goes on in another place.
    fn moved(&mut self, moved: &Moved, reason: &str) {
        let Some(whose) = self.index.get(&moved.id).cloned() else { return };
        let Some(mut record) = self.pairs.get(&whose.name).cloned() else { return };
        let Some(sa) = record.sa_mut(whose.epoch, whose.direction) else { return };
        sa.placement.effective = moved.to;
        sa.placement.reason = Some(reason.to_owned());
        if let Err(error) = self.commit(record, Vec::new(), Durability::Process) {
            tracing::error!(%error, "cannot write where an SA is");
        }
        self.events.push(News {
            kind: EventKind::PlacementFallback,
            object: format!("{} epoch {} {}", whose.name, whose.epoch, moved.id),
            from: moved.from.to_string(),
            to: moved.to.to_string(),
            reason: reason.to_owned(),
            owner: "kernel",
        });
    }

    /// An SA is gone. Its policy stays: what was protected does not go out in clear.
    pub(super) fn lose(&mut self, id: SaId, reason: &str, owner: &'static str) {
        let Some(whose) = self.index.get(&id).cloned() else { return };
        let Some(mut record) = self.pairs.get(&whose.name).cloned() else { return };
        let before = record.clone();
        record.take_sa(whose.epoch, whose.direction);
        if whose.direction == Direction::Outbound && record.active == Some(whose.epoch) {
            record.active = None;
        }
        if let Err(error) = self.commit(record, Vec::new(), Durability::Process) {
            tracing::error!(%id, %error, "cannot write that an SA is gone");
            return;
        }
        self.settle_guard(&before);
        self.events.push(News {
            kind: EventKind::SaLost,
            object: whose.name.to_string(),
            from: format!("epoch {} {id}", whose.epoch),
            to: "gone".to_owned(),
            reason: reason.to_owned(),
            owner,
        });
    }

    /// Told and let be.
    fn foreign_sa(&self, id: SaId, from: &str, to: &str) {
        self.events.push(News {
            kind: EventKind::SaForeign,
            object: id.to_string(),
            from: from.to_owned(),
            to: to.to_owned(),
            reason: "it is another program's: listed, never touched".to_owned(),
            owner: "operator",
        });
    }

    fn rotation_due(&mut self, id: SaId) {
        let Some(whose) = self.index.get(&id) else { return };
        self.events.push(News {
            kind: EventKind::SaRotationDue,
            object: whose.name.to_string(),
            from: format!("epoch {} {id}", whose.epoch),
            to: "soft limit".to_owned(),
            reason: "the SA passed a soft limit of its pair".to_owned(),
            owner: "kernel",
        });
    }

    fn probe_quietly(&mut self, name: &'static str) {
        let probed = self.engines.named(name).and_then(|engine| engine.probe());
        if let Err(error) = probed {
            tracing::warn!(engine = name, %error, "cannot find out what the engine can do");
        }
    }
}

pub(super) fn by_id(listed: Vec<InstalledSa>) -> BTreeMap<SaId, InstalledSa> {
    listed.into_iter().map(|sa| (sa.id, sa)).collect()
}
