//! The side that drives a rotation.

use std::time::{Duration, Instant};

use super::{Action, Failure, Objection, Outcome};
use crate::{Epoch, RotationTiming};

/// What a rotation begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// The new epoch, above every one that was; or the one that was under way.
    pub epoch: Epoch,
    /// The one in use, to go back to; `None` for first keys.
    pub active: Option<Epoch>,
    /// Every other epoch of which something is installed, to be retired at the end.
    pub older: Vec<Epoch>,
    /// The pair's timing.
    pub timing: RotationTiming,
}

/// One rotation, driven by us. See the module's documentation.
///
/// Call [`poll`](Self::poll) for what to do, and say how it went with [`done`](Self::done),
/// [`failed`](Self::failed), [`objected`](Self::objected) or [`observed`](Self::observed).
#[derive(Clone, Debug)]
pub struct Rotation {
    start: Start,
    stage: Stage,
    /// When the stage's action is undone, or given up, if it has not been done.
    deadline: Instant,
    /// Do nothing before.
    not_before: Option<Instant>,
    attempts: u32,
    /// When we switched, and so when the peer's old packets may still be coming.
    switched: Option<Instant>,
    origin: Origin,
    carrier: Carrier,
}

/// What may have happened to the epoch before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// Nothing: nobody has seen it.
    New,
    /// Everything: the peer may be sending under it.
    Resumed,
}

/// Who brings offers and requests to the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Carrier {
    /// Its gateway is asked.
    Gateway,
    /// People bring files, and the peer cannot be asked for anything.
    People,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Prepare,
    Offer,
    InstallOutbound,
    Switch,
    AskSwitch,
    Observe,
    RetireOutbound { at: usize },
    AskRetire,
    Overlap,
    RetireInbound { at: usize },
    UndoSwitch,
    AskAbort,
    UndoOverlap,
    Discard,
    Ended(Outcome),
}

impl Rotation {
    /// A new one, under an epoch that nobody has seen yet: when it fails before the peer could
    /// use it, it is undone without the peer. See [`Standing::renewed`](super::Standing::renewed).
    pub fn new(start: Start, now: Instant) -> Self {
        Self::begin(start, Origin::New, Carrier::Gateway, Stage::Prepare, now)
    }

    /// One that was under way when we, or the agent, were restarted. `start.epoch` is the newest
    /// of which something is installed; it is begun from the start, because every action may be
    /// repeated. If that epoch is the active one already, `start.active` is it, and there is no
    /// way back. The peer may be sending under it, so it is never undone without the peer's yes.
    /// See [`Standing::unfinished`](super::Standing::unfinished).
    pub fn resume(start: Start, now: Instant) -> Self {
        Self::begin(start, Origin::Resumed, Carrier::Gateway, Stage::Prepare, now)
    }

    /// A new one with a peer that cannot be asked: it ends after its second action, the offer,
    /// with [`Outcome::Exported`].
    pub fn manual(start: Start, now: Instant) -> Self {
        Self::begin(start, Origin::New, Carrier::People, Stage::Prepare, now)
    }

    /// The rest of a manual one, once the peer's offer is there: which says that its inbound SA
    /// is installed. Old keys are retired only after a packet came under the new ones, however
    /// long that takes.
    pub fn imported(start: Start, now: Instant) -> Self {
        Self::begin(start, Origin::Resumed, Carrier::People, Stage::InstallOutbound, now)
    }

    fn begin(start: Start, origin: Origin, carrier: Carrier, stage: Stage, now: Instant) -> Self {
        let deadline = now + start.timing.step;
        let (not_before, attempts, switched) = (None, 0, None);
        Self { start, stage, deadline, not_before, attempts, switched, origin, carrier }
    }

    /// The new epoch.
    pub fn epoch(&self) -> Epoch {
        self.start.epoch
    }

    /// Whether what has been done is being undone.
    pub fn is_undoing(&self) -> bool {
        matches!(
            self.stage,
            Stage::UndoSwitch | Stage::AskAbort | Stage::UndoOverlap | Stage::Discard
        )
    }

    /// What to do now. Asked again without an answer in between, it says the same.
    pub fn poll(&mut self, now: Instant) -> Action {
        if let Some(not_before) = self.not_before
            && now < not_before
        {
            return Action::Wait(not_before);
        }
        let epoch = self.start.epoch;
        match self.stage {
            Stage::Prepare => Action::Prepare(epoch),
            Stage::Offer => Action::Offer(epoch),
            Stage::InstallOutbound => Action::InstallOutbound(epoch),
            Stage::Switch => Action::Switch(epoch),
            Stage::AskSwitch => Action::AskSwitch(epoch),
            Stage::Observe => Action::Observe(epoch),
            Stage::RetireOutbound { at } => Action::RetireOutbound(self.olds()[at]),
            Stage::AskRetire => Action::AskRetire(epoch),
            Stage::RetireInbound { at } => Action::RetireInbound(self.olds()[at]),
            Stage::UndoSwitch => self.start.active.map_or(Action::Discard(epoch), Action::Switch),
            Stage::AskAbort => Action::AskAbort(epoch),
            Stage::Discard => Action::Discard(epoch),
            Stage::Ended(outcome) => Action::End(outcome),
            Stage::Overlap => {
                self.enter(Stage::RetireInbound { at: 0 }, now);
                self.skip_needless(now);
                self.poll(now)
            }
            Stage::UndoOverlap => {
                self.enter(Stage::Discard, now);
                self.poll(now)
            }
        }
    }

    /// The action was done.
    pub fn done(&mut self, now: Instant) {
        let by_hand = self.carrier == Carrier::People;
        let next = match self.stage {
            Stage::Prepare => Stage::Offer,
            Stage::Offer if by_hand => Stage::Ended(Outcome::Exported { epoch: self.start.epoch }),
            Stage::Offer => Stage::InstallOutbound,
            Stage::InstallOutbound => Stage::Switch,
            Stage::Switch => {
                self.switched = Some(now);
                if by_hand {
                    return self.observe(now);
                }
                Stage::AskSwitch
            }
            Stage::AskSwitch => return self.observe(now),
            Stage::Observe => Stage::RetireOutbound { at: 0 },
            Stage::RetireOutbound { at } => Stage::RetireOutbound { at: at + 1 },
            Stage::AskRetire => {
                self.enter(Stage::Overlap, now);
                self.not_before = Some(now + self.start.timing.overlap);
                return;
            }
            Stage::RetireInbound { at } => Stage::RetireInbound { at: at + 1 },
            Stage::UndoSwitch => Stage::AskAbort,
            Stage::AskAbort => {
                self.enter(Stage::UndoOverlap, now);
                self.not_before = Some(now + self.start.timing.overlap);
                return;
            }
            Stage::Discard => Stage::Ended(Outcome::Undone { stands: self.way_back() }),
            stage @ (Stage::Overlap | Stage::UndoOverlap | Stage::Ended(_)) => stage,
        };
        self.enter(next, now);
        self.skip_needless(now);
    }

    /// Packets that the new inbound SA has opened, when asked to [`Observe`](Action::Observe).
    /// Silence is believed after a while: the pair may be idle, and the peer has said that it
    /// switched. A peer that cannot be asked has said nothing, so its silence is not believed.
    pub fn observed(&mut self, opened: u64, now: Instant) {
        let silence_ends = self.switched.unwrap_or(now) + self.start.timing.observe;
        if opened > 0 {
            self.done(now);
        } else if self.carrier == Carrier::People {
            self.not_before = Some(now + self.start.timing.observe);
        } else if now >= silence_ends {
            self.done(now);
        } else {
            self.not_before = Some((now + LOOK_EVERY).min(silence_ends));
        }
    }

    /// The action was not done.
    pub fn failed(&mut self, failure: Failure, now: Instant) {
        let in_time = now < self.deadline;
        if failure == Failure::Transient && in_time {
            let pause = FIRST_PAUSE * 2_u32.pow(self.attempts.min(MAX_DOUBLINGS));
            self.attempts += 1;
            self.not_before = Some((now + pause).min(self.deadline));
            return;
        }
        let next = match self.stage {
            Stage::Prepare | Stage::Offer | Stage::InstallOutbound
                if self.start.active == Some(self.start.epoch) =>
            {
                // In use already: taken up after a restart, with nothing to go back to.
                Stage::Ended(self.halfway())
            }
            Stage::Prepare if self.origin == Origin::New => Stage::Discard,
            Stage::Prepare => Stage::AskAbort,
            // It may have been heard all the same, and only the answer been lost.
            Stage::Offer | Stage::InstallOutbound => Stage::AskAbort,
            Stage::Switch | Stage::AskSwitch if self.way_back().is_some() => Stage::UndoSwitch,
            // First keys, in use on our side: without them there would be none.
            Stage::Switch | Stage::AskSwitch => Stage::Ended(self.halfway()),
            Stage::Observe if self.carrier == Carrier::Gateway => Stage::RetireOutbound { at: 0 },
            // The peer did not go back, and may be sending under the new keys: they must stay.
            Stage::AskAbort if self.peer_may_send() => Stage::Ended(self.halfway()),
            Stage::AskAbort => Stage::Discard,
            _ => Stage::Ended(self.halfway()),
        };
        self.enter(next, now);
        self.skip_needless(now);
    }

    /// The peer did not take the offer, because of something that it knows better.
    pub fn objected(&mut self, objection: Objection, _now: Instant) {
        self.stage = Stage::Ended(match objection {
            Objection::Mine => Outcome::Yielded,
            Objection::Stale { highest } => Outcome::Stale { highest },
        });
        self.not_before = None;
    }

    fn halfway(&self) -> Outcome {
        Outcome::Halfway { epoch: self.start.epoch }
    }

    /// The epoch to go back to.
    fn way_back(&self) -> Option<Epoch> {
        self.start.active.filter(|active| *active != self.start.epoch)
    }

    /// We asked it to switch only after we had switched ourselves, now or before a restart.
    fn peer_may_send(&self) -> bool {
        self.switched.is_some() || self.origin == Origin::Resumed
    }

    fn olds(&self) -> Vec<Epoch> {
        let mut olds: Vec<_> = self.start.older.iter().copied().chain(self.way_back()).collect();
        olds.retain(|old| *old != self.start.epoch);
        olds.sort_unstable();
        olds.dedup();
        olds
    }

    /// Both sides have switched, if the peer can be asked.
    fn observe(&mut self, now: Instant) {
        self.enter(Stage::Observe, now);
        self.not_before = Some(now + IN_FLIGHT);
    }

    fn enter(&mut self, stage: Stage, now: Instant) {
        self.stage = stage;
        self.deadline = now + self.start.timing.step;
        self.not_before = None;
        self.attempts = 0;
    }

    /// Past the last of the old epochs, of which there may be none, and past a peer that cannot be
    /// asked.
    fn skip_needless(&mut self, now: Instant) {
        let count = self.olds().len();
        let by_hand = self.carrier == Carrier::People;
        match self.stage {
            // Who cannot be asked to go back may be sending under the new keys: they stay.
            Stage::AskAbort if by_hand && self.origin == Origin::Resumed => {
                self.stage = Stage::Ended(self.halfway());
            }
            Stage::AskAbort if by_hand => self.enter(Stage::Discard, now),
            Stage::RetireOutbound { at } if at >= count && by_hand => {
                self.enter(Stage::Overlap, now);
                self.not_before = Some(now + self.start.timing.overlap);
            }
            Stage::RetireOutbound { at } if at >= count => self.enter(Stage::AskRetire, now),
            Stage::RetireInbound { at } if at >= count => {
                self.stage = Stage::Ended(Outcome::Rotated { epoch: self.start.epoch });
            }
            _ => {}
        }
    }
}

/// Packets that met a policy before it was switched still go out through the old SA, and a kernel
/// drops those whose SA is removed under them (XfrmOutStateInvalid).
const IN_FLIGHT: Duration = Duration::from_millis(100);
/// How often to look for the first packet under the new keys.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Before an action is repeated for the first time; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// 20 ms to 1.28 s.
const MAX_DOUBLINGS: u32 = 6;

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> Start {
        Start {
            epoch: Epoch(2),
            active: Some(Epoch(1)),
            older: Vec::new(),
            timing: RotationTiming::default(),
        }
    }

    /// Does everything, but fails for good at the action of that name, once.
    fn run(start: Start, fail_at: Option<&str>) -> (Vec<&'static str>, Outcome) {
        let mut now = Instant::now();
        let mut rotation = Rotation::new(start, now);
        let (mut names, mut fail_at) = (Vec::new(), fail_at);
        loop {
            let action = rotation.poll(now);
            match action {
                Action::End(outcome) => return (names, outcome),
                Action::Wait(until) => now = until,
                _ => {
                    names.push(action.name());
                    if fail_at == Some(action.name()) {
                        fail_at = None;
                        rotation.failed(Failure::Final, now);
                    } else if let Action::Observe(_) = action {
                        rotation.observed(1, now);
                    } else {
                        rotation.done(now);
                    }
                }
            }
        }
    }

    #[test]
    fn the_old_goes_only_after_the_new_is_there_at_both_sides() {
        let (names, outcome) = run(start(), None);
        let order = [
            "prepare",
            "offer",
            "install outbound",
            "switch",
            "peer switches",
            "observe",
            "retire outbound",
            "peer retires",
            "retire inbound",
        ];
        assert_eq!(names, order);
        assert_eq!(outcome, Outcome::Rotated { epoch: Epoch(2) });
    }

    #[test]
    fn what_fails_before_the_old_goes_is_undone_in_reverse() {
        let undone = Outcome::Undone { stands: Some(Epoch(1)) };
        let undo = |at: &str| {
            let (names, outcome) = run(start(), Some(at));
            assert_eq!(outcome, undone, "{at}");
            let failed = names.iter().position(|name| *name == at).expect("it was tried");
            names[failed + 1..].to_vec()
        };
        assert_eq!(undo("prepare"), ["discard"]);
        assert_eq!(undo("offer"), ["peer undoes", "discard"]);
        assert_eq!(undo("install outbound"), ["peer undoes", "discard"]);
        assert_eq!(undo("switch"), ["switch", "peer undoes", "discard"]);
        assert_eq!(undo("peer switches"), ["switch", "peer undoes", "discard"]);
    }

    #[test]
    fn once_the_old_goes_there_is_no_way_back() {
        for at in ["retire outbound", "peer retires", "retire inbound"] {
            let (_, outcome) = run(start(), Some(at));
            assert_eq!(outcome, Outcome::Halfway { epoch: Epoch(2) }, "{at}");
        }
    }

    #[test]
    fn first_keys_have_nothing_to_retire() {
        let first = Start { epoch: Epoch(1), active: None, ..start() };
        let (names, outcome) = run(first.clone(), None);
        assert_eq!(outcome, Outcome::Rotated { epoch: Epoch(1) });
        assert!(!names.contains(&"retire outbound") && names.contains(&"peer retires"));
        let (_, outcome) = run(first, Some("install outbound"));
        assert_eq!(outcome, Outcome::Undone { stands: None });
    }

    #[test]
    fn a_transient_failure_is_repeated_until_the_steps_time_is_up() {
        let now = Instant::now();
        let mut rotation = Rotation::new(start(), now);
        let mut time = now;
        while let Action::Prepare(_) | Action::Wait(_) = rotation.poll(time) {
            match rotation.poll(time) {
                Action::Wait(until) => time = until,
                _ => rotation.failed(Failure::Transient, time),
            }
        }
        assert_eq!(rotation.poll(time), Action::Discard(Epoch(2)));
        assert_eq!(time - now, RotationTiming::default().step);
    }

    #[test]
    fn silence_is_believed_only_after_a_while() {
        let now = Instant::now();
        let mut rotation = Rotation::new(start(), now);
        for _ in 0..5 {
            rotation.poll(now);
            rotation.done(now);
        }
        // What is in flight has gone out before anything can be retired.
        assert_eq!(rotation.poll(now), Action::Wait(now + IN_FLIGHT));
        let now = now + IN_FLIGHT;
        assert_eq!(rotation.poll(now), Action::Observe(Epoch(2)));
        rotation.observed(0, now);
        assert!(matches!(rotation.poll(now), Action::Wait(_)));
        rotation.observed(0, now + RotationTiming::default().observe);
        assert_eq!(rotation.poll(now), Action::RetireOutbound(Epoch(1)));
    }

    #[test]
    fn what_was_resumed_is_not_discarded_behind_the_peers_back() {
        let now = Instant::now();
        for at in [Stage::Prepare, Stage::Offer] {
            let mut rotation = Rotation::resume(start(), now);
            rotation.stage = at;
            rotation.failed(Failure::Final, now);
            assert_eq!(rotation.poll(now), Action::AskAbort(Epoch(2)));
            rotation.failed(Failure::Final, now);
            let end = Action::End(Outcome::Halfway { epoch: Epoch(2) });
            assert_eq!(rotation.poll(now), end);
        }
    }

    #[test]
    fn with_people_between_it_waits_for_the_file_and_then_for_a_packet() {
        let mut now = Instant::now();
        let mut rotation = Rotation::manual(start(), now);
        assert_eq!(rotation.poll(now), Action::Prepare(Epoch(2)));
        rotation.done(now);
        assert_eq!(rotation.poll(now), Action::Offer(Epoch(2)));
        rotation.done(now);
        let exported = Outcome::Exported { epoch: Epoch(2) };
        assert_eq!(rotation.poll(now), Action::End(exported));

        let mut rotation = Rotation::imported(start(), now);
        for action in [Action::InstallOutbound(Epoch(2)), Action::Switch(Epoch(2))] {
            assert_eq!(rotation.poll(now), action);
            rotation.done(now);
        }
        for _ in 0..1000 {
            now += RotationTiming::default().observe;
            assert_eq!(rotation.poll(now), Action::Observe(Epoch(2)));
            rotation.observed(0, now);
        }
        rotation.observed(1, now);
        assert_eq!(rotation.poll(now), Action::RetireOutbound(Epoch(1)));
        rotation.done(now);
        let overlap = now + RotationTiming::default().overlap;
        assert_eq!(rotation.poll(now), Action::Wait(overlap));
        assert_eq!(rotation.poll(overlap), Action::RetireInbound(Epoch(1)));
        rotation.done(overlap);
        let rotated = Outcome::Rotated { epoch: Epoch(2) };
        assert_eq!(rotation.poll(overlap), Action::End(rotated));
    }

    #[test]
    fn an_epoch_in_use_is_finished_and_never_discarded() {
        let resumed = Start { active: Some(Epoch(2)), older: vec![Epoch(1)], ..start() };
        for at in ["prepare", "offer", "install outbound", "switch", "peer switches"] {
            let (names, outcome) = run(resumed.clone(), Some(at));
            assert_eq!(outcome, Outcome::Halfway { epoch: Epoch(2) }, "{at}");
            assert!(!names.contains(&"discard"), "{at}");
        }
        let (names, outcome) = run(resumed, None);
        assert_eq!(outcome, Outcome::Rotated { epoch: Epoch(2) });
        assert!(names.contains(&"retire outbound"));
    }
}
