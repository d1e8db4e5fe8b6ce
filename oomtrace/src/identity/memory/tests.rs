//! On real cgroups, where this machine lets us make some.

use std::{
    fs,
    path::PathBuf,
    process::{Child, Command},
    thread,
    time::{Duration, Instant},
};

use tempfile::NamedTempFile;

use super::*;
use crate::{
    event::container::{CgroupChange, CgroupChangeKind},
    identity::host,
};

const MIB: u64 = 1 << 20;

/// A cgroup with a limit, and what runs in it; gone when it is dropped.
struct Limited {
    hierarchy: Hierarchy,
    folder: PathBuf,
    path: String,
    children: Vec<Child>,
}

impl Limited {
    /// `None`, and why on stderr: no cgroup can be made here.
    fn make(name: &str) -> Option<Self> {
        let made = Hierarchy::find(host::page_bytes())
            .map_err(|error| error.to_string())
            .and_then(|hierarchy| {
                let path = format!("/oomtrace-{name}-{}", std::process::id());
                let folder = hierarchy.folder(&path).ok_or("not the whole hierarchy")?;
                fs::create_dir(&folder).map_err(|error| error.to_string())?;
                Ok(Self {
                    hierarchy,
                    folder,
                    path,
                    children: Vec::new(),
                })
            });
        made.inspect_err(|why| skipped(why)).ok()
    }

    fn limit(&self, bytes: u64) {
        let file = self.folder.join(self.hierarchy.files().limit);
        fs::write(file, bytes.to_string()).unwrap();
    }

    /// A shell that works in it.
    fn run(&mut self, script: &str) {
        let script = format!("echo $$ > {}/cgroup.procs; {script}", self.folder.display());
        let child = Command::new("sh").args(["-c", &script]).spawn().unwrap();
        self.children.push(child);
    }

    fn ask(&self) -> MemoryAsk {
        MemoryAsk {
            cgroup: self.path.clone(),
            look: true,
        }
    }

    fn change(&self) -> CgroupChange {
        CgroupChange {
            boottime_ns: host::now().boottime_ns,
            path: self.path.clone(),
            cgroup_id: 0,
            unified: self.hierarchy.is_unified(),
            kind: CgroupChangeKind::Made,
        }
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
        for _ in 0..100 {
            if fs::remove_dir(&self.folder).is_ok() || !self.folder.exists() {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
fn skipped(why: &str) {
    eprintln!("skipped: {why}");
}

fn options() -> Options {
    Options {
        interval: Duration::from_millis(20),
        keep: Keep::all(),
    }
}

fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "{what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Memory that is a program's own, and then page cache, in a cgroup of which the thread was
/// told before it had a limit.
#[test]
fn what_a_cgroup_uses_is_seen_and_of_what_kinds() {
    let Some(mut limited) = Limited::make("kinds") else {
        return;
    };
    let sampler = Sampler::start(limited.hierarchy.clone(), options()).unwrap();
    let curves = sampler.curves();
    let change = limited.change();
    curves.told(&change);
    thread::sleep(Duration::from_millis(100));
    assert!(
        curves.curve(&limited.ask()).absent.is_some(),
        "no limit yet"
    );
    limited.limit(64 * MIB);
    // What it used before anything ran in it is the first sample.
    let seen = until("it is watched", || {
        let curve = curves.curve(&limited.ask());
        (!curve.samples.is_empty()).then_some(curve)
    });
    assert_eq!(seen.made_ns, Some(change.boottime_ns));

    limited.run("x=$(head -c 20971520 /dev/zero | tr '\\0' x); sleep 60");
    until("its heap is in use", || {
        let curve = curves.curve(&limited.ask());
        let split = curve.split?.split;
        (split.anon_bytes > 18 * MIB).then_some(())
    });
    let curve = until("the shell is the largest", || {
        let curve = curves.curve(&limited.ask());
        (curve.largest.first()?.rss_bytes > 18 * MIB).then_some(curve)
    });
    assert_eq!(curve.largest[0].comm, "sh", "{:?}", curve.largest);

    let file = NamedTempFile::new().unwrap();
    limited.run(&format!(
        "head -c 104857600 /dev/zero > {0}; cat {0} > /dev/null; sleep 60",
        file.path().display()
    ));
    let full = until("the page cache fills what is left", || {
        let curve = curves.curve(&limited.ask());
        let is_full = |sample: &crate::event::memory::MemorySample| {
            sample.1 > 60 * MIB && sample.2.is_some_and(|working| working < 45 * MIB)
        };
        curve.samples.iter().any(is_full).then_some(curve)
    });
    drop(file);
    assert!(full.samples.is_sorted_by_key(|sample| sample.0));
    assert!(full.samples[0].1 < 8 * MIB, "{:?}", full.samples[0]);
}

#[test]
fn one_that_was_there_before_is_found_and_one_that_goes_is_kept_for_a_while() {
    let Some(limited) = Limited::make("before") else {
        return;
    };
    limited.limit(32 * MIB);
    let sampler = Sampler::start(limited.hierarchy.clone(), options()).unwrap();
    let curves = sampler.curves();
    let ask = limited.ask();
    let curve = until("it is watched", || {
        let curve = curves.curve(&ask);
        curve.absent.is_none().then_some(curve)
    });
    assert_eq!(curve.made_ns, None, "nobody has seen that");
    drop(limited);
    thread::sleep(Duration::from_millis(200));
    assert_eq!(curves.curve(&ask).absent, None);
}

#[test]
fn one_that_nobody_knows_is_absent_with_the_reason() {
    let Ok(hierarchy) = Hierarchy::find(host::page_bytes()) else {
        return skipped("no memory controller is mounted");
    };
    let sampler = Sampler::start(hierarchy, options()).unwrap();
    for cgroup in ["/", "/oomtrace-nobody", "…/a", "/../etc", ""] {
        let ask = MemoryAsk {
            cgroup: cgroup.to_owned(),
            look: false,
        };
        let curve = sampler.curves().curve(&ask);
        assert!(
            curve.absent.is_some() && curve.samples.is_empty(),
            "{curve:?}"
        );
    }
}

/// Where the files cannot all stay open they are opened for each look.
#[test]
fn few_descriptors_are_enough() {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    put("memory.current", "4096\n");
    put("memory.stat", "anon 1\nfile 2\nshmem 1\ninactive_file 1\n");
    put("memory.swap.current", "77\n");
    let files = hierarchy::Files {
        usage: "memory.current",
        limit: "memory.max",
        stat: "memory.stat",
        swap: Some("memory.swap.current"),
    };
    for (most, kept) in [(0, 0), (1, 1), (8, 2)] {
        let descriptors = gauge::Descriptors::new(most);
        let mut gauge = gauge::Gauge::new(folder.path(), files, &descriptors);
        let mut buffer = vec![0; gauge::STAT_BYTES];
        for _ in 0..3 {
            assert_eq!(gauge.usage().unwrap(), 4096);
            let split = gauge.split(&mut buffer).unwrap();
            assert_eq!((split.file_bytes, split.swap_bytes), (1, Some(77)));
        }
        assert_eq!(descriptors.open(), kept, "of {most}");
        drop(gauge);
        assert_eq!(descriptors.open(), 0);
    }
}
