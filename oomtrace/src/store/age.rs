//! How old what is stored is. The wall clock can be set: to the right time, to a wrong one, by a
//! suspended machine that goes on. Such a jump makes nothing older, and so deletes nothing.
//!
//! From one look to the next, so much time has passed as the boottime clock says, which nobody can
//! set. From one boot to the next only the wall clock tells: it is believed, but for a stretch
//! that is longer than deaths are kept, which would delete all of them at once. What the wall
//! clock went ahead by more than that is **not age**: ages are counted without it until deaths
//! have been kept as long again, for by then all that is from before the jump has had its time.
//! A clock that is set back takes as much of it back. The size of the store is kept in any case.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _};

use crate::identity::host;

/// Less is no jump: clocks are slewed, and two of them cannot be read at once.
const SLEWED_NS: i64 = 60 * 1_000_000_000;
/// How far the boottime clock goes on before that is noted.
const NOTE_NS: i64 = 60 * 1_000_000_000;

/// A moment on the clocks of one boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    /// Tells one boot from another.
    pub(super) boot: i64,
    pub(super) boottime_ns: i64,
    pub(super) wall_ns: i64,
}

impl Moment {
    pub(super) fn now() -> Self {
        let now = host::now();
        Self {
            boot: boot(&host::session().boot_id),
            boottime_ns: i64::try_from(now.boottime_ns).unwrap_or(i64::MAX),
            wall_ns: now.realtime_ns,
        }
    }
}

/// The first digits of a boot's id, as a number.
fn boot(id: &str) -> i64 {
    let digits: String = id
        .chars()
        .filter(char::is_ascii_hexdigit)
        .take(15)
        .collect();
    i64::from_str_radix(&digits, 16).unwrap_or_default()
}

/// What is known of the clocks so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ages {
    last: Moment,
    /// The wall clock is ahead by so much that is no age.
    ahead_ns: i64,
    /// For so long still.
    left_ns: i64,
}

impl Ages {
    const fn from(last: Moment) -> Self {
        Self {
            last,
            ahead_ns: 0,
            left_ns: 0,
        }
    }

    /// Time goes on to `now`; deaths are kept for `kept_ns`.
    fn go_on(&mut self, now: Moment, kept_ns: i64) {
        let wall_ns = now.wall_ns.saturating_sub(self.last.wall_ns);
        let passed_ns = if now.boot == self.last.boot {
            now.boottime_ns.saturating_sub(self.last.boottime_ns).max(0)
        } else if wall_ns <= kept_ns {
            wall_ns.max(0)
        } else {
            0
        };
        self.last = now;
        self.left_ns = self.left_ns.saturating_sub(passed_ns);
        if self.left_ns <= 0 {
            (self.left_ns, self.ahead_ns) = (0, 0);
        }
        let jump_ns = wall_ns.saturating_sub(passed_ns);
        if jump_ns > SLEWED_NS {
            self.ahead_ns = self.ahead_ns.saturating_add(jump_ns);
            self.left_ns = kept_ns;
        } else if jump_ns < -SLEWED_NS {
            self.ahead_ns = self.ahead_ns.saturating_add(jump_ns).max(0);
        }
    }

    /// What is from before this moment has had its time.
    fn oldest_ns(&self, kept_ns: i64) -> i64 {
        let now_ns = self.last.wall_ns.saturating_sub(self.ahead_ns);
        now_ns.saturating_sub(kept_ns)
    }
}

/// The same with what the store has noted of it, by one who has the store open.
#[derive(Debug, Default)]
pub(super) struct Clock {
    ages: Option<Ages>,
    noted: Option<Ages>,
}

impl Clock {
    /// What is from before this moment, by the wall clock of its time, is older than it may be.
    pub(super) fn oldest_ns(
        &mut self,
        connection: &Connection,
        now: Moment,
        kept: Duration,
    ) -> rusqlite::Result<i64> {
        let kept_ns = i64::try_from(kept.as_nanos()).unwrap_or(i64::MAX);
        let mut ages = if let Some(ages) = self.ages {
            ages
        } else {
            self.noted = read(connection)?;
            match self.noted {
                Some(noted) => noted,
                None => Ages::from(before(connection, now)?),
            }
        };
        ages.go_on(now, kept_ns);
        self.ages = Some(ages);
        let is_news = self.noted.is_none_or(|noted| {
            noted.ahead_ns != ages.ahead_ns
                || noted.last.boot != now.boot
                || now.boottime_ns.saturating_sub(noted.last.boottime_ns) >= NOTE_NS
        });
        if is_news {
            write(connection, ages)?;
            self.noted = Some(ages);
        }
        Ok(ages.oldest_ns(kept_ns))
    }
}

/// Of a store that has noted nothing yet: the last moment that it knows of, in another boot.
fn before(connection: &Connection, now: Moment) -> rusqlite::Result<Moment> {
    let wall_ns: Option<i64> = connection.query_row(
        "SELECT max(seen) FROM (SELECT max(seen_ns) AS seen FROM watches
             UNION ALL SELECT max(time_ns) FROM deaths)",
        [],
        |row| row.get(0),
    )?;
    Ok(Moment {
        boot: !now.boot,
        boottime_ns: 0,
        wall_ns: wall_ns.unwrap_or(now.wall_ns),
    })
}

/// Names in the table `meta`.
const NAMES: [&str; 5] = [
    "clock_boot",
    "clock_boottime_ns",
    "clock_wall_ns",
    "clock_ahead_ns",
    "clock_left_ns",
];

fn read(connection: &Connection) -> rusqlite::Result<Option<Ages>> {
    let mut statement = connection.prepare_cached("SELECT value FROM meta WHERE name = ?1")?;
    let mut values = [0; NAMES.len()];
    for (name, value) in NAMES.iter().zip(&mut values) {
        match statement.query_row([name], |row| row.get(0)).optional()? {
            Some(noted) => *value = noted,
            None => return Ok(None),
        }
    }
    let [boot, boottime_ns, wall_ns, ahead_ns, left_ns] = values;
    Ok(Some(Ages {
        last: Moment {
            boot,
            boottime_ns,
            wall_ns,
        },
        ahead_ns,
        left_ns,
    }))
}

/// All in one statement: it is noted as a whole or not at all.
fn write(connection: &Connection, ages: Ages) -> rusqlite::Result<()> {
    let [boot, boottime, wall, ahead, left] = NAMES;
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO meta (name, value)
                 VALUES (?1, ?2), (?3, ?4), (?5, ?6), (?7, ?8), (?9, ?10)",
        )?
        .execute((
            boot,
            ages.last.boot,
            boottime,
            ages.last.boottime_ns,
            wall,
            ages.last.wall_ns,
            ahead,
            ages.ahead_ns,
            left,
            ages.left_ns,
        ))
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Limits, retention, schema};

    const S: i64 = 1_000_000_000;
    const DAY: i64 = 86_400 * S;
    const KEPT: i64 = 30 * DAY;
    /// A summer's day of 2026.
    const NOW: i64 = 20_630 * DAY;

    /// In one boot, so many days after another moment, the wall clock ahead by some more.
    fn after(moment: Moment, days: i64, ahead_days: i64) -> Moment {
        Moment {
            boottime_ns: moment.boottime_ns + days * DAY,
            wall_ns: moment.wall_ns + (days + ahead_days) * DAY,
            ..moment
        }
    }

    const START: Moment = Moment {
        boot: 7,
        boottime_ns: DAY,
        wall_ns: NOW,
    };

    /// What had its time after these moments, in days before the last of them.
    fn kept(moments: &[Moment]) -> i64 {
        let mut ages = Ages::from(START);
        let mut last = START;
        for moment in moments {
            ages.go_on(*moment, KEPT);
            last = *moment;
        }
        (last.wall_ns - ages.oldest_ns(KEPT)) / DAY
    }

    #[test]
    fn time_that_passes_makes_older() {
        let days: Vec<Moment> = (1..100).map(|day| after(START, day, 0)).collect();
        assert_eq!(kept(&days), 30);
        // A second a day is no jump, however long it goes on.
        let slewed: Vec<Moment> = (1..100)
            .map(|day| Moment {
                wall_ns: after(START, day, 0).wall_ns + day * S,
                ..after(START, day, 0)
            })
            .collect();
        assert_eq!(kept(&slewed), 30);
        // A machine that slept.
        assert_eq!(kept(&[after(START, 60, 0)]), 30);
    }

    #[test]
    fn a_jump_ahead_is_no_age_until_all_from_before_it_has_had_its_time() {
        let jump = after(START, 0, 400);
        assert_eq!(kept(&[jump]), 430);
        assert_eq!(kept(&[jump, after(jump, 29, 0)]), 430);
        assert_eq!(kept(&[jump, after(jump, 31, 0)]), 30);
        // Another one begins anew.
        let again = after(after(jump, 20, 0), 0, 5);
        assert_eq!(kept(&[jump, after(jump, 20, 0), again]), 435);
        assert_eq!(kept(&[jump, again, after(again, 29, 0)]), 435);
        assert_eq!(kept(&[jump, again, after(again, 31, 0)]), 30);
    }

    #[test]
    fn a_clock_that_is_set_back_takes_it_back() {
        let jump = after(START, 0, 400);
        let back = after(jump, 1, -400);
        assert_eq!(kept(&[jump, back]), 30);
        // And no more than that: to be behind makes nothing younger than it is.
        let behind = after(START, 1, -400);
        assert_eq!(kept(&[behind]), 30);
    }

    #[test]
    fn from_one_boot_to_the_next_the_wall_clock_is_believed_within_reason() {
        let other = |days: i64| Moment {
            boot: 8,
            boottime_ns: 1,
            wall_ns: NOW + days * DAY,
        };
        assert_eq!(kept(&[other(29)]), 30, "a machine that was off");
        assert_eq!(kept(&[other(31)]), 61, "or one whose battery is empty");
        assert_eq!(kept(&[other(31), after(other(31), 31, 0)]), 30);
        assert_eq!(kept(&[other(-9000)]), 30);
    }

    #[test]
    fn it_is_noted_and_goes_on_with_whoever_opens_the_store_next() {
        let mut connection = Connection::open_in_memory().unwrap();
        schema::bring_up(&mut connection, 0).unwrap();
        let kept = Duration::from_hours(30 * 24);
        let days = |clock: &mut Clock, now: Moment| {
            let oldest_ns = clock.oldest_ns(&connection, now, kept).unwrap();
            (now.wall_ns - oldest_ns) / DAY
        };
        assert_eq!(days(&mut Clock::default(), START), 30);
        let jump = after(START, 0, 400);
        assert_eq!(days(&mut Clock::default(), jump), 430);
        assert_eq!(days(&mut Clock::default(), after(jump, 20, 0)), 430);
        assert_eq!(days(&mut Clock::default(), after(jump, 31, 0)), 30);
    }

    /// What is left of a death a day, when this tracer has looked at these moments.
    fn left(of_days: i64, moments: &[Moment]) -> i64 {
        let mut connection = Connection::open_in_memory().unwrap();
        schema::bring_up(&mut connection, 0).unwrap();
        for day in 0..of_days {
            connection
                .execute(
                    "INSERT INTO deaths (id, revision, final, time_ns, weight, boot_id, cause,
                         mechanism, pid) VALUES (?1, 1, 1, ?2, 2, 'b', 'c', 'm', 1)",
                    (day, NOW - day * DAY),
                )
                .unwrap();
        }
        let mut clock = Clock::default();
        let limits = Limits::default();
        for now in moments {
            let oldest_ns = clock.oldest_ns(&connection, *now, limits.age).unwrap();
            while retention::step(&mut connection, limits, oldest_ns)
                .unwrap()
                .more
            {}
        }
        connection
            .query_row("SELECT count(*) FROM deaths", [], |row| row.get(0))
            .unwrap()
    }

    #[test]
    fn a_jump_alone_deletes_nothing_and_age_still_does() {
        let jump = after(START, 0, 400);
        assert_eq!(left(40, &[START]), 31);
        assert_eq!(left(40, &[START, jump]), 31);
        assert_eq!(left(40, &[START, jump, after(jump, 10, 0)]), 21);
        assert_eq!(left(40, &[START, jump, after(jump, 31, 0)]), 0);
        // A store of before this was noted, opened when the clock is wrong already.
        assert_eq!(left(40, &[jump]), 31);
    }

    #[test]
    fn a_boot_is_told_from_another() {
        let one = boot("9c464020-9313-4d2f-8f6e-1c2f3a4b5c6d");
        assert_eq!(one, 0x9c4_6402_0931_34d2);
        assert_ne!(one, boot("9c464020-9314-4d2f-8f6e-1c2f3a4b5c6d"));
        assert_eq!(boot(""), 0);
        let now = Moment::now();
        assert!(now.boottime_ns > 0 && now.wall_ns > NOW / 2, "{now:?}");
    }
}
