//! Data that goes through a pipe and not through our memory, with records in between that are none.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::OwnedFd;

use kernel_tls::{AskPeer, Policy, Received, Spliced};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::attacker::Attacker;
use crate::ground::{Deadline, Flow, Place, connect, flush, kernel_suites, pattern, suites};
use crate::support::end::Talk;

struct Pipe {
    reader: std::fs::File,
    writer: OwnedFd,
}

fn pipe() -> Pipe {
    let (reader, writer) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC).expect("a pipe");
    Pipe { reader: reader.into(), writer }
}

/// Splices what is there, reads what is no data; answers the data, and whether the peer closed.
fn drain(talk: &mut Talk, pipe: &mut Pipe, into: &mut Vec<u8>) -> bool {
    loop {
        match talk.stream.splice_from(&talk.socket, &pipe.writer, 65_536) {
            Ok(Spliced::Data(moved)) => {
                let start = into.len();
                into.resize(start + moved, 0);
                pipe.reader.read_exact(&mut into[start..]).expect("what was spliced");
            }
            Ok(Spliced::Record) => match talk.read() {
                Ok(Received::Data(data)) => into.extend_from_slice(data),
                Ok(Received::Nothing) => {}
                Ok(Received::CloseNotify) => return true,
                Ok(other) => panic!("{other:?}"),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                Err(error) => panic!("{error}"),
            },
            Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn spliced_data_arrives_both_ways_around_records_that_are_none() {
    for suite in suites() {
        let policy = Policy { update_after: 200, ..Place::Kernel.policy() };
        let mut ends = connect(suite, &policy, &Place::User.policy());
        if !ends.0.stream.is_kernel() {
            continue;
        }
        let tls13 = ends.0.stream.version() == rustls::ProtocolVersion::TLSv1_3;
        let (mut inward, outward) = (pipe(), pipe());
        let mut outward_writer = std::fs::File::from(outward.writer);
        let (mut came, mut flow) = (Vec::new(), Flow::new(0));
        let mut sent = Flow::new(1);
        let until = Deadline::new();
        for round in 0..20 {
            sent.write(&mut ends.1, 5_000);
            if tls13 && round % 4 == 1 {
                ends.1.stream.update_keys(&ends.1.socket, AskPeer::Renew).expect("new keys");
                sent.write(&mut ends.1, 5_000);
            }
            drain(&mut ends.0, &mut inward, &mut came);
            // Small pieces, which the pipe may keep apart.
            for _ in 0..8 {
                let places = flow.sent..flow.sent + 700;
                let data: Vec<u8> = places.map(|place| pattern(0, place)).collect();
                outward_writer.write_all(&data).expect("room in the pipe");
                flow.sent += 700;
            }
            let mut left = 5_600;
            while left > 0 {
                match ends.0.stream.splice_to(&ends.0.socket, &outward.reader, left) {
                    Ok(moved) => left -= moved,
                    Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}"),
                }
                flow.read(&mut ends.1);
                flush(&mut ends.1);
                until.check("splicing outward");
            }
        }
        ends.1.stream.close_write(&ends.1.socket).expect("closed");
        while !drain(&mut ends.0, &mut inward, &mut came) {
            flush(&mut ends.1);
            until.check("splicing inward");
        }
        while flow.received < flow.sent {
            flow.read(&mut ends.1);
            until.check("the last bytes");
        }
        assert_eq!(came.len(), sent.sent, "{suite:?}");
        assert!(came.iter().enumerate().all(|(place, byte)| *byte == pattern(1, place)));
    }
}

#[test]
fn an_empty_record_is_no_end_for_a_splice() {
    for suite in kernel_suites() {
        let (mut victim, mut attacker) = Attacker::of_server(suite, &Place::Kernel.policy());
        let mut pipe = pipe();
        attacker.record(23, b"one");
        attacker.record(23, b"");
        attacker.record(23, b"");
        attacker.record(23, b"two");
        let mut came = Vec::new();
        let until = Deadline::new();
        while came.len() < 6 {
            assert!(!drain(&mut victim, &mut pipe, &mut came));
            until.check("both words");
        }
        assert_eq!(came, b"onetwo");
        attacker.record(21, &[1, 0]);
        while !drain(&mut victim, &mut pipe, &mut came) {
            until.check("the end");
        }
    }
}
