//! Times as people type and read them.

use time::{Date, OffsetDateTime, Time, format_description::well_known::Rfc3339};

use crate::store::now_ns;

const SECOND: i64 = 1_000_000_000;

/// A moment that was typed: `2h` (so long ago), RFC 3339, or as tables have it, on the clock of
/// whoever types: `2026-11-20 14:05:01`, or the day alone for its start. In nanoseconds since 1970.
pub(super) fn parse(text: &str) -> Result<i64, String> {
    if let Ok(ago) = humantime::parse_duration(text) {
        let ago = i64::try_from(ago.as_nanos()).unwrap_or(i64::MAX);
        return Ok(now_ns().saturating_sub(ago));
    }
    OffsetDateTime::parse(text, &Rfc3339)
        .ok()
        .and_then(|time| i64::try_from(time.unix_timestamp_nanos()).ok())
        .or_else(|| on_local_clock(text))
        .ok_or_else(|| {
            "it is neither a duration (90s, 2h, 3days) nor a time (2026-11-20, \"2026-11-20 14:05\", 2026-11-20T13:05:00Z, 2026-11-20T14:05:00+01:00)".to_owned()
        })
}

fn on_local_clock(text: &str) -> Option<i64> {
    let (date, time) = match text.split_once(['T', ' ']) {
        Some((date, time)) => (date, Some(time)),
        None => (text, None),
    };
    let date = date_of(date)?;
    let time = time.map_or(Some(Time::MIDNIGHT), time_of)?;
    let mut parts = std::mem::MaybeUninit::<libc::tm>::zeroed();
    // SAFETY: all zeros is a valid `tm`.
    let parts = unsafe { parts.assume_init_mut() };
    parts.tm_year = date.year() - 1900;
    parts.tm_mon = i32::from(u8::from(date.month())) - 1;
    parts.tm_mday = i32::from(date.day());
    parts.tm_hour = i32::from(time.hour());
    parts.tm_min = i32::from(time.minute());
    parts.tm_sec = i32::from(time.second());
    // Whether summer time is in force then is for the zone's table to say.
    parts.tm_isdst = -1;
    // SAFETY: the pointer is to a `tm`.
    let seconds: i64 = unsafe { libc::mktime(parts) };
    seconds.checked_mul(SECOND)
}

/// `2026-11-20`.
fn date_of(text: &str) -> Option<Date> {
    let mut parts = text.splitn(3, '-');
    let year = number(parts.next()?, 4)?;
    let month = u8::try_from(number(parts.next()?, 2)?).ok()?;
    let day = u8::try_from(number(parts.next()?, 2)?).ok()?;
    Date::from_calendar_date(i32::from(year), month.try_into().ok()?, day).ok()
}

/// `14:05`, `14:05:01`.
fn time_of(text: &str) -> Option<Time> {
    let mut parts = text.splitn(3, ':');
    let mut next = || u8::try_from(number(parts.next()?, 2)?).ok();
    let (hour, minute) = (next()?, next()?);
    let second = match parts.next() {
        Some(second) => u8::try_from(number(second, 2)?).ok()?,
        None => 0,
    };
    Time::from_hms(hour, minute, second).ok()
}

/// So many digits.
fn number(text: &str, digits: usize) -> Option<u16> {
    let is_number = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
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
        for wrong in [
            "yesterday",
            "",
            "2026-02-30",
            "2026-13-01",
            "26-11-20",
            "2026-11-20 25:00",
            "2026-11-20 14",
            "2026-11-20 14:05:01 CET",
            "2026-11-20T",
            "-2h",
        ] {
            assert!(parse(wrong).unwrap_err().contains("3days"), "{wrong}");
        }
    }

    #[test]
    fn what_a_table_prints_is_read_back() {
        // Not in the hour that comes twice where summer time ends.
        for ns in [1_795_000_000 * SECOND, 1_770_000_000 * SECOND] {
            let (clock, _) = clock(ns);
            assert_eq!(parse(&clock), Ok(ns), "{clock}");
            assert_eq!(parse(&clock.replace(' ', "T")), Ok(ns), "{clock}");
            let (day, time) = clock.split_once(' ').unwrap();
            let minute = time.get(..5).unwrap();
            assert_eq!(
                parse(&format!("{day} {minute}")),
                Ok(ns / 60 / SECOND * 60 * SECOND)
            );
            assert_eq!(parse(day), parse(&format!("{day} 00:00:00")));
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
