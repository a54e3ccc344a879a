//! keymgr, as an operator calls it.

use std::env;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::scene::Scene;

/// `keymgr` with these words, at the gateway of the scene; what it prints.
pub(crate) fn keymgr(scene: &Scene, words: &[&str]) -> Result<String> {
    // The one that was built with the gateway.
    let gateway = env::var_os("POSTERN_GATEWAY");
    let gateway = gateway.unwrap_or_else(|| env!("CARGO_BIN_EXE_gateway").into());
    let program = Path::new(&gateway).with_file_name("keymgr");
    ensure!(program.exists(), "build keymgr first: cargo build -p keymgr");
    let mut command = Command::new(program);
    let output = command.arg("--admin").arg(scene.path("admin.sock")).args(words).output()?;
    ensure!(output.status.success(), "keymgr {words:?}: {output:?}");
    String::from_utf8(output.stdout).context("what keymgr prints")
}
