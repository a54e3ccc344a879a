//! A leg's place on its thread: the leg, its next plan until its worker has that, the sockets that
//! the worker lent, its deadline.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use super::figures::AgentDrop;
use super::leg::Leg;
use super::plan::LegPlan;
use crate::relay::command::Footing;
use crate::relay::uplink::Component;

/// See the module's documentation.
pub(super) struct Seat {
    pub(super) leg: Leg,
    /// Whose call it is.
    pub(super) worker: usize,
    /// As the timers have it.
    pub(super) armed: Option<Instant>,
    /// Among the clients that wait to begin.
    pub(super) queued: bool,
    /// Of the newest plan.
    footing: Footing,
    /// The newest plan, where it is not the leg's yet.
    next: Option<Box<LegPlan>>,
    sockets: Sockets,
    loan: Loan,
}

/// What is to be done about a changed plan.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Planned {
    /// The leg may have it: the worker needs nothing new for it.
    Same(Box<LegPlan>),
    /// The worker is to be asked.
    Ask,
    /// It has been, and has not answered.
    Asked,
}

/// Duplicates of the stream's own, by component.
type Sockets = [Option<UdpSocket>; 2];

/// What a worker answers.
pub(super) type Lent = io::Result<Sockets>;

/// How far asking for the sockets has come.
enum Loan {
    /// The worker has lent.
    Lent,
    /// It cannot.
    Refused,
    /// The worker was asked, this often.
    Asked(Receiver<Lent>, u32),
    /// To be asked again: the plan had not reached it.
    Again(Instant, u32),
}

/// What became of a loan.
pub(super) enum Answer {
    /// Nothing yet.
    Waiting,
    /// Nothing yet, for so long that somebody should know.
    Overdue,
    /// Ask (again).
    Ask(u32),
    /// The sockets are here, and the worker has the plan: this one, if it is another than the leg's.
    Lent { next: Option<Box<LegPlan>>, locals: [Option<SocketAddr>; 2] },
    /// There will be none.
    Refused(io::Error),
}

impl Seat {
    /// A leg whose worker is to be asked.
    pub(super) fn new(plan: LegPlan, worker: usize) -> Self {
        Self {
            footing: plan.footing(),
            leg: Leg::new(plan),
            worker,
            armed: None,
            queued: false,
            next: None,
            sockets: [None, None],
            loan: Loan::Refused,
        }
    }

    /// A changed plan. Until the worker has it the leg goes on under the one before.
    pub(super) fn plan(&mut self, plan: LegPlan) -> Planned {
        let before = std::mem::replace(&mut self.footing, plan.footing());
        let plan = Box::new(plan);
        match (before == self.footing, &self.loan) {
            (true, Loan::Lent) => Planned::Same(plan),
            (true, Loan::Asked(..) | Loan::Again(..)) => {
                self.next = Some(plan);
                Planned::Asked
            }
            (false, _) | (true, Loan::Refused) => {
                self.next = Some(plan);
                Planned::Ask
            }
        }
    }

    /// The worker is asked for the sockets, on this footing; those there are stay until it answers.
    pub(super) fn asked(&mut self, answer: Receiver<Lent>, attempt: u32) -> Footing {
        self.loan = Loan::Asked(answer, attempt);
        self.footing
    }

    /// When to look again, where that is known.
    pub(super) fn next_look(&self) -> Option<Instant> {
        match self.loan {
            Loan::Again(at, _) => Some(at),
            Loan::Lent | Loan::Refused | Loan::Asked(..) => None,
        }
    }

    /// Looks whether the worker answered.
    pub(super) fn look(&mut self, now: Instant) -> Answer {
        match &self.loan {
            Loan::Lent | Loan::Refused => self.lent(),
            Loan::Again(at, attempt) if *at <= now => Answer::Ask(*attempt),
            Loan::Again(..) => Answer::Waiting,
            Loan::Asked(answer, attempt) => match (answer.try_recv(), *attempt) {
                (Err(TryRecvError::Empty), _) => Answer::Waiting,
                (Err(TryRecvError::Disconnected), _) => self.refuse(gone()),
                (Ok(Ok([None, _])), attempt) => {
                    let patience = PATIENCE * (1 << attempt.min(SLOWEST));
                    self.loan = Loan::Again(now + patience, attempt.saturating_add(1));
                    if attempt == NOTABLE { Answer::Overdue } else { Answer::Waiting }
                }
                (Ok(Ok(sockets)), _) => {
                    self.loan = Loan::Lent;
                    self.sockets = sockets;
                    self.lent()
                }
                (Ok(Err(error)), _) => self.refuse(error),
            },
        }
    }

    /// Sends; why not, if it cannot.
    pub(super) fn send(
        &self,
        component: Component,
        to: SocketAddr,
        bytes: &[u8],
    ) -> Result<(), AgentDrop> {
        let socket = self.sockets[component as usize].as_ref().ok_or(AgentDrop::NoSocket)?;
        match socket.send_to(bytes, to) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(AgentDrop::WouldBlock),
            // An ICMP error of something sent before is told to the next who sends.
            Err(_) => socket.send_to(bytes, to).map(drop).map_err(|_| AgentDrop::SendFailed),
        }
    }

    fn lent(&mut self) -> Answer {
        let local = |component: usize| self.sockets[component].as_ref()?.local_addr().ok();
        Answer::Lent { locals: [0, 1].map(local), next: self.next.take() }
    }

    fn refuse(&mut self, error: io::Error) -> Answer {
        self.loan = Loan::Refused;
        Answer::Refused(error)
    }
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "its worker is gone")
}

/// A worker that is behind gets its plans later than we ask. It will have them, or the leg ends: so
/// it is asked after 5 ms, and then after twice as long each time.
const PATIENCE: Duration = Duration::from_millis(5);

/// Not more rarely than after 1.28 s.
const SLOWEST: u32 = 8;

/// Five seconds are over: whoever reads the log is to know.
const NOTABLE: u32 = 10;

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;

    fn plan() -> LegPlan {
        let socket = "127.0.0.1:30000".parse().unwrap();
        LegPlan { ice: None, dtls: None, rtcp_mux: true, signalled: [None; 2], socket }
    }

    fn seat() -> Seat {
        Seat::new(plan(), 0)
    }

    fn socket() -> UdpSocket {
        UdpSocket::bind("127.0.0.1:0").unwrap()
    }

    #[test]
    fn a_worker_without_the_plan_is_asked_until_it_has_it_and_told_of_once() {
        let (mut seat, mut now, start) = (seat(), Instant::now(), Instant::now());
        let mut told = 0;
        for attempt in 0..20 {
            let (reply, answer) = sync_channel(1);
            seat.asked(answer, attempt);
            assert!(matches!(seat.look(now), Answer::Waiting));
            reply.send(Ok([None, None])).unwrap();
            match seat.look(now) {
                Answer::Overdue => told += 1,
                other => assert!(matches!(other, Answer::Waiting)),
            }
            let next = seat.next_look().unwrap();
            assert!(next > now && next <= now + Duration::from_millis(1280), "{attempt}");
            now = next;
            assert!(matches!(seat.look(now), Answer::Ask(next) if next == attempt + 1));
        }
        assert_eq!(told, 1);
        assert!(now > start + Duration::from_secs(10), "longer than any worker is behind");
        let (reply, answer) = sync_channel(1);
        seat.asked(answer, 20);
        reply.send(Ok([Some(socket()), None])).unwrap();
        assert!(matches!(seat.look(now), Answer::Lent { .. }));
    }

    #[test]
    fn a_plan_waits_for_its_worker_only_where_it_builds_on_something_new() {
        let (mut seat, now) = (seat(), Instant::now());
        let (reply, answer) = sync_channel(1);
        seat.asked(answer, 0);
        let other = LegPlan { signalled: [Some(plan().socket), None], ..plan() };
        assert_eq!(seat.plan(other.clone()), Planned::Asked);
        reply.send(Ok([Some(socket()), None])).unwrap();
        match seat.look(now) {
            Answer::Lent { next, .. } => assert_eq!(next, Some(Box::new(other))),
            _ => panic!("not lent"),
        }
        assert_eq!(seat.plan(plan()), Planned::Same(Box::new(plan())));
        let moved = LegPlan { socket: "127.0.0.1:30002".parse().unwrap(), ..plan() };
        assert_eq!(seat.plan(moved.clone()), Planned::Ask);
        let (_, answer) = sync_channel(1);
        assert_eq!(seat.asked(answer, 0), moved.footing());
    }

    #[test]
    fn old_sockets_serve_until_the_new_ones_are_here() {
        let (mut seat, now, peer) = (seat(), Instant::now(), socket());
        let to = peer.local_addr().unwrap();
        assert_eq!(seat.send(Component::Rtp, to, b"x"), Err(AgentDrop::NoSocket));
        for _ in 0..2 {
            let (reply, answer) = sync_channel(1);
            seat.asked(answer, 0);
            let ours = socket();
            let expected = ours.local_addr().unwrap();
            reply.send(Ok([Some(ours), None])).unwrap();
            assert!(
                matches!(seat.look(now), Answer::Lent { locals: [Some(at), None], .. } if at == expected)
            );
            assert_eq!(seat.send(Component::Rtp, to, b"x"), Ok(()));
            assert_eq!(peer.recv_from(&mut [0; 4]).unwrap(), (1, expected));
        }
        let (reply, answer) = sync_channel::<Lent>(1);
        seat.asked(answer, 0);
        drop(reply);
        assert!(matches!(seat.look(now), Answer::Refused(_)));
        assert_eq!(seat.send(Component::Rtp, to, b"x"), Ok(()));
        assert_eq!(seat.send(Component::Rtcp, to, b"x"), Err(AgentDrop::NoSocket));
    }
}
