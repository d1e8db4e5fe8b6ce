//! The deaths of the same workload before this one: how many, how often, and whether they are
//! alike.

use serde::Serialize;
use time::Duration;

use super::timeline::moment;
use crate::provenance::{
    human_bytes, human_duration, human_stretch,
    record::{Cause, Death},
};

/// Intervals are alike when the longest is no longer than this many times the shortest.
const ALIKE: f64 = 1.5;
/// Levels are alike when they differ by no more than this part.
const SAME_LEVEL: f64 = 0.05;
/// So many intervals are needed to speak of a rhythm.
const RHYTHM: usize = 2;

/// See the module.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Earlier {
    /// Deaths before this one.
    pub count: usize,
    /// Of those, with the same cause.
    pub same_cause: usize,
    /// The first of them, RFC 3339.
    pub first: String,
    /// The latest of them.
    pub latest: String,
    /// Between one and the next, this one the last; when all are alike.
    pub every_s: Option<u64>,
    /// Memory in use at each of the OOM kills; when all are alike.
    pub level_bytes: Option<u64>,
    /// Of stop timeouts of which nothing but time was short: the longest that it was given, and
    /// that did not suffice. How much would is not known.
    pub grace_too_short_ms: Option<u64>,
    pub text: String,
}

/// `before`: the latest first.
#[must_use]
pub(super) fn of(death: &Death, before: &[Death]) -> Option<Earlier> {
    let (latest, first) = (before.first()?, before.last()?);
    let same: Vec<&Death> = before
        .iter()
        .filter(|other| other.cause == death.cause)
        .collect();
    let alike = std::iter::once(death).chain(same.iter().copied());
    let every = rhythm(alike.clone());
    let level_bytes = level(alike.clone());
    let graces = graces(alike);
    let mut text = words(death, before.len(), same.len(), first, every, level_bytes);
    if let Some((shortest, longest)) = graces {
        text.push_str(&grace_words(shortest, longest));
    }
    Some(Earlier {
        count: before.len(),
        same_cause: same.len(),
        first: first.time.clone(),
        latest: latest.time.clone(),
        every_s: every.map(|every| every.whole_seconds().unsigned_abs()),
        level_bytes,
        grace_too_short_ms: graces.map(|(_, longest)| longest),
        text,
    })
}

/// The time from one to the next, if it is always much the same.
fn rhythm<'a>(deaths: impl Iterator<Item = &'a Death>) -> Option<Duration> {
    let times: Vec<_> = deaths
        .map(|death| moment(&death.time))
        .collect::<Option<_>>()?;
    let intervals: Vec<Duration> = times
        .iter()
        .zip(times.iter().skip(1))
        .map(|(later, earlier)| *later - *earlier)
        .collect();
    let shortest = intervals.iter().min()?;
    let longest = intervals.iter().max()?;
    let is_rhythm = intervals.len() >= RHYTHM
        && shortest.is_positive()
        && longest.as_seconds_f64() <= ALIKE * shortest.as_seconds_f64();
    let count = u32::try_from(intervals.len()).ok()?;
    is_rhythm.then(|| intervals.iter().copied().sum::<Duration>() / count)
}

/// The memory in use at the OOM kill, if it was always much the same.
fn level<'a>(deaths: impl Iterator<Item = &'a Death>) -> Option<u64> {
    let levels: Vec<u64> = deaths
        .map(|death| death.oom.as_ref()?.usage_bytes)
        .collect::<Option<_>>()?;
    let (least, most) = (levels.iter().min()?, levels.iter().max()?);
    let is_same = levels.len() > 1 && (*most as f64) <= (1.0 + SAME_LEVEL) * (*least as f64);
    is_same.then_some(*most)
}

/// The shortest and the longest time that it was given to stop and that was too short, in
/// milliseconds; `None` if it never ran out of time.
fn graces<'a>(deaths: impl Iterator<Item = &'a Death>) -> Option<(u64, u64)> {
    let all: Vec<u64> = deaths.filter_map(too_short).collect();
    Some((*all.iter().min()?, *all.iter().max()?))
}

/// How long it was given, if it took the request and had not ended by then. One that ignores it,
/// is frozen or hangs needs something else than time.
fn too_short(death: &Death) -> Option<u64> {
    let stop = death.stop.as_ref()?;
    let is_short = death.cause == Cause::StopTimeout
        && matches!(&*stop.reason, "handled" | "ending" | "not_taken");
    is_short.then_some(stop.grace_ms)
}

fn grace_words(shortest_ms: u64, longest_ms: u64) -> String {
    let words = |ms: u64| human_duration(ms.saturating_mul(1_000_000));
    let (shortest, longest) = (words(shortest_ms), words(longest_ms));
    if shortest == longest {
        format!(
            "; it was given {longest} to stop, which did not suffice: how much longer it takes is not known"
        )
    } else {
        format!(
            "; it was given {shortest} to {longest} to stop, and not even {longest} sufficed: how much longer it takes is not known"
        )
    }
}

fn words(
    death: &Death,
    count: usize,
    same: usize,
    first: &Death,
    every: Option<Duration>,
    level_bytes: Option<u64>,
) -> String {
    let mut text = format!("the {} death of it", ordinal(count + 1));
    if let (Some(from), Some(to)) = (moment(&first.time), moment(&death.time)) {
        match (to - from).whole_seconds() {
            0 => text.push_str(" within a second"),
            _ => text.push_str(&format!(" in {}", stretch(to - from))),
        }
    }
    text.push_str(&match same {
        0 => ", the first by this cause".to_owned(),
        same if same == count => ", all by this cause".to_owned(),
        same => format!(", the {} by this cause", ordinal(same + 1)),
    });
    if let Some(every) = every {
        text.push_str(&format!(", every {}", stretch(every)));
    }
    if let Some(level) = level_bytes {
        text.push_str(&format!(", always at {}", human_bytes(level)));
    }
    text
}

/// 1st, 2nd, 3rd, 4th, 11th, 21st.
fn ordinal(number: usize) -> String {
    let ending = match (number % 10, number % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!("{number}{ending}")
}

/// A stretch of time in its largest unit, as people say it.
pub(super) fn stretch(duration: Duration) -> String {
    match duration.whole_seconds().unsigned_abs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds => human_stretch(seconds.saturating_mul(1_000_000_000)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_said_as_people_say_them() {
        let said = [1, 2, 3, 4, 7, 11, 12, 13, 21, 22, 101, 111].map(ordinal);
        assert_eq!(
            said,
            [
                "1st", "2nd", "3rd", "4th", "7th", "11th", "12th", "13th", "21st", "22nd", "101st",
                "111th"
            ]
        );
        let said = [90, 600, 36_000, 259_200].map(|s| stretch(Duration::seconds(s)));
        assert_eq!(said, ["90 s", "10 min", "10 h", "3 days"]);
    }
}
