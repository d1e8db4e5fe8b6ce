//! Made-up curves; those of real programs are in `tests/streams/memory/real.rs`.

use proptest::prelude::*;

use super::*;

const LIMIT: f64 = 100.0 * 1024.0 * 1024.0;
/// A look a second.
const SECOND: Looks = Looks {
    apart_s: 3.0,
    kept_s: 850.0,
};

/// A curve of seconds and parts of the limit; the kill is the last.
fn points(curve: &[(f64, f64)]) -> Vec<Point> {
    let point = |(at_s, part): &(f64, f64)| Point {
        at_s: *at_s,
        bytes: part * LIMIT,
    };
    curve.iter().map(point).collect()
}

/// One look a second.
fn looks(seconds: u32, part: impl Fn(f64) -> f64) -> Vec<Point> {
    let mut curve: Vec<(f64, f64)> = (0..seconds)
        .map(|at| (f64::from(at), part(f64::from(at) / f64::from(seconds))))
        .collect();
    curve.push((f64::from(seconds), 1.0));
    points(&curve)
}

fn reading(points: &[Point]) -> Option<Reading> {
    read(points, LIMIT, SECOND).reading
}

#[test]
fn a_leak_of_seconds_and_of_days() {
    for seconds in [12, 900, 86_400] {
        let found = read(&looks(seconds, |at| 0.1 + 0.9 * at), LIMIT, SECOND);
        assert_eq!(found.reading, Some(Reading::Ramp), "{found:?}");
        let slope = 0.9 * LIMIT / f64::from(seconds);
        let told = found.slope_bytes_per_s.unwrap() as f64;
        assert!(
            (told / slope - 1.0).abs() < 0.05,
            "{told} instead of {slope}"
        );
    }
}

#[test]
fn a_leak_beside_a_start_up_and_a_garbage_collector() {
    let start_up = |at: f64| if at < 0.02 { 0.0 } else { 0.4 + 0.6 * at };
    assert_eq!(reading(&looks(600, start_up)), Some(Reading::Ramp));
    let teeth = |at: f64| 0.2 + 0.6 * at + 0.2 * (at * 40.0).fract();
    assert_eq!(reading(&looks(600, teeth)), Some(Reading::Ramp));
}

/// The tracer was started long after the leak.
#[test]
fn the_end_of_a_slow_leak() {
    assert_eq!(
        reading(&looks(900, |at| 0.95 + 0.05 * at)),
        Some(Reading::Ramp)
    );
}

#[test]
fn parked_under_the_limit() {
    for level in [0.85, 0.97] {
        let noisy = |at: f64| level + 0.02 * (at * 37.0).sin();
        let start = |at: f64| if at < 0.1 { at * 8.0 } else { noisy(at) };
        assert_eq!(reading(&looks(300, start)), Some(Reading::Plateau));
        assert_eq!(reading(&looks(12, start)), Some(Reading::Plateau));
    }
}

#[test]
fn a_burst_from_a_low_and_from_a_high_level() {
    for level in [0.1, 0.8] {
        assert_eq!(reading(&looks(600, |_| level)), Some(Reading::Burst));
    }
    let curve = points(&[(0.0, 0.2), (6.0, 0.2), (6.9, 0.25), (7.3, 1.0)]);
    let found = read(&curve, LIMIT, SECOND);
    assert_eq!(found.reading, Some(Reading::Burst), "{found:?}");
    assert!(found.why.contains("within the last"), "{}", found.why);
    // A loading of half a minute in the life of an hour.
    let loading = |at: f64| {
        if at < 0.99 {
            0.3
        } else {
            0.3 + (at - 0.99) * 70.0
        }
    };
    assert_eq!(reading(&looks(3600, loading)), Some(Reading::Burst));
}

#[test]
fn steps_are_neither_a_leak_nor_a_burst() {
    let stairs = |at: f64| 0.2 + 0.2 * (at * 4.0).floor();
    for seconds in [12, 60, 900] {
        assert_eq!(reading(&looks(seconds, stairs)), Some(Reading::Steps));
    }
}

#[test]
fn what_was_hardly_seen_is_not_read() {
    assert_eq!(reading(&[]), Some(Reading::TooShort));
    assert_eq!(reading(&points(&[(0.0, 1.0)])), Some(Reading::TooShort));
    assert_eq!(
        reading(&points(&[(0.0, 0.1), (1.0, 0.2), (2.5, 1.0)])),
        Some(Reading::TooShort)
    );
}

#[test]
fn what_goes_up_and_down_has_no_reading() {
    let waves = |at: f64| 0.5 + 0.35 * (at * 30.0).sin();
    let found = read(
        &looks(600, |at| if at > 0.9 { 0.9 } else { waves(at) }),
        LIMIT,
        SECOND,
    );
    assert_eq!(found.reading, None, "{found:?}");
    assert!(found.why.contains("up and down"), "{}", found.why);
}

/// As looks in pairs saw one: it only rose, and has the shape of nothing.
#[test]
fn what_never_fell_is_not_said_to_have_gone_up_and_down() {
    let pairs = [0.0, 0.2, 0.2, 0.43, 0.43, 0.6, 0.6, 0.6, 0.61, 0.85, 1.0];
    let curve: Vec<(f64, f64)> = (0..).map(f64::from).zip(pairs).collect();
    let found = read(&points(&curve), LIMIT, SECOND);
    assert_eq!(found.reading, None, "{found:?}");
    assert!(
        found
            .why
            .starts_with("the working set rose unevenly from 0 B to 100.0 MiB"),
        "{}",
        found.why
    );
}

#[test]
fn a_short_life_of_growth_may_be_a_start_up() {
    for (life_s, wanted) in [
        (5.6, true),
        (280.0, true),
        (301.0, false),
        (86_400.0, false),
    ] {
        assert_eq!(
            may_be_start_up(Some(Reading::Ramp), life_s),
            wanted,
            "{life_s}"
        );
    }
    for other in [None, Some(Reading::Burst), Some(Reading::Plateau)] {
        assert!(!may_be_start_up(other, 10.0));
    }
}

/// From so far before the kill on, nobody looked.
fn blind(seconds: u32, part: impl Fn(f64) -> f64, unseen_s: f64) -> Vec<Point> {
    let end_s = f64::from(seconds);
    let mut points = looks(seconds, part);
    points.retain(|point| point.at_s <= end_s - unseen_s || point.at_s >= end_s);
    points
}

#[test]
fn what_nobody_saw_is_neither_a_leak_nor_a_burst() {
    assert_eq!(Looks::every(1.0), SECOND);
    // As one line this would be a burst, and with a longer stretch a leak.
    for unseen_s in [5.0, 10.0, 40.0] {
        let found = read(&blind(60, |_| 0.3, unseen_s), LIMIT, SECOND);
        assert_eq!(found.reading, None, "{found:?}");
        assert_eq!(found.slope_bytes_per_s, None);
        assert!(
            found.why.contains("before the kill were not watched")
                && found.why.contains("from 30.0 MiB to 100.0 MiB"),
            "{}",
            found.why
        );
    }
    // What was seen before it is told all the same.
    let parked = read(&blind(60, |_| 0.85, 6.0), LIMIT, SECOND);
    assert_eq!(parked.reading, None);
    assert!(
        parked
            .why
            .contains("; before that the working set was parked"),
        "{}",
        parked.why
    );
}

#[test]
fn what_goes_on_as_it_was_seen_is_read_all_the_same() {
    // A leak that was seen for most of its life.
    let leak = |at: f64| 0.1 + 0.9 * at;
    assert_eq!(reading(&blind(60, leak, 8.0)), Some(Reading::Ramp));
    // A flat stretch has few looks that say anything.
    let flat = points(&[
        (0.0, 0.9),
        (10.0, 0.9),
        (20.0, 0.9),
        (30.0, 0.91),
        (36.0, 0.95),
    ]);
    assert_eq!(reading(&flat), Some(Reading::Plateau));
    // Of the time before the last quarter of an hour few are kept.
    let long: Vec<(f64, f64)> = (0..40)
        .map(|at| f64::from(at) * 240.0)
        .chain((9_500..10_000).map(f64::from))
        .map(|at_s| (at_s, 0.1 + 0.9 * at_s / 10_000.0))
        .chain([(10_000.0, 1.0)])
        .collect();
    assert_eq!(reading(&points(&long)), Some(Reading::Ramp));
    // A look in ten seconds is no hole where that is how often it is looked at.
    let slow = points(&[
        (0.0, 0.2),
        (10.0, 0.2),
        (20.0, 0.2),
        (30.0, 0.2),
        (38.0, 1.0),
    ]);
    assert_eq!(
        read(&slow, LIMIT, Looks::every(10.0)).reading,
        Some(Reading::Burst)
    );
    assert_eq!(read(&slow, LIMIT, SECOND).reading, None);
}

#[test]
fn after_what_nobody_saw_the_rest_is_read_alone() {
    let mut curve = blind(60, |_| 0.1, 20.0);
    curve.pop();
    curve.extend((0..=30).map(|at| Point {
        at_s: 60.0 + f64::from(at),
        bytes: LIMIT * (0.7 + f64::from(at) * 0.01),
    }));
    let found = read(&curve, LIMIT, SECOND);
    assert_eq!(found.reading, Some(Reading::Ramp), "{found:?}");
    assert!(
        found
            .why
            .ends_with("; the 20.0 s before that were not watched"),
        "{}",
        found.why
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever the figures, there is an answer, and it does not depend on where time
    /// begins or on the unit of memory.
    #[test]
    fn a_reading_is_of_the_shape(
        curve in prop::collection::vec((0.0..50.0_f64, 0.0..1.2_f64), 0..80),
        limit in 1e6..1e12_f64,
        interval_s in 0.02..10.0_f64,
    ) {
        let looks = Looks::every(interval_s);
        let mut at_s = 0.0;
        let points: Vec<Point> = curve.iter().map(|(gap_s, part)| {
            at_s += gap_s;
            Point { at_s, bytes: part * limit }
        }).collect();
        let found = read(&points, limit, looks);
        prop_assert!(!found.why.is_empty());
        let moved: Vec<Point> = points.iter().map(|point| Point {
            at_s: point.at_s + 4096.0,
            bytes: point.bytes * 2.0,
        }).collect();
        prop_assert_eq!(found.reading, read(&moved, limit * 2.0, looks).reading);
    }

    /// A leak is one at any speed and with any noise that is small beside it.
    #[test]
    fn a_steady_growth_is_a_ramp(
        seconds in 10_u32..5000,
        from in 0.0..0.6_f64,
        noise in prop::collection::vec(-0.01..0.01_f64, 64),
    ) {
        let mut at = 0;
        let curve: Vec<Point> = looks(seconds, |part| from + (0.97 - from) * part)
            .into_iter()
            .map(|point| {
                at = (at + 1) % noise.len();
                Point { bytes: point.bytes + noise[at] * LIMIT, ..point }
            })
            .collect();
        prop_assert_eq!(reading(&curve), Some(Reading::Ramp));
    }
}
