//! What was seen of one cgroup's memory: the last quarter of an hour in full, and the time
//! before it in few points, ever further apart. Compact: 500 cgroups are kept at once.

use std::{collections::VecDeque, time::Duration};

use crate::event::memory::{MemorySample, MemorySplit, SplitAt};

/// How far back every change is kept.
const SPAN_NS: u64 = 15 * 60 * 1_000_000_000;
/// So many samples, at the most: one a second of [`SPAN_NS`].
const MOST: usize = 900;
/// Points of the time before that. When they are full every other one goes: a leak of days
/// shows in them as one of minutes does.
const MOST_COARSE: usize = 64;
/// The first distance of two of these.
const COARSE_NS: u64 = 15 * 1_000_000_000;
/// A sample whose usage and working set differ by less than this part of the limit from those
/// of the last is no news.
const MOVED: u64 = 200;
/// A flat stretch has one sample in so many intervals.
const FLAT: u32 = 10;
/// The working set is told as long as usage is within this part of the limit of what it was
/// when the page cache was read.
const DRIFT: u64 = 50;
/// Near the limit: this part of it is left, and the page cache is read more often.
const NEAR: u64 = 5;

/// One sample: 12 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sample {
    /// In [`UNIT_NS`] since the series began: reaches for more than a year.
    at: u32,
    usage_pages: u32,
    /// [`UNKNOWN`] where the page cache of that moment is not known.
    working_pages: u32,
}

const UNIT_NS: u64 = 10_000_000;
const UNKNOWN: u32 = u32::MAX;

/// How much a look at the page cache would tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Need {
    None,
    /// It is long since.
    Stale,
    /// Usage is near the limit: page cache gives way to other memory unseen.
    Near,
    /// Usage has moved.
    Moved,
    /// Nothing was read yet.
    First,
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Series {
    began_ns: u64,
    page_bytes: u64,
    pub(super) interval_ns: u64,
    pub(super) limit_bytes: u64,
    /// When the cgroup was made, if that was seen.
    pub(super) made_ns: Option<u64>,
    ring: VecDeque<Sample>,
    /// Seen after the last of the ring, and no news then.
    passed_over: Option<Sample>,
    coarse: Vec<Sample>,
    coarse_units: u32,
    pub(super) split: Option<SplitAt>,
    /// Usage when the split was read.
    split_usage_bytes: u64,
    /// The page cache was another then than at the look before.
    is_cache_moving: bool,
}

impl Series {
    pub(super) fn new(
        began_ns: u64,
        limit_bytes: u64,
        page_bytes: u64,
        interval: Duration,
    ) -> Self {
        Self {
            began_ns,
            page_bytes: page_bytes.max(1),
            interval_ns: u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX),
            limit_bytes,
            made_ns: None,
            ring: VecDeque::new(),
            passed_over: None,
            coarse: Vec::new(),
            coarse_units: (COARSE_NS / UNIT_NS) as u32,
            split: None,
            split_usage_bytes: 0,
            is_cache_moving: false,
        }
    }

    /// How much a look at `memory.stat` would tell, when usage is this.
    pub(super) fn need(&self, now_ns: u64, usage_bytes: u64) -> Need {
        let Some(split) = &self.split else {
            return Need::First;
        };
        let age_ns = now_ns.saturating_sub(split.boottime_ns);
        let is_due = |intervals: u64| age_ns >= self.interval_ns.saturating_mul(intervals);
        // Where it gives way, what is between two looks is not known.
        let near = if self.is_cache_moving { 1 } else { 2 };
        if usage_bytes.abs_diff(self.split_usage_bytes) >= self.limit_bytes / DRIFT {
            Need::Moved
        } else if is_due(near)
            && usage_bytes >= self.limit_bytes.saturating_sub(self.limit_bytes / NEAR)
        {
            Need::Near
        } else if is_due(u64::from(FLAT)) {
            Need::Stale
        } else {
            Need::None
        }
    }

    /// Keeps what was read of `memory.stat`.
    pub(super) fn set_split(&mut self, now_ns: u64, usage_bytes: u64, split: MemorySplit) {
        if let Some(before) = self.split {
            let reclaimable = |split: &MemorySplit| self.pages(split.reclaimable_bytes);
            let moved = reclaimable(&before.split).abs_diff(reclaimable(&split));
            self.is_cache_moving = moved >= self.threshold_pages();
            if self.is_cache_moving {
                self.forget_carried(before.boottime_ns);
            }
        }
        self.split = Some(SplitAt {
            boottime_ns: now_ns,
            split,
        });
        self.split_usage_bytes = usage_bytes;
    }

    /// Since that look the page cache of then was taken to be there still, and was not: how much
    /// of it was there at those moments is not known.
    fn forget_carried(&mut self, read_ns: u64) {
        let read_at = units(read_ns.saturating_sub(self.began_ns));
        let carried = |sample: &&mut Sample| sample.at > read_at;
        let kept = self.ring.iter_mut().rev().take_while(carried);
        for sample in kept.chain(self.passed_over.as_mut().filter(carried)) {
            sample.working_pages = UNKNOWN;
        }
        let coarse = self.coarse.iter_mut().rev().take_while(carried);
        coarse.for_each(|sample| sample.working_pages = UNKNOWN);
    }

    /// What differs by less is no news.
    fn threshold_pages(&self) -> u32 {
        self.pages(self.limit_bytes / MOVED).max(1)
    }

    /// Keeps a sample, if it is news.
    pub(super) fn push(&mut self, now_ns: u64, usage_bytes: u64) {
        let sample = self.sample(now_ns, usage_bytes);
        let threshold = self.threshold_pages();
        let is_news = self.ring.back().is_none_or(|last| {
            let flat_ns = self.interval_ns.saturating_mul(u64::from(FLAT));
            sample.at.saturating_sub(last.at) >= units(flat_ns) || sample.differs(last, threshold)
        });
        if !is_news {
            self.passed_over = Some(sample);
            return;
        }
        // Where it begins to move shows only with the last one before.
        if let Some(before) = self.passed_over.take()
            && self
                .ring
                .back()
                .is_some_and(|last| sample.differs(last, threshold))
        {
            self.keep(before);
        }
        self.keep(sample);
    }

    fn keep(&mut self, sample: Sample) {
        self.ring.push_back(sample);
        let is_old = |first: &Sample| sample.at.saturating_sub(first.at) > units(SPAN_NS);
        while self.ring.len() > MOST || self.ring.front().is_some_and(is_old) {
            self.ring.pop_front();
        }
        let is_due = |last: &Sample| sample.at.saturating_sub(last.at) >= self.coarse_units;
        if self.coarse.last().is_none_or(is_due) {
            if self.coarse.len() >= MOST_COARSE {
                let mut at = 0;
                self.coarse.retain(|_| {
                    at += 1;
                    at % 2 == 1
                });
                self.coarse_units = self.coarse_units.saturating_mul(2);
            }
            self.coarse.push(sample);
        }
    }

    fn sample(&self, now_ns: u64, usage_bytes: u64) -> Sample {
        let known = self.split.filter(|_| {
            usage_bytes.abs_diff(self.split_usage_bytes) < (self.limit_bytes / DRIFT).max(1)
        });
        Sample {
            at: units(now_ns.saturating_sub(self.began_ns)),
            usage_pages: self.pages(usage_bytes),
            working_pages: known.map_or(UNKNOWN, |known| {
                self.pages(usage_bytes.saturating_sub(known.split.reclaimable_bytes))
            }),
        }
    }

    fn pages(&self, bytes: u64) -> u32 {
        u32::try_from(bytes / self.page_bytes)
            .unwrap_or(UNKNOWN)
            .min(UNKNOWN - 1)
    }

    /// All that was seen, the oldest first.
    pub(super) fn samples(&self) -> Vec<MemorySample> {
        let first = self.ring.front().map_or(0, |first| first.at);
        let before = self.coarse.iter().filter(|sample| sample.at < first);
        before
            .chain(&self.ring)
            .chain(&self.passed_over)
            .map(|sample| {
                let bytes = |pages: u32| u64::from(pages).saturating_mul(self.page_bytes);
                MemorySample(
                    u64::from(sample.at)
                        .saturating_mul(UNIT_NS)
                        .saturating_add(self.began_ns),
                    bytes(sample.usage_pages),
                    (sample.working_pages != UNKNOWN).then(|| bytes(sample.working_pages)),
                )
            })
            .collect()
    }

    /// How full it was at the last look: parts in a thousand of the limit.
    pub(super) fn fullness(&self) -> u64 {
        let last = self.passed_over.as_ref().or(self.ring.back());
        let usage_pages = last.map_or(0, |last| u64::from(last.usage_pages));
        let limit_pages = (self.limit_bytes / self.page_bytes).max(1);
        usage_pages.saturating_mul(1000) / limit_pages
    }
}

impl Sample {
    fn differs(&self, other: &Self, threshold_pages: u32) -> bool {
        let is_known = |sample: &Self| sample.working_pages != UNKNOWN;
        self.usage_pages.abs_diff(other.usage_pages) >= threshold_pages
            || is_known(self)
                && (!is_known(other)
                    || self.working_pages.abs_diff(other.working_pages) >= threshold_pages)
    }
}

fn units(ns: u64) -> u32 {
    u32::try_from(ns / UNIT_NS).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;
    const MIB: u64 = 1 << 20;
    const LIMIT: u64 = 100 * MIB;

    fn series() -> Series {
        Series::new(7 * S, LIMIT, 4096, Duration::from_secs(1))
    }

    fn look(series: &mut Series, at_s: u64, usage: u64, reclaimable_bytes: u64) {
        let now_ns = 7 * S + at_s * S;
        if series.need(now_ns, usage) > Need::None {
            let split = MemorySplit {
                reclaimable_bytes,
                ..MemorySplit::default()
            };
            series.set_split(now_ns, usage, split);
        }
        series.push(now_ns, usage);
    }

    #[test]
    fn what_is_flat_takes_little_and_its_end_is_sharp() {
        let mut series = series();
        for at_s in 0..100 {
            look(&mut series, at_s, 10 * MIB, 0);
        }
        assert_eq!(series.samples().len(), 11, "one in ten, and the last");
        look(&mut series, 100, 60 * MIB, 0);
        let samples = series.samples();
        let [.., before, last] = &samples[..] else {
            panic!("{samples:?}");
        };
        assert_eq!((before.0, before.1), ((7 + 99) * S, 10 * MIB));
        assert_eq!((last.0, last.1), ((7 + 100) * S, 60 * MIB));
    }

    #[test]
    fn page_cache_is_no_working_set() {
        let mut series = series();
        look(&mut series, 0, 90 * MIB, 70 * MIB);
        assert_eq!(series.samples()[0].2, Some(20 * MIB));
        // Usage stays, and what it is made of changes.
        for at_s in 1..10 {
            look(&mut series, at_s, 90 * MIB, 70 * MIB - at_s * MIB);
        }
        let last = series.samples()[series.samples().len() - 1];
        assert!(last.2.unwrap() >= 27 * MIB, "{last:?}");
    }

    /// Usage stays at the limit, and page cache gives way to a heap.
    #[test]
    fn a_leak_behind_page_cache_is_no_staircase() {
        let mut series = series();
        let heap = |at_s: u64| (10 + 4 * at_s) * MIB;
        for at_s in 0..20 {
            look(&mut series, at_s, 98 * MIB, 98 * MIB - heap(at_s));
        }
        let mut known = 0;
        for MemorySample(at_ns, _, working) in series.samples() {
            if let Some(working) = working {
                assert_eq!(working, heap(at_ns / S - 7));
                known += 1;
            }
        }
        // All but the second: nothing had told that it moves.
        assert_eq!(known, 19);
        // Once it stays, it is looked at less often, and what is carried on is right.
        series.set_split(27 * S, 98 * MIB, MemorySplit::default());
        series.set_split(28 * S, 98 * MIB, MemorySplit::default());
        assert_eq!(series.need(29 * S, 98 * MIB), Need::None);
        assert_eq!(series.need(30 * S, 98 * MIB), Need::Near);
    }

    #[test]
    fn a_working_set_that_is_not_known_is_not_made_up() {
        let mut series = series();
        look(&mut series, 0, 10 * MIB, 5 * MIB);
        // The budget did not allow a look at memory.stat.
        series.push(8 * S, 50 * MIB);
        let samples = series.samples();
        assert_eq!(samples[1].1, 50 * MIB);
        assert_eq!(samples[1].2, None);
    }

    #[test]
    fn days_fit_into_it() {
        let mut series = series();
        let days_s = 3 * 24 * 3600;
        for at_s in 0..days_s {
            look(&mut series, at_s, at_s * 100 * MIB / days_s, 0);
        }
        let samples = series.samples();
        assert!(samples.len() <= MOST + MOST_COARSE + 1, "{}", samples.len());
        assert_eq!(samples[0].0, 7 * S, "the beginning is there");
        let ring_first = samples[samples.len() - 1].0 - SPAN_NS;
        let old = samples
            .iter()
            .filter(|sample| sample.0 < ring_first)
            .count();
        assert!((MOST_COARSE / 2 - 2..=MOST_COARSE).contains(&old), "{old}");
        assert!(samples.is_sorted_by_key(|sample| sample.0));
    }

    #[test]
    fn a_busy_quarter_of_an_hour_is_there_in_full_and_no_more() {
        let mut series = series();
        for at_s in 0..5000 {
            look(&mut series, at_s, (at_s % 90) * MIB, 0);
        }
        assert_eq!(series.ring.len(), MOST);
        let bytes = series.ring.capacity() * size_of::<Sample>();
        assert!(bytes <= 12 * 1024, "{bytes} bytes a cgroup");
    }

    #[test]
    fn the_page_cache_is_looked_at_where_that_tells_something() {
        let mut series = series();
        let need = |series: &Series, at_s: u64, usage| series.need((7 + at_s) * S, usage);
        assert_eq!(need(&series, 0, MIB), Need::First);
        series.set_split(7 * S, MIB, MemorySplit::default());
        assert_eq!(need(&series, 1, MIB), Need::None);
        assert_eq!(need(&series, 1, 4 * MIB), Need::Moved);
        assert_eq!(need(&series, 10, MIB), Need::Stale);
        series.set_split(7 * S, 95 * MIB, MemorySplit::default());
        assert_eq!(need(&series, 1, 95 * MIB), Need::None);
        assert_eq!(need(&series, 2, 95 * MIB), Need::Near);
    }
}
