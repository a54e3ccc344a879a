//! aiortc: a WebRTC peer in Python. Each of its calls is a [`Party`].

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::abroad::Abroad;
use crate::dialogue::Dialogue;
use crate::party::Party;
use crate::scene::{Scene, wait_up_to};
use crate::web::PATIENCE;

/// A process with any number of calls; dropping it ends it.
pub(crate) struct Aiortc {
    process: RefCell<Dialogue>,
    asked: Cell<u32>,
}

/// One of its calls.
pub(crate) struct AiortcCall<'a> {
    process: &'a Aiortc,
    name: &'static str,
}

/// The Python that has aiortc. To be asked before there is a namespace: it may have to be fetched.
pub(crate) fn python() -> Result<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/aiortc-python");
    let output = Command::new(script).output().context("scripts/aiortc-python")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}", said.trim());
    Ok(String::from_utf8(output.stdout)?.trim().into())
}

impl Aiortc {
    /// Starts one abroad.
    pub(crate) fn start(scene: &Scene, abroad: &Abroad, python: &Path) -> Result<Self> {
        let mut command = Command::new(python);
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/webrtc/aiortc/peer.py"));
        let own = scene.clone();
        let process = abroad.run(move || Dialogue::start(&own, "aiortc", &mut command))?;
        Ok(Self { process: RefCell::new(process), asked: Cell::new(0) })
    }

    /// A call by this name.
    pub(crate) fn call(&self, name: &'static str) -> AiortcCall<'_> {
        AiortcCall { process: self, name }
    }
}

impl Party for AiortcCall<'_> {
    fn ask(&mut self, verb: &str, argument: Value) -> Result<Value> {
        let number = self.process.asked.get() + 1;
        self.process.asked.set(number);
        let request =
            json!({"number": number, "verb": verb, "call": self.name, "argument": argument});
        let mut process = self.process.process.borrow_mut();
        process.say(format!("{request}\n"))?;
        let marked = format!("reply {number} ");
        let answer = wait_up_to(PATIENCE, "answer of aiortc", || {
            ensure!(process.ended()?.is_none(), "aiortc ended: {}", process.said());
            let said = process.said();
            // A line that is still being written has no end yet.
            let whole = said.rfind('\n').map_or("", |end| &said[..end]);
            Ok(whole.lines().find_map(|line| line.strip_prefix(&marked)).map(str::to_owned))
        })?;
        let answer: Value = serde_json::from_str(&answer).context(answer)?;
        ensure!(answer["error"].is_null(), "aiortc's {verb}: {}", answer["error"]);
        Ok(answer["ok"].clone())
    }
}
