//! Disks that are full or cannot be written, as small file systems of the test's own.

use std::{ffi::CString, fs, path::PathBuf};

use oomtrace::{
    sinks::Sink as _,
    store::{Options, StoreSink},
};

use super::{mended, troubled};
use crate::support::{Folder, all, death, keep_log, logged, pids, record, wait_for};

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
