//! Times as people type and read them.

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::store::now_ns;

const SECOND: i64 = 1_000_000_000;

/// A moment that was typed: `2h` (so long ago), or RFC 3339. In nanoseconds since 1970.
pub(super) fn parse(text: &str) -> Result<i64, String> {
    if let Ok(ago) = humantime::parse_duration(text) {
        let ago = i64::try_from(ago.as_nanos()).unwrap_or(i64::MAX);
        return Ok(now_ns().saturating_sub(ago));
    }
    OffsetDateTime::parse(text, &Rfc3339)
        .ok()
        .and_then(|time| i64::try_from(time.unix_timestamp_nanos()).ok())
        .ok_or_else(|| {
            "it is neither a duration (90s, 2h, 3days) nor a time (2026-11-20T13:05:00Z, 2026-11-20T14:05:00+01:00)".to_owned()
        })
}

/// A moment on the clock of whoever reads: `2026-11-20 14:05:01 CET`.
pub(super) fn local(time_ns: i64) -> String {
    let (clock, zone) = clock(time_ns);
    format!("{clock} {zone}")
}

/// The same without the zone, and the zone.
pub(super) fn clock(time_ns: i64) -> (String, String) {
    let seconds: i64 = time_ns.div_euclid(SECOND);
    let mut parts = std::mem::MaybeUninit::<libc::tm>::zeroed();
    // SAFETY: all zeros is a valid `tm`; localtime_r fills it or says that it has not.
    let parts = unsafe {
        if libc::localtime_r(&raw const seconds, parts.as_mut_ptr()).is_null() {
            return (format!("{seconds} s"), "since 1970".to_owned());
        }
        parts.assume_init()
    };
    let zone = if parts.tm_zone.is_null() {
        String::new()
    } else {
        // SAFETY: the C library's own string, which lives as long as the process.
        let zone = unsafe { std::ffi::CStr::from_ptr(parts.tm_zone) };
        crate::event::text::printable(&zone.to_string_lossy())
    };
    let clock = format!(
        "{:04}-{:02}-{:02} {:02}:{:02}:{:02}",
        i64::from(parts.tm_year) + 1900,
        parts.tm_mon + 1,
        parts.tm_mday,
        parts.tm_hour,
        parts.tm_min,
        parts.tm_sec
    );
    (clock, zone)
}

/// A stretch of time in one unit, as people say it: `3 s`, `12 min`, `5 h`, `2 d`.
pub(super) fn age(ns: i64) -> String {
    let seconds = ns.max(0) / SECOND;
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_times_are_moments() {
        let two_hours = now_ns() - parse("2h").unwrap();
        assert!(
            (two_hours - 7_200 * SECOND).abs() < 60 * SECOND,
            "{two_hours}"
        );
        assert_eq!(parse("1970-01-01T00:00:01Z"), Ok(SECOND));
        assert_eq!(parse("1970-01-01T01:00:01+01:00"), Ok(SECOND));
        for wrong in ["yesterday", "", "2026-11-20", "-2h"] {
            assert!(parse(wrong).unwrap_err().contains("3days"), "{wrong}");
        }
    }

    #[test]
    fn ages_are_short() {
        for (seconds, text) in [
            (-5, "0 s"),
            (119, "119 s"),
            (600, "10 min"),
            (90_000, "25 h"),
            (864_000, "10 d"),
        ] {
            assert_eq!(age(seconds * SECOND), text);
        }
    }
}
