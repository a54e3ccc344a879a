//! WebRTC with programs that nobody here wrote, through a running gateway.
//!
//! Chromium, aiortc, Janus, baresip, rtpengine and openssl are the peers of legs that speak ICE and
//! DTLS-SRTP; our own sockets are the plain far ends, which number their packets, and the peers
//! that mean no good. The same calls go through rtpengine-daemon in our gateway's place where it
//! can have them, which shows that the tests are fair. Each scene has two network namespaces joined
//! by a veth pair, because Chromium gathers no candidates on loopback: here the relay and the far
//! ends, abroad the peers.
//!
//! `make test` runs these; by hand `cargo test -p gateway --test webrtc -- --show-output`, with
//! POSTERN_GATEWAY naming a release build that has keymgr beside it. Scenes run beside each other,
//! two at a time: they share nothing but the machine, and one of them takes three minutes in which
//! it hardly does anything. Floods have the machine for themselves ([`abroad::Abroad::alone`]), as
//! a hundred thousand datagrams a second take from others the time that they need to lose nothing.
//! So that they do not wait for the long one in the middle, `make test` runs them after all others.
//!
//! They are no part of a plain `cargo test`: they need root
//! and several Debian packages. The files of a scene that fails stay in /dev/shm.

#![expect(clippy::expect_used, clippy::print_stdout, reason = "a test says what it did")]

mod abroad;
mod aiortc;
mod baresip;
mod browser;
mod bundled;
mod call;
mod calls;
mod candidates;
mod capture;
mod changed;
mod credentials;
#[path = "../tls/dialogue.rs"]
#[allow(dead_code, reason = "the TLS tests use more of it")]
mod dialogue;
mod exported;
mod families;
mod far;
mod flood;
#[path = "../tls/gateway.rs"]
#[allow(dead_code, reason = "the TLS tests use more of it")]
mod gateway;
mod hold;
mod hostile;
#[path = "../real_peers/isolation/mod.rs"]
#[expect(dead_code, reason = "the scenes name their peers themselves")]
mod isolation;
mod janus;
mod keymgr;
mod losses;
mod ng;
mod party;
mod rekey;
mod relay;
mod roles;
#[path = "../tls/scene.rs"]
#[allow(dead_code, reason = "the TLS tests use more of it")]
mod scene;
mod sdp;
mod secure_peer;
mod spoof;
mod stun;
mod token;
mod trickle;
mod trunk;
mod web;
