//! Of all samples those that are written.

use crate::event::memory::MemorySample;

/// So many samples are written, the last ones among them as they are.
const MOST_SAMPLES: usize = 120;
const MOST_LAST: usize = 20;

/// At most [`MOST_SAMPLES`]: the last ones, and of those before in each stretch the one that
/// stands out most (the largest triangle with the one before and what comes after), so that
/// the shape stays.
pub(super) fn thinned(samples: &[MemorySample]) -> Vec<MemorySample> {
    if samples.len() <= MOST_SAMPLES {
        return samples.to_vec();
    }
    let (old, last) = samples.split_at(samples.len() - MOST_LAST);
    let Some((first, rest)) = old.split_first() else {
        return samples.to_vec();
    };
    let mut kept = vec![*first];
    let buckets = MOST_SAMPLES - MOST_LAST - 1;
    let bound = |bucket: usize| bucket * rest.len() / buckets;
    for bucket in 0..buckets {
        let next = rest
            .get(bound(bucket + 1)..bound((bucket + 2).min(buckets)))
            .filter(|next| !next.is_empty())
            .unwrap_or(last);
        let mean = |of: fn(&MemorySample) -> u64| {
            next.iter().map(|sample| of(sample) as f64).sum::<f64>() / next.len().max(1) as f64
        };
        let (next_ns, next_usage) = (mean(|sample| sample.0), mean(|sample| sample.1));
        let from = kept.last().copied().unwrap_or(*first);
        let area = |sample: &MemorySample| {
            let (from_ns, from_usage) = (from.0 as f64, from.1 as f64);
            ((from_ns - next_ns) * (sample.1 as f64 - from_usage)
                - (from_ns - sample.0 as f64) * (next_usage - from_usage))
                .abs()
        };
        let stretch = rest
            .get(bound(bucket)..bound(bucket + 1))
            .unwrap_or_default();
        kept.extend(
            stretch
                .iter()
                .max_by(|a, b| area(a).total_cmp(&area(b)))
                .copied(),
        );
    }
    kept.extend_from_slice(last);
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thinned_curve_keeps_its_ends_and_its_peaks() {
        let samples: Vec<MemorySample> = (0..1000)
            .map(|at| {
                let usage = if at == 333 { 999 } else { at / 10 };
                MemorySample(at * 1_000_000_000, usage, None)
            })
            .collect();
        let few = thinned(&samples);
        assert_eq!(few.len(), MOST_SAMPLES);
        assert_eq!(few[0], samples[0]);
        assert_eq!(few[few.len() - MOST_LAST..], samples[1000 - MOST_LAST..]);
        assert!(few.contains(&samples[333]), "the peak");
        assert!(few.is_sorted_by_key(|sample| sample.0));
        assert_eq!(thinned(&samples[..50]), samples[..50]);
    }
}
