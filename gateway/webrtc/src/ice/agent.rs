//! The interface: one stream's ICE agent. Owns the session in force and, after a restart, the one
//! before it, which goes on carrying media until the new one has its pairs.
//!
//! After each call, [`Agent::poll`] until [`Output::Timeout`].

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use ng::sdp::{Candidate, IceCredentials};

use super::candidate::{Component, LocalCandidate};
use super::credentials::Credentials;
use super::limits::{LINGER, MAX_MESSAGE, MAX_VALID_SOURCES};
use super::random::Random;
use super::refusal::{Counters, Refusal};
use super::session::{Arrival, Context, Remote, Session};
use super::stun::{Class, Message, Unreadable};
use super::words::{
    AgentError, Implementation, Output, RemoteParameters, Restart, Role, Settings, State,
};

/// An ICE agent of one stream.
pub struct Agent {
    /// Of the session in force; the one before may differ.
    implementation: Implementation,
    locals: Vec<LocalCandidate>,
    random: Random,
    counters: Counters,
    out: VecDeque<Output>,
    session: Box<Session>,
    /// The session before the restart.
    previous: Option<Box<Previous>>,
    /// What was last said to be valid.
    told: [Told; 2],
}

/// Where a component's media may come from.
#[derive(Clone, Default, PartialEq, Eq)]
struct Told {
    sources: Vec<SocketAddr>,
    heard: Vec<SocketAddr>,
}

/// A session that a restart replaces.
struct Previous {
    session: Session,
    /// Set once the new one has its pairs; `None`: this one carries the media.
    until: Option<Instant>,
}

impl Agent {
    /// An agent that answers checks at once, and begins its own with [`Agent::set_remote`].
    ///
    /// # Errors
    /// [`AgentError::Credentials`], [`AgentError::TooMany`].
    pub fn new(settings: Settings, now: Instant) -> Result<Self, AgentError> {
        let Settings { implementation, role, local, mut candidates, seed } = settings;
        if candidates.len() > MAX_LOCAL {
            return Err(AgentError::TooMany);
        }
        // RTP's first: dropping RTCP's then moves none.
        candidates.sort_by_key(|candidate| candidate.component);
        let mut random = Random::new(seed);
        let mut out = VecDeque::new();
        let mut counters = Counters::default();
        let mut context = Context {
            now,
            locals: &candidates,
            random: &mut random,
            out: &mut out,
            counters: &mut counters,
        };
        let local = Credentials::new(local)?;
        let session = Box::new(Session::new(implementation, role, local, &mut context));
        let told = Default::default();
        let locals = candidates;
        Ok(Self { implementation, locals, random, counters, out, session, previous: None, told })
    }

    /// Takes the party's credentials: checks begin, with the candidates so far. The same again
    /// change nothing; others are another party's answer (a forked call) and begin anew under our
    /// credentials.
    ///
    /// # Errors
    /// [`AgentError::Credentials`], [`AgentError::ReusedCredentials`].
    pub fn set_remote(&mut self, remote: RemoteParameters, now: Instant) -> Result<(), AgentError> {
        let RemoteParameters { credentials: said, implementation } = remote;
        if self.session.local.share(&said) || self.previous_remote_shares(&said) {
            return Err(AgentError::ReusedCredentials);
        }
        let known = self.session.remote.as_ref();
        if known.is_some_and(|known| known.credentials.are(&said)) {
            return Ok(());
        }
        let credentials = Credentials::new(said)?;
        if self.session.remote.is_some() {
            let local = self.session.local.dangerous_duplicate();
            self.replace_session(local, self.session.role, now);
        }
        let remote = Remote { credentials, implementation };
        self.with_session(now, |session, context| session.start(remote, context));
        self.advance(now);
        Ok(())
    }

    /// Takes a candidate of the party's, in SDP or trickled, before or after its credentials.
    /// Such as serve no purpose any more are passed over.
    ///
    /// # Errors
    /// [`AgentError::Candidate`], [`AgentError::TooMany`]: this one is left out, nothing else.
    pub fn add_candidate(&mut self, candidate: &Candidate, now: Instant) -> Result<(), AgentError> {
        if !self.session.takes_candidates() {
            return Ok(());
        }
        self.session.add_remote(candidate, &self.locals)?;
        self.advance(now);
        Ok(())
    }

    /// The party will name no more candidates (RFC 8838 section 14): shortens the wait for failure.
    pub fn end_of_candidates(&mut self, now: Instant) {
        self.session.complete = true;
        self.advance(now);
    }

    /// Begins anew under other credentials of ours (RFC 8445 section 9); the party's, which must be
    /// other ones too, follow by [`Agent::set_remote`]. A selected path stays in use until every
    /// component has a new one, and for five seconds beside it.
    ///
    /// # Errors
    /// [`AgentError::Credentials`], [`AgentError::ReusedCredentials`].
    pub fn restart(&mut self, restart: Restart, now: Instant) -> Result<(), AgentError> {
        let Restart { implementation, local, role } = restart;
        let previous = self.previous.as_ref();
        if self.session.local.share(&local)
            || previous.is_some_and(|previous| previous.session.local.share(&local))
        {
            return Err(AgentError::ReusedCredentials);
        }
        let local = Credentials::new(local)?;
        self.implementation = implementation;
        self.replace_session(local, role, now);
        self.advance(now);
        Ok(())
    }

    /// All of the party's media use the RTP component from now on (rtcp-mux was agreed, RFC 5761
    /// section 5.1.1): RTCP's candidates and pairs are gone.
    pub fn use_one_component(&mut self, now: Instant) {
        self.locals.retain(|local| local.component == Component::Rtp);
        let left = self.locals.len();
        self.session.drop_component(Component::Rtcp, left);
        if let Some(previous) = &mut self.previous {
            previous.session.drop_component(Component::Rtcp, left);
        }
        self.advance(now);
    }

    /// The party has RTCP apart again: `candidates`, our own of that component, are checked and
    /// answered on. What RTP has goes on, and RTCP's end alone, if it finds no way, is no failure
    /// of a session that is connected. Where there are two components it changes nothing.
    ///
    /// # Errors
    /// [`AgentError::TooMany`].
    pub fn use_two_components(
        &mut self,
        candidates: impl IntoIterator<Item = LocalCandidate>,
        now: Instant,
    ) -> Result<(), AgentError> {
        let rtcp = |local: &LocalCandidate| local.component == Component::Rtcp;
        if self.locals.iter().any(rtcp) {
            return Ok(());
        }
        let known = self.locals.len();
        self.locals.extend(candidates.into_iter().filter(rtcp));
        if self.locals.len() > MAX_LOCAL {
            self.locals.truncate(known);
            return Err(AgentError::TooMany);
        }
        if self.locals.len() > known {
            self.session.add_component(Component::Rtcp, now);
            if let Some(previous) = &mut self.previous {
                previous.session.add_component(Component::Rtcp, now);
            }
        }
        self.advance(now);
        Ok(())
    }

    /// Takes a datagram that came to `local`, the address a candidate of ours is bound to.
    ///
    /// # Errors
    /// [`Refusal`]: it changed nothing, and is counted.
    pub fn receive(
        &mut self,
        component: Component,
        local: SocketAddr,
        source: SocketAddr,
        bytes: &[u8],
        now: Instant,
    ) -> Result<(), Refusal> {
        let taken = self.take(component, local, source, bytes, now);
        match taken {
            // A flood of these costs as little as can be: nothing is looked through for them.
            Err(refusal) => self.counters.refuse(refusal),
            Ok(Class::Indication) => {}
            Ok(_) => self.advance(now),
        }
        taken.map(drop)
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.advance(now);
    }

    /// What is wanted next; [`Output::Timeout`] once there is no more.
    pub fn poll(&mut self) -> Output {
        if let Some(output) = self.out.pop_front() {
            return output;
        }
        self.out.shrink_to(0);
        let previous = self.previous.as_ref();
        let of_previous = previous.and_then(|previous| match previous.until {
            Some(until) => Some(until),
            None => previous.session.deadline(),
        });
        Output::Timeout(self.session.deadline().into_iter().chain(of_previous).min())
    }

    /// Where the session in force stands.
    pub fn state(&self) -> State {
        self.session.state
    }

    /// Our role now; a conflict may have changed it.
    pub fn role(&self) -> Role {
        self.session.role
    }

    /// What the agent did so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    fn take(
        &mut self,
        component: Component,
        local: SocketAddr,
        source: SocketAddr,
        bytes: &[u8],
        now: Instant,
    ) -> Result<Class, Refusal> {
        if bytes.len() > MAX_MESSAGE {
            return Err(Refusal::Malformed);
        }
        let message = Message::parse(bytes).map_err(|unreadable| match unreadable {
            Unreadable::Malformed => Refusal::Malformed,
            Unreadable::Fingerprint => Refusal::Fingerprint,
        })?;
        let is_ours = |ours: &LocalCandidate| ours.component == component && ours.address == local;
        let local = self.locals.iter().position(is_ours).ok_or(Refusal::UnknownLocal)? as u8;
        let arrival = Arrival { local, source };
        match message.class {
            // A keepalive (RFC 8445 section 11), which anybody can write: nothing is done about it.
            Class::Indication => {}
            Class::Request => self.take_request(&message, arrival, now)?,
            Class::Success | Class::Error => self.take_answer(&message, arrival, now)?,
        }
        Ok(message.class)
    }

    fn take_request(
        &mut self,
        message: &Message<'_>,
        arrival: Arrival,
        now: Instant,
    ) -> Result<(), Refusal> {
        if self.session.is_named_by(message) {
            return self
                .with_session(now, |session, context| session.request(message, arrival, context));
        }
        self.with_previous(now, |session, context| match session.is_named_by(message) {
            true => session.request(message, arrival, context),
            false => Err(Refusal::UnknownUfrag),
        })
        .unwrap_or(Err(Refusal::UnknownUfrag))
    }

    fn take_answer(
        &mut self,
        message: &Message<'_>,
        arrival: Arrival,
        now: Instant,
    ) -> Result<(), Refusal> {
        let answer = |session: &mut Session, context: &mut Context<'_>| {
            let asked = |pair: &super::pair::Pair| pair.asked(message.transaction).is_some();
            let index = session.pairs.iter().position(asked).ok_or(Refusal::UnknownTransaction)?;
            session.answer(index, message, arrival, context)
        };
        match self.with_session(now, answer) {
            Err(Refusal::UnknownTransaction) => {
                let unknown = Err(Refusal::UnknownTransaction);
                self.with_previous(now, answer).unwrap_or(unknown)
            }
            taken => taken,
        }
    }

    /// Lets time pass for both sessions, then tells what is valid.
    fn advance(&mut self, now: Instant) {
        self.with_session(now, Session::advance);
        self.advance_previous(now);
        self.tell_valid();
    }

    fn advance_previous(&mut self, now: Instant) {
        let concluded = self.session.state == State::Connected;
        let Some(previous) = &mut self.previous else { return };
        if concluded && previous.until.is_none() {
            previous.until = Some(now + LINGER);
        }
        match previous.until {
            Some(until) if now >= until => self.previous = None,
            // What it would still say is no longer of interest.
            Some(_) => {}
            None => {
                self.with_previous(now, Session::advance);
            }
        }
    }

    fn tell_valid(&mut self) {
        for component in [Component::Rtp, Component::Rtcp] {
            let previous =
                self.previous.iter().flat_map(|previous| previous.session.valid_sources(component));
            let mut sources = Vec::new();
            for source in self.session.valid_sources(component).chain(previous) {
                if sources.len() < MAX_VALID_SOURCES && !sources.contains(&source) {
                    sources.push(source);
                }
            }
            let mut heard: Vec<SocketAddr> = self.session.heard_sources(component).collect();
            heard.retain(|source| !sources.contains(source));
            heard.truncate(MAX_VALID_SOURCES);
            let now = Told { sources, heard };
            let told = &mut self.told[component.index()];
            if *told != now {
                told.clone_from(&now);
                let Told { sources, heard } = now;
                self.out.push_back(Output::Valid { component, sources, heard });
            }
        }
    }

    /// The session in force becomes the previous one if it carries media; else it is gone.
    fn replace_session(&mut self, local: Credentials, role: Role, now: Instant) {
        let implementation = self.implementation;
        let new =
            self.with_session(now, |_, context| Session::new(implementation, role, local, context));
        let old = std::mem::replace(&mut *self.session, new);
        if old.state == State::Connected {
            self.previous = Some(Box::new(Previous { session: old, until: None }));
        } else if let Some(previous) = &mut self.previous {
            previous.until = None;
        }
    }

    /// Said before a restart. Answers of a forked call, all to our one offer, may come and go.
    fn previous_remote_shares(&self, said: &IceCredentials) -> bool {
        let Some(Previous { session, .. }) = self.previous.as_deref() else { return false };
        let restarted = session.local.ufrag != self.session.local.ufrag;
        let shares = |remote: &Remote| remote.credentials.share(said);
        restarted && session.remote.as_ref().is_some_and(shares)
    }

    fn with_session<T>(
        &mut self,
        now: Instant,
        act: impl FnOnce(&mut Session, &mut Context<'_>) -> T,
    ) -> T {
        let Self { locals, random, out, counters, session, .. } = self;
        act(session, &mut Context { now, locals, random, out, counters })
    }

    fn with_previous<T>(
        &mut self,
        now: Instant,
        act: impl FnOnce(&mut Session, &mut Context<'_>) -> T,
    ) -> Option<T> {
        let Self { locals, random, out, counters, previous, .. } = self;
        let previous = previous.as_mut()?;
        Some(act(&mut previous.session, &mut Context { now, locals, random, out, counters }))
    }
}

impl std::fmt::Debug for Agent {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Agent")
            .field("state", &self.session.state)
            .field("role", &self.session.role)
            .field("pairs", &self.session.pairs.len())
            .finish_non_exhaustive()
    }
}

/// More interfaces than any stream of ours has.
const MAX_LOCAL: usize = 16;
