//! Disks and files that do not play along: each is told once, tracing goes on, and what waited
//! is stored once the trouble is over.

use std::{
    ffi::CString,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use oomtrace::{
    sinks::Sink as _,
    store::{Options, Patience, Reader, StoreSink, Trouble},
};
use rusqlite::Connection;

use crate::support::{
    Folder, all, death, is_root, keep_log, logged, pids, record, store, wait_for,
};

/// A small file system of its own. It is gone with its owner.
struct Disk(Folder);

impl Disk {
    /// `None`: mounting is not permitted here.
    fn new(size: &str) -> Option<Self> {
        let disk = Self(Folder::new());
        match disk.mount(0, &format!("size={size}")) {
            Ok(()) => Some(disk),
            Err(error) => {
                println!("skipped: a tmpfs cannot be mounted here: {error}");
                None
            }
        }
    }

    fn mount(&self, flags: libc::c_ulong, options: &str) -> std::io::Result<()> {
        let target = CString::new(self.0.path().to_str().unwrap()).unwrap();
        let options = CString::new(options).unwrap();
        let kind = c"tmpfs".as_ptr();
        // SAFETY: all pointers are to strings that end with their NUL.
        let done =
            unsafe { libc::mount(kind, target.as_ptr(), kind, flags, options.as_ptr().cast()) };
        if done == 0 {
            Ok(())
        } else {
            Err(std::io::Error::last_os_error())
        }
    }

    fn store(&self) -> PathBuf {
        self.0.store()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let target = CString::new(self.0.path().to_str().unwrap()).unwrap();
        // SAFETY: the pointer is to a string that ends with its NUL.
        unsafe { libc::umount2(target.as_ptr(), libc::MNT_DETACH) };
    }
}

/// A sink with a death that it cannot store, and what it said.
fn troubled(path: &Path) -> (StoreSink, String) {
    keep_log();
    let mut sink = StoreSink::start(&Options::at(path)).unwrap();
    sink.write(&record(death(1))).unwrap();
    wait_for("error", || sink.stats().errors() > 0);
    sink.write(&record(death(2))).unwrap();
    wait_for("second try", || sink.stats().errors() > 1);
    assert_eq!((sink.stats().stored(), sink.stats().waiting()), (0, 2));
    let lines = logged(path);
    assert_eq!(lines.len(), 1, "{lines:#?}");
    let line = lines.into_iter().next().unwrap();
    assert!(
        line.contains("\ndo: ") && line.contains("tracing goes on"),
        "{line}"
    );
    (sink, line)
}

/// The trouble is over: all that waited is stored.
fn mended(sink: &StoreSink, path: &Path) {
    wait_for("end of the trouble", || sink.stats().waiting() == 0);
    assert_eq!(pids(&all(path)), [2, 1]);
    assert_eq!((sink.stats().stored(), sink.stats().dropped()), (2, 0));
}

#[test]
fn a_full_disk_is_waited_for() {
    let Some(disk) = Disk::new("1m") else { return };
    let path = disk.store();
    let ballast = path.with_file_name("ballast");
    fs::write(&ballast, vec![1; 2 << 20]).unwrap_err();
    let (sink, line) = troubled(&path);
    assert!(line.contains("the disk is full"), "{line}");
    fs::remove_file(&ballast).unwrap();
    mended(&sink, &path);
}

#[test]
fn a_disk_that_fills_up_under_way_costs_nothing_that_was_stored() {
    let Some(disk) = Disk::new("4m") else { return };
    let path = disk.store();
    keep_log();
    let mut sink = StoreSink::start(&Options::at(&path)).unwrap();
    let mut stored = 0;
    for number in 1.. {
        sink.write(&record(death(number))).unwrap();
        if number % 100 == 0 {
            wait_for("commit or error", || {
                sink.stats().waiting() == 0 || sink.stats().errors() > 0
            });
        }
        if sink.stats().errors() > 0 {
            stored = number;
            break;
        }
    }
    let line = logged(&path).join("\n");
    assert!(line.contains("the disk is full"), "{line}");
    assert!(sink.stats().stored() > 100 && sink.stats().waiting() > 0);
    // Readers are not troubled.
    assert_eq!(all(&path).len() as u64, sink.stats().stored());
    disk.mount(libc::MS_REMOUNT, "size=64m").unwrap();
    wait_for("end of the trouble", || sink.stats().waiting() == 0);
    let left = pids(&all(&path));
    let every: Vec<u32> = (1..=stored).rev().collect();
    assert_eq!(left, every);
    assert_eq!(sink.stats().dropped(), 0);
}

#[test]
fn a_disk_that_takes_some_and_is_full_again_is_not_called_well() {
    let Some(disk) = Disk::new("8m") else { return };
    let path = disk.store();
    let ballast = path.with_file_name("ballast");
    // With the least size, so little is committed at once that many commits are to be made.
    let options = Options {
        limits: oomtrace::store::Limits {
            size_bytes: oomtrace::store::LEAST_SIZE_BYTES,
            ..oomtrace::store::Limits::default()
        },
        ..Options::at(&path)
    };
    let said = |what: &str| {
        let lines = logged(&path);
        lines.iter().filter(|line| line.contains(what)).count()
    };
    let full = |sink: &StoreSink| {
        let errors = sink.stats().errors();
        wait_for("error", || sink.stats().errors() > errors + 1);
    };
    fs::write(&ballast, vec![1; 16 << 20]).unwrap_err();
    keep_log();
    let mut sink = StoreSink::start(&options).unwrap();
    for number in 1..=600 {
        sink.write(&record(death(number))).unwrap();
    }
    full(&sink);
    // Room for a part of them.
    let held = fs::metadata(&ballast).unwrap().len();
    let file = fs::OpenOptions::new().write(true).open(&ballast).unwrap();
    file.set_len(held - (1 << 20)).unwrap();
    wait_for("a part stored", || sink.stats().stored() > 0);
    full(&sink);
    assert!(sink.stats().waiting() > 0, "not all of them have room");
    assert_eq!((said("the disk is full"), said("again")), (1, 0));

    file.set_len(0).unwrap();
    wait_for("end of the trouble", || sink.stats().waiting() == 0);
    wait_for("word of it", || said("again") == 1);
    assert_eq!(all(&path).len(), 600);

    // Another time is another trouble.
    fs::write(&ballast, vec![1; 16 << 20]).unwrap_err();
    for number in 601..=1_200 {
        sink.write(&record(death(number))).unwrap();
    }
    full(&sink);
    assert_eq!((said("the disk is full"), said("again")), (2, 1));
    file.set_len(0).unwrap();
    wait_for("word of its end", || said("again") == 2);
    assert_eq!(all(&path).len(), 1_200);
}

#[test]
fn a_read_only_disk_is_waited_for_and_can_be_read() {
    let Some(disk) = Disk::new("8m") else { return };
    let path = disk.store();
    disk.mount(libc::MS_REMOUNT | libc::MS_RDONLY, "").unwrap();
    let (mut sink, line) = troubled(&path);
    assert!(line.contains("read-only"), "{line}");
    disk.mount(libc::MS_REMOUNT, "").unwrap();
    mended(&sink, &path);
    sink.settle(true).unwrap();
    drop(sink);
    // Closed well, on a disk that nobody can write to.
    disk.mount(libc::MS_REMOUNT | libc::MS_RDONLY, "").unwrap();
    assert_eq!(pids(&all(&path)), [2, 1]);
}

#[test]
fn what_a_killed_writer_left_can_be_read_on_a_read_only_disk() {
    let Some(disk) = Disk::new("8m") else { return };
    let path = disk.store();
    crate::crash::killed_after(&path, 3);
    assert!(
        path.with_file_name("deaths.db-wal")
            .metadata()
            .unwrap()
            .len()
            > 0
    );
    disk.mount(libc::MS_REMOUNT | libc::MS_RDONLY, "").unwrap();
    assert!(all(&path).len() >= 3);
}

#[test]
fn a_folder_is_no_store() {
    let folder = Folder::new();
    let path = folder.store();
    fs::create_dir(&path).unwrap();
    let (sink, line) = troubled(&path);
    assert!(line.contains("it is a folder"), "{line}");
    fs::remove_dir(&path).unwrap();
    mended(&sink, &path);
}

#[test]
fn a_file_of_another_kind_stays_as_it_is() {
    let folder = Folder::new();
    let path = folder.store();
    let text = "not a database, and long enough to be looked at as one\n".repeat(100);
    fs::write(&path, &text).unwrap();
    let (mut sink, line) = troubled(&path);
    assert!(line.contains("no store of oomtrace"), "{line}");
    sink.settle(true).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
    let error = Reader::open(&path).unwrap_err();
    assert_eq!(error.trouble(), Trouble::NotAStore);
}

#[test]
fn another_programs_database_stays_as_it_is() {
    let folder = Folder::new();
    let path = folder.store();
    Connection::open(&path)
        .unwrap()
        .execute_batch("CREATE TABLE mail (x); INSERT INTO mail VALUES (1)")
        .unwrap();
    let before = fs::read(&path).unwrap();
    let (mut sink, line) = troubled(&path);
    assert!(line.contains("another program's database"), "{line}");
    sink.settle(true).unwrap();
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn a_newer_layout_is_refused_and_kept() {
    let folder = Folder::new();
    let path = folder.store();
    store(&path, [record(death(7))]);
    Connection::open(&path)
        .unwrap()
        .pragma_update(None, "user_version", 99)
        .unwrap();
    let (sink, line) = troubled(&path);
    assert!(
        line.contains("a newer oomtrace") && line.contains("99"),
        "{line}"
    );
    let error = Reader::open(&path).unwrap_err();
    assert_eq!(error.trouble(), Trouble::Newer);
    drop(sink);
    let connection = Connection::open(&path).unwrap();
    let deaths: i64 = connection
        .query_row("SELECT count(*) FROM deaths", [], |row| row.get(0))
        .unwrap();
    assert_eq!(deaths, 1);
}

/// Writes nonsense over the middle of a file.
fn damage(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let end = bytes.len();
    bytes[4096..end].fill(0xa5);
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_damaged_store_is_kept_aside_and_a_new_one_begun() {
    keep_log();
    let folder = Folder::new();
    let path = folder.store();
    store(&path, (1..500).map(|number| record(death(number))));
    damage(&path);
    let damaged = fs::read(&path).unwrap();
    let mut sink = StoreSink::start(&Options::at(&path)).unwrap();
    sink.write(&record(death(1000))).unwrap();
    wait_for("death stored", || sink.stats().stored() == 1);
    sink.settle(true).unwrap();
    assert_eq!(pids(&all(&path)), [1000]);
    let aside = path.with_file_name("deaths.db.damaged");
    assert_eq!(fs::read(&aside).unwrap(), damaged);
    let lines = logged(&path);
    assert_eq!(lines.len(), 1, "{lines:#?}");
    for part in [
        "was damaged",
        "moved to",
        "deaths.db.damaged",
        "a new one is begun",
    ] {
        assert!(lines[0].contains(part), "{}", lines[0]);
    }
    assert!(!lines[0].contains("cannot be stored"), "{}", lines[0]);

    // The next time somebody has to look: only one is kept aside.
    damage(&path);
    let mut sink = StoreSink::start(&Options::at(&path)).unwrap();
    sink.write(&record(death(1001))).unwrap();
    wait_for("message", || logged(&path).len() > 1);
    let last = logged(&path).pop().unwrap();
    assert!(last.contains("move it away"), "{last}");
    assert_eq!(fs::read(&aside).unwrap(), damaged);
    fs::remove_file(&aside).unwrap();
    wait_for("death stored", || sink.stats().stored() == 1);
    assert_eq!(pids(&all(&path)), [1001]);
}

/// As a loss of power leaves it: the file has its size, and its pages were never written.
#[test]
fn a_file_of_zeros_is_a_damaged_one() {
    keep_log();
    for (zeros, is_rest_there) in [(4096, false), (3 * 4096, false), (100, false), (4096, true)] {
        let folder = Folder::new();
        let path = folder.store();
        if is_rest_there {
            store(&path, (1..100).map(|number| record(death(number))));
            let mut bytes = fs::read(&path).unwrap();
            bytes[..zeros].fill(0);
            fs::write(&path, bytes).unwrap();
        } else {
            fs::write(&path, vec![0; zeros]).unwrap();
        }
        let before = fs::read(&path).unwrap();
        let error = Reader::open(&path).unwrap_err();
        assert_eq!(error.trouble(), Trouble::Damaged, "{error}");
        store(&path, [record(death(1000))]);
        assert_eq!(pids(&all(&path)), [1000]);
        let aside = path.with_file_name("deaths.db.damaged");
        assert_eq!(fs::read(&aside).unwrap(), before);
        let lines = logged(&path);
        assert_eq!(lines.len(), 1, "{lines:#?}");
        assert!(lines[0].contains("nothing but zeros"), "{}", lines[0]);
    }
}

#[test]
fn a_second_tracer_on_the_same_file_waits_its_turn() {
    let folder = Folder::new();
    let path = folder.store();
    let mut first = StoreSink::start(&Options::at(&path)).unwrap();
    first.write(&record(death(9))).unwrap();
    wait_for("death stored", || first.stats().stored() == 1);
    let (second, line) = troubled(&path);
    let own = format!("pid {}", std::process::id());
    assert!(
        line.contains("another oomtrace writes to it") && line.contains(&own),
        "{line}"
    );
    first.write(&record(death(10))).unwrap();
    first.settle(true).unwrap();
    drop(first);
    wait_for("turn of the second", || second.stats().waiting() == 0);
    assert_eq!(pids(&all(&path)), [10, 9, 2, 1]);
}

#[test]
fn a_file_that_is_removed_is_made_again_with_all_that_comes() {
    let folder = Folder::new();
    let path = folder.store();
    let mut sink = StoreSink::start(&Options::at(&path)).unwrap();
    sink.write(&record(death(1))).unwrap();
    wait_for("death stored", || sink.stats().stored() == 1);
    for suffix in ["", "-wal", "-shm"] {
        fs::remove_file(path.with_file_name(format!("deaths.db{suffix}"))).unwrap();
    }
    sink.write(&record(death(2))).unwrap();
    wait_for("second death stored", || sink.stats().stored() == 2);
    sink.settle(true).unwrap();
    assert_eq!(pids(&all(&path)), [2]);
}

#[test]
fn another_programs_lock_is_waited_for() {
    let folder = Folder::new();
    let path = folder.store();
    store(&path, []);
    store(&path, [record(death(3))]);
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let (sink, line) = troubled(&path);
    assert!(line.contains("locked") && line.contains("fuser"), "{line}");
    other.execute_batch("ROLLBACK").unwrap();
    wait_for("end of the trouble", || sink.stats().waiting() == 0);
    assert_eq!(pids(&all(&path)), [3, 2, 1]);
}

#[test]
fn a_reader_that_does_not_end_costs_no_disk_without_bound() {
    let folder = Folder::new();
    let path = folder.store();
    keep_log();
    let options = Options {
        limits: oomtrace::store::Limits {
            size_bytes: oomtrace::store::LEAST_SIZE_BYTES,
            ..oomtrace::store::Limits::default()
        },
        ..Options::at(&path)
    };
    let mut sink = StoreSink::start(&options).unwrap();
    sink.write(&record(death(1))).unwrap();
    wait_for("death stored", || sink.stats().stored() == 1);
    let other = Connection::open(&path).unwrap();
    other
        .execute_batch("BEGIN; SELECT count(*) FROM deaths")
        .unwrap();
    for number in 2..4_000 {
        sink.write(&record(death(number))).unwrap();
        if number % 100 == 0 {
            wait_for("commit", || {
                sink.stats().waiting() < 100 || sink.stats().errors() > 0
            });
        }
    }
    wait_for("error", || sink.stats().errors() > 0);
    let journal = path
        .with_file_name("deaths.db-wal")
        .metadata()
        .unwrap()
        .len();
    assert!(journal < oomtrace::store::LEAST_SIZE_BYTES / 2, "{journal}");
    let line = logged(&path).join("\n");
    assert!(line.contains("does not come to an end"), "{line}");
    other.execute_batch("COMMIT").unwrap();
    wait_for("end of the trouble", || sink.stats().waiting() == 0);
    assert_eq!(sink.stats().stored(), 3_999);
}

#[test]
fn what_waits_is_bounded_and_what_finds_no_room_is_counted() {
    let folder = Folder::new();
    let path = folder.store();
    fs::create_dir(&path).unwrap();
    keep_log();
    let options = Options {
        most_waiting: 100,
        ..Options::at(&path)
    };
    let mut sink = StoreSink::start(&options).unwrap();
    for number in 1..=1_000 {
        sink.write(&record(death(number))).unwrap();
    }
    wait_for("error", || sink.stats().errors() > 0);
    assert_eq!((sink.stats().waiting(), sink.stats().dropped()), (100, 900));
    fs::remove_dir(&path).unwrap();
    wait_for("end of the trouble", || sink.stats().waiting() == 0);
    wait_for("word of it", || {
        logged(&path)
            .iter()
            .any(|line| line.contains("no room in memory meanwhile: 900 deaths"))
    });
    let newest: Vec<u32> = (901..=1_000).rev().collect();
    assert_eq!(pids(&all(&path)), newest);
}

#[test]
fn the_end_does_not_wait_for_a_disk_for_ever() {
    let folder = Folder::new();
    let path = folder.store();
    fs::create_dir(&path).unwrap();
    let (mut sink, _) = troubled(&path);
    let began = std::time::Instant::now();
    sink.settle(true).unwrap();
    assert!(began.elapsed() < std::time::Duration::from_secs(10));
    let last = logged(&path).pop().unwrap();
    assert!(last.contains("2 deaths could not be stored"), "{last}");
}

/// Ended when many more wait than are stored in a moment: a disk was away, and is back.
fn behind(path: &Path, patience: Patience) -> StoreSink {
    const DEATHS: u32 = 4_000;
    keep_log();
    store(path, [record(death(0))]);
    let other = Connection::open(path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let options = Options {
        patience,
        most_waiting_bytes: 1 << 30,
        ..Options::at(path)
    };
    let mut sink = StoreSink::start(&options).unwrap();
    for number in 1..=DEATHS {
        sink.write(&record(death(number))).unwrap();
    }
    wait_for("error", || sink.stats().errors() > 0);
    assert_eq!(sink.stats().waiting(), u64::from(DEATHS));
    other.execute_batch("ROLLBACK").unwrap();
    sink.settle(true).unwrap();
    sink
}

#[test]
fn a_store_that_is_behind_is_waited_for_at_the_end() {
    let folder = Folder::new();
    let path = folder.store();
    let most = Duration::from_secs(300);
    let sink = behind(&path, Patience { most, quiet: most });
    assert_eq!(sink.stats().stored(), 4_000);
    let lines = logged(&path);
    assert!(
        lines
            .iter()
            .all(|line| !line.contains("could not be stored")),
        "{lines:#?}"
    );
    assert_eq!(all(&path).len(), 4_001);
}

#[test]
fn a_store_that_takes_too_long_at_the_end_is_not_called_dead() {
    let folder = Folder::new();
    let path = folder.store();
    let quiet = Duration::from_secs(300);
    let most = Duration::from_millis(100);
    let sink = behind(&path, Patience { most, quiet });
    let stored = sink.stats().stored();
    let last = logged(&path).pop().unwrap();
    assert!(
        last.contains("not all of them within 0.1 s") && !last.contains("does not answer"),
        "{last}"
    );
    let left: u64 = last.split(' ').next().unwrap().parse().unwrap();
    // What is on its way is among those that are left.
    assert!(
        stored < 4_000 && left + stored >= 4_000,
        "{left} and {stored}"
    );
}

#[test]
fn who_may_not_read_is_told_so() {
    if !is_root() {
        println!("skipped: needs root, to become somebody else");
        return;
    }
    let folder = Folder::new();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    store(&folder.store(), [record(death(1))]);
    let error = as_nobody(&folder.store());
    assert!(
        error.contains("privileges") && error.contains("sudo"),
        "{error}"
    );
}

/// What an ordinary user is told by `oomtrace list`.
fn as_nobody(path: &Path) -> String {
    use std::os::unix::process::CommandExt as _;
    let Ok(program) = fs::read(env!("CARGO_BIN_EXE_oomtrace")) else {
        return String::new();
    };
    // Where it can be run by anybody, whatever the way to the original is like.
    let place = path.with_file_name("oomtrace");
    fs::write(&place, program).unwrap();
    fs::set_permissions(&place, fs::Permissions::from_mode(0o755)).unwrap();
    let done = std::process::Command::new(&place)
        .args(["list", "--store"])
        .arg(path)
        .uid(65_534)
        .gid(65_534)
        .output()
        .unwrap();
    assert_eq!(done.status.code(), Some(77), "{done:?}");
    String::from_utf8(done.stderr).unwrap()
}

#[test]
fn two_troubles_are_two_messages() {
    let folder = Folder::new();
    let path = folder.store();
    fs::create_dir(&path).unwrap();
    let (sink, _) = troubled(&path);
    let lock = fs::File::create(path.with_file_name("deaths.db.lock")).unwrap();
    lock.lock().unwrap();
    fs::remove_dir(&path).unwrap();
    wait_for("second message", || logged(&path).len() == 2);
    drop(lock);
    mended(&sink, &path);
}

#[test]
fn the_lock_file_goes_with_nobody() {
    let folder = Folder::new();
    store(&folder.store(), [record(death(1))]);
    let lock = folder.store().with_file_name("deaths.db.lock");
    assert!(lock.exists(), "removing it would let two in");
    store(&folder.store(), [record(death(2))]);
    assert_eq!(pids(&all(&folder.store())), [2, 1]);
}
