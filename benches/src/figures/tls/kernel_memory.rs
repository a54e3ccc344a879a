//! Memory per idle connection with records in the kernel, and beside it in user space.
//!
//! For the test VM, whose kernel has TLS: one CPU, which is emulated, so only memory is worth a
//! look. Each round does both, beginning with the other one, each in a gateway of its own, after
//! a run that is not counted. Where the records are is read from the kernel's own count, and a run
//! where they are not is an error.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use kernel_tls::TlsStatistics;
use serde::Serialize;

use super::{allow_descriptors, idle};
use crate::report::{Spread, Verdict, finish};
use crate::tls::identity::Folder;
use crate::tls::load::Load;
use crate::tls::terminator::{Process, Terminator};

/// How many connections, how often, and where the JSON goes.
pub struct Plan {
    /// Idle connections of each run.
    pub connections: usize,
    /// Rounds of two runs.
    pub rounds: usize,
    /// A folder.
    pub results: PathBuf,
}

/// Who seals and opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Records {
    Kernel,
    UserSpace,
}

impl Records {
    /// The value of the gateway's setting.
    fn setting(self) -> &'static str {
        match self {
            Self::Kernel => "require",
            Self::UserSpace => "off",
        }
    }
}

/// One run.
#[derive(Serialize)]
struct Sample {
    round: usize,
    records: Records,
    /// Sockets whose records the kernel seals, by its count, while the connections were open.
    kernel_seals: u64,
    /// Those whose records it opens.
    kernel_opens: u64,
    #[serde(flatten)]
    figures: idle::Figures,
}

/// Everything that is kept.
#[derive(Serialize)]
struct Document {
    virtual_machine: &'static str,
    gateway: String,
    /// Of the run with records in the kernel, less that in user space, of both ends, a connection.
    kernel_tls_slab_kib: Spread,
    samples: Vec<Sample>,
}

/// Measures and reports.
pub fn measure(plan: &Plan) -> Result<()> {
    ensure!(
        std::env::var_os("POSTERN_VM").is_some(),
        "this changes the kernel's settings: VM only"
    );
    allow_descriptors()?;
    keep_no_closed_connections()?;
    let folder = Folder::create()?;
    // The kernel's own caches fill with the first run's connections: it is not counted.
    run(&folder, plan.connections, 0, Records::Kernel).context("first run")?;
    let mut samples = Vec::new();
    for round in 0..plan.rounds.max(1) {
        let mut order = [Records::Kernel, Records::UserSpace];
        order.rotate_left(round % 2);
        for records in order {
            let sample = run(&folder, plan.connections, round, records)
                .with_context(|| format!("round {round}, {records:?}"))?;
            println!("round {round}: {records:?}: {}", sample.figures);
            samples.push(sample);
        }
    }
    let of = |records, figure: fn(&idle::Figures) -> f64| -> Vec<f64> {
        let runs = samples.iter().filter(|sample| sample.records == records);
        runs.map(|sample| figure(&sample.figures)).collect()
    };
    let pss = |records| Spread::of(of(records, |figures| figures.pss_kib)).median;
    let slab = |records| of(records, |figures| figures.kernel_slab_kib);
    let extra = slab(Records::Kernel).into_iter().zip(slab(Records::UserSpace));
    let verdicts = [
        Verdict::at_most("KiB of ours per idle connection, kTLS", pss(Records::Kernel), 8.0),
        Verdict::at_most(
            "KiB of ours per idle connection, user space",
            pss(Records::UserSpace),
            20.0,
        ),
    ];
    let document = Document {
        virtual_machine: "QEMU, emulated CPU (deploy/testvm)",
        gateway: Terminator::Postern.version()?,
        kernel_tls_slab_kib: Spread::of(extra.map(|(kernel, user)| kernel - user)),
        samples,
    };
    finish(BENCH, &plan.results, &verdicts, &document)?;
    print_file(&plan.results)
}

fn run(folder: &Folder, connections: usize, round: usize, records: Records) -> Result<Sample> {
    let load = Load::new()?;
    let upstream = load.upstream.address()?;
    let process = Process::start_gateway(folder, ONLY_CORE, upstream, records.setting())?;
    let (mut kernel_seals, mut kernel_opens) = (0, 0);
    let figures = idle::measure(load, &process, connections, || {
        let statistics = TlsStatistics::read().context("the kernel has no TLS")?;
        let count = |name| statistics.counter(name).with_context(|| format!("no {name}"));
        (kernel_seals, kernel_opens) = (count("TlsCurrTxSw")?, count("TlsCurrRxSw")?);
        Ok(())
    })?;
    // One more was open before the first look.
    let expected = match records {
        Records::Kernel => connections as u64 + 1,
        Records::UserSpace => 0,
    };
    ensure!(
        (kernel_seals, kernel_opens) == (expected, expected),
        "the kernel seals {kernel_seals} and opens {kernel_opens}, not {expected}"
    );
    Ok(Sample { round, records, kernel_seals, kernel_opens, figures })
}

/// What one run closes must not be freed during the next one.
fn keep_no_closed_connections() -> Result<()> {
    fs::write("/proc/sys/net/ipv4/tcp_max_tw_buckets", "0").context("tcp_max_tw_buckets")
}

/// The VM has no disk that outlives it: the result leaves it as output, in lines of its own.
fn print_file(results: &Path) -> Result<()> {
    let path = results.join(format!("{BENCH}.json"));
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    print!("{text}");
    Ok(())
}

const BENCH: &str = "ktls_memory";
const ONLY_CORE: usize = 0;
