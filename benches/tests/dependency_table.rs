//! The dependency table of the workspace: which crate may import which.
//!
//! The table is the architecture. Nothing points back: vocabulary knows no kernel, protocol
//! crates know no sockets, keymgr knows only the admin API. A new edge is a decision, so it is
//! made here, in the open, and argued in docs/decisions.md. Development and build dependencies
//! count too: a test that needs a forbidden neighbour belongs to a crate that may have it.

#![expect(clippy::expect_used, reason = "a test that cannot read the workspace has failed")]

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{Metadata, MetadataCommand};

/// Each crate and the crates of ours that it may import.
const MAY_IMPORT: &[(&str, Allowed)] = &[
    ("crypto-offload", Allowed::Only(&[])),
    ("crypto-offload-xfrm", Allowed::Only(&["crypto-offload"])),
    (
        "offload-agent",
        Allowed::Only(&["crypto-offload", "crypto-offload-xfrm", "packet-io", "gateway-control"]),
    ),
    ("kernel-tls", Allowed::Only(&["crypto-offload"])),
    ("srtp", Allowed::Only(&["crypto-offload"])),
    ("ng", Allowed::Only(&["srtp"])),
    ("webrtc", Allowed::Only(&["crypto-offload", "ng", "srtp"])),
    ("packet-io", Allowed::Only(&[])),
    ("tls-relay", Allowed::Only(&["crypto-offload", "kernel-tls", "gateway-control", "key-files"])),
    ("gateway-control", Allowed::Only(&["crypto-offload"])),
    ("key-files", Allowed::Only(&[])),
    ("admin-client", Allowed::Only(&["gateway-control", "key-files"])),
    // offload-agent is missing here on purpose: the gateway talks to that process, it does not
    // link it.
    (
        "gateway",
        Allowed::Only(&[
            "crypto-offload",
            "crypto-offload-xfrm",
            "kernel-tls",
            "srtp",
            "ng",
            "webrtc",
            "packet-io",
            "gateway-control",
            "admin-client",
            "tls-relay",
        ]),
    ),
    ("keymgr", Allowed::Only(&["gateway-control", "admin-client", "crypto-offload"])),
    ("loadgen", Allowed::Only(&["srtp", "ng", "webrtc", "packet-io", "gateway-control"])),
    ("benches", Allowed::Anything),
];

/// What one crate may import.
enum Allowed {
    Only(&'static [&'static str]),
    Anything,
}

impl Allowed {
    fn permits(&self, dependency: &str) -> bool {
        match self {
            Self::Only(list) => list.contains(&dependency),
            Self::Anything => true,
        }
    }
}

/// Every edge between two crates of ours, as (importer, imported).
fn edges(metadata: &Metadata) -> BTreeSet<(String, String)> {
    let ours: BTreeSet<&str> =
        metadata.workspace_packages().iter().map(|package| package.name.as_str()).collect();
    metadata
        .workspace_packages()
        .iter()
        .flat_map(|package| {
            package
                .dependencies
                .iter()
                .filter(|dependency| ours.contains(dependency.name.as_str()))
                .map(|dependency| (package.name.to_string(), dependency.name.clone()))
        })
        .collect()
}

/// The edges that the table does not permit, each as a sentence.
fn forbidden(edges: &BTreeSet<(String, String)>, table: &BTreeMap<&str, &Allowed>) -> Vec<String> {
    edges
        .iter()
        .filter(|(from, to)| !table.get(from.as_str()).is_some_and(|row| row.permits(to)))
        .map(|(from, to)| format!("`{from}` imports `{to}`, which the table forbids"))
        .collect()
}

fn table() -> BTreeMap<&'static str, &'static Allowed> {
    MAY_IMPORT.iter().map(|(name, allowed)| (*name, allowed)).collect()
}

fn workspace() -> Metadata {
    MetadataCommand::new().no_deps().exec().expect("cargo metadata of this workspace")
}

#[test]
fn every_import_between_our_crates_is_in_the_table() {
    let faults = forbidden(&edges(&workspace()), &table());
    assert!(faults.is_empty(), "forbidden edges:\n  {}", faults.join("\n  "));
}

#[test]
fn every_crate_has_a_row_and_every_row_a_crate() {
    let crates: BTreeSet<String> =
        workspace().workspace_packages().iter().map(|package| package.name.to_string()).collect();
    let rows: BTreeSet<String> = table().keys().map(ToString::to_string).collect();
    assert_eq!(crates, rows, "crates of the workspace (left) and rows of the table (right)");
}

#[test]
fn a_forbidden_edge_is_named() {
    let backwards = BTreeSet::from([("crypto-offload".to_owned(), "gateway".to_owned())]);
    let faults = forbidden(&backwards, &table());
    assert_eq!(faults, ["`crypto-offload` imports `gateway`, which the table forbids"]);
}
