//! What `deploy/` ships fits this binary.

use crate::process::gateway;

fn shipped(path: &str) -> String {
    format!("{}/../deploy/{path}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_example_configuration_is_accepted() {
    let output = gateway(&["check", "--config", &shipped("config/gateway.toml")]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{error}");
}

#[test]
fn the_unit_runs_commands_that_exist() {
    let unit = std::fs::read_to_string(shipped("systemd/gateway.service")).unwrap();
    let commands: Vec<_> = unit.lines().filter(|line| line.contains("/usr/bin/gateway ")).collect();
    assert_eq!(commands.len(), 2, "{commands:?}");
    for command in commands {
        let verb = command.split(' ').nth(1).unwrap();
        assert!(gateway(&[verb, "--help"]).status.success(), "{command}");
    }
}
