//! HDR histograms as the page has them: cumulative counts up to fixed bounds, sum and count.

use std::fmt::Display;

use hdrhistogram::Histogram;

use super::text::{Labels, Page};

/// What a family of histograms is recorded in, and where its buckets end.
pub(super) struct Buckets {
    /// Seconds that one unit of the recorded values is.
    pub(super) unit: f64,
    /// Upper bounds in that unit, and each one's label in seconds.
    pub(super) bounds: &'static [(u64, &'static str)],
}

impl Buckets {
    /// The samples under one set of labels, of all these histograms together: each is read once.
    pub(super) fn write<'h>(
        &self,
        family: &str,
        labels: Labels<'_>,
        histograms: impl IntoIterator<Item = &'h Histogram<u64>>,
        page: &mut Page,
    ) {
        let mut counts = vec![0; self.bounds.len()];
        let (mut sum, mut total) = (0.0, 0);
        for value in histograms.into_iter().flat_map(|histogram| histogram.iter_recorded()) {
            let (reading, count) = (value.value_iterated_to(), value.count_at_value());
            sum += reading as f64 * self.unit * count as f64;
            total += count;
            for ((bound, _), below) in self.bounds.iter().zip(&mut counts) {
                *below += if reading <= *bound { count } else { 0 };
            }
        }
        let bucket = format!("{family}_bucket");
        let mut up_to = |bound: &dyn Display, count: u64| {
            page.sample(&bucket, &[labels, &[("le", bound)]].concat(), count);
        };
        self.bounds.iter().zip(counts).for_each(|((_, label), count)| up_to(label, count));
        up_to(&"+Inf", total);
        page.sample(&format!("{family}_sum"), labels, sum);
        page.sample(&format!("{family}_count"), labels, total);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_histograms_are_one_and_their_counts_cumulative() {
        let of = |values: &[u64]| {
            let mut histogram = Histogram::new_with_bounds(1, 1_000_000, 3).unwrap();
            values.iter().for_each(|value| histogram.record(*value).unwrap());
            histogram
        };
        let buckets = Buckets { unit: 0.5, bounds: &[(1, "0.5"), (10, "5")] };
        let mut page = Page::default();
        buckets.write("x", &[("worker", &3)], &[of(&[1, 5]), of(&[7, 500])], &mut page);
        let expected = [
            "x_bucket{worker=\"3\",le=\"0.5\"} 1",
            "x_bucket{worker=\"3\",le=\"5\"} 3",
            "x_bucket{worker=\"3\",le=\"+Inf\"} 4",
            "x_sum{worker=\"3\"} 256.5",
            "x_count{worker=\"3\"} 4",
        ];
        assert_eq!(page.finish().lines().collect::<Vec<_>>(), expected);
    }
}
