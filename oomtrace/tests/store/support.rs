//! Folders that go with the test, records to store, and what was logged meanwhile.

use std::{
    path::{Path, PathBuf},
    sync::{LazyLock, Mutex, Once},
    time::{Duration, Instant},
};

use oomtrace::{
    provenance::record::{Death, Gap, Record, Restart, Started, Stopped},
    sinks::Sink as _,
    store::{Options, Patience, Reader, StoreSink, Stored},
};
use tempfile::TempDir;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

const DEATH: &str = include_str!("../streams/samples/death-1.json");

/// A folder that is gone with its owner.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.path().join("deaths.db")
    }
}

/// A moment in RFC 3339, so many seconds from the start of the tests: from that second's own, so
/// that what is milliseconds apart is shown as one time.
pub(crate) fn at(seconds: f64) -> String {
    static START: LazyLock<OffsetDateTime> = LazyLock::new(|| {
        let now = OffsetDateTime::now_utc();
        now - time::Duration::nanoseconds(now.nanosecond().into())
    });
    let time = *START + time::Duration::seconds_f64(seconds);
    time.format(&Rfc3339).unwrap()
}

/// A death of its own: the same but for its number, which is its process id, too.
pub(crate) fn death(number: u32) -> Death {
    let mut death: Death = serde_json::from_str(DEATH).unwrap();
    death.victim.pid = number;
    death.id = format!("10d4559a-{number}-42152851930");
    death.time = at(f64::from(number) / 1000.0 - 3600.0);
    death.caused_by = None;
    death
}

pub(crate) fn record(death: Death) -> Record {
    Record::Death(Box::new(death))
}

pub(crate) fn started(time: &str) -> Record {
    let json = format!(
        r#"{{"schema":1,"version":"0.1.0","node":"n","boot_id":"b","kernel":"6.1","time":"{time}","boottime_ns":1,
            "hooks":{{"signal":"raw_tracepoint","oom":"fentry","symbols":true}},"absent":[],"ring_bytes":4096,"attach_ms":1.5}}"#
    );
    Record::Started(serde_json::from_str::<Started>(&json).unwrap())
}

/// The same, going on since a moment.
pub(crate) fn resumed(time: &str, since: &str) -> Record {
    let mut record = started(time);
    if let Record::Started(started) = &mut record {
        started.tracing_since = Some(since.to_owned());
    }
    record
}

pub(crate) fn stopped(time: &str) -> Record {
    let json = format!(
        r#"{{"schema":1,"time":"{time}","boottime_ns":2,"deaths":1,"lost":0,"maybe_lost":0}}"#
    );
    Record::Stopped(serde_json::from_str::<Stopped>(&json).unwrap())
}

pub(crate) fn gap(from: &str, to: &str) -> Record {
    let json = format!(
        r#"{{"schema":1,"lost":3,"kind":"sigkill","cpu":null,"from":"{from}","to":"{to}",
            "from_boottime_ns":1,"to_boottime_ns":2,"certain":true,"why":"the ring buffer was full"}}"#
    );
    Record::Gap(serde_json::from_str::<Gap>(&json).unwrap())
}

/// What this death ended ran again then.
pub(crate) fn restart(of: &Death, time: &str) -> Record {
    Record::Restart(Restart {
        schema: 1,
        of: of.id.clone(),
        time: time.to_owned(),
        boottime_ns: of.boottime_ns + 5_000_000_000,
        after_ms: 4_999,
        container: None,
        unit: of.unit.clone(),
        summary: "job.service was started again, 5.0 s after it had ended".to_owned(),
    })
}

/// The end waits for the disk for longer than any takes that works.
pub(crate) fn patient(path: &Path) -> Options {
    let long = Duration::from_secs(300);
    Options {
        patience: Patience {
            quiet: long,
            most: long,
        },
        ..Options::at(path)
    }
}

/// Stores records and ends.
pub(crate) fn store(path: &Path, records: impl IntoIterator<Item = Record>) {
    let mut sink = StoreSink::start(&patient(path)).unwrap();
    for record in records {
        sink.write(&record).unwrap();
    }
    sink.settle(true).unwrap();
    assert_eq!(sink.stats().waiting(), 0);
}

/// All that is stored, the newest first.
pub(crate) fn all(path: &Path) -> Vec<Stored> {
    let filter = oomtrace::store::Filter {
        roles: oomtrace::store::Roles::All,
        ..oomtrace::store::Filter::default()
    };
    let reader = Reader::open(path).unwrap();
    reader.list(&filter, None, usize::MAX).unwrap()
}

pub(crate) fn pids(stored: &[Stored]) -> Vec<u32> {
    stored.iter().map(|stored| stored.pid).collect()
}

/// Waits for something, for a while that no machine needs.
#[track_caller]
pub(crate) fn wait_for(what: &str, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(60), "no {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// What was logged about a path so far.
pub(crate) fn logged(path: &Path) -> Vec<String> {
    let path = path.display().to_string();
    let lines = LINES.lock().unwrap();
    lines
        .iter()
        .filter(|line| line.contains(&path))
        .cloned()
        .collect()
}

static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Keeps what is logged from now on.
pub(crate) fn keep_log() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_logger(&Log).unwrap();
        log::set_max_level(log::LevelFilter::Warn);
    });
}

struct Log;

impl log::Log for Log {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        LINES.lock().unwrap().push(record.args().to_string());
    }

    fn flush(&self) {}
}

pub(crate) fn is_root() -> bool {
    // SAFETY: asks only.
    unsafe { libc::geteuid() == 0 }
}
