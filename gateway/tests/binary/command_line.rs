//! What the command line and the file are refused for, and what is printed.

use std::fs;

use crate::process::{gateway, own_address};

fn refused(arguments: &[&str]) -> String {
    let output = gateway(arguments);
    assert!(!output.status.success(), "{arguments:?} was not refused");
    String::from_utf8(output.stderr).unwrap()
}

fn printed(arguments: &[&str]) -> String {
    let output = gateway(arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A file of this text that is gone at the end.
struct Written(std::path::PathBuf);

impl Written {
    fn new(text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("postern-config-{}.toml", own_address()));
        fs::write(&path, text).unwrap();
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn what_print_config_prints_is_read_to_the_same() {
    let defaults = printed(&["run", "--print-config"]);
    let file = Written::new(&defaults);
    assert_eq!(printed(&["run", "--config", file.path(), "--print-config"]), defaults);
}

#[test]
fn flags_override_the_file() {
    let file = Written::new("[relay]\nports = \"40000-40099\"\nworkers = 3\n");
    let text =
        printed(&["run", "--config", file.path(), "--ports", "50000-50099", "--print-config"]);
    assert!(text.contains("ports = \"50000-50099\"") && text.contains("workers = 3"), "{text}");
}

#[test]
fn a_typo_in_the_file_names_the_line_and_the_nearest_key() {
    let file = Written::new("[relay]\n\nwokers = 3\n");
    let error = refused(&["run", "--config", file.path()]);
    assert!(error.contains("line 3") && error.contains("did you mean \"workers\"?"), "{error}");
}

#[test]
fn an_address_of_another_host_names_the_setting_and_what_to_change() {
    let error = refused(&["run", "--interface", "pub/192.0.2.1", "--http", "none"]);
    assert!(error.contains("--interface") && error.contains("pub/192.0.2.1"), "{error}");
    assert!(error.contains("ip address"), "{error}");
}

#[test]
fn a_taken_port_names_the_setting() {
    let address = own_address();
    let taken = std::net::TcpListener::bind((address, 0)).unwrap();
    let http = taken.local_addr().unwrap().to_string();
    let ng = format!("{address}:0");
    let error = refused(&["run", "--ng", &ng, "--admin", "none", "--http", &http]);
    assert!(error.contains("http.listen (--http)") && error.contains(&http), "{error}");
}

#[test]
fn an_admin_socket_without_a_directory_says_to_make_it() {
    let address = own_address();
    let (ng, path) = (format!("{address}:0"), "/tmp/postern-no-such-directory/admin.sock");
    let error = refused(&["run", "--ng", &ng, "--http", "none", "--admin", path]);
    assert!(error.contains("admin.listen (--admin)") && error.contains(path), "{error}");
    assert!(error.contains("make its directory first"), "{error}");
}

#[test]
fn what_is_not_in_this_release_is_refused_and_says_so() {
    let error = refused(&["run", "--io", "xdp"]);
    assert!(error.contains("not in this release"), "{error}");
}

#[test]
fn check_accepts_the_defaults_and_tells_the_driver() {
    let text = printed(&["check", "--ports", "20000-20099"]);
    assert!(text.contains("ok       driver "), "{text}");
    assert!(text.contains("interface default/127.0.0.1"), "{text}");
}

#[test]
fn probe_gives_each_line_its_evidence() {
    let text = printed(&["probe"]);
    for line in text.lines() {
        assert!(line.split("  ").filter(|part| !part.is_empty()).count() >= 2, "{line}");
    }
    assert!(text.contains("driver io_uring") && text.contains("driver epoll"), "{text}");
    assert!(!text.contains("asked for"), "a probe asks for nothing: {text}");
}

#[test]
fn completions_are_printed_for_a_shell() {
    assert!(printed(&["completions", "bash"]).contains("_gateway"));
}
