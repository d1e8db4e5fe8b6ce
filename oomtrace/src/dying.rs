//! Whoever comes next may come while the one before is still on its way out: a process that was
//! killed holds its locks until its last thread has ended, which takes a busy machine a while.

use std::{
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

/// So long it is waited for, once in the life of a process: one that is there still is no dying one.
const PATIENCE: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(20);

/// Takes something that another one may still have.
pub(crate) fn patiently<T, E>(
    is_taken: impl Fn(&E) -> bool,
    mut take: impl FnMut() -> Result<T, E>,
) -> Result<T, E> {
    static UNTIL: OnceLock<Instant> = OnceLock::new();
    loop {
        match take() {
            Err(error) if is_taken(&error) => {
                let until = *UNTIL.get_or_init(|| Instant::now() + PATIENCE);
                if Instant::now() >= until {
                    return Err(error);
                }
                thread::sleep(PAUSE);
            }
            done => return done,
        }
    }
}
