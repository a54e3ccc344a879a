//! A thread's dealings with workers about sockets. They are lent when the worker has the plan, and
//! that is when the leg's agents act on it: control and agents reach a worker by two ways, and
//! keys or a path that came before the plan would be lost.

use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use webrtc::ice::Seed;

use super::AgentThread;
use crate::relay::command::Command;
use crate::webrtc::leg::LegKey;
use crate::webrtc::seat::Answer;

impl AgentThread {
    pub(super) fn ask_for_sockets(&mut self, key: LegKey, attempt: u32) {
        let Some(seat) = self.seats.get_mut(&key) else { return };
        let (reply, answer) = sync_channel(1);
        let (call, stream) = (key.call(), key.stream());
        let footing = seat.asked(answer, attempt);
        if let Some(worker) = self.setup.workers.get_mut(seat.worker) {
            worker.send(Command::Lend { call, stream, footing, reply });
        }
        if !self.loans.contains(&key) {
            self.loans.push(key);
        }
    }

    pub(super) fn take_loans(&mut self) {
        for key in std::mem::take(&mut self.loans) {
            let now = Instant::now();
            let Some(seat) = self.seats.get_mut(&key) else { continue };
            match seat.look(now) {
                Answer::Waiting => self.loans.push(key),
                Answer::Ask(attempt) => self.ask_for_sockets(key, attempt),
                Answer::Overdue => {
                    self.loans.push(key);
                    let (call, stream) = (key.call().0, key.stream().0);
                    tracing::warn!(call, stream, "DTLS and ICE wait for the worker's plan");
                }
                Answer::Lent { next, locals } => match seed() {
                    Ok(seed) => {
                        self.with_leg(key, |leg, out| {
                            leg.lent(next.map(|plan| *plan), locals, seed, now, out)
                        });
                    }
                    Err(error) => tracing::error!(%error, "no random numbers for ICE"),
                },
                Answer::Refused(error) => {
                    let (call, stream) = (key.call().0, key.stream().0);
                    tracing::warn!(call, stream, %error, "DTLS and ICE have nothing to send from");
                }
            }
        }
    }
}

fn seed() -> std::io::Result<Seed> {
    let mut bytes = zeroize::Zeroizing::new([0; 32]);
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut bytes[..])
        .map_err(|_| std::io::Error::other("the system's random source failed"))?;
    Ok(Seed::new(&bytes))
}

/// A worker answers between two batches, and does not call.
pub(super) const LOAN_LOOK: Duration = Duration::from_millis(1);
