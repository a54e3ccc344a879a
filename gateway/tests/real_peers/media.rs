//! The media agents of one suite: one thread that plays both parties of its twenty calls, moved
//! from step to step by what the signalling agents report.
//!
//! What counts: every packet sent from the moment the callee has the call's ACK (both sides and
//! the relay then have all they need) until half a second before the BYE. Nothing may be lost,
//! doubled or changed. A direction that a hold cuts falls silent half a second before it, so that
//! nothing is in flight when the relay learns of it; RTCP goes on (RFC 3264 section 5.1).

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use srtp::Profile;

use crate::event::{Described, Event, EventLog, Step};
use crate::ledger::{Ledger, Tally};
use crate::packet::{Origin, Sender};
use crate::party::{Party, Sends};
use crate::plan::{CALLS_PER_SUITE, CallPlan, Hold};

/// What the relay is asked to survive beyond what any relay must.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Restart {
    /// The plain source restarts its sequence after the third re-INVITE.
    Sequence,
    /// It does not: the relay is known not to follow.
    Spared { because: &'static str },
}

/// The twenty calls of one suite.
pub(crate) struct SuiteMedia {
    suite: Profile,
    restart: Restart,
    calls: Vec<MediaCall>,
    caller_log: EventLog,
    callee_log: EventLog,
    peak: usize,
}

/// How the calls of one suite went.
pub(crate) struct SuiteReport {
    pub(crate) suite: Profile,
    /// Most calls up at one time.
    pub(crate) peak: usize,
    /// From the plain side to the secure side, RTP then RTCP.
    pub(crate) to_secure: [Tally; 2],
    /// From the secure side to the plain side, RTP then RTCP.
    pub(crate) to_plain: [Tally; 2],
    /// Calls whose plain source restarted its sequence.
    pub(crate) restarts: usize,
    /// What went wrong, one sentence each.
    pub(crate) faults: Vec<String>,
}

struct MediaCall {
    plan: CallPlan,
    caller: Party,
    callee: Party,
    /// What the caller sent.
    forward: Ledger,
    /// What the callee sent.
    backward: Ledger,
    step: Option<Step>,
    restarted: bool,
    faults: Vec<String>,
}

impl SuiteMedia {
    /// Binds the sockets of `plans`, which are all of one suite, in this thread's namespace.
    pub(crate) fn new(
        plans: Vec<CallPlan>,
        restart: Restart,
        caller_log: EventLog,
        callee_log: EventLog,
    ) -> Result<Self> {
        let suite = plans[0].suite;
        let calls = plans.into_iter().map(MediaCall::new).collect::<Result<_>>()?;
        Ok(Self { suite, restart, calls, caller_log, callee_log, peak: 0 })
    }

    /// Runs until every call has ended or it is clear that one will not.
    pub(crate) fn run(mut self) -> Result<SuiteReport> {
        let deadline = Instant::now() + WHOLE_RUN;
        let mut tick: u32 = 0;
        let mut next = Instant::now();
        while !self.calls.iter().all(MediaCall::has_ended) && Instant::now() < deadline {
            self.follow_signalling()?;
            while Instant::now() >= next {
                for call in &mut self.calls {
                    call.send(tick);
                }
                tick = tick.wrapping_add(1);
                next += PACKET_TIME;
            }
            for call in &mut self.calls {
                call.receive();
            }
            thread::sleep(POLL);
        }
        Ok(self.report())
    }

    fn follow_signalling(&mut self) -> Result<()> {
        // The callee's log first, for what the caller wrote before its ACK must not be read after
        // what the callee wrote upon it; then applied the other way round.
        let from_callee = self.callee_log.poll()?;
        for event in self.caller_log.poll()?.into_iter().chain(from_callee) {
            let number = event.call();
            match self.calls.iter_mut().find(|call| call.plan.number == number) {
                Some(call) => call.follow(event, self.restart),
                None => anyhow::bail!("call {number} of the signalling log is not in the plan"),
            }
        }
        self.peak = self.peak.max(self.calls.iter().filter(|call| call.is_up()).count());
        Ok(())
    }

    fn report(self) -> SuiteReport {
        let mut report = SuiteReport {
            suite: self.suite,
            peak: self.peak,
            to_secure: [Tally::default(); 2],
            to_plain: [Tally::default(); 2],
            restarts: 0,
            faults: Vec::new(),
        };
        if self.peak < usize::from(CALLS_PER_SUITE) {
            report.faults.push(format!(
                "{}: at most {} calls were up at one time, expected {CALLS_PER_SUITE}",
                self.suite, self.peak
            ));
        }
        for call in self.calls {
            call.account(&mut report);
        }
        report
    }
}

impl MediaCall {
    fn new(plan: CallPlan) -> Result<Self> {
        let caller = Origin { call: plan.number, sender: Sender::Caller };
        let callee = Origin { call: plan.number, sender: Sender::Callee };
        Ok(Self {
            caller: Party::new(caller, &plan.caller, plan.suite)?,
            callee: Party::new(callee, &plan.callee, plan.suite)?,
            forward: Ledger::new(caller),
            backward: Ledger::new(callee),
            step: None,
            restarted: false,
            faults: Vec::new(),
            plan,
        })
    }

    fn follow(&mut self, event: Event, restart: Restart) {
        match event {
            Event::Offered { media, .. } => self.meet(Sender::Callee, media),
            Event::Answered { media, .. } => self.meet(Sender::Caller, media),
            Event::Quiet { before: Step::Hold, .. } => {
                self.callee.sends = Sends::Reports;
                if self.plan.hold == Hold::Silence {
                    self.caller.sends = Sends::Reports;
                }
            }
            Event::Quiet { .. } => {
                self.caller.sends = Sends::Nothing;
                self.callee.sends = Sends::Nothing;
            }
            Event::Agreed { step, .. } => self.agree(step, restart),
            Event::Ended { .. } => self.reach(Step::Bye),
        }
    }

    fn meet(&mut self, who: Sender, media: Described) {
        let direction = self.direction_towards(who);
        let party = match who {
            Sender::Caller => &mut self.caller,
            Sender::Callee => &mut self.callee,
        };
        if let Err(fault) = party.meet_relay(media, direction) {
            self.faults.push(format!("the {who:?}'s SDP from the relay: {fault}"));
        }
    }

    /// What the SDP towards `who` must say in the step that is being negotiated.
    fn direction_towards(&self, who: Sender) -> &'static str {
        match (self.step, self.plan.hold, who) {
            (Some(Step::Established), Hold::Silence, _) => "inactive",
            (Some(Step::Established), Hold::CallerSends, Sender::Callee) => "sendonly",
            (Some(Step::Established), Hold::CallerSends, Sender::Caller) => "recvonly",
            _ => "sendrecv",
        }
    }

    fn reach(&mut self, step: Step) {
        if self.step != step.previous() {
            self.faults.push(format!("{step:?} came upon {:?}", self.step));
        }
        self.step = Some(step);
    }

    fn agree(&mut self, step: Step, restart: Restart) {
        self.reach(step);
        if step == Step::Hold {
            return;
        }
        self.caller.sends = Sends::Media;
        self.callee.sends = Sends::Media;
        if step == Step::Restarted && restart == Restart::Sequence {
            let plain = if self.caller.is_plain() { &mut self.caller } else { &mut self.callee };
            plain.restart_sequence();
            self.restarted = true;
        }
    }

    fn send(&mut self, tick: u32) {
        // Reports are spread over the second, as RFC 3550 section 6.2 wants.
        let report = tick % REPORT_EVERY == u32::from(self.plan.number) % REPORT_EVERY;
        for (party, ledger) in
            [(&mut self.caller, &mut self.forward), (&mut self.callee, &mut self.backward)]
        {
            if party.sends == Sends::Media {
                party.send_rtp(ledger);
            }
            if report && party.sends != Sends::Nothing {
                party.send_rtcp(ledger);
            }
        }
    }

    fn receive(&mut self) {
        self.callee.receive(&mut self.forward);
        self.caller.receive(&mut self.backward);
    }

    fn is_up(&self) -> bool {
        self.step.is_some_and(|step| step < Step::Bye)
    }

    fn has_ended(&self) -> bool {
        self.step == Some(Step::Bye)
    }

    fn account(self, report: &mut SuiteReport) {
        let name = format!("{} call {}", self.plan.suite, self.plan.number);
        let mut faults = self.faults;
        if self.step != Some(Step::Bye) {
            faults.push(format!("was not ended; its last step was {:?}", self.step));
        }
        report.restarts += usize::from(self.restarted);
        let caller_is_plain = self.caller.is_plain();
        for (who, ledger, from_plain) in [
            ("caller", &self.forward, caller_is_plain),
            ("callee", &self.backward, !caller_is_plain),
        ] {
            let [rtp, rtcp] = if from_plain { &mut report.to_secure } else { &mut report.to_plain };
            rtp.add(ledger.rtp());
            rtcp.add(ledger.rtcp());
            let sent = ledger.rtp().sent;
            if sent < LEAST_PACKETS {
                faults
                    .push(format!("the {who} sent only {sent} packets, expected {LEAST_PACKETS}"));
            }
            faults.extend(ledger.verdict().into_iter().map(|fault| format!("{who}'s {fault}")));
        }
        report.faults.extend(faults.into_iter().map(|fault| format!("{name}: {fault}")));
    }
}

const PACKET_TIME: Duration = Duration::from_millis(20);

/// Between looks at sockets and logs; far less than half a second, which is what "quiet" leaves.
const POLL: Duration = Duration::from_millis(4);

/// RTCP goes with every 50th packet: once a second.
const REPORT_EVERY: u32 = 50;

/// A call takes 30 s and the last starts 2 s after the first; the rest is for slow machines.
const WHOLE_RUN: Duration = Duration::from_secs(60);

/// A direction open for 24 s or more sends 1,200 packets; fewer than this means the scenario did
/// not happen, whatever became of the packets.
const LEAST_PACKETS: usize = 1_100;
