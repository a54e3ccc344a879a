//! Other programs' policies, which a pair's must not meet: a packet has one policy, so that one of
//! the two would lose traffic that it believes protected, and neither would be told.
//!
//! A policy that wants no SA and that ours is looked at before is none of those: it lets pass, or
//! blocks, what nobody protects.

use std::time::{Duration, Instant};

use crypto_offload::{InstalledPolicy, PolicyDirection, Precedence, SaPair, Selector};
use gateway_control::agent::AgentErrorCode;

use super::{Pairs, define::OUR_REQIDS};
use crate::refusal::Refusal;

/// As they were listed, for a while: thousands of pairs are defined in a row.
#[derive(Default)]
pub(super) struct Policies {
    listed: Vec<InstalledPolicy>,
    valid_until: Option<Instant>,
}

impl Pairs {
    /// A pair that has its selector already is let be: its policies may be there.
    pub(super) fn check_foreign_policies(&mut self, pair: &SaPair) -> Result<(), Refusal> {
        let selector = pair.outbound_selector();
        let known = self.pairs.get(&pair.name);
        if known.is_some_and(|known| known.terms.outbound_selector() == selector) {
            return Ok(());
        }
        self.list_foreign_policies()?;
        let meets = |policy: &&InstalledPolicy| {
            seen_by(policy.direction, selector).overlaps(&policy.selector)
        };
        let Some(other) = self.foreign.listed.iter().find(meets) else { return Ok(()) };
        let InstalledPolicy { direction, selector: theirs, detail, .. } = other;
        let direction = direction.name();
        let message =
            format!("{selector} overlaps another program's policy: {direction} {theirs}, {detail}");
        Err(Refusal::new(AgentErrorCode::Conflict, "selector", message).hint(
            "`ip xfrm policy` shows it; tell them apart by prefix, protocol or port, or remove it",
        ))
    }

    fn list_foreign_policies(&mut self) -> Result<(), Refusal> {
        let began = Instant::now();
        if self.foreign.valid_until.is_some_and(|until| began < until) {
            return Ok(());
        }
        let mut listed = Vec::new();
        for engine in self.engines.with_guard() {
            listed.extend(engine.policies()?.into_iter().filter(is_rival));
        }
        let took = began.elapsed();
        let valid_until = Some(Instant::now() + (took * LISTING_SHARE).min(LONGEST));
        self.foreign = Policies { listed, valid_until };
        Ok(())
    }
}

fn is_rival(policy: &InstalledPolicy) -> bool {
    match policy.reqid {
        Some(reqid) => !OUR_REQIDS.contains(&reqid),
        None => policy.precedence == Precedence::OverOurs,
    }
}

/// A pair's traffic as a policy of this direction looks at it.
fn seen_by(direction: PolicyDirection, outbound: Selector) -> Selector {
    match direction {
        PolicyDirection::Out => outbound,
        PolicyDirection::In | PolicyDirection::Forward => outbound.reversed(),
    }
}

/// Listing takes a tenth of the time at most.
const LISTING_SHARE: u32 = 9;
/// However slow listing is.
const LONGEST: Duration = Duration::from_secs(1);
