//! One scenario: a network namespace and a folder of its own, the programs that it needs, and the
//! word SKIPPED where one of them is not there.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::isolation;

/// Where a scenario keeps its files; they stay when it fails.
#[derive(Clone, Debug)]
pub(crate) struct Scene {
    pub(crate) folder: PathBuf,
}

/// Runs `test` in a namespace of its own, or says why this machine cannot.
pub(crate) fn demand(
    name: &str,
    programs: &[&str],
    test: impl FnOnce(&Scene) -> Result<()> + Send,
) {
    if let Some(reason) = lacking(programs) {
        println!("SKIPPED {TARGET}::{name}: {reason}");
        return;
    }
    let folder = state_folder().join(format!("postern-{TARGET}-{}", std::process::id())).join(name);
    fs::create_dir_all(&folder).expect("a folder");
    let scene = Scene { folder };
    let begun = Instant::now();
    match isolation::in_own_namespace(|| test(&scene)) {
        Ok(()) => {
            println!("{TARGET}::{name}: {:.1} s", begun.elapsed().as_secs_f64());
            // Of a scenario that went well nobody reads the logs.
            let _ = fs::remove_dir_all(&scene.folder);
            let _ = scene.folder.parent().map(fs::remove_dir);
        }
        Err(error) => panic!("{name}: {error:#}\n(files: {})", scene.folder.display()),
    }
}

impl Scene {
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The path of a file that a program is told of.
    pub(crate) fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }
}

/// Asks until there is an answer; fails after ten seconds with what was waited for.
pub(crate) fn wait_for<T>(what: &str, ask: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    wait_up_to(PATIENCE, what, ask)
}

/// The same with another patience.
pub(crate) fn wait_up_to<T>(
    patience: Duration,
    what: &str,
    mut ask: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(answer) = ask().with_context(|| format!("waiting for {what}"))? {
            return Ok(answer);
        }
        if Instant::now() > deadline {
            bail!("no {what} after {patience:?}");
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// Waits until somebody listens on this TCP port of the namespace.
pub(crate) fn wait_for_listener(port: u16) -> Result<()> {
    wait_for(&format!("listener on port {port}"), || {
        Ok(listening_ports()?.contains(&port).then_some(()))
    })
}

/// The TCP ports of this thread's namespace on which somebody listens.
fn listening_ports() -> Result<Vec<u16>> {
    let mut ports = Vec::new();
    for table in ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"] {
        // proc(5): the local address is the second column, the state the fourth; 0A is LISTEN.
        for line in fs::read_to_string(table).with_context(|| table.to_owned())?.lines().skip(1) {
            let columns: Vec<&str> = line.split_whitespace().collect();
            ensure!(columns.len() > 3, "{table}: {line}");
            if columns[3] == "0A" {
                let port = columns[1].rsplit(':').next().unwrap_or_default();
                ports.push(u16::from_str_radix(port, 16).with_context(|| line.to_owned())?);
            }
        }
    }
    Ok(ports)
}

fn lacking(programs: &[&str]) -> Option<String> {
    let installed = |program: &&&str| {
        let path = env::var_os("PATH").unwrap_or_default();
        env::split_paths(&path)
            .chain(["/usr/sbin".into(), "/sbin".into()])
            .any(|folder: PathBuf| folder.join(program).exists())
    };
    let missing: Vec<&str> = programs
        .iter()
        .chain(&["ip", "openssl"])
        .filter(|name| !installed(name))
        .copied()
        .collect();
    if !missing.is_empty() {
        return Some(format!("not installed: {}; `make setup` installs them", missing.join(", ")));
    }
    isolation::unavailable()
}

/// In memory: certificates and logs are small, and a disk that others keep busy is another test.
fn state_folder() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { memory.to_owned() } else { env::temp_dir() }
}

/// The test target that this is part of.
pub(crate) const TARGET: &str = env!("CARGO_CRATE_NAME");

const PATIENCE: Duration = Duration::from_secs(10);
