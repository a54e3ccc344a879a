//! What an ICE agent costs in memory, by a counting allocator: connected and idle, and at most.
//!
//! A binary of its own with a single test, because the allocator counts the whole process.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[expect(dead_code, reason = "requests are counted for others")]
#[path = "../../tests/relay_support/sys.rs"]
mod sys;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use sys::Counting;
use webrtc::ice::{
    Agent, Component, Implementation, LocalCandidate, Output, RemoteParameters, Role, Seed,
    Settings, State, credentials,
};

#[global_allocator]
static ALLOCATOR: Counting = Counting::new();

const CALLS: u16 = 256;

fn candidate(call: u16, host: u8) -> LocalCandidate {
    let address = SocketAddr::from(([192, 0, 2, host], 4000 + call));
    LocalCandidate { component: Component::Rtp, address, preference: 65535 }
}

fn agent(call: u16, host: u8, role: Role, now: Instant) -> Agent {
    let settings = Settings {
        implementation: Implementation::Full,
        role,
        local: credentials(&[host; 34]),
        candidates: vec![candidate(call, host)],
        seed: Seed::new(&[host; 32]),
    };
    Agent::new(settings, now).unwrap()
}

/// Two connected agents, ten seconds later.
fn connected(call: u16, start: Instant) -> [Agent; 2] {
    let mut agents =
        [agent(call, 1, Role::Controlling, start), agent(call, 2, Role::Controlled, start)];
    for (index, agent) in agents.iter_mut().enumerate() {
        let party = 2 - index as u8;
        let credentials = credentials(&[party; 34]);
        let implementation = Implementation::Full;
        agent.set_remote(RemoteParameters { credentials, implementation }, start).unwrap();
        let local = candidate(call, party);
        agent.add_candidate(&local.to_sdp(local.address), start).unwrap();
    }
    for turn in 0..1000 {
        let now = start + Duration::from_millis(10 * turn);
        for index in [0, 1] {
            agents[index].handle_timeout(now);
            loop {
                match agents[index].poll() {
                    Output::Transmit(sent) => {
                        let far = &mut agents[1 - index];
                        far.receive(Component::Rtp, sent.to, sent.from, &sent.bytes, now).unwrap();
                    }
                    Output::Timeout(_) => break,
                    _ => {}
                }
            }
        }
    }
    agents
}

#[test]
fn an_idle_agent_takes_less_than_2_kib_and_none_ever_more_than_48() {
    let start = Instant::now();
    let mut legs = Vec::with_capacity(usize::from(CALLS));
    let before = ALLOCATOR.live_bytes();
    for call in 0..CALLS {
        legs.push(connected(call, start));
    }
    let idle = (ALLOCATOR.live_bytes() - before) / (2 * CALLS as isize);
    let own = size_of::<Agent>() as isize;
    assert!(legs.iter().flatten().all(|agent| agent.state() == State::Connected));
    println!("{idle} bytes on the heap and {own} in place for each idle agent");
    assert!(idle + own <= 2048, "{idle} + {own}");

    let before = ALLOCATOR.live_bytes();
    let mut flooded = agent(0, 1, Role::Controlling, start);
    for address in 0..5000_u32 {
        let local = candidate(address as u16 % 1000, 2);
        let mut said = local.to_sdp(SocketAddr::from((address.to_be_bytes(), 9)));
        said.foundation = format!("{address:032}").into();
        let _ = flooded.add_candidate(&said, start);
    }
    let credentials = credentials(&[2; 34]);
    let remote = RemoteParameters { credentials, implementation: Implementation::Full };
    flooded.set_remote(remote, start).unwrap();
    let most = ALLOCATOR.live_bytes() - before;
    println!("{most} bytes after a flood of candidates");
    assert!(most <= 48 * 1024, "{most}");
}
