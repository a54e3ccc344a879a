//! Each request to the agent with the answer that belongs to it.

use crypto_offload::{Capabilities, Effective, Epoch, PairName, SaId, SaPair};
use gateway_control::agent::{Request, Response};
use gateway_control::{ForeignList, KeyOffer, PairList, PairStatus, PlanReport};

use super::{Agent, AskError};

/// The answer that a request has, or that there was another.
macro_rules! answer {
    ($agent:expr, $request:expr, $expected:pat => $value:expr) => {
        match $agent.ask(&$request).await? {
            $expected => Ok($value),
            _ => Err(AskError::Absent("it answered something else than was asked".to_owned())),
        }
    };
}

type Asked<T> = Result<T, AskError>;

impl Agent {
    /// Asks the engines again what they can do.
    pub(crate) async fn probe(&self) -> Asked<Vec<(String, Capabilities)>> {
        answer!(self, Request::Probe, Response::Capabilities { engines } => engines)
    }

    /// What the engines could do when they were last asked.
    pub(crate) async fn capabilities(&self) -> Asked<Vec<(String, Capabilities)>> {
        answer!(self, Request::Capabilities, Response::Capabilities { engines } => engines)
    }

    /// Where a pair's SAs would go.
    pub(crate) async fn plan(&self, pair: SaPair) -> Asked<PlanReport> {
        let pair = Box::new(pair);
        answer!(self, Request::Plan { pair }, Response::Plan(report) => report)
    }

    /// Defines a pair, or changes it.
    pub(crate) async fn define(&self, pair: SaPair) -> Asked<PairStatus> {
        let pair = Box::new(pair);
        answer!(self, Request::Define { pair }, Response::Pair(status) => *status)
    }

    /// Forgets a pair with its SAs.
    pub(crate) async fn undefine(&self, name: &PairName) -> Asked<()> {
        let name = name.clone();
        answer!(self, Request::Undefine { name }, Response::Done => ())
    }

    /// Installs the inbound SA of an epoch, with the keys given or new ones.
    pub(crate) async fn prepare(
        &self,
        name: &PairName,
        epoch: Epoch,
        given: Option<KeyOffer>,
    ) -> Asked<(KeyOffer, Effective)> {
        let request = Request::Prepare { name: name.clone(), epoch, given };
        answer!(self, request, Response::Prepared { offer, placement } => (offer, placement))
    }

    /// Installs the outbound SA of an epoch, unused.
    pub(crate) async fn install_outbound(
        &self,
        name: &PairName,
        epoch: Epoch,
        offer: KeyOffer,
    ) -> Asked<Effective> {
        let request = Request::InstallOutbound { name: name.clone(), epoch, offer };
        answer!(self, request, Response::Installed { placement } => placement)
    }

    /// Sends through this epoch's SA from now on.
    pub(crate) async fn switch(&self, name: &PairName, epoch: Epoch) -> Asked<()> {
        let request = Request::Switch { name: name.clone(), epoch };
        answer!(self, request, Response::Done => ())
    }

    /// Removes an outbound SA; packets that it sealed.
    pub(crate) async fn retire_outbound(
        &self,
        name: &PairName,
        epoch: Epoch,
    ) -> Asked<Option<u64>> {
        let request = Request::RetireOutbound { name: name.clone(), epoch };
        answer!(self, request, Response::Retired { packets } => packets)
    }

    /// Removes an inbound SA; packets that it opened.
    pub(crate) async fn retire_inbound(&self, name: &PairName, epoch: Epoch) -> Asked<Option<u64>> {
        let request = Request::RetireInbound { name: name.clone(), epoch };
        answer!(self, request, Response::Retired { packets } => packets)
    }

    /// Removes both SAs of an epoch that is not active.
    pub(crate) async fn discard(&self, name: &PairName, epoch: Epoch) -> Asked<()> {
        let request = Request::Discard { name: name.clone(), epoch };
        answer!(self, request, Response::Done => ())
    }

    /// A page of pairs.
    pub(crate) async fn list(&self, after: Option<PairName>, limit: usize) -> Asked<PairList> {
        answer!(self, Request::List { after, limit }, Response::Pairs(pairs) => pairs)
    }

    /// One pair.
    pub(crate) async fn show(&self, name: &PairName) -> Asked<PairStatus> {
        let name = name.clone();
        answer!(self, Request::Show { name }, Response::Pair(status) => *status)
    }

    /// A page of SAs that are not ours.
    pub(crate) async fn foreign(&self, after: Option<SaId>, limit: usize) -> Asked<ForeignList> {
        answer!(self, Request::Foreign { after, limit }, Response::Foreign(list) => list)
    }

    /// Engine, name and value of the engines' counters.
    pub(crate) async fn statistics(&self) -> Asked<Vec<(String, String, u64)>> {
        answer!(self, Request::Statistics, Response::Statistics { counters } => counters)
    }

    /// Every pair, page by page.
    pub(crate) async fn every_pair(&self) -> Asked<Vec<PairStatus>> {
        let mut pairs: Vec<PairStatus> = Vec::new();
        loop {
            let after = pairs.last().map(|status| status.pair.name.clone());
            let mut page = self.list(after, PAGE).await?;
            let more = page.more && !page.pairs.is_empty();
            pairs.append(&mut page.pairs);
            if !more {
                return Ok(pairs);
            }
        }
    }
}

/// The agent answers with as many as fit into a message.
pub(crate) const PAGE: usize = 1000;
