//! More candidates than anybody has, in SDP and trickled: they are bounded, and so is what they make
//! us send; the call lives.

use std::fmt::Write;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::abroad::{Abroad, HERE};
use crate::browser::{Browser, PROGRAMS};
use crate::call::{Call, Dtls, Offerer};
use crate::changed::{Changed, unchanged, without_candidates};
use crate::far::{Far, Kind};
use crate::gateway::Gateway;
use crate::party::Party;
use crate::relay::{Relay, configuration, dropped};
use crate::scene::demand;

#[test]
fn a_flood_of_candidates_is_bounded_and_the_call_lives() {
    demand("candidates", PROGRAMS, |scene| {
        let abroad = Abroad::new()?;
        let gateway = Gateway::start(scene, &configuration(""))?;
        let browser = Browser::start(scene, &abroad)?;
        let memory = gateway.resident()?;
        let mut page = browser.call("page");
        let mut party = Changed { party: &mut page, from: among_many, to: unchanged };
        let mut call = signal(&mut party, "page")?;
        call.begin()?;
        // Another, that does not know where we are: all that can be checked is the flood.
        let mut silent = browser.call("silent");
        let mut silent = Changed { party: &mut silent, from: among_many, to: without_candidates };
        let begun = Instant::now();
        let silent = signal(&mut silent, "silent")?;
        for one in [&call, &silent] {
            for round in 0..FRAGMENTS {
                let lines = candidates(round * IN_A_FRAGMENT..(round + 1) * IN_A_FRAGMENT);
                one.trickle(Offerer::Party, &format!("m=audio 9 RTP/AVP 0\r\na=mid:0\r\n{lines}"))?;
            }
        }
        thread::sleep(Duration::from_secs(3));
        demand_bounds(&gateway, memory, begun.elapsed())?;
        silent.end()?;
        call.restart().context("after the flood")?;
        call.demand_flawless().with_context(|| format!("{:?}", dropped(&gateway)))
    });
}

fn signal<'a>(party: &'a mut dyn Party, id: &str) -> Result<Call<'a>> {
    let ends = (Offerer::Party, Far::new(HERE, &[Kind::Audio])?);
    Call::signal_all(id, Relay::Ours, party, ends, Dtls::Default)
}

/// Memory and checks within what the agent's bounds allow.
fn demand_bounds(gateway: &Gateway, memory: u64, lasted: Duration) -> Result<()> {
    let grown = gateway.resident()?.saturating_sub(memory);
    let sent = gateway.metric("postern_ice_checks_sent_total", &[])?;
    println!("{grown} KiB more, {sent} checks sent in {lasted:?}");
    ensure!(grown < GROWTH, "{grown} KiB more");
    let most = CHECKS_A_SECOND * lasted.as_secs_f64();
    ensure!(sent > 20.0, "{sent} checks sent: it was no flood");
    ensure!(sent < most, "{sent} checks sent in {lasted:?}, more than {most:.0}");
    Ok(())
}

/// With 500 others before the party's own.
fn among_many(sdp: &str) -> String {
    sdp.replacen("a=candidate:", &format!("{}a=candidate:", candidates(0..500)), 1)
}

/// Candidates at addresses where nobody is (RFC 2544's networks).
fn candidates(numbers: std::ops::Range<u32>) -> String {
    numbers.fold(String::new(), |mut lines, number| {
        let [_, _, third, fourth] = number.to_be_bytes();
        let priority = 2_113_937_151 - number;
        let _ = write!(
            lines,
            "a=candidate:f{number} 1 udp {priority} 198.18.{third}.{fourth} 9 typ host\r\n"
        );
        lines
    })
}

const FRAGMENTS: u32 = 200;
const IN_A_FRAGMENT: u32 = 50;
/// KiB.
const GROWTH: u64 = 4 * 1024;
/// One new check in 50 ms (RFC 8445 section 14.2), and as many are repeated.
const CHECKS_A_SECOND: f64 = 60.0;

#[test]
fn the_partys_own_candidates_come_last() {
    let sdp = among_many("m=audio 9 RTP/AVP 0\r\na=candidate:1 1 udp 1 192.0.2.2 9 typ host\r\n");
    assert_eq!(sdp.matches("a=candidate:").count(), 501);
    assert!(sdp.ends_with("192.0.2.2 9 typ host\r\n") && sdp.contains("198.18.1.243 9"));
}
