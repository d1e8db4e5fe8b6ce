//! What the memory before an OOM kill looked like: the reading of a curve. Pure.
//!
//! It reads the **working set**: usage less the page cache on the LRU lists, active and
//! inactive, for the kernel takes back all of that before it kills. (Kubernetes' figure of the
//! same name counts the active part as in use. A container that reads files all day would look
//! parked under its limit by it, and is not.) The last point is the kill itself.
//!
//! The first rule that fits, in this order:
//!
//! | reading | rule |
//! |---|---|
//! | `too_short` | fewer than [`LEAST_POINTS`] points, or less than [`LEAST_S`] seen: nothing can be said |
//! | `steps` | at least [`LEAST_STEPS`] rises of [`STEP`] of the limit or more, with flat stretches between them; together they are most of what it rose by, and it hardly fell |
//! | `burst` | at the end it rose by [`BURST_RISE`] of the limit or more within the [`burst_s`] window, at least [`BURST_FASTER`] times as fast as before |
//! | `ramp` | it rose in most parts of its life, and in none of them by most of it: a leak |
//! | `plateau` | it was parked within [`PARKED`] of the limit for most of the later half: the limit is too small for what runs there |
//!
//! A stretch that nobody saw is no line between its ends ([`Looks`]): where it rose or fell by a
//! [`STEP`] unseen, what comes after that stretch is read alone, and nothing where the kill came
//! at the end of it; unless the growth that was seen before goes on through it.
//!
//! A ramp is a leak only where there was time for something else: what dies within
//! [`START_UP_S`] of its start, still growing, may as well have been loading what it needs, and
//! would have come to a level with a higher limit ([`may_be_start_up`]). The reading stays
//! `ramp`; what is advised is another matter.
//!
//! A curve that none fits has no reading: that is a finding, too. Steps go before a burst, for
//! the last step is one by itself; a burst goes before a ramp, for what was there before it does
//! not matter then. The slope is the median of the slopes between all pairs of points
//! (Theil and Sen): a short rise at the start or the end does not bend it.

mod figures;
mod looks;

use serde::{Deserialize, Serialize};

use self::figures::{burst_s, changes, seconds, size, slope, value, whole};
pub(super) use self::looks::Looks;

/// What a curve looked like: see the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reading {
    Plateau,
    Ramp,
    Burst,
    Steps,
    TooShort,
}

/// Two looks before the kill tell a level; one tells nothing.
const LEAST_POINTS: usize = 3;
/// What dies sooner has shown its start-up, and nothing else.
const LEAST_S: f64 = 3.0;
/// Two rises are a start and an end.
const LEAST_STEPS: usize = 3;
/// Parts of the limit from here on. A rise of less than this is noise of a busy program.
const STEP: f64 = 0.08;
/// A sixtieth of the time in which it rises by this belongs to a rise: a steady growth over
/// all of its life is slower in each.
const RISING: f64 = 0.02;
/// Rises make up this part of all growth, in no more than this part of the time, and what was
/// given back is no more than this part of the growth.
const STEPS_OF_GROWTH: f64 = 0.75;
const STEPS_OF_TIME: f64 = 0.4;
const STEPS_FALLS: f64 = 0.2;
/// More than what a parked program needs for one request more.
const BURST_RISE: f64 = 0.15;
/// A ramp goes on as before, which is 1.
const BURST_FASTER: f64 = 4.0;
/// "Within seconds" where little was seen; a twentieth of it where more was, and at the most a
/// minute.
const BURST_S: (f64, f64) = (5.0, 60.0);
const BURST_OF_TIME: f64 = 0.05;
/// A start-up is no growth: this part of the time is not looked at for a ramp.
const START_UP: f64 = 0.1;
/// Parts that the rest is cut into; in each the lowest point counts, so that a garbage
/// collector's teeth do not.
const RAMP_PARTS: usize = 10;
/// So many of the nine rises from part to part are real ones, and none is more than this part
/// of the whole.
const RAMP_RISES: usize = 7;
const RAMP_LARGEST: f64 = 0.45;
/// The whole is at least this. A slow leak, of which the last minutes were seen, has less than
/// that, but never falters.
const RAMP_RISE: f64 = 0.1;
const RAMP_RISE_SLIGHT: f64 = 0.03;
const RAMP_RISES_SLIGHT: usize = 9;
const RAMP_LARGEST_SLIGHT: f64 = 0.25;
/// So long a program may take to load what it needs: caches, models, indices. A ramp that is all
/// that there was of a life no longer than this cannot tell a leak from that.
const START_UP_S: f64 = 300.0;
/// Parked: at least this much of the limit was in use for this part of the later half.
const PARKED: f64 = 0.8;
const PARKED_TIME: f64 = 0.75;

/// The working set at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Point {
    /// Seconds, from any moment on.
    pub(super) at_s: f64,
    pub(super) bytes: f64,
}

/// A reading with its figures.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Found {
    pub(super) reading: Option<Reading>,
    pub(super) slope_bytes_per_s: Option<i64>,
    /// The rule in words.
    pub(super) why: String,
}

/// Time is cut into so many parts.
const GRID: usize = 60;

/// Reads a curve: points in order of time, the last one the kill, the limit, and how often it was
/// looked at.
#[must_use]
pub(super) fn read(points: &[Point], limit_bytes: f64, looks: Looks) -> Found {
    let Some(at) = looks.unseen(points, limit_bytes) else {
        return read_seen(points, limit_bytes);
    };
    let (before, after) = points.split_at(at);
    let (Some(from), Some(to)) = (before.last(), after.first()) else {
        return read_seen(points, limit_bytes);
    };
    let took = seconds(to.at_s - from.at_s);
    if after.len() > 1 {
        let mut found = read_seen(after, limit_bytes);
        found
            .why
            .push_str(&format!("; the {took} before that were not watched"));
        return found;
    }
    let mut why = format!(
        "the last {took} before the kill were not watched: the working set went from {} to {} meanwhile, and whether by a leak or a burst nobody saw",
        size(from.bytes),
        size(to.bytes)
    );
    let seen = read_seen(before, limit_bytes);
    if !matches!(seen.reading, None | Some(Reading::TooShort)) {
        why.push_str(&format!("; before that {}", seen.why));
    }
    Found {
        reading: None,
        slope_bytes_per_s: None,
        why,
    }
}

/// The same where all was seen.
fn read_seen(points: &[Point], limit_bytes: f64) -> Found {
    let (Some(first), Some(last)) = (points.first(), points.last()) else {
        return too_short(0.0);
    };
    let span_s = last.at_s - first.at_s;
    if points.len() < LEAST_POINTS || span_s < LEAST_S || limit_bytes <= 0.0 {
        return too_short(span_s);
    }
    let curve = Curve {
        points,
        span_s,
        limit: limit_bytes,
        grid: (0..=GRID)
            .map(|at| value(points, first.at_s + span_s * at as f64 / GRID as f64))
            .collect(),
    };
    curve
        .steps()
        .or_else(|| curve.burst())
        .or_else(|| curve.ramp())
        .or_else(|| curve.plateau())
        .unwrap_or_else(|| curve.unclear())
}

fn too_short(span_s: f64) -> Found {
    Found {
        reading: Some(Reading::TooShort),
        slope_bytes_per_s: None,
        why: format!(
            "only {} of it were seen, which is too short to tell a leak from a burst",
            seconds(span_s.max(0.0))
        ),
    }
}

/// Whether a growth may be a start-up that needs more than the limit, and no leak: it lasted for
/// (nearly) all of a life of so many seconds, and that was a short one.
#[must_use]
pub(super) fn may_be_start_up(reading: Option<Reading>, life_s: f64) -> bool {
    reading == Some(Reading::Ramp) && life_s <= START_UP_S
}

/// A curve that is long enough.
struct Curve<'a> {
    points: &'a [Point],
    span_s: f64,
    limit: f64,
    /// At even distances, the first and the last point among them.
    grid: Vec<f64>,
}

impl Curve<'_> {
    fn first(&self) -> f64 {
        self.grid.first().copied().unwrap_or_default()
    }

    fn last(&self) -> f64 {
        self.grid.last().copied().unwrap_or_default()
    }

    fn end_s(&self) -> f64 {
        self.points.last().map_or(0.0, |last| last.at_s)
    }

    /// The deepest fall from what it had been at before.
    fn fell(&self) -> f64 {
        let mut highest = f64::NEG_INFINITY;
        let falls = self.points.iter().map(|point| {
            highest = highest.max(point.bytes);
            highest - point.bytes
        });
        falls.fold(0.0, f64::max)
    }

    fn steps(&self) -> Option<Found> {
        let mut rises: Vec<f64> = Vec::new();
        let (mut rise, mut cells, mut rising) = (0.0, 0, 0);
        let (mut growth, mut falls) = (0.0, 0.0);
        let mut end = |rise: &mut f64, cells: &mut usize| {
            if *rise >= STEP * self.limit {
                rises.push(*rise);
                rising += *cells;
            }
            (*rise, *cells) = (0.0, 0);
        };
        for change in changes(&self.grid) {
            growth += change.max(0.0);
            falls += (-change).max(0.0);
            if change >= RISING * self.limit {
                rise += change;
                cells += 1;
            } else {
                end(&mut rise, &mut cells);
            }
        }
        end(&mut rise, &mut cells);
        let total: f64 = rises.iter().sum();
        let fits = rises.len() >= LEAST_STEPS
            && total >= STEPS_OF_GROWTH * growth
            && rising as f64 <= STEPS_OF_TIME * GRID as f64
            && falls <= STEPS_FALLS * growth;
        fits.then(|| Found {
            reading: Some(Reading::Steps),
            slope_bytes_per_s: Some(whole(slope(self.points))),
            why: format!(
                "the working set rose in {} steps of {} to {}, with flat stretches between them, over {}",
                rises.len(),
                size(rises.iter().copied().fold(f64::INFINITY, f64::min)),
                size(rises.iter().copied().fold(0.0, f64::max)),
                seconds(self.span_s)
            ),
        })
    }

    fn burst(&self) -> Option<Found> {
        let window_s = burst_s(self.span_s);
        let from_s = self.end_s() - window_s;
        let at_start = value(self.points, from_s);
        // From the highest level of late: a garbage collector's last tooth is no burst.
        let base = self
            .points
            .iter()
            .filter(|point| (from_s - 2.0 * window_s..from_s).contains(&point.at_s))
            .map(|point| point.bytes)
            .fold(at_start, f64::max);
        let rise = self.last() - base;
        let before: Vec<Point> = self
            .points
            .iter()
            .copied()
            .filter(|point| point.at_s < from_s)
            .chain([Point {
                at_s: from_s,
                bytes: at_start,
            }])
            .collect();
        let before_slope = slope(&before);
        let fits =
            rise >= BURST_RISE * self.limit && before_slope * window_s * BURST_FASTER <= rise;
        fits.then(|| {
            // It may have taken less: from the last moment at which it was low still.
            let low = base + rise * 0.1;
            let began_s = self
                .points
                .iter()
                .rev()
                .find(|point| point.at_s >= from_s && point.bytes <= low)
                .map_or(from_s, |point| point.at_s);
            let took_s = (self.end_s() - began_s).max(0.001);
            Found {
                reading: Some(Reading::Burst),
                slope_bytes_per_s: Some(whole(rise / took_s)),
                why: format!(
                    "the working set rose by {} within the last {}, after {} in which it went from {} to {}",
                    size(rise),
                    seconds(took_s),
                    seconds(self.span_s - took_s),
                    size(self.first()),
                    size(base)
                ),
            }
        })
    }

    fn ramp(&self) -> Option<Found> {
        let began = (GRID as f64 * START_UP) as usize;
        let rest = self.grid.get(began..)?;
        let floors: Vec<f64> = rest
            .chunks(rest.len().div_ceil(RAMP_PARTS))
            .map(|part| part.iter().copied().fold(f64::INFINITY, f64::min))
            .collect();
        let net = floors.last()? - floors.first()?;
        let even = net / changes(&floors).count().max(1) as f64;
        let rises = |part: f64| {
            changes(&floors)
                .filter(|change| *change > part * even)
                .count()
        };
        let largest = changes(&floors).fold(0.0, f64::max);
        let is_ramp = net >= RAMP_RISE * self.limit
            && rises(0.2) >= RAMP_RISES
            && largest <= RAMP_LARGEST * net;
        let is_slight = net >= RAMP_RISE_SLIGHT * self.limit
            && rises(0.3) >= RAMP_RISES_SLIGHT
            && largest <= RAMP_LARGEST_SLIGHT * net;
        let slope = slope(self.points);
        (slope > 0.0 && (is_ramp || is_slight)).then(|| Found {
            reading: Some(Reading::Ramp),
            slope_bytes_per_s: Some(whole(slope)),
            why: format!(
                "the working set rose in {} of {} parts of its life, from {} to {} over {}: {}/s",
                rises(0.2),
                changes(&floors).count(),
                size(self.first()),
                size(self.last()),
                seconds(self.span_s),
                size(slope)
            ),
        })
    }

    fn plateau(&self) -> Option<Found> {
        let later = self.grid.get(GRID / 2..GRID)?;
        let parked = later
            .iter()
            .filter(|bytes| **bytes >= PARKED * self.limit)
            .count();
        let part = parked as f64 / later.len().max(1) as f64;
        (part >= PARKED_TIME).then(|| {
            let mean = later.iter().sum::<f64>() / later.len().max(1) as f64;
            Found {
                reading: Some(Reading::Plateau),
                slope_bytes_per_s: Some(whole(slope(self.points))),
                why: format!(
                    "the working set was parked at {}, {:.0} % of the limit, for {:.0} % of the last {}",
                    size(mean),
                    100.0 * mean / self.limit,
                    100.0 * part,
                    seconds(self.span_s / 2.0)
                ),
            }
        })
    }

    fn unclear(&self) -> Found {
        let low = self.points.iter().map(|point| point.bytes);
        let low = low.fold(f64::INFINITY, f64::min);
        let (went, to) = if self.fell() < STEP * self.limit {
            ("rose unevenly from", "to")
        } else {
            ("went up and down between", "and")
        };
        Found {
            reading: None,
            slope_bytes_per_s: Some(whole(slope(self.points))),
            why: format!(
                "the working set {went} {} {to} {} over {}: like neither a leak, a burst, steps nor a level under the limit",
                size(low),
                size(self.last()),
                seconds(self.span_s)
            ),
        }
    }
}

#[cfg(test)]
mod tests;
