//! Keys that people bring: agreed on by hand, or in exchange files.
//!
//! Nobody asks the other side here, so that nothing old is retired until a packet came under the
//! new keys: only then has the other side switched. What was exported may be in use there at any
//! time, and is not undone when the rest fails here.

use std::time::Instant;

use crypto_offload::{Epoch, PairName, Spi};
use gateway_control::{
    ErrorCode, ExchangeFile, KeyOffer, ManualKeys, PairStatus, PairTerms, RotationRecord,
};

use super::Ipsec;
use super::carried::{self, Carried, Until};
use super::drive::{opened, spis};
use super::exchange::{self, Contents, FileError};
use super::operations::Progress;
use super::reply::Refusal;
use super::rotate::{busy_text, unix_milliseconds};
use super::slots::HandLease;

/// What is put in place.
struct Keys {
    epoch: Epoch,
    /// Ours, where people have agreed on it too.
    inbound: Option<KeyOffer>,
    outbound: KeyOffer,
}

/// Whether to forget the pair when its keys cannot be put in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnFailure {
    /// It was there before.
    Keep,
    /// It was defined for these keys.
    Forget,
}

/// Which epoch an export is to be for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Export {
    /// The one that the other side may not have taken up yet, where there is one.
    Waiting,
    /// A new one.
    New,
}

/// Why keys are not in place, and what is left of them.
struct Setback {
    said: String,
    left: Left,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    Nothing,
    /// What the other side may be using.
    Offered(Epoch),
}

impl Ipsec {
    /// Puts keys in place that people have agreed on.
    ///
    /// # Errors
    /// When something else is being done to the pair.
    pub(crate) fn start_manual(
        &self,
        status: &PairStatus,
        keys: ManualKeys,
        on_failure: OnFailure,
    ) -> Result<Progress, Refusal> {
        let ManualKeys { inbound, outbound } = keys;
        let keys = Keys { epoch: status.highest.next(), inbound: Some(inbound), outbound };
        self.start_by_hand(status, keys, "keys by hand", on_failure)
    }

    /// Prepares an epoch, or takes the one that is prepared, and seals its offer.
    ///
    /// # Errors
    /// When the pair has a gateway to ask, the agent refuses, or the recipient is none.
    pub(crate) async fn export(
        &self,
        name: &PairName,
        recipient: &str,
        which: Export,
    ) -> Result<ExchangeFile, Refusal> {
        let status = self.pair_by_hand(name).await?;
        let _lease = self.hand_lease(name)?;
        let waiting = waiting(&status).filter(|_| which == Export::Waiting);
        let epoch = waiting.unwrap_or_else(|| status.highest.next());
        // A key that is none is refused before anything is prepared for it.
        exchange::check_key(recipient).map_err(|error| wrong_file(name, &error))?;
        let (offer, _) = self.agent().prepare(name, epoch, None).await?;
        let contents = Contents { terms: PairTerms::of(&status.pair), offer };
        let file = exchange::seal(self.exchange(), recipient, name, epoch, &contents);
        let file = file.map_err(|error| wrong_file(name, &error))?;
        let again = waiting.is_some_and(|epoch| status.active == Some(epoch));
        Ok(ExchangeFile { epoch, file, again })
    }

    /// Takes the peer's file, and switches to its epoch.
    ///
    /// # Errors
    /// When the file is wrong, saying in what.
    pub(crate) async fn start_import(
        &self,
        name: &PairName,
        file: &str,
        sender: &str,
    ) -> Result<Progress, Refusal> {
        let status = self.pair_by_hand(name).await?;
        let opened = exchange::open(self.exchange(), sender, name, file);
        let (epoch, contents) = opened.map_err(|error| wrong_file(name, &error))?;
        super::respond::check_terms(&status, &contents.terms)?;
        if status.epoch(epoch).is_none() && epoch <= status.highest {
            let highest = status.highest;
            let message =
                format!("the file is for epoch {epoch}, and this side has had epoch {highest}");
            let hint = "export here first, and have the other side import that and export again";
            return Err(Refusal::new(ErrorCode::WrongFile, name.as_str(), message, hint));
        }
        if let Some(active) = status.active.filter(|active| epoch < *active) {
            // Its keys may still be there for the overlap: a file played back must not bring
            // traffic back to them.
            let message = format!("the file is for epoch {epoch}, and epoch {active} is in use");
            let hint = "import the newest file; to have new keys, export here";
            return Err(Refusal::new(ErrorCode::WrongFile, name.as_str(), message, hint));
        }
        let keys = Keys { epoch, inbound: None, outbound: contents.offer };
        self.start_by_hand(&status, keys, "exchange file", OnFailure::Keep)
    }

    async fn pair_by_hand(&self, name: &PairName) -> Result<PairStatus, Refusal> {
        let status = self.agent().show(name).await?;
        match &status.pair.peer {
            None => Ok(status),
            Some(peer) => Err(Refusal::new(
                ErrorCode::Invalid,
                name.as_str(),
                format!("its keys come from its peer {peer}"),
                "keymgr sa rotate",
            )),
        }
    }

    fn hand_lease(&self, name: &PairName) -> Result<HandLease, Refusal> {
        self.slots().lease_by_hand(name).map_err(|busy| {
            let said = busy_text(&busy);
            Refusal::new(ErrorCode::Conflict, name.as_str(), said, "ask again when it is over")
        })
    }

    fn start_by_hand(
        &self,
        status: &PairStatus,
        keys: Keys,
        why: &'static str,
        on_failure: OnFailure,
    ) -> Result<Progress, Refusal> {
        let lease = self.hand_lease(&status.pair.name)?;
        let progress = self.operations().start([status.pair.name.clone()]);
        let (ipsec, before, told) = (self.clone(), status.clone(), progress.clone());
        tokio::spawn(async move {
            let name = &before.pair.name;
            match ipsec.put_in_place(&before, keys, why, &told).await {
                Ok(record) => told.done(name, Some(record)),
                Err(setback) => {
                    let forgotten = match on_failure {
                        OnFailure::Forget => ipsec.agent().undefine(name).await.is_ok(),
                        OnFailure::Keep => false,
                    };
                    let stands = match (forgotten, before.active) {
                        (true, _) => "the pair is not defined, as before".to_owned(),
                        (false, Some(epoch)) => format!("epoch {epoch} stands, as before"),
                        (false, None) => "the pair has no keys, as before".to_owned(),
                    };
                    let Setback { said, left } = setback;
                    let told_left = match left {
                        Left::Nothing => "undone".to_owned(),
                        Left::Offered(epoch) => format!(
                            "epoch {epoch} stays open for what the other side may send, import again"
                        ),
                    };
                    told.failed(name, &format!("{said}; {told_left}: {stands}"));
                }
            }
            drop(lease);
        });
        Ok(progress)
    }

    async fn put_in_place(
        &self,
        before: &PairStatus,
        keys: Keys,
        why: &str,
        progress: &Progress,
    ) -> Result<RotationRecord, Setback> {
        let (name, began, epoch) = (&before.pair.name, Instant::now(), keys.epoch);
        let exported = keys.inbound.is_none() && before.epoch(epoch).is_some();
        let installed = self.install(before, keys, progress).await;
        let (inbound, outbound) = match installed {
            Ok(spis) => spis,
            Err(said) if exported => {
                return Err(Setback { said, left: Left::Offered(epoch) });
            }
            Err(error) => {
                let undone = self.agent().discard(name, epoch).await;
                let undone = undone.err().map(|error| format!("; undoing it: {error}"));
                let said = format!("{error}{}", undone.unwrap_or_default());
                return Err(Setback { said, left: Left::Nothing });
            }
        };
        let from = before.active.filter(|active| *active != epoch);
        let record = RotationRecord {
            time: unix_milliseconds(),
            name: name.clone(),
            who: "operator".to_owned(),
            why: why.to_owned(),
            from,
            to: epoch,
            old_spis: from.and_then(|from| spis(before, from)),
            new_spis: (inbound, outbound),
            seconds: began.elapsed().as_secs_f64(),
            // The other side's count is nobody's to know here.
            lost: if from.is_none() { Some(0) } else { None },
        };
        // The old keys go when a packet has come under the new ones.
        self.tell_rotated(record.clone());
        Ok(record)
    }

    async fn install(
        &self,
        before: &PairStatus,
        keys: Keys,
        progress: &Progress,
    ) -> Result<(Spi, Spi), String> {
        let Keys { epoch, inbound, outbound } = keys;
        let (name, spi) = (&before.pair.name, outbound.spi);
        progress.step(name, "prepare");
        let prepared = self.agent().prepare(name, epoch, inbound).await;
        let (ours, _) = prepared.map_err(|error| format!("prepare: {error}"))?;
        let carried =
            Carried { ipsec: self, name, offer: Some(outbound), progress: Some(progress) };
        carried.run(carried::start(before, epoch), Until::Switched).await?;
        Ok((ours.spi, spi))
    }
}

/// The epoch whose offer the other side may not have: prepared, or in use on this side alone, since
/// no packet has come under it yet.
fn waiting(status: &PairStatus) -> Option<Epoch> {
    let newest = status.epochs.last()?;
    (opened(status, newest.epoch) == 0).then_some(newest.epoch)
}

fn wrong_file(name: &PairName, error: &FileError) -> Refusal {
    let hint = match error {
        FileError::Key("recipient") => {
            "give --to what `keymgr sa identity` prints at the other gateway"
        }
        FileError::Key(_) | FileError::Sender { .. } => {
            "give --from what `keymgr sa identity` prints at the gateway that wrote the file"
        }
        FileError::Pair { .. } => "name the pair that the file is for, or take its own file",
        FileError::Recipient { .. } => {
            "have the other side export again, to the key that `keymgr sa identity` prints here"
        }
        FileError::Form(_) | FileError::Seal => {
            "have the file sent again as it was written, or the other side export again"
        }
    };
    Refusal::new(ErrorCode::WrongFile, name.as_str(), error.to_string(), hint)
}
