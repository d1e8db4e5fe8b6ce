//! Runtimes write wall-clock time; the stream runs on `CLOCK_BOOTTIME`.

use crate::identity::host;

/// The wall clock may be slewed between the writing and the reading.
const SLACK_NS: i64 = 10_000_000;

/// Whether a moment of the wall clock is after one of `CLOCK_BOOTTIME`.
pub(super) fn is_after(realtime_ns: i64, since_ns: u64) -> bool {
    let now = host::now();
    let boot_ns = now
        .realtime_ns
        .saturating_sub(i64::try_from(now.boottime_ns).unwrap_or(i64::MAX));
    let since_ns = i64::try_from(since_ns).unwrap_or(i64::MAX);
    realtime_ns.saturating_sub(boot_ns).saturating_add(SLACK_NS) >= since_ns
}

/// `2026-11-21T14:14:46.442009029Z`; `None` for another form, and for Go's zero time.
pub(super) fn rfc3339_ns(text: &str) -> Option<i64> {
    let time = time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339);
    let ns = i64::try_from(time.ok()?.unix_timestamp_nanos()).ok()?;
    (ns > 0).then_some(ns)
}
