//! What a responder has its agent do for each request of the initiator.
//!
//! The answers follow from what the agent lists, so they survive a restart; and they are safe for
//! requests that come late, twice or in another order, as long as each side keeps to one rule: an
//! inbound SA goes only when the other side can never again send under it. A late request may
//! still cost a rotation, but no packet:
//!
//! * a late *switch* finds its outbound SA gone, because undoing retires that at once, and an agent
//!   installs an epoch's SA only once;
//! * a late *abort* takes back our own outbound traffic only; what the initiator may be sending
//!   under stays until its [status](super::Due::AskStatus) shows that it has nothing of that epoch;
//! * a late *retire* says what stays true: the initiator has no older outbound SA any more.

use super::{Action, Standing};
use crate::Epoch;

/// What an initiator asks of its peer, after the offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Send under the epoch.
    Switch,
    /// Remove every older outbound SA now, and every older inbound one after the overlap.
    Retire,
    /// Go back to what was before it.
    Abort,
}

/// Why a request cannot be answered with yes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Disagreement {
    /// It was never installed here, or undone.
    #[error("epoch {0} has no outbound SA here: it was undone, or never offered")]
    NoOutbound(Epoch),
    /// Something newer is in use.
    #[error("epoch {active} is in use here, which is newer")]
    Superseded {
        /// The newer one.
        active: Epoch,
    },
    /// What was before it is gone already.
    #[error("epoch {0} is in use here and nothing is left to go back to")]
    NoWayBack(Epoch),
}

/// For an offer that [`weigh_offer`](super::weigh_offer) took, in order. Outbound SAs of undone
/// rotations go first, so that there is one way back and no other.
///
/// An agent that refuses `InstallOutbound` because this epoch's outbound SA was there once and is
/// retired means that the offer is *stale*: the rotation was undone here.
pub fn answer_offer(epoch: Epoch, standing: &Standing) -> Vec<Action> {
    let unused = |other: &Epoch| {
        *other != epoch && Some(*other) != standing.active && standing.has_outbound(*other)
    };
    let unused = standing.epochs.keys().copied().filter(unused).map(Action::RetireOutbound);
    unused.chain([Action::Prepare(epoch), Action::InstallOutbound(epoch)]).collect()
}

/// For any other request. Nothing to do is an answer too: it was done before. Where there is a
/// `Switch` to do, a rotation of our own ends: what it would go back to is in use no more.
///
/// After a `Retire` tell [`Responder::retired`](super::Responder::retired), after an `Abort`
/// [`Responder::aborted`](super::Responder::aborted).
///
/// # Errors
/// Then nothing is to be done, and the initiator is to be told.
pub fn answer(ask: Ask, epoch: Epoch, standing: &Standing) -> Result<Vec<Action>, Disagreement> {
    match ask {
        Ask::Switch => switch(epoch, standing),
        Ask::Retire => {
            let mut actions = match standing.active {
                Some(active) if active >= epoch => Vec::new(),
                _ => switch(epoch, standing)?,
            };
            let older = standing.epochs.keys().copied().filter(|older| *older < epoch);
            let older = older.filter(|older| standing.has_outbound(*older));
            actions.extend(older.map(Action::RetireOutbound));
            Ok(actions)
        }
        Ask::Abort => abort(epoch, standing),
    }
}

fn switch(epoch: Epoch, standing: &Standing) -> Result<Vec<Action>, Disagreement> {
    match standing.active {
        Some(active) if active == epoch => Ok(Vec::new()),
        Some(active) if active > epoch => Err(Disagreement::Superseded { active }),
        _ if standing.has_outbound(epoch) => Ok(vec![Action::Switch(epoch)]),
        _ => Err(Disagreement::NoOutbound(epoch)),
    }
}

fn abort(epoch: Epoch, standing: &Standing) -> Result<Vec<Action>, Disagreement> {
    let mut actions = Vec::new();
    if standing.active == Some(epoch) {
        let before = standing
            .epochs
            .keys()
            .rev()
            .find(|before| **before < epoch && standing.has_outbound(**before));
        let before = before.ok_or(Disagreement::NoWayBack(epoch))?;
        actions.push(Action::Switch(*before));
    }
    if standing.has_outbound(epoch) {
        actions.push(Action::RetireOutbound(epoch));
    }
    Ok(actions)
}

#[cfg(test)]
mod tests {
    use super::{super::Sas, *};

    fn standing(epochs: &[(u64, Sas)], active: Option<u64>) -> Standing {
        Standing {
            epochs: epochs.iter().map(|(epoch, sas)| (Epoch(*epoch), *sas)).collect(),
            active: active.map(Epoch),
            highest: Epoch(epochs.iter().map(|(epoch, _)| *epoch).max().unwrap_or(0)),
        }
    }

    #[test]
    fn an_offer_leaves_one_way_back_and_no_outbound_sa_of_undone_rotations() {
        let left = standing(&[(1, Sas::Both), (2, Sas::Both)], Some(1));
        let expected = [
            Action::RetireOutbound(Epoch(2)),
            Action::Prepare(Epoch(3)),
            Action::InstallOutbound(Epoch(3)),
        ];
        assert_eq!(answer_offer(Epoch(3), &left), expected);
    }

    #[test]
    fn undoing_goes_back_and_makes_a_late_switch_impossible() {
        let before = standing(&[(1, Sas::Both), (2, Sas::Both)], Some(2));
        let undo = answer(Ask::Abort, Epoch(2), &before);
        let expected = vec![Action::Switch(Epoch(1)), Action::RetireOutbound(Epoch(2))];
        assert_eq!(undo, Ok(expected));
        let after = standing(&[(1, Sas::Both), (2, Sas::Inbound)], Some(1));
        let late = answer(Ask::Switch, Epoch(2), &after);
        assert_eq!(late, Err(Disagreement::NoOutbound(Epoch(2))));
        assert_eq!(answer(Ask::Abort, Epoch(2), &after), Ok(Vec::new()));
    }

    #[test]
    fn only_keys_stay_in_use_whoever_wants_to_undo_them() {
        let only = standing(&[(1, Sas::Inbound), (2, Sas::Both)], Some(2));
        let refused = answer(Ask::Abort, Epoch(2), &only);
        assert_eq!(refused, Err(Disagreement::NoWayBack(Epoch(2))));
    }

    #[test]
    fn retiring_switches_first_where_that_was_missed_and_spares_what_is_newer() {
        let behind = standing(&[(1, Sas::Both), (2, Sas::Both)], Some(1));
        let expected = vec![Action::Switch(Epoch(2)), Action::RetireOutbound(Epoch(1))];
        assert_eq!(answer(Ask::Retire, Epoch(2), &behind), Ok(expected));
        let ahead = standing(&[(2, Sas::Both), (3, Sas::Both)], Some(3));
        assert_eq!(answer(Ask::Retire, Epoch(2), &ahead), Ok(Vec::new()));
        let late = answer(Ask::Switch, Epoch(2), &ahead);
        assert_eq!(late, Err(Disagreement::Superseded { active: Epoch(3) }));
    }
}
