//! Two gateways with their agents, a channel between them that loses, repeats and reorders, and
//! crashes: in virtual time, from one seed.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    time::{Duration, Instant},
};

use super::{
    super::{
        Action, Ask, Contest, Disagreement, Due, Failure, Objection, OfferVerdict, Outcome,
        Presence, Responder, Rotation, answer, answer_offer, settle, weigh_offer,
    },
    agent::{Agent, Key},
};
use crate::{Epoch, RotationTiming};

pub(super) const TIMING: RotationTiming = RotationTiming {
    overlap: Duration::from_secs(2),
    observe: Duration::from_millis(500),
    step: Duration::from_secs(5),
    jitter_percent: 0,
};

/// What may go wrong, in parts of 1,000.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Weather {
    pub(super) lost: u64,
    pub(super) repeated: u64,
    /// Comes up to 20 s late, after a restart of either side too.
    pub(super) late: u64,
    pub(super) gateway_dies: u64,
    pub(super) agent_dies: u64,
    pub(super) idle: u64,
}

/// One crash at one point, for enumerating them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Crash {
    /// Counts what gateways and agents do, in all.
    pub(super) at: u64,
    pub(super) whose: Whose,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    GatewayBefore,
    GatewayAfter,
    AgentBefore,
    AgentAfter,
}

pub(super) struct World {
    pub(super) now: Instant,
    began: Instant,
    pub(super) sides: [Side; 2],
    queue: BinaryHeap<Reverse<(Instant, u64, Event)>>,
    sequence: u64,
    random: u64,
    pub(super) weather: Weather,
    pub(super) crash: Option<Crash>,
    pub(super) acts: u64,
    pub(super) log: Vec<String>,
}

pub(super) struct Side {
    pub(super) agent: Agent,
    agent_up: Instant,
    up: Instant,
    own: Option<Own>,
    responder: Option<Responder>,
    /// When the responder, or the idle gateway, is to look again.
    look_again: Instant,
    pub(super) outcomes: Vec<Outcome>,
    failures: u32,
    wants: bool,
    above: Epoch,
    /// When each epoch was last sent under.
    used: BTreeMap<Epoch, Instant>,
    asking_status: Option<(u64, Instant)>,
}

struct Own {
    rotation: Rotation,
    theirs: Option<Key>,
    pending: Option<(u64, Instant)>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Look(usize),
    Request {
        to: usize,
        id: u64,
        message: Message,
    },
    Answer {
        to: usize,
        id: u64,
        answer: Answer,
    },
    /// Somebody wants new keys.
    Want(usize),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Message {
    Offer(Epoch, Key),
    Switch(Epoch),
    Retire(Epoch),
    Abort(Epoch),
    Status(Epoch),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Answer {
    Accepted(Key),
    Mine,
    Stale(Epoch),
    Done,
    Refused,
    Busy,
    Has(Epoch, bool),
}

/// A gateway that died in the middle of what it did.
struct Died;

const IDS: [&str; 2] = ["a", "b"];
const PATIENCE: Duration = Duration::from_secs(1);

impl World {
    pub(super) fn new(seed: u64, weather: Weather) -> Self {
        let now = Instant::now();
        let side = |first_key| Side {
            agent: Agent::new(first_key),
            agent_up: now,
            up: now,
            own: None,
            responder: None,
            look_again: now,
            outcomes: Vec::new(),
            failures: 0,
            wants: false,
            above: Epoch(0),
            used: BTreeMap::new(),
            asking_status: None,
        };
        Self {
            now,
            began: now,
            sides: [side(1_000), side(1_000_000)],
            queue: BinaryHeap::new(),
            sequence: 0,
            random: seed,
            weather,
            crash: None,
            acts: 0,
            log: Vec::new(),
        }
    }

    /// Both sides have epoch 1, in use.
    pub(super) fn established(mut self) -> Self {
        let epoch = Epoch(1);
        for side in &mut self.sides {
            side.agent.act(Action::Prepare(epoch), None).expect("new");
        }
        for at in 0..2 {
            let key = self.sides[1 - at].agent.inbound(epoch);
            let agent = &mut self.sides[at].agent;
            agent.act(Action::InstallOutbound(epoch), key).expect("new");
            agent.act(Action::Switch(epoch), None).expect("installed");
        }
        self
    }

    pub(super) fn want(&mut self, side: usize, after: Duration) {
        self.push(after, Event::Want(side));
    }

    /// Until then, or until nothing happens any more.
    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(Reverse((at, ..))) = self.queue.peek()
            && *at <= end
        {
            let Some(Reverse((at, _, event))) = self.queue.pop() else { return };
            self.now = at;
            self.happen(event);
            self.check();
        }
        self.now = end;
    }

    pub(super) fn chance(&mut self, thousandths: u64) -> bool {
        self.below(1000) < thousandths
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    /// No packet that is sent, or was within the overlap, meets a side that cannot open it.
    fn check(&mut self) {
        for (at, id) in IDS.into_iter().enumerate() {
            let Some(active) = self.sides[at].agent.active else { continue };
            self.sides[at].used.insert(active, self.now);
            let sealed = self.sides[at].agent.outbound(active);
            assert!(sealed.is_some(), "{id} sends under what it has not: {}", self.story());
            let opened = self.sides[1 - at].agent.inbound(active);
            assert_eq!(sealed, opened, "{id} sends into nothing: {}", self.story());
        }
    }

    pub(super) fn story(&self) -> String {
        let states = [0, 1].map(|at| format!("{}: {:?}", IDS[at], self.sides[at].agent));
        format!("\n{}\n{}\n", self.log.join("\n"), states.join("\n"))
    }

    fn note(&mut self, what: String) {
        self.log.push(format!("{:8.3} {what}", (self.now - self.began).as_secs_f64()));
    }

    fn push(&mut self, after: Duration, event: Event) {
        self.sequence += 1;
        self.queue.push(Reverse((self.now + after, self.sequence, event)));
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Want(at) => {
                self.sides[at].wants = true;
                self.step(at);
            }
            Event::Look(at) => self.step(at),
            Event::Request { to, id, message } => {
                if self.now >= self.sides[to].up {
                    let answer = self.serve(to, &message);
                    if let Ok(answer) = answer {
                        self.note(format!("{} answers {message:?}: {answer:?}", IDS[to]));
                        self.send(Event::Answer { to: 1 - to, id, answer });
                    }
                    self.step(to);
                }
            }
            Event::Answer { to, id, answer } => {
                self.answered(to, id, answer);
                self.step(to);
            }
        }
    }

    fn send(&mut self, event: Event) {
        if self.chance(self.weather.lost) {
            return;
        }
        if self.chance(self.weather.repeated) {
            let after = self.below(3000);
            self.push(Duration::from_millis(after), event.clone());
        }
        let slowest = if self.chance(self.weather.late) { 20_000 } else { 40 };
        let after = 1 + self.below(slowest);
        self.push(Duration::from_millis(after), event);
    }

    fn kill(&mut self, at: usize) -> Died {
        self.note(format!("{} dies", IDS[at]));
        let down = Duration::from_millis(10 + self.below(4000));
        let side = &mut self.sides[at];
        side.up = self.now + down;
        (side.own, side.responder, side.asking_status) = (None, None, None);
        self.push(down, Event::Look(at));
        Died
    }

    /// One action at a side's agent, with what may go wrong.
    fn act(
        &mut self,
        at: usize,
        action: Action,
        peers: Option<Key>,
    ) -> Result<Result<(), Failure>, Died> {
        self.acts += 1;
        let crash = self.crash.filter(|crash| crash.at == self.acts).map(|crash| crash.whose);
        let gateway = self.chance(self.weather.gateway_dies);
        let agent = self.chance(self.weather.agent_dies);
        let before = self.chance(500);
        let dies = |whose, by_chance| crash == Some(whose) || by_chance;
        if dies(Whose::GatewayBefore, gateway && before) {
            return Err(self.kill(at));
        }
        if self.now < self.sides[at].agent_up {
            return Ok(Err(Failure::Transient));
        }
        let agent_dies_after = dies(Whose::AgentAfter, agent && !before);
        if dies(Whose::AgentBefore, agent && before) {
            self.agent_dies(at);
            return Ok(Err(Failure::Transient));
        }
        self.check_removal(at, action);
        let result = self.sides[at].agent.act(action, peers);
        self.note(format!("{} {action:?}: {result:?}", IDS[at]));
        self.check();
        if dies(Whose::GatewayAfter, gateway && !before) {
            return Err(self.kill(at));
        }
        if agent_dies_after {
            self.agent_dies(at);
            return Ok(Err(Failure::Transient));
        }
        Ok(result)
    }

    fn agent_dies(&mut self, at: usize) {
        self.note(format!("the agent of {} dies", IDS[at]));
        let down = Duration::from_millis(10 + self.below(8000));
        self.sides[at].agent_up = self.now + down;
    }

    /// What was sent under an inbound SA just before is still coming.
    fn check_removal(&self, at: usize, action: Action) {
        let (Action::RetireInbound(epoch) | Action::Discard(epoch)) = action else { return };
        let Some(opens) = self.sides[at].agent.inbound(epoch) else { return };
        let peer = &self.sides[1 - at];
        if let Some(used) = peer.used.get(&epoch)
            && peer.agent.outbound(epoch).is_none_or(|seals| seals == opens)
        {
            let since = self.now - *used;
            assert!(since >= TIMING.overlap, "{action:?} too early: {since:?} {}", self.story());
        }
    }

    /// Whatever a gateway has to do by itself now.
    fn step(&mut self, at: usize) {
        if self.now < self.sides[at].up {
            return;
        }
        let stepped = if self.sides[at].own.is_some() {
            self.drive(at)
        } else if self.sides[at].responder.is_some() {
            self.follow(at)
        } else {
            self.rest(at);
            Ok(())
        };
        drop(stepped);
    }

    /// Nothing under way: begin what is wanted, or what was left.
    fn rest(&mut self, at: usize) {
        let (now, side) = (self.now, &mut self.sides[at]);
        if now < side.agent_up {
            let after = side.agent_up - now;
            return self.push(after, Event::Look(at));
        }
        let standing = side.agent.standing();
        if (standing.is_calm() && !side.wants) || now < side.look_again {
            return;
        }
        // What could not be finished twice is replaced.
        let unfinished = standing.unfinished(TIMING).filter(|_| side.failures % 3 < 2);
        let rotation = match unfinished {
            Some(start) if side.above < start.epoch => Rotation::resume(start, now),
            _ => Rotation::new(standing.renewed(side.above, TIMING), now),
        };
        let what = format!("{} begins {}", IDS[at], rotation.epoch());
        side.own = Some(Own { rotation, theirs: None, pending: None });
        self.note(what);
        self.step(at);
    }

    fn drive(&mut self, at: usize) -> Result<(), Died> {
        loop {
            let now = self.now;
            let Some(own) = &mut self.sides[at].own else { return Ok(()) };
            if let Some((_, until)) = own.pending {
                if now < until {
                    return Ok(());
                }
                own.pending = None;
                own.rotation.failed(Failure::Transient, now);
            }
            let theirs = own.theirs;
            match own.rotation.poll(now) {
                Action::Wait(until) => {
                    self.push(until - now, Event::Look(at));
                    return Ok(());
                }
                Action::End(outcome) => {
                    self.ended(at, outcome);
                    return Ok(());
                }
                Action::Observe(epoch) => {
                    let peer = self.sides[1 - at].agent.active;
                    let opened = u64::from(peer == Some(epoch) && !self.chance(self.weather.idle));
                    let own = self.sides[at].own.as_mut().expect("as above");
                    own.rotation.observed(opened, now);
                }
                Action::Offer(epoch) => {
                    let Some(key) = self.sides[at].agent.inbound(epoch) else {
                        let own = self.sides[at].own.as_mut().expect("as above");
                        own.rotation.failed(Failure::Final, now);
                        continue;
                    };
                    self.ask(at, Message::Offer(epoch, key));
                }
                Action::AskSwitch(epoch) => self.ask(at, Message::Switch(epoch)),
                Action::AskRetire(epoch) => self.ask(at, Message::Retire(epoch)),
                Action::AskAbort(epoch) => self.ask(at, Message::Abort(epoch)),
                action => {
                    let result = self.act(at, action, theirs)?;
                    let Some(own) = &mut self.sides[at].own else { return Ok(()) };
                    match result {
                        Ok(()) => own.rotation.done(now),
                        Err(failure) => own.rotation.failed(failure, now),
                    }
                }
            }
        }
    }

    fn ask(&mut self, at: usize, message: Message) {
        self.sequence += 1;
        let (id, until) = (self.sequence, self.now + PATIENCE);
        let own = self.sides[at].own.as_mut().expect("it asks");
        own.pending = Some((id, until));
        self.note(format!("{} asks {message:?}", IDS[at]));
        self.push(PATIENCE, Event::Look(at));
        self.send(Event::Request { to: 1 - at, id, message });
    }

    fn answered(&mut self, at: usize, id: u64, answer: Answer) {
        let (now, side) = (self.now, &mut self.sides[at]);
        if let Answer::Has(epoch, something) = answer
            && side.asking_status.is_some_and(|(asked, _)| asked == id)
        {
            side.asking_status = None;
            let presence = if something { Presence::Something } else { Presence::Nothing };
            if let Some(responder) = &mut side.responder {
                responder.peer_has(epoch, presence, now);
            }
            return;
        }
        let Some(own) = side.own.as_mut().filter(|own| own.pending.is_some_and(|p| p.0 == id))
        else {
            return;
        };
        own.pending = None;
        match answer {
            Answer::Accepted(key) => {
                own.theirs = Some(key);
                own.rotation.done(now);
            }
            Answer::Mine => own.rotation.objected(Objection::Mine, now),
            Answer::Stale(highest) => own.rotation.objected(Objection::Stale { highest }, now),
            Answer::Done => own.rotation.done(now),
            Answer::Refused => own.rotation.failed(Failure::Final, now),
            Answer::Busy => own.rotation.failed(Failure::Transient, now),
            Answer::Has(..) => {}
        }
    }

    fn ended(&mut self, at: usize, outcome: Outcome) {
        self.note(format!("{} ends: {outcome:?}", IDS[at]));
        let (now, side) = (self.now, &mut self.sides[at]);
        let own = side.own.take();
        side.outcomes.push(outcome);
        let stands = match outcome {
            Outcome::Rotated { epoch } => Some(Some(epoch)),
            Outcome::Undone { stands } => Some(stands),
            _ => None,
        };
        let active = side.agent.active;
        assert!(stands.is_none_or(|stands| stands == active), "{outcome:?} {}", self.story());
        let side = &mut self.sides[at];
        side.failures += 1;
        let mut pause = Duration::from_millis(500) * side.failures.min(8);
        match outcome {
            Outcome::Rotated { .. } => (side.failures, side.wants) = (0, false),
            Outcome::Yielded => {
                let epoch = own.map(|own| own.rotation.epoch());
                side.responder = epoch.map(|epoch| Responder::new(epoch, TIMING, now));
            }
            Outcome::Stale { highest } => {
                side.above = highest;
                side.wants = true;
                pause = Duration::ZERO;
            }
            _ => {}
        }
        pause += Duration::from_millis(self.below(300));
        self.sides[at].look_again = now + pause;
        self.push(pause, Event::Look(at));
    }

    /// What is left of a rotation that the peer drives.
    fn follow(&mut self, at: usize) -> Result<(), Died> {
        let now = self.now;
        let Some(responder) = &mut self.sides[at].responder else { return Ok(()) };
        let over = match responder.poll(now) {
            Due::Wait(until) => {
                self.push(until - now, Event::Look(at));
                return Ok(());
            }
            Due::AskStatus(epoch) => {
                return self.ask_status(at, epoch);
            }
            Due::TakeOver(_) | Due::Nothing => true,
            Due::Discard(epoch) => {
                self.act(at, Action::Discard(epoch), None)? != Err(Failure::Transient)
            }
            Due::RetireInbound(epoch) => {
                let standing = self.sides[at].agent.standing();
                let mut all = true;
                for old in standing.epochs.keys().copied().filter(|old| *old < epoch) {
                    all &= self.act(at, Action::RetireInbound(old), None)?.is_ok();
                }
                // These are the new keys that were wanted.
                self.sides[at].wants &= !all;
                all
            }
        };
        if over {
            self.sides[at].responder = None;
            self.sides[at].look_again = now;
        }
        let pause = if over { 0 } else { 100 + self.below(400) };
        self.push(Duration::from_millis(pause), Event::Look(at));
        Ok(())
    }

    fn ask_status(&mut self, at: usize, epoch: Epoch) -> Result<(), Died> {
        let (now, side) = (self.now, &mut self.sides[at]);
        match side.asking_status {
            Some((_, until)) if now < until => return Ok(()),
            Some(_) => {
                side.asking_status = None;
                if let Some(responder) = &mut side.responder {
                    responder.unanswered(now);
                }
                return self.follow(at);
            }
            None => {}
        }
        self.sequence += 1;
        side.asking_status = Some((self.sequence, now + PATIENCE));
        let request =
            Event::Request { to: 1 - at, id: self.sequence, message: Message::Status(epoch) };
        self.push(PATIENCE, Event::Look(at));
        self.send(request);
        Ok(())
    }

    /// The other side.
    fn serve(&mut self, at: usize, message: &Message) -> Result<Answer, Died> {
        if self.now < self.sides[at].agent_up {
            return Ok(Answer::Busy);
        }
        match *message {
            Message::Offer(epoch, key) => self.serve_offer(at, epoch, key),
            Message::Switch(epoch) => self.serve_ask(at, Ask::Switch, epoch),
            Message::Retire(epoch) => self.serve_ask(at, Ask::Retire, epoch),
            Message::Abort(epoch) => self.serve_ask(at, Ask::Abort, epoch),
            Message::Status(epoch) => {
                Ok(Answer::Has(epoch, self.sides[at].agent.epochs.contains_key(&epoch)))
            }
        }
    }

    fn serve_offer(&mut self, at: usize, epoch: Epoch, key: Key) -> Result<Answer, Died> {
        let now = self.now;
        let standing = self.sides[at].agent.standing();
        let own = self.sides[at].own.as_ref().map(|own| own.rotation.epoch());
        let contest = Contest::new(epoch, &standing, own, settle(IDS[at], IDS[1 - at]));
        match weigh_offer(&contest) {
            OfferVerdict::Mine => return Ok(Answer::Mine),
            OfferVerdict::Stale { highest } => return Ok(Answer::Stale(highest)),
            OfferVerdict::Take => {}
        }
        self.answering(at, epoch);
        for action in answer_offer(epoch, &standing) {
            match self.act(at, action, Some(key))? {
                Ok(()) => {}
                Err(Failure::Transient) => return Ok(Answer::Busy),
                Err(Failure::Final) => {
                    self.sides[at].responder = None;
                    self.push(Duration::from_millis(1), Event::Look(at));
                    return Ok(Answer::Stale(self.sides[at].agent.highest));
                }
            }
        }
        let ours = self.sides[at].agent.inbound(epoch);
        if let Some(responder) = &mut self.sides[at].responder {
            responder.heard(now);
        }
        Ok(ours.map_or(Answer::Refused, Answer::Accepted))
    }

    /// The peer drives this epoch's rotation, and ours is over.
    fn answering(&mut self, at: usize, epoch: Epoch) {
        let (now, side) = (self.now, &mut self.sides[at]);
        if side.own.as_ref().is_some_and(|own| own.rotation.epoch() > epoch) {
            return;
        }
        side.own = None;
        match &mut side.responder {
            Some(responder) if responder.epoch() == epoch => responder.heard(now),
            Some(responder) if responder.epoch() > epoch => {}
            place => *place = Some(Responder::new(epoch, TIMING, now)),
        }
    }

    fn serve_ask(&mut self, at: usize, ask: Ask, epoch: Epoch) -> Result<Answer, Died> {
        let standing = self.sides[at].agent.standing();
        let actions = match answer(ask, epoch, &standing) {
            Ok(actions) => actions,
            Err(Disagreement::NoOutbound(_) | Disagreement::Superseded { .. }) => {
                return Ok(Answer::Refused);
            }
            Err(Disagreement::NoWayBack(_)) => return Ok(Answer::Refused),
        };
        // What is in use changes: a rotation of ours that began from there is over.
        if actions.iter().any(|action| matches!(action, Action::Switch(_))) {
            self.sides[at].own = None;
        }
        if !standing.is_calm() {
            self.answering(at, epoch);
        }
        for action in actions {
            match self.act(at, action, None)? {
                Ok(()) => {}
                Err(Failure::Transient) => return Ok(Answer::Busy),
                Err(Failure::Final) => return Ok(Answer::Refused),
            }
        }
        let (now, side) = (self.now, &mut self.sides[at]);
        if let Some(responder) = side.responder.as_mut().filter(|r| r.epoch() == epoch) {
            match ask {
                Ask::Switch => responder.heard(now),
                Ask::Retire => responder.retired(now),
                Ask::Abort => responder.aborted(now),
            }
        }
        Ok(Answer::Done)
    }
}
