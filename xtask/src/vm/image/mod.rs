//! Whole Debian systems: systemd and the container runtimes of a release, on cgroup v2, and in
//! them the runtime tests or a command.

mod build;
mod store;

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

pub(crate) use self::store::{Built, Trouble, get};
use super::{
    accel, each, initramfs, need_qemu, outcome,
    qemu::{Accel, Disk, Machine, Root},
    scenarios,
};
use crate::{cases::Outcome, cli::VmArgs, command, project::Project};

/// As far as they are built; a command may do without.
const BINARIES: [&str; 4] = [
    "oomtrace",
    "oomtrace-fixture",
    "oomtrace-runtimes",
    "oomtrace-scenarios",
];
/// `tests/vm/image-init`, which the image's service starts.
const INIT: &str = "image-init";
const MEMORY_MIB: u32 = 2048;
const TIMEOUT: Duration = Duration::from_secs(600);
/// The tests start when systemd has the runtimes up: seen to take 14 to 20 s.
const INIT_LIMIT: Duration = Duration::from_secs(150);
/// systemd-oomd watches for reclaim, and without swap there is none. Small, since what has no limit
/// for it must fill it before it is killed. Takes no space: what is written is forgotten.
const SWAP_BYTES: u64 = 128 << 20;

/// Boots the systems and runs the tests (or a command) in them.
pub(crate) fn run(
    project: &Project,
    args: &VmArgs,
    systems: Vec<Built>,
    binaries: &Path,
) -> Result<Outcome> {
    need_qemu()?;
    let logs = project.logs("vm");
    fs::create_dir_all(&logs).with_context(|| format!("cannot create {}", logs.display()))?;
    let Some(first) = systems.first() else {
        return Ok(Outcome::default());
    };
    let probe = logs.join("probe.cpio");
    fs::write(&probe, initramfs::build(project, binaries, "", &[])?)
        .with_context(|| format!("cannot write {}", probe.display()))?;
    let accel = accel::find(project, &first.kernel(), &probe)?;
    let tests = pack(project, args, binaries, &logs)?;
    let swap = logs.join("swap");
    fs::File::create(&swap)
        .and_then(|file| file.set_len(SWAP_BYTES))
        .with_context(|| format!("cannot write {}", swap.display()))?;
    eprintln!("booting {} systems with {}", systems.len(), accel.name());
    Ok(each(systems, args.jobs, |system| {
        let name = system.release.name();
        let started = Instant::now();
        let disks = disks(system, &tests, &swap);
        let machine = machine(project, args, system, disks, accel);
        let outcome = outcome::of(args, name, name, &machine);
        eprintln!(
            "{name}: {} in {:.0} s",
            outcome.tally(),
            started.elapsed().as_secs_f32()
        );
        outcome
    }))
}

fn disks(system: &Built, tests: &Path, swap: &Path) -> Vec<Disk> {
    let disk = |file: PathBuf, serial| Disk { file, serial };
    vec![
        disk(system.disk(), "oomtrace-root"),
        disk(tests.to_path_buf(), "oomtrace-tests"),
        disk(swap.to_path_buf(), "oomtrace-swap"),
    ]
}

fn machine(
    project: &Project,
    args: &VmArgs,
    system: &Built,
    disks: Vec<Disk>,
    accel: Accel,
) -> Machine {
    let logs = project.logs("vm").join(system.release.name());
    let mut machine = Machine::new(system.kernel(), Root::Disks(disks), accel, logs);
    machine.memory_mib = args.memory.unwrap_or(MEMORY_MIB);
    machine.cpus = args.cpus.unwrap_or(machine.cpus);
    machine.limit = args.timeout.map_or(TIMEOUT, Duration::from_secs);
    machine.init_limit = INIT_LIMIT;
    // Docker asks for AppArmor's parser where the kernel has AppArmor on.
    machine.append = format!(
        "root=PARTUUID={} rootwait rw apparmor=0 systemd.show_status=error",
        system.partition()
    );
    machine
}

/// The disk with what is run: a tar archive, which needs no file system.
fn pack(project: &Project, args: &VmArgs, binaries: &Path, logs: &Path) -> Result<PathBuf> {
    let folder = logs.join("tests");
    if folder.exists() {
        fs::remove_dir_all(&folder)
            .with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    fs::create_dir_all(folder.join("files"))
        .with_context(|| format!("cannot create {}", folder.display()))?;
    copy(&project.root.join("tests/vm").join(INIT), &folder)?;
    for name in BINARIES {
        let path = binaries.join(name);
        if path.is_file() {
            copy(&path, &folder)?;
        }
    }
    for path in &args.add {
        copy(path, &folder.join("files"))?;
    }
    fs::write(folder.join("run.sh"), script(args)).context("cannot write run.sh")?;
    let archive = logs.join("tests.tar");
    let mut tar = command::clean("tar");
    tar.args(["--create", "--owner=0", "--group=0", "--file"]);
    tar.arg(&archive).arg("--directory").arg(&folder).arg(".");
    command::output(&mut tar)?;
    Ok(archive)
}

fn copy(file: &Path, folder: &Path) -> Result<()> {
    let name = file
        .file_name()
        .with_context(|| format!("{} has no name", file.display()))?;
    fs::copy(file, folder.join(name)).with_context(|| format!("cannot copy {}", file.display()))?;
    Ok(())
}

fn script(args: &VmArgs) -> String {
    if let Some(command) = &args.sh {
        return format!("{command}\n");
    }
    let mut line = "exec oomtrace-runtimes --tracer /t/oomtrace".to_owned();
    for only in &args.only {
        line.push_str(" --only ");
        line.push_str(&scenarios::quoted(only));
    }
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_stands_for_the_tests() {
        let mut args = VmArgs::default();
        args.only.push("docker stop".into());
        assert_eq!(
            script(&args),
            "exec oomtrace-runtimes --tracer /t/oomtrace --only 'docker stop'\n"
        );
        args.sh = Some("uname".into());
        assert_eq!(script(&args), "uname\n");
    }
}
