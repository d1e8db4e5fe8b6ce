//! Wall-clock time of events that carry only the time since boot. The difference of the
//! two clocks comes in with ticks; no clock is read here.

use time::{OffsetDateTime, UtcOffset, format_description::well_known::Rfc3339};

use crate::event::entry::Tick;

/// What the two clocks said when they were last compared.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Clock {
    /// `CLOCK_REALTIME` less `CLOCK_BOOTTIME`.
    offset_ns: i128,
}

impl Clock {
    /// Sets the clock by a moment that is known on both.
    pub(super) fn set(&mut self, tick: Tick) {
        self.offset_ns = i128::from(tick.realtime_ns) - i128::from(tick.boottime_ns);
    }

    /// The wall-clock time, in RFC 3339 with microseconds, UTC.
    #[must_use]
    pub(super) fn format(&self, boottime_ns: u64) -> String {
        rfc3339(i128::from(boottime_ns) + self.offset_ns)
    }
}

/// Nanoseconds since 1970, in RFC 3339 with microseconds, UTC.
#[must_use]
pub(crate) fn rfc3339(realtime_ns: i128) -> String {
    let micros = realtime_ns.div_euclid(1_000) * 1_000;
    OffsetDateTime::from_unix_timestamp_nanos(micros)
        .map(|time| time.to_offset(UtcOffset::UTC))
        .ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_else(|| "unknown".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boottime_becomes_wall_clock_time() {
        let mut clock = Clock::default();
        clock.set(Tick {
            boottime_ns: 1_000,
            realtime_ns: 1_795_258_301_482_914_000,
        });
        assert_eq!(clock.format(1_000_001_999), "2026-11-21T10:51:42.482914Z");
    }
}
