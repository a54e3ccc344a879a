//! The unit that `deploy/` ships fits this program, and so do its completions.

use std::process::Command;

/// What its ExecStart hands to the agent.
fn arguments() -> Vec<String> {
    let path = format!("{}/../../deploy/systemd/postern-agent.service", env!("CARGO_MANIFEST_DIR"));
    let unit = std::fs::read_to_string(path).unwrap().replace("\\\n", " ");
    let line = unit.lines().find(|line| line.starts_with("ExecStart=")).unwrap();
    let (_, arguments) = line.split_once("/usr/bin/offload-agent ").unwrap();
    // A group that need not be on this machine.
    let arguments = arguments.replace("--allow-gid postern-agent", "--allow-gid 0");
    arguments.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn the_unit_asks_for_what_there_is() {
    let told = |arguments: &[String]| {
        let agent = env!("CARGO_BIN_EXE_offload-agent");
        // Arguments are read in their order, and --help ends the reading.
        let output = Command::new(agent).args(arguments).arg("--help").output().unwrap();
        output.status.success()
    };
    let arguments = arguments();
    assert!(arguments.len() > 5 && told(&arguments), "{arguments:?}");
    let mut wrong = arguments;
    wrong.push("--no-such-flag".to_owned());
    assert!(!told(&wrong));
}

#[test]
fn shells_are_told_how_to_complete() {
    let agent = env!("CARGO_BIN_EXE_offload-agent");
    let output = Command::new(agent).args(["completions", "bash"]).output().unwrap();
    assert!(String::from_utf8(output.stdout).unwrap().contains("--supervise"));
}
