//! What the test VM's kernel must have before any other test there means something: ESP, an AEAD
//! that an SA can use, XFRM's counters, and on 6.12 a device that takes crypto offload. It asks
//! with iproute2 and ethtool, not with our engine, so that a fault of the engine cannot hide here.
//! Run by `make test-vm` (deploy/testvm/README.md); the kernel is the VM's own.
#![allow(clippy::expect_used, reason = "a test's panic is its failure")]

use std::fs;
use std::process::Command;

/// The kernel line as the lane names it: `6.12` or `7`.
fn kernel() -> String {
    std::env::var("POSTERN_VM").expect("run by deploy/testvm/run")
}

fn run(words: &str) -> String {
    let mut parts = words.split_whitespace();
    let program = parts.next().expect("a program");
    let output = Command::new(program)
        .args(parts)
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{words}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn the_kernel_is_of_the_line_that_was_asked_for() {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").expect("a release");
    assert!(release.starts_with(&format!("{}.", kernel())), "{release}");
}

#[test]
fn xfrm_counters_are_there() {
    let counters = fs::read_to_string("/proc/net/xfrm_stat").expect("xfrm_stat");
    assert!(counters.contains("XfrmInNoStates"), "{counters}");
}

#[test]
fn an_aes_gcm_sa_can_be_added_and_is_listed() {
    run(
        "ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0xc0000001 reqid 7 mode tunnel \
         aead rfc4106(gcm(aes)) 0x000102030405060708090a0b0c0d0e0f10111213 128",
    );
    let listed = run("ip xfrm state list");
    run("ip xfrm state delete src 192.0.2.1 dst 192.0.2.2 proto esp spi 0xc0000001");
    assert!(listed.contains("0xc0000001"), "{listed}");
}

#[test]
fn a_chacha20_poly1305_sa_can_be_added() {
    let key = "00".repeat(36);
    run(&format!(
        "ip xfrm state add src 2001:db8::1 dst 2001:db8::2 proto esp spi 0xc0000002 reqid 7 \
         mode transport aead rfc7539esp(chacha20,poly1305) 0x{key} 128"
    ));
    run("ip xfrm state delete src 2001:db8::1 dst 2001:db8::2 proto esp spi 0xc0000002");
}

#[test]
fn a_netdevsim_device_offers_esp_offload() {
    if kernel() != "6.12" {
        println!("SKIPPED vm_netdevsim: the module is built for Debian 12's kernel alone");
        return;
    }
    fs::write("/sys/bus/netdevsim/new_device", "7 1").expect("a netdevsim device");
    let names: Vec<String> = fs::read_dir("/sys/bus/netdevsim/devices/netdevsim7/net")
        .expect("its network device")
        .map(|entry| {
            let entry = entry.expect("an entry");
            entry.file_name().to_string_lossy().into_owned()
        })
        .collect();
    let features = run(&format!("ethtool -k {}", names[0]));
    fs::write("/sys/bus/netdevsim/del_device", "7").expect("the device goes");
    assert!(features.contains("esp-hw-offload: on"), "{features}");
}
