//! The hot path: what one worker does with each packet. Read [`path`] first.
//!
//! # Who owns what
//!
//! | State | Owner | Touched by |
//! |---|---|---|
//! | calls, streams, SRTP contexts, counters | the worker's [`table`] | the worker's thread |
//! | media sockets | the worker's driver (`packet_io`) | the worker's thread |
//! | SDP, tags, ports, timeouts | `session`, on the control runtime | control |
//! | DTLS associations, ICE agents | the agents' threads ([`webrtc`](crate::webrtc)) | those |
//! | who may be heard by agents, and by whom | the worker's [`table`] | the worker's thread |
//!
//! A call belongs to one worker for life and a worker is one thread, so there is nothing to lock
//! and nothing to reorder. Four things cross the thread's boundary, all of them messages:
//!
//! * in: [`command::Command`], a bounded inbox, obeyed between two batches, never within one;
//! * out, asked for: reports and snapshots, copies sent through the command's own reply channel;
//! * out, unasked: [`command::WorkerEvent`], a bounded queue; when it is full the next scan says
//!   it again;
//! * up: STUN and DTLS of streams that speak them, copied into bounded queues ([`uplink`]); a worker
//!   waits for no agent, and what agents find out comes back as commands.
//!
//! # What changes under a packet's feet: nothing
//!
//! A plan swaps keys, peers and endpoints while no packet is on the path. Swaps that outlive the
//! moment: an old receive key stays beside the new one for a while ([`keys`]); sequence offsets
//! are carried to a new send key ([`sequence`]); what was learned about an address survives
//! signalling that does not contradict it ([`learning`]).
//!
//! # Where to look
//!
//! [`worker`] is the thread and its loop, [`table`] its calls, [`stream`] one party's one media
//! section, [`plan`] what a plan does to that, with the keys of a [`key_plan`]; [`path`] the packet
//! path and, in its order, [`demultiplex`], [`learning`], [`keys`], [`source`], [`sequence`],
//! [`feedback`]; [`agents`] says who may be heard where ICE or DTLS are spoken, and takes what they
//! found, [`uplink`] is the way up; [`bundle`] says whose the packets of a bundle are, and [`copies`]
//! are of reports on several of them; [`limits`] is what control hears of used-up keys, [`residence`] and [`stats`] are
//! what is measured.

mod agents;
mod bucket;
mod bundle;
pub mod command;
mod copies;
mod demultiplex;
pub mod drop_reason;
mod feedback;
pub mod key_plan;
mod keys;
mod learning;
mod limits;
mod path;
mod plan;
mod residence;
mod sequence;
mod source;
mod stats;
mod stream;
mod sys;
pub mod table;
pub mod uplink;
pub mod worker;
