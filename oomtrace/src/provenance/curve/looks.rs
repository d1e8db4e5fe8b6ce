//! How often a curve was looked at, and where it was not.

use super::{LEAST_POINTS, LEAST_S, Point, STEP, slope};

/// How far apart two points are where all was seen. Of a flat stretch few points are kept, and of
/// the time before the last quarter of an hour as well.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::provenance) struct Looks {
    /// No further than this where anything moved.
    pub(in crate::provenance) apart_s: f64,
    /// For so long before the kill all that moved was kept.
    pub(in crate::provenance) kept_s: f64,
}

/// So many looks may come late on a busy node; and so much later they may come.
const LATE_LOOKS: f64 = 3.0;
const LATE_S: f64 = 3.0;
/// The sampler keeps a quarter of an hour, and no more than so many samples.
const KEPT_S: f64 = 15.0 * 60.0;
const KEPT_LOOKS: f64 = 850.0;
/// Growth goes on through a stretch that nobody saw, if it is no more than so many times as fast
/// there as before.
const GOES_ON: f64 = 2.0;

impl Looks {
    /// One look in so many seconds.
    #[must_use]
    pub(in crate::provenance) fn every(interval_s: f64) -> Self {
        Self {
            apart_s: (LATE_LOOKS * interval_s).max(LATE_S),
            kept_s: (KEPT_LOOKS * interval_s).min(KEPT_S),
        }
    }

    /// Where the last stretch ends that nobody saw and in which more happened than went on before:
    /// its last point's place.
    pub(super) fn unseen(self, points: &[Point], limit: f64) -> Option<usize> {
        let end_s = points.last()?.at_s;
        let is_unseen = |before: &[Point], pair: &[Point]| {
            let [from, to] = pair else { return false };
            let (took_s, rise) = (to.at_s - from.at_s, to.bytes - from.bytes);
            let goes_on = || {
                let seen_s = before.first().map_or(0.0, |first| from.at_s - first.at_s);
                before.len() >= LEAST_POINTS
                    && seen_s >= LEAST_S
                    && rise > 0.0
                    && rise <= GOES_ON * slope(before) * took_s
            };
            took_s > self.apart_s
                && end_s - from.at_s <= self.kept_s
                && rise.abs() >= STEP * limit
                && !goes_on()
        };
        (1..points.len()).rev().find(|at| {
            let before = points.get(..*at).unwrap_or_default();
            let pair = points.get(at - 1..=*at).unwrap_or_default();
            is_unseen(before, pair)
        })
    }
}
