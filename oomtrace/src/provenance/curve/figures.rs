//! Figures of a curve: its slope, its value between two looks, and both in words.

use super::{BURST_OF_TIME, BURST_S, GRID, Point};
use crate::provenance::words::{bytes, duration_ns};

/// The median of the slopes between all pairs (Theil and Sen), over points at even distances.
pub(super) fn slope(points: &[Point]) -> f64 {
    let (Some(first), Some(last)) = (points.first(), points.last()) else {
        return 0.0;
    };
    let span_s = last.at_s - first.at_s;
    if span_s <= 0.0 {
        return 0.0;
    }
    let step_s = span_s / GRID as f64;
    let values: Vec<f64> = (0..=GRID)
        .map(|at| value(points, first.at_s + step_s * at as f64))
        .collect();
    let mut slopes: Vec<f64> = Vec::with_capacity(GRID * (GRID + 1) / 2);
    for (at, from) in values.iter().enumerate() {
        for (further, to) in values.iter().skip(at + 1).enumerate() {
            slopes.push((to - from) / (step_s * (further + 1) as f64));
        }
    }
    slopes.sort_by(f64::total_cmp);
    slopes.get(slopes.len() / 2).copied().unwrap_or_default()
}

/// The window at the end in which a burst rises: less than half of what was seen.
pub(super) fn burst_s(span_s: f64) -> f64 {
    (span_s * BURST_OF_TIME)
        .clamp(BURST_S.0, BURST_S.1)
        .min(span_s / 2.0)
}

/// What the curve was at a moment, on a straight line between the points around it.
pub(super) fn value(points: &[Point], at_s: f64) -> f64 {
    let after = points.partition_point(|point| point.at_s < at_s);
    let at = |index: usize| points.get(index).copied();
    match (after.checked_sub(1).and_then(at), at(after)) {
        (Some(from), Some(to)) if to.at_s > from.at_s => {
            let part = (at_s - from.at_s) / (to.at_s - from.at_s);
            from.bytes + (to.bytes - from.bytes) * part
        }
        (_, Some(point)) | (Some(point), None) => point.bytes,
        (None, None) => 0.0,
    }
}

pub(super) fn changes(values: &[f64]) -> impl Iterator<Item = f64> {
    values.windows(2).map(|pair| pair[1] - pair[0])
}

pub(super) fn whole(value: f64) -> i64 {
    value.round() as i64
}

pub(super) fn size(value: f64) -> String {
    bytes(value.max(0.0) as u64)
}

pub(super) fn seconds(value: f64) -> String {
    match value as u64 {
        0..120 => duration_ns((value * 1e9) as u64),
        s @ 120..7200 => format!("{} min", s / 60),
        s => format!("{:.1} h", s as f64 / 3600.0),
    }
}
