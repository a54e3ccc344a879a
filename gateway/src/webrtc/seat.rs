//! A leg's place on its thread: the leg, the sockets that its worker lent, its deadline.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use super::figures::AgentDrop;
use super::leg::Leg;
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
    sockets: Sockets,
    loan: Loan,
}

/// Duplicates of the stream's own, by component.
type Sockets = [Option<UdpSocket>; 2];

/// What a worker answers.
pub(super) type Lent = io::Result<Sockets>;

/// How far asking for the sockets has come.
enum Loan {
    /// Nothing is wanted.
    Settled,
    /// The worker was asked, this often.
    Asked(Receiver<Lent>, u32),
    /// To be asked again: the plan had not reached it.
    Again(Instant, u32),
}

/// What became of a loan.
pub(super) enum Answer {
    /// Nothing yet.
    Waiting,
    /// Ask (again).
    Ask(u32),
    /// The sockets are here.
    Lent([Option<SocketAddr>; 2]),
    /// There will be none.
    Refused(io::Error),
}

impl Seat {
    pub(super) fn new(leg: Leg, worker: usize) -> Self {
        let sockets = [None, None];
        Self { leg, worker, armed: None, queued: false, sockets, loan: Loan::Settled }
    }

    /// The worker was asked for the sockets; those there are stay until it answers.
    pub(super) fn asked(&mut self, answer: Receiver<Lent>, attempt: u32) {
        self.loan = Loan::Asked(answer, attempt);
    }

    /// Looks whether the worker answered.
    pub(super) fn look(&mut self, now: Instant) -> Answer {
        match &self.loan {
            Loan::Settled => Answer::Lent(self.locals()),
            Loan::Again(at, attempt) if *at <= now => Answer::Ask(*attempt),
            Loan::Again(..) => Answer::Waiting,
            Loan::Asked(answer, attempt) => match (answer.try_recv(), *attempt) {
                (Err(TryRecvError::Empty), _) => Answer::Waiting,
                (Err(TryRecvError::Disconnected), _) => self.settle(Err(gone())),
                (Ok(Ok([None, _])), attempt) if attempt < ATTEMPTS => {
                    self.loan = Loan::Again(now + PATIENCE * (1 << attempt), attempt + 1);
                    Answer::Waiting
                }
                (Ok(Ok([None, _])), _) => self.settle(Err(gone())),
                (Ok(answer), _) => self.settle(answer),
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

    fn settle(&mut self, answer: Lent) -> Answer {
        self.loan = Loan::Settled;
        match answer {
            Ok(sockets) => {
                self.sockets = sockets;
                Answer::Lent(self.locals())
            }
            Err(error) => Answer::Refused(error),
        }
    }

    fn locals(&self) -> [Option<SocketAddr>; 2] {
        [0, 1].map(|component| self.sockets[component].as_ref()?.local_addr().ok())
    }
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "its worker has no such sockets")
}

/// A worker that is behind gets its plans later than we ask: 5 ms, doubled each time, come to five
/// seconds.
const ATTEMPTS: u32 = 10;
const PATIENCE: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;
    use crate::webrtc::plan::LegPlan;

    fn seat() -> Seat {
        let plan = LegPlan { ice: None, dtls: None, rtcp_mux: true, signalled: [None; 2] };
        Seat::new(Leg::new(plan), 0)
    }

    fn socket() -> UdpSocket {
        UdpSocket::bind("127.0.0.1:0").unwrap()
    }

    #[test]
    fn a_worker_without_the_plan_yet_is_asked_again_and_then_no_more() {
        let (mut seat, mut now) = (seat(), Instant::now());
        for attempt in 0..ATTEMPTS {
            let (reply, answer) = sync_channel(1);
            seat.asked(answer, attempt);
            assert!(matches!(seat.look(now), Answer::Waiting));
            reply.send(Ok([None, None])).unwrap();
            assert!(matches!(seat.look(now), Answer::Waiting));
            now += PATIENCE * (1 << attempt);
            assert!(matches!(seat.look(now), Answer::Ask(next) if next == attempt + 1));
        }
        let (reply, answer) = sync_channel(1);
        seat.asked(answer, ATTEMPTS);
        reply.send(Ok([None, None])).unwrap();
        assert!(matches!(seat.look(now), Answer::Refused(_)));
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
            assert!(matches!(seat.look(now), Answer::Lent([Some(at), None]) if at == expected));
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
