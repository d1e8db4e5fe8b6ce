//! Guests under QEMU: Debian's kernels with nothing around them, and whole Debian systems.
//!
//! | module | owns |
//! |---|---|
//! | `scenarios` | what runs in the kernels |
//! | `image` | the systems, as disks that are built once, and what runs in them |
//! | `outcome` | boots, and what came out of them |
//! | `qemu`, `accel` | one boot; how fast QEMU can be |
//! | `kernels`, `programs`, `archive`, `version` | what comes out of Debian's archive |
//! | `initramfs` | the file system of a kernel's guest |
//! | `sysrq` | the one scenario that nobody survives |

mod accel;
mod archive;
pub(crate) mod image;
mod initramfs;
mod kernels;
mod outcome;
mod programs;
mod qemu;
mod scenarios;
mod sysrq;
mod version;

use std::{
    collections::VecDeque,
    path::PathBuf,
    process::ExitCode,
    sync::{Mutex, PoisonError},
    thread,
};

use anyhow::Result;

pub(crate) use self::{kernels::SERIES, programs::FOLDER_VARIABLE, scenarios::run as scenarios};
use crate::{
    cases::Outcome,
    cli::{Arch, BuildArgs, Image, VmArgs},
    command, compile, packages,
    project::Project,
    runtimes, setup,
};

/// What runs in the kernels.
pub(crate) const PACKAGES: [&str; 3] = ["oomtrace", "oomtrace-fixtures", "oomtrace-scenarios"];

/// `cargo xtask vm`.
pub(crate) fn run(project: &Project, args: &VmArgs) -> Result<ExitCode> {
    let tools = setup::run(project)?;
    let build = BuildArgs {
        release: true,
        target: Arch::X86_64,
    };
    let wanted: &[&str] = if args.image.is_empty() {
        &PACKAGES
    } else {
        &runtimes::PACKAGES
    };
    compile::packages(project, &tools, &build, false, wanted)?;
    let binaries = compile::folder(project, &build);
    let outcome = if args.image.is_empty() {
        scenarios(project, args, &binaries)?
    } else {
        let get = |release: &Image| image::get(project, *release);
        let systems = args.image.iter().map(get).collect::<Result<_>>()?;
        image::run(project, args, systems, &binaries)?
    };
    Ok(outcome.conclude(project))
}

/// Fetches ahead of time what booting needs from the network.
pub(crate) fn prepare(project: &Project, images: &[Image]) -> Result<()> {
    need_qemu()?;
    kernels::get(project, &SERIES.each_ref())?;
    programs::for_fixtures(project);
    for release in images {
        image::get(project, *release)?;
    }
    Ok(())
}

/// Programs that the fixtures of this machine may run.
pub(crate) fn programs(project: &Project) -> PathBuf {
    programs::for_fixtures(project);
    programs::folder(project)
}

fn need_qemu() -> Result<()> {
    if command::find("qemu-system-x86_64").is_some() {
        return Ok(());
    }
    packages::install(
        &["qemu-system-x86"],
        "no QEMU (`qemu-system-x86_64`), which boots the guests",
    )
}

/// Does something for every guest, for so many at a time.
fn each<T: Send>(guests: Vec<T>, jobs: u8, work: impl Fn(&T) -> Outcome + Sync) -> Outcome {
    let queue = Mutex::new(VecDeque::from(guests));
    let next = || {
        queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front()
    };
    let total = Mutex::new(Outcome::default());
    let worker = || {
        while let Some(guest) = next() {
            let outcome = work(&guest);
            total
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .absorb(outcome);
        }
    };
    thread::scope(|scope| {
        for _ in 1..jobs {
            scope.spawn(worker);
        }
        worker();
    });
    total.into_inner().unwrap_or_else(PoisonError::into_inner)
}
