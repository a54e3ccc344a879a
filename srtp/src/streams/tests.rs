//! The table against one that is written without thinking of cost.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::{
    snapshot::{NotImported, StreamState},
    *,
};

/// A table of lists and sets, heard last last.
struct Model {
    busy: Vec<Known>,
    retired: Vec<(u32, u64)>,
    capacity: usize,
    size: u64,
}

#[derive(Clone)]
struct Known {
    ssrc: u32,
    used: BTreeSet<u64>,
    highest: u64,
    /// Everything below counts as used.
    floor: u64,
}

impl Model {
    fn highest(&self, ssrc: u32) -> Option<u64> {
        let busy = self.busy.iter().map(|known| (known.ssrc, known.highest));
        let mut all = busy.chain(self.retired.iter().copied());
        all.find(|(known, _)| *known == ssrc).map(|(_, highest)| highest)
    }

    fn check(&self, ssrc: u32, index: u64) -> Result<(), Stale> {
        if self.highest(ssrc).is_none_or(|highest| index > highest) {
            return Ok(());
        }
        let Some(known) = self.busy.iter().find(|known| known.ssrc == ssrc) else {
            return Err(Stale::TooOld);
        };
        if index + self.size <= known.highest {
            Err(Stale::TooOld)
        } else if index < known.floor || known.used.contains(&index) {
            Err(Stale::Used)
        } else {
            Ok(())
        }
    }

    /// Goes on with windows of `size`, knowing only what those before did.
    fn move_to(&mut self, size: u64) {
        for known in &mut self.busy {
            known.floor = known.floor.max((known.highest + 1).saturating_sub(self.size));
        }
        self.size = size;
    }

    fn mark(&mut self, ssrc: u32, index: u64) {
        let mut known = self.take(ssrc);
        known.used.insert(index);
        known.highest = known.highest.max(index);
        self.busy.push(known);
    }

    fn resume(&mut self, ssrc: u32, highest: u64) {
        if self.highest(ssrc).is_none_or(|known| known < highest) {
            let mut known = self.take(ssrc);
            (known.highest, known.floor) = (highest, highest + 1);
            self.busy.push(known);
        }
    }

    /// Takes the stream out of the busy ones, where there is room to put it back.
    fn take(&mut self, ssrc: u32) -> Known {
        if let Some(at) = self.busy.iter().position(|known| known.ssrc == ssrc) {
            return self.busy.remove(at);
        }
        let mut known = Known { ssrc, used: BTreeSet::new(), highest: 0, floor: 0 };
        if let Some(at) = self.retired.iter().position(|(known, _)| *known == ssrc) {
            known.highest = self.retired.remove(at).1;
            known.floor = known.highest + 1;
        }
        if self.busy.len() == self.capacity {
            let silent = self.busy.remove(0);
            self.retired.push((silent.ssrc, silent.highest));
        }
        known
    }
}

#[derive(Clone, Debug)]
enum Step {
    Packet {
        ssrc: u32,
        step: i64,
    },
    Resume {
        ssrc: u32,
        step: i64,
    },
    /// The table is replaced by one that took over what it exported.
    Move {
        words: usize,
    },
}

fn step(ssrcs: u32) -> impl Strategy<Value = Step> {
    prop_oneof![
        30 => (0..ssrcs, -200i64..200).prop_map(|(ssrc, step)| Step::Packet { ssrc, step }),
        1 => (0..ssrcs, -50i64..100).prop_map(|(ssrc, step)| Step::Resume { ssrc, step }),
        1 => (1usize..6).prop_map(|words| Step::Move { words }),
    ]
}

/// A table and its model, side by side.
struct Pair {
    streams: Streams,
    model: Model,
    used: BTreeSet<(u32, u64)>,
}

impl Pair {
    fn new(capacity: usize, size: usize) -> Self {
        let (busy, retired) = (Vec::new(), Vec::new());
        let model = Model { busy, retired, capacity, size: size as u64 };
        Self { streams: Streams::new(capacity, size), model, used: BTreeSet::new() }
    }

    fn take(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Packet { ssrc, step } => self.packet(ssrc, self.near(ssrc, step))?,
            Step::Resume { ssrc, step } => {
                let index = self.near(ssrc, step);
                prop_assert_eq!(self.streams.resume(ssrc, index), Ok(()));
                self.model.resume(ssrc, index);
            }
            Step::Move { words } => self.move_to(64 * words),
        }
        let (busy, retired) = (&self.model.busy, &self.model.retired);
        let busy = busy.iter().map(|known| (known.ssrc, known.highest));
        let all: BTreeSet<_> = busy.chain(retired.iter().copied()).collect();
        let ours: Vec<_> = self.streams.all().collect();
        prop_assert_eq!(ours.len(), all.len(), "a stream twice in the table");
        prop_assert_eq!(ours.into_iter().collect::<BTreeSet<_>>(), all);
        Ok(())
    }

    fn near(&self, ssrc: u32, step: i64) -> u64 {
        (self.model.highest(ssrc).unwrap_or(1_000) as i64 + step).max(0) as u64
    }

    fn packet(&mut self, ssrc: u32, index: u64) -> Result<(), TestCaseError> {
        let slot = self.streams.slot(ssrc).expect("the table holds all");
        let checked = self.streams.check(slot, index);
        prop_assert_eq!(checked, self.model.check(ssrc, index), "{} at {}", ssrc, index);
        if checked.is_ok() {
            self.streams.mark(slot, ssrc, index);
            self.model.mark(ssrc, index);
            prop_assert!(self.used.insert((ssrc, index)), "{ssrc} used {index} before");
        }
        Ok(())
    }

    fn move_to(&mut self, size: usize) {
        let mut streams = Streams::new(self.model.capacity, size);
        for state in self.streams.export() {
            streams.import(&state).expect("there is as much room");
        }
        self.streams = streams;
        self.model.move_to(size as u64);
    }
}

proptest! {
    #[test]
    fn no_index_is_allowed_twice_however_streams_come_and_go_and_none_refused_without_reason(
        capacity in 1usize..4,
        steps in proptest::collection::vec(step(7), 1..400)
    ) {
        let mut pair = Pair::new(capacity, 64);
        for step in steps {
            pair.take(step)?;
        }
    }

    /// Crosses from the list to the index, by busy streams and by retired ones.
    #[test]
    fn the_same_with_more_streams_than_are_searched(
        capacity in 1usize..40,
        steps in proptest::collection::vec(step(50), 1..400)
    ) {
        let mut pair = Pair::new(capacity, 128);
        for step in steps {
            pair.take(step)?;
        }
    }
}

#[test]
fn ten_thousand_streams_are_each_found_and_each_apart() {
    let mut streams = Streams::new(10_000, 1024);
    let ssrc = |n: u32| n.wrapping_mul(0x9e37_79b9);
    for round in 0..3u64 {
        for n in 0..10_000 {
            let index = u64::from(n) + 2 * round;
            let slot = streams.slot(ssrc(n)).expect("there is room");
            assert_eq!(matches!(slot, Slot::New), round == 0);
            assert_eq!(streams.check(slot, index), Ok(()));
            streams.mark(slot, ssrc(n), index);
            let slot = streams.slot(ssrc(n)).expect("is known");
            assert_eq!(streams.check(slot, index), Err(Stale::Used));
        }
    }
    for n in 0..10_000 {
        assert_eq!(streams.highest(ssrc(n)), Some(u64::from(n) + 4));
    }
}

#[test]
fn a_table_takes_its_capacity_and_the_retired_and_then_refuses() {
    let mut streams = Streams::new(100, 64);
    let all = 100 + MAX_RETIRED as u32;
    for ssrc in 0..all {
        let slot = streams.slot(ssrc).expect("there is room");
        streams.mark(slot, ssrc, 7);
    }
    assert_eq!(streams.slot(all).err(), Some(Refusal::TooManyStreams));
    // One that was retired comes back: another retires for it, and the table is as full.
    let slot = streams.slot(3).expect("is known");
    assert_eq!(streams.check(slot, 7), Err(Stale::TooOld));
    streams.mark(slot, 3, 8);
    assert_eq!(streams.slot(all).err(), Some(Refusal::TooManyStreams));
    assert_eq!(streams.all().count(), all as usize);
    assert!((0..all).all(|ssrc| streams.highest(ssrc) == Some(if ssrc == 3 { 8 } else { 7 })));
}

#[test]
fn an_import_never_replaces_a_stream_and_never_overfills() {
    let state = |ssrc, history| StreamState { ssrc, highest: 9, history };
    let mut streams = Streams::new(1, 64);
    assert_eq!(streams.import(&state(1, vec![1])), Ok(()));
    assert_eq!(streams.import(&state(1, vec![1])), Err(NotImported::Known));
    let beyond = StreamState { highest: PacketIndex::COUNT, ..state(2, vec![1]) };
    assert_eq!(streams.import(&beyond), Err(NotImported::IndexTooHigh));
    for ssrc in 2..2 + MAX_RETIRED as u32 {
        assert_eq!(streams.import(&state(ssrc, Vec::new())), Ok(()));
    }
    assert_eq!(streams.import(&state(2, Vec::new())), Err(NotImported::Known));
    for history in [Vec::new(), vec![1]] {
        assert_eq!(streams.import(&state(5_000, history)), Err(NotImported::TooManyStreams));
    }
    assert_eq!(streams.all().count(), 1 + MAX_RETIRED);
}
