//! History on disk: every death, and when the tracer was watching, in one SQLite file.
//!
//! | module | what it owns |
//! |---|---|
//! | [`place`] | the path, its folder, its lock, whether the file is still there |
//! | [`schema`] | tables, indexes, migrations |
//! | [`row`] | what is stored of a record |
//! | [`waiting`] | what is not stored yet, bounded |
//! | [`db`] | the connection that writes |
//! | [`retention`] | what goes, so that age and size stay within their limits |
//! | [`age`] | how old it is, whatever the wall clock is set to |
//! | [`writer`] | the thread that does it all, and the sink before it |
//! | [`query`] | the connection that reads |
//!
//! There is one writer a file, and any number of readers beside it. No event and no other sink
//! ever waits for a disk.

mod age;
mod db;
mod error;
mod place;
mod query;
mod retention;
mod row;
mod schema;
mod stats;
mod unkept;
mod waiting;
mod writer;

use std::time::{SystemTime, UNIX_EPOCH};

pub use error::{StoreError, Trouble};
pub use place::DEFAULT_PATH;
pub(crate) use place::{beside, make_folder, open_private};
pub use query::{
    Cursor, Filter, Glance, Hidden, Loss, Reader, Roles, Span, Stored, Watch, workload,
};
pub use retention::{DEFAULT_DAYS, DEFAULT_SIZE_BYTES, LEAST_SIZE_BYTES, Limits};
pub(crate) use row::{parse_time, says_as_much};
pub use stats::StoreStats;
pub use writer::{AskProgress, Options, Patience, Progress, StoreSink};

/// The wall clock, in nanoseconds since 1970.
pub(crate) fn now_ns() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|since| i64::try_from(since.as_nanos()).ok())
        .unwrap_or_default()
}
