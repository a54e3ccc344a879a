//! The unit that `deploy/` ships fits this program, and so do its completions.

use std::process::Command;

const UNIT: &str = include_str!("../../../deploy/systemd/postern-agent.service");

#[test]
fn the_unit_asks_for_what_there_is() {
    let unit = UNIT.replace("\\\n", " ");
    let start =
        unit.lines().find_map(|line| line.strip_prefix("ExecStart=/usr/bin/offload-agent "));
    // A group that need not be on this machine.
    let start = start.unwrap().replace("--allow-gid postern-agent", "--allow-gid 0");
    let told = |more: &[&str]| {
        // Arguments are read in their order, and --help ends the reading.
        let arguments = start.split_whitespace().chain(more.iter().copied()).chain(["--help"]);
        let agent = env!("CARGO_BIN_EXE_offload-agent");
        Command::new(agent).args(arguments).output().unwrap().status.success()
    };
    assert!(start.contains("--state-dir") && told(&[]), "{start}");
    assert!(!told(&["--no-such-flag"]));
}

#[test]
fn shells_are_told_how_to_complete() {
    let agent = env!("CARGO_BIN_EXE_offload-agent");
    let output = Command::new(agent).args(["completions", "bash"]).output().unwrap();
    assert!(String::from_utf8(output.stdout).unwrap().contains("--supervise"));
}
