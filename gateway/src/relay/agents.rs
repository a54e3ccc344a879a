//! What ICE and DTLS agents say to a worker: keys, paths, and the loan of a stream's sockets.

use std::io;
use std::net::UdpSocket;

use packet_io::Driver;

use super::command::{CallKey, IcePath, StreamIndex};
use super::demultiplex::Component;
use super::key_plan::{SrtpKey, SrtpKeys};
use super::stream::Slot;
use super::table::Table;
use crate::webrtc::plan::Epoch;

impl Table {
    /// Keys of a finished handshake.
    pub(super) fn secure(
        &mut self,
        _call: CallKey,
        _stream: StreamIndex,
        _epoch: Epoch,
        (_receive, _send): (Box<SrtpKeys>, Box<SrtpKey>),
    ) {
    }

    /// Where a stream's party is, by ICE.
    pub(super) fn follow(&mut self, _call: CallKey, _stream: StreamIndex, _path: IcePath) {}

    /// Duplicates of a stream's sockets.
    pub(super) fn lend(
        &self,
        call: CallKey,
        stream: StreamIndex,
        driver: &impl Driver,
    ) -> io::Result<[Option<UdpSocket>; 2]> {
        let Some(slot) = self.slot_of(call, stream) else { return Ok([None, None]) };
        let duplicate = |component| driver.socket(slot.token(component)).map(UdpSocket::try_clone);
        Ok([duplicate(Component::Rtp).transpose()?, duplicate(Component::Rtcp).transpose()?])
    }

    fn slot_of(&self, call: CallKey, stream: StreamIndex) -> Option<Slot> {
        self.streams_of(call)?.get(usize::from(stream.0)).copied()
    }
}
