//! Files that are no store, are damaged or gone, or may not be read.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use oomtrace::{
    sinks::Sink as _,
    store::{Options, Reader, StoreSink, Trouble},
};
use rusqlite::Connection;

use super::{mended, troubled};
use crate::support::{
    Folder, all, death, is_root, keep_log, logged, patient, pids, record, store, wait_for,
};

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
    let mut sink = StoreSink::start(&patient(&path)).unwrap();
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
fn a_file_that_is_removed_is_made_again_with_all_that_comes() {
    let folder = Folder::new();
    let path = folder.store();
    let mut sink = StoreSink::start(&patient(&path)).unwrap();
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
