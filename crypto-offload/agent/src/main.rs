//! `offload-agent`, the one process that will hold CAP_NET_ADMIN. It does nothing yet and says so.

use std::process::ExitCode;

fn main() -> ExitCode {
    eprintln!(
        "offload-agent {}: no engine is built in yet; IPsec is not part of this release",
        env!("CARGO_PKG_VERSION")
    );
    ExitCode::from(69) // EX_UNAVAILABLE, sysexits.h
}
