//! What was on the wire: dumpcap listens on loopback, tshark decrypts with the peers' key logs and
//! gives the bytes of each TLS connection, in the order in which its records were sent.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::dialogue::Dialogue;
use crate::scene::{Scene, wait_for};

/// A capture that runs.
pub(crate) struct Capture {
    dumpcap: Dialogue,
    file: PathBuf,
    ports: RangeInclusive<u16>,
}

/// What was sent inside one TLS connection, both ways.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Decrypted {
    pub(crate) client: Vec<u8>,
    pub(crate) server: Vec<u8>,
}

impl Capture {
    /// Listens for TCP to and from these ports.
    pub(crate) fn start(scene: &Scene, ports: RangeInclusive<u16>) -> Result<Self> {
        let (first, last) = (ports.start(), ports.end());
        let file = scene.path("wire.pcapng");
        let mut command = Command::new("dumpcap");
        let filter = format!("tcp portrange {first}-{last}");
        command.args(["-q", "-i", "lo", "-B", "64", "-f", &filter, "-w"]).arg(&file);
        let dumpcap = Dialogue::start(scene, "dumpcap", &mut command)?;
        dumpcap.wait_for("File:")?;
        Ok(Self { dumpcap, file, ports })
    }

    /// Ends it, and decrypts the first `count` connections with the key log `keys`.
    pub(crate) fn finish(self, keys: &str, count: usize) -> Result<Vec<Decrypted>> {
        // dumpcap writes a packet within a tenth of a second or so.
        let mut size = 0;
        wait_for("end of the capture", || {
            std::thread::sleep(std::time::Duration::from_millis(400));
            let before = std::mem::replace(&mut size, std::fs::metadata(&self.file)?.len());
            Ok((size == before && size > 0).then_some(()))
        })?;
        drop(self.dumpcap);
        let mut command = Command::new("tshark");
        command.arg("-r").arg(&self.file).args(["-q", "-o", &format!("tls.keylog_file:{keys}")]);
        let (first, last) = (self.ports.start(), self.ports.end());
        command.args(["-d", &format!("tcp.port=={first}-{last},tls")]);
        for stream in 0..count {
            command.args(["-z", &format!("follow,tls,raw,{stream}")]);
        }
        let output = command.output().context("tshark")?;
        let text = String::from_utf8(output.stdout)?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let blocks = text.split("Follow: tls,raw").skip(1);
        let mut streams: Vec<_> =
            blocks.map(|block| follow(block, &self.ports)).collect::<Result<_>>()?;
        ensure!(streams.len() == count, "{} of {count} connections:\n{text}", streams.len());
        // tshark gives the last one first.
        streams.sort_by_key(|(stream, _)| *stream);
        Ok(streams.into_iter().map(|(_, decrypted)| decrypted).collect())
    }
}

/// Reads a `follow` block: two lines that name the nodes, then hexadecimal lines, those of the second
/// node indented. Either side may be the first.
fn follow(block: &str, ports: &RangeInclusive<u16>) -> Result<(usize, Decrypted)> {
    let filter = block.lines().find_map(|line| line.strip_prefix("Filter: tcp.stream eq "));
    let stream = filter.context("no stream")?.trim().parse()?;
    let node = block.lines().find_map(|line| line.strip_prefix("Node 0: ")).context("no node")?;
    let port: u16 = node.rsplit(':').next().context("no port")?.parse()?;
    let mut sides = [Vec::new(), Vec::new()];
    for line in block.lines().filter(|line| !line.is_empty() && !line.contains([':', '='])) {
        match line.strip_prefix('\t') {
            Some(line) => sides[1].extend(hex(line)?),
            None => sides[0].extend(hex(line)?),
        }
    }
    let [first, second] = sides;
    let (client, server) = if ports.contains(&port) { (second, first) } else { (first, second) };
    Ok((stream, Decrypted { client, server }))
}

fn hex(line: &str) -> Result<Vec<u8>> {
    ensure!(line.len().is_multiple_of(2), "not hexadecimal: {line}");
    (0..line.len())
        .step_by(2)
        .map(|at| {
            u8::from_str_radix(line.get(at..at + 2).context("a character")?, 16)
                .context(line.to_owned())
        })
        .collect()
}
