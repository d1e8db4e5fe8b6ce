//! What tracers that follow one another share: a place for pins and a store, how they end, who dies
//! meanwhile.

use std::{ffi::CString, fs, os::unix::ffi::OsStrExt as _, path::PathBuf};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::{
    cli::Options,
    commands::{
        Skipped,
        history::{Place, ask, start_with},
    },
    tracer::{Finished, Tracer},
};

/// A BPF file system of its own. With it all that is pinned goes.
pub(super) struct Pins(PathBuf);

impl Pins {
    pub(super) fn mount(place: &Place) -> Result<Self> {
        let top = place.path().join("bpf");
        fs::create_dir_all(&top)?;
        let path = CString::new(top.as_os_str().as_bytes())?;
        // SAFETY: all strings end with their NUL, and no data is passed.
        let failed = unsafe {
            libc::mount(
                c"bpf".as_ptr(),
                path.as_ptr(),
                c"bpf".as_ptr(),
                0,
                std::ptr::null(),
            )
        } != 0;
        if failed {
            bail!(Skipped(format!(
                "no BPF file system can be mounted: {}",
                std::io::Error::last_os_error()
            )));
        }
        Ok(Self(top))
    }

    /// Where tracers pin.
    pub(super) fn folder(&self) -> PathBuf {
        self.0.join("oomtrace")
    }

    pub(super) fn name(&self) -> String {
        self.folder().to_string_lossy().into_owned()
    }

    /// The folder of the only set of programs.
    pub(super) fn only_set(&self) -> Result<PathBuf> {
        match self.sets().as_slice() {
            [set] => Ok(self.folder().join(set)),
            sets => bail!("one set of programs: {sets:?}"),
        }
    }

    /// The sets of programs that are there.
    pub(super) fn sets(&self) -> Vec<String> {
        let names = fs::read_dir(self.folder()).into_iter().flatten().flatten();
        let mut names: Vec<String> = names
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        if let Ok(path) = CString::new(self.0.as_os_str().as_bytes()) {
            // SAFETY: the path ends with its NUL.
            unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) };
        }
    }
}

/// A store and a place for pins. Dropped in this order: the mount goes before its folder.
pub(super) struct Ground {
    pub(super) pins: Pins,
    pub(super) place: Place,
}

impl Ground {
    pub(super) fn new(name: &str) -> Result<Self> {
        let place = Place::new(name)?;
        Ok(Self {
            pins: Pins::mount(&place)?,
            place,
        })
    }

    pub(super) fn start(&self, options: &Options, args: &[&str]) -> Result<Tracer> {
        let name = self.pins.name();
        let args = [&["--pin", &name], args].concat();
        start_with(options, &self.place.store(), &args)
    }

    /// All that is stored.
    pub(super) fn stored(&self, options: &Options) -> Result<Vec<Value>> {
        stored(options, &self.place.store())
    }
}

/// All that a store holds.
pub(super) fn stored(options: &Options, store: &str) -> Result<Vec<Value>> {
    let args = ["list", "--all", "--store", store, "--output", "json"];
    let listed = ask(options, &args)?;
    let read = |line: &String| serde_json::from_str(line).with_context(|| format!("{listed}"));
    listed.stdout.iter().map(read).collect()
}

/// Ends a tracer as nobody should.
pub(super) fn kill(options: &Options, tracer: Tracer) -> Result<()> {
    tracer.signal(libc::SIGKILL);
    tracer.wait(options.program_limit()).map(drop)
}

pub(super) fn end(options: &Options, tracer: Tracer) -> Result<Finished> {
    tracer.signal(libc::SIGTERM);
    tracer.wait(options.program_limit())
}

/// Each death of these victims, once, and of this cause.
pub(super) fn once(deaths: &[Value], pids: &[i32], cause: &str) -> Vec<String> {
    let of = |pid: &i32| {
        deaths
            .iter()
            .filter(|death| death["victim"]["pid"] == *pid)
            .collect::<Vec<_>>()
    };
    pids.iter()
        .filter_map(|pid| match of(pid).as_slice() {
            [death] if death["cause"] == cause && death["outcome"].is_object() => None,
            found => Some(format!(
                "{cause} of {pid}: {} deaths are stored: {found:?}",
                found.len()
            )),
        })
        .collect()
}

/// A stretch in which nobody traced, or of which not all was kept: nobody can count what that was.
/// Where something is counted and need not have been lost, a tracepoint's programs were busy.
pub(super) fn is_stretch(record: &Value) -> bool {
    record["type"] == "gap" && record["lost"] == 0
}

pub(super) fn no_losses(finished: &Finished) -> Vec<String> {
    let is_loss = |record: &Value| record["type"] == "gap" && record["certain"] == true;
    let lost = |record: &&Value| is_loss(record) || is_stretch(record);
    let gaps = finished.records.iter().filter(lost);
    gaps.map(|gap| format!("something was missed: {gap}"))
        .collect()
}

/// A process that ignores SIGTERM.
pub(super) struct Ignoring(std::process::Child);

impl Ignoring {
    pub(super) fn start() -> Result<Self> {
        use std::os::unix::process::CommandExt as _;
        let mut command = std::process::Command::new("sleep");
        command.arg("1000");
        // SAFETY: signal(2) may be called between fork and exec, and is inherited as it is set.
        unsafe {
            command.pre_exec(|| {
                libc::signal(libc::SIGTERM, libc::SIG_IGN);
                Ok(())
            });
        }
        let child = command.spawn().context("sleep")?;
        Ok(Self(child))
    }

    pub(super) fn signal(&self, signal: i32) {
        // SAFETY: kill(2) takes numbers only; the child is not reaped yet.
        unsafe { libc::kill(self.0.id() as i32, signal) };
    }

    /// Returns whom it was.
    pub(super) fn kill(mut self) -> i32 {
        let _ = self.0.kill();
        let _ = self.0.wait();
        self.0.id() as i32
    }
}
