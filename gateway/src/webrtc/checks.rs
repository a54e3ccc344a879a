//! ICE of a leg: what its plan asks of the agent, and the path that the agent found.
//!
//! The agent judges; here its words are put together to an [`IcePath`] for the worker, and told to
//! control where they matter. A path is told as soon as there is a valid pair, before one is
//! selected, so that DTLS need not wait. A restart keeps the old path until the new one works.

use std::net::SocketAddr;
use std::time::Instant;

use ng::sdp::Candidate;
use webrtc::ice::{
    self, Agent, AgentError, Implementation, LocalCandidate, Output, RemoteParameters, Restart,
    Role, Seed, Settings,
};

use super::effect::Effect;
use super::leg::Datagram;
use super::plan::{IceAgent, IcePlan, IceRole, LegNewsKind};
use crate::relay::command::IcePath;
use crate::relay::uplink::Component;

/// See the module's documentation.
pub(super) struct Checks {
    plan: IcePlan,
    agent: Agent,
    path: IcePath,
    /// The best valid pair's remote address, by component.
    valid: [Option<SocketAddr>; 2],
    /// The worker has this.
    told: IcePath,
    /// Control was told that there is a path, or that there is none.
    connected: Option<bool>,
    selected_local: [Option<SocketAddr>; 2],
    locals: Locals,
    /// RTCP has no component of its own.
    muxed: bool,
    deadline: Option<Instant>,
}

/// Our sockets' addresses, by component.
pub(super) type Locals = [Option<SocketAddr>; 2];

impl Checks {
    /// An agent as planned, on these sockets.
    pub(super) fn new(
        plan: IcePlan,
        locals: Locals,
        muxed: bool,
        seed: Seed,
        now: Instant,
    ) -> Result<Self, AgentError> {
        let used = [Component::Rtp, Component::Rtcp].into_iter().take(if muxed { 1 } else { 2 });
        let candidates = used.filter_map(|component| candidate(component, locals)).collect();
        let settings = Settings {
            implementation: plan.agent.into(),
            role: plan.role.into(),
            local: plan.local.clone(),
            candidates,
            seed,
        };
        let agent = Agent::new(settings, now)?;
        let (path, told) = (IcePath::default(), IcePath::default());
        let blank =
            IcePlan { remote: None, candidates: Vec::new(), complete: false, ..plan.clone() };
        let mut checks = Self {
            plan: blank,
            agent,
            path,
            valid: [None; 2],
            told,
            connected: None,
            selected_local: [None; 2],
            locals,
            muxed,
            deadline: None,
        };
        checks.update(plan, muxed, now)?;
        Ok(checks)
    }

    /// A changed plan: whatever is new in it goes to the agent, in the order of signalling.
    pub(super) fn update(
        &mut self,
        plan: IcePlan,
        muxed: bool,
        now: Instant,
    ) -> Result<(), AgentError> {
        let mut problem = Ok(());
        let mut known = std::mem::replace(&mut self.plan, plan.clone());
        if muxed && !self.muxed {
            self.agent.use_one_component(now);
            self.muxed = true;
            self.path.components[Component::Rtcp as usize] = Default::default();
        }
        let restarted = plan.local != known.local;
        if restarted {
            let (implementation, role) = (plan.agent.into(), plan.role.into());
            self.agent.restart(Restart { implementation, local: plan.local, role }, now)?;
            known = IcePlan { remote: None, candidates: Vec::new(), complete: false, ..known };
        }
        // Without a restart it is used where there is something to reach.
        if self.muxed && !muxed && (restarted || plan.candidates.iter().any(is_of_rtcp)) {
            self.agent.use_two_components(candidate(Component::Rtcp, self.locals), now)?;
            self.muxed = false;
            known.candidates.retain(|one| !is_of_rtcp(one));
        }
        if let Some(credentials) = plan.remote.filter(|new| known.remote.as_ref() != Some(new)) {
            let implementation = plan.peer.into();
            self.agent.set_remote(RemoteParameters { credentials, implementation }, now)?;
            if known.remote.is_some() {
                known.candidates.clear();
            }
        }
        for candidate in plan.candidates.iter().filter(|one| !known.candidates.contains(one)) {
            // One that is of no use leaves the others as good as they are.
            if let Err(error) = self.agent.add_candidate(candidate, now) {
                problem = Err(error);
            }
        }
        if plan.complete && !known.complete {
            self.agent.end_of_candidates(now);
        }
        match problem {
            // Told by the agent's counters and its end, if it comes to that.
            Err(AgentError::Candidate | AgentError::TooMany) | Ok(()) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// A STUN message; `Err`: it changed nothing, and the agent counts why.
    pub(super) fn receive(
        &mut self,
        message: Datagram<'_>,
        now: Instant,
    ) -> Result<(), ice::Refusal> {
        let Datagram { component, local, source, bytes } = message;
        self.agent.receive(component.into(), local, source, bytes, now)
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.agent.handle_timeout(now);
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    pub(super) fn state(&self) -> ice::State {
        self.agent.state()
    }

    pub(super) fn counters(&self) -> &ice::Counters {
        self.agent.counters()
    }

    /// Where the party can be reached: the selected pair, or else the best valid one.
    pub(super) fn destination(&self) -> Option<SocketAddr> {
        let rtp = Component::Rtp as usize;
        self.path.components[rtp].destination.or(self.valid[rtp])
    }

    /// Takes what the agent has to say. What is to be sent comes last: a party whose check is
    /// answered sends media at once, and the worker must know the path before it does.
    pub(super) fn drain(&mut self, out: &mut Vec<Effect>) {
        let mut answers = Vec::new();
        let mut failed = false;
        loop {
            match self.agent.poll() {
                Output::Transmit(transmit) => answers.push(Effect::Send {
                    component: transmit.component.into(),
                    to: transmit.to,
                    bytes: transmit.bytes.into_vec(),
                }),
                Output::Valid { component, sources, heard } => {
                    self.valid[component.index()] = sources.first().copied();
                    // The best first: of more than the worker keeps the last are let go.
                    let all = sources.into_iter().chain(heard);
                    self.path.components[component.index()].sources = all.collect();
                }
                Output::Selected { component, local, remote } => {
                    self.path.components[component.index()].destination = Some(remote);
                    self.selected_local[component.index()] = Some(local);
                    self.tell_path(out);
                    self.tell_connected(out);
                }
                // What is still valid, of the session before a restart, is said after it.
                Output::Failed => failed = true,
                Output::ConsentLost => {
                    for component in &mut self.path.components {
                        component.destination = None;
                    }
                    self.tell_path(out);
                    self.tell_disconnected(NO_CONSENT, out);
                }
                Output::Timeout(deadline) => {
                    self.deadline = deadline;
                    break;
                }
            }
        }
        if failed {
            self.fall_back(out);
        }
        self.tell_path(out);
        out.append(&mut answers);
    }

    /// No pair works under the latest credentials. A party that restarted in vain is where it was
    /// before, as long as it consents there; control has forgotten that pair with the restart.
    fn fall_back(&mut self, out: &mut Vec<Effect>) {
        for component in &mut self.path.components {
            let is_valid = |at: &SocketAddr| component.sources.contains(at);
            let valid = component.destination.filter(is_valid);
            component.destination = valid.or_else(|| component.sources.first().copied());
        }
        match self.ends() {
            Some((local, remote)) => {
                self.connected = Some(true);
                out.push(Effect::News(LegNewsKind::Connected { local, remote }));
            }
            None => self.tell_disconnected(NO_PAIR, out),
        }
    }

    fn tell_path(&mut self, out: &mut Vec<Effect>) {
        if self.told != self.path {
            self.told.clone_from(&self.path);
            let generation = self.plan.generation;
            out.push(Effect::Path { generation, path: self.path.clone() });
        }
    }

    fn tell_connected(&mut self, out: &mut Vec<Effect>) {
        let whole = ice::State::Connected == self.agent.state();
        if let Some((local, remote)) = self.ends().filter(|_| whole) {
            self.connected = Some(true);
            out.push(Effect::News(LegNewsKind::Connected { local, remote }));
        }
    }

    /// The pair in use: ours and the party's.
    fn ends(&self) -> Option<(SocketAddr, SocketAddr)> {
        let rtp = Component::Rtp as usize;
        self.selected_local[rtp].zip(self.path.components[rtp].destination)
    }

    fn tell_disconnected(&mut self, reason: &'static str, out: &mut Vec<Effect>) {
        if self.connected != Some(false) {
            self.connected = Some(false);
            out.push(Effect::News(LegNewsKind::Disconnected { reason }));
        }
    }
}

/// Ours, where there is a socket.
fn candidate(component: Component, locals: Locals) -> Option<LocalCandidate> {
    let address = locals[component as usize]?;
    Some(LocalCandidate { component: component.into(), address, preference: u16::MAX })
}

fn is_of_rtcp(candidate: &Candidate) -> bool {
    ice::Component::from_number(candidate.component) == Some(ice::Component::Rtcp)
}

/// RFC 8445 section 8.1.2.
const NO_PAIR: &str = "ICE: no pair of candidates works";

/// RFC 7675 section 5.1.
const NO_CONSENT: &str = "ICE: the party's consent was lost";

impl From<IceAgent> for Implementation {
    fn from(agent: IceAgent) -> Self {
        match agent {
            IceAgent::Full => Self::Full,
            IceAgent::Lite => Self::Lite,
        }
    }
}

impl From<IceRole> for Role {
    fn from(role: IceRole) -> Self {
        match role {
            IceRole::Controlling => Self::Controlling,
            IceRole::Controlled => Self::Controlled,
        }
    }
}

impl From<Component> for ice::Component {
    fn from(component: Component) -> Self {
        match component {
            Component::Rtp => Self::Rtp,
            Component::Rtcp => Self::Rtcp,
        }
    }
}

impl From<ice::Component> for Component {
    fn from(component: ice::Component) -> Self {
        match component {
            ice::Component::Rtp => Self::Rtp,
            ice::Component::Rtcp => Self::Rtcp,
        }
    }
}
