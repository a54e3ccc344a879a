//! `.hgrm`: the percentile distribution that HdrHistogram's plotters read.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use hdrhistogram::Histogram;

use super::Run;

/// Percentile steps per halving of the distance to 100 %, HdrHistogram's usual choice.
const TICKS_PER_HALF: u32 = 5;
/// Values are nanoseconds inside and milliseconds in the file, as plotters expect.
const NS_PER_MS: f64 = 1e6;

/// Writes `<prefix>-rtp-to-srtp.hgrm` and `<prefix>-srtp-to-rtp.hgrm`, latency in milliseconds.
pub fn write_hgrm(run: &Run, prefix: &Path) -> Result<Vec<PathBuf>> {
    let directions =
        [("rtp-to-srtp", &run.measured.forward), ("srtp-to-rtp", &run.measured.backward)];
    let mut written = Vec::new();
    for (name, direction) in directions {
        let mut path = prefix.as_os_str().to_owned();
        path.push(format!("-{name}.hgrm"));
        let path = PathBuf::from(path);
        fs::write(&path, distribution(&direction.latency_ns))
            .with_context(|| format!("writing {}", path.display()))?;
        written.push(path);
    }
    Ok(written)
}

fn distribution(histogram: &Histogram<u64>) -> String {
    let mut text = String::from("       Value     Percentile TotalCount 1/(1-Percentile)\n\n");
    let mut total = 0;
    for step in histogram.iter_quantiles(TICKS_PER_HALF) {
        total += step.count_since_last_iteration();
        let quantile = step.quantile_iterated_to();
        let value = step.value_iterated_to() as f64 / NS_PER_MS;
        let _ = write!(text, "{value:12.3} {quantile:14.12} {total:10}");
        // The last line has no finite 1/(1-p); HdrHistogram leaves the column out there.
        if quantile < 1.0 {
            let _ = write!(text, " {:14.2}", 1.0 / (1.0 - quantile));
        }
        text.push('\n');
    }
    let (mean, deviation) = (histogram.mean() / NS_PER_MS, histogram.stdev() / NS_PER_MS);
    let max = histogram.max() as f64 / NS_PER_MS;
    let _ = writeln!(text, "#[Mean    = {mean:12.3}, StdDeviation   = {deviation:12.3}]");
    let _ = writeln!(text, "#[Max     = {max:12.3}, Total count    = {:12}]", histogram.len());
    let _ = writeln!(
        text,
        "#[Buckets = {:12}, SubBuckets     = {:12}]",
        histogram.buckets(),
        histogram.distinct_values() / usize::from(histogram.buckets()).max(1)
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distribution_ends_at_the_maximum_and_counts_every_value() {
        let mut histogram = Histogram::<u64>::new(3).unwrap();
        for value in 1..=1_000_u64 {
            histogram.record(value * 1_000_000).unwrap();
        }
        let text = distribution(&histogram);
        let last = text.lines().rfind(|line| !line.starts_with('#')).unwrap();
        let fields: Vec<&str> = last.split_whitespace().collect();
        assert_eq!(fields.len(), 3, "no 1/(1-p) at 100 %: {last}");
        assert!((fields[0].parse::<f64>().unwrap() - 1000.0).abs() < 1.0, "{last}");
        assert_eq!(fields[2], "1000");
    }
}
