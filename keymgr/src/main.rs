//! `keymgr`, the CLI for keys and SAs. It has nothing to rotate yet and says so.

use std::process::ExitCode;

fn main() -> ExitCode {
    eprintln!(
        "keymgr {}: SA, TLS and SRTP rotation are not part of this release",
        env!("CARGO_PKG_VERSION")
    );
    ExitCode::from(69) // EX_UNAVAILABLE, sysexits.h
}
