//! Calls through a relay: the offer, the answer, and the sockets and keys that come of them.
//!
//! The offering leg is plain RTP/AVP, the answering leg RTP/SAVP under the suite asked for. Both
//! legs are ours; the relay can't tell.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Instant;

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use packet_io::{SocketOptions, open_media_socket};
use ring::rand::SystemRandom;
use srtp::{Policy, Profile, Weaknesses};

use crate::body;
use crate::cli::Load;
use crate::control::{Control, Dialogue};
use crate::media::{Leg, MediaCall};

/// Sets calls up one after the other.
pub struct CallSetup<'a> {
    control: &'a mut Control,
    listen: IpAddr,
    profile: Profile,
    random: SystemRandom,
    calls: Vec<MediaCall>,
    established: Established,
}

/// Calls that the relay holds for us.
pub struct Established {
    dialogues: Vec<Dialogue>,
    /// Time from the offer to the answer's reply, nanoseconds.
    pub setup_ns: Histogram<u64>,
}

impl<'a> CallSetup<'a> {
    /// Calls of `load` through the relay behind `control`.
    pub fn new(control: &'a mut Control, load: &Load) -> Result<Self> {
        let dialogues = Vec::with_capacity(load.calls as usize);
        let setup_ns = Histogram::new_with_bounds(1, 60_000_000_000, 3)?;
        Ok(Self {
            control,
            listen: load.listen,
            profile: load.profile,
            random: SystemRandom::new(),
            calls: Vec::with_capacity(load.calls as usize),
            established: Established { dialogues, setup_ns },
        })
    }

    /// Sets one more call up.
    pub fn add_call(&mut self) -> Result<()> {
        let number = self.calls.len();
        let dialogue = Dialogue::new(number);
        let (offerer, answerer) = (self.open_socket()?, self.open_socket()?);
        let start = Instant::now();
        let offer = body::plain_sdp(offerer.local_addr()?);
        let offered = self.control.offer(&dialogue, offer).with_context(|| at(number, "offer"))?;
        // From here on the relay holds the call, so ending must know it.
        self.established.dialogues.push(dialogue);
        let dialogue = &self.established.dialogues[number];
        let (facing_answerer, crypto) =
            body::chosen(&offered, self.profile).with_context(|| at(number, "offer"))?;
        let own_key = body::fresh_key(&self.random, self.profile, crypto.tag)?;
        let answer = body::secure_sdp(answerer.local_addr()?, &own_key);
        let answered =
            self.control.answer(dialogue, answer).with_context(|| at(number, "answer"))?;
        let facing_offerer = body::audio(&answered).map(|(_, address)| address);
        let facing_offerer = facing_offerer.with_context(|| at(number, "answer"))?;
        self.established.setup_ns.saturating_record(start.elapsed().as_nanos() as u64);
        // Whoever asks for a weak suite wants it measured.
        let accepted = self.profile.weakness().into_iter().fold(Weaknesses::NONE, Weaknesses::with);
        let policy = Policy { accepted, ..Policy::default() };
        self.calls.push(MediaCall {
            offerer: Leg { socket: offerer, relay: facing_offerer, protect: None, open: None },
            answerer: Leg {
                socket: answerer,
                relay: facing_answerer,
                protect: Some(srtp::Sender::new(&own_key.key.master, &policy)?),
                open: Some(srtp::Receiver::new(&crypto.key.master, &policy)?),
            },
        });
        Ok(())
    }

    /// The calls, and what to end when they are over.
    pub fn finish(self) -> (Vec<MediaCall>, Established) {
        (self.calls, self.established)
    }

    fn open_socket(&self) -> Result<UdpSocket> {
        let address = SocketAddr::new(self.listen, 0);
        open_media_socket(address, SocketOptions::default())
            .with_context(|| format!("opening a media socket on {} (--listen)", self.listen))
    }
}

impl Established {
    /// Ends every call; goes on past a failing one and reports the first failure.
    pub fn end(&mut self, control: &mut Control) -> Result<()> {
        let results = self.dialogues.drain(..).map(|dialogue| control.delete(&dialogue));
        // Collected first: every call gets its delete, whatever became of the others.
        let results: Vec<Result<()>> = results.collect();
        results.into_iter().collect()
    }
}

fn at(number: usize, what: &str) -> String {
    format!("call {}: {what}", number + 1)
}
