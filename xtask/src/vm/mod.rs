//! Debian's kernels under QEMU: which to boot, what runs in them, what came out.

mod accel;
mod archive;
mod initramfs;
mod kernels;
mod programs;
mod qemu;
mod sysrq;
mod version;

use std::{
    collections::VecDeque,
    fs,
    path::Path,
    process::ExitCode,
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use self::{
    kernels::Kernel,
    qemu::{Accel, End, Machine},
};
pub(crate) use self::{kernels::SERIES, programs::FOLDER_VARIABLE};
use crate::{
    cases::{self, Outcome},
    cli::{Arch, BuildArgs, Cgroup, VmArgs},
    command, compile, packages,
    project::Project,
    setup,
};

/// Emulation kills some guests before init has run: about one in ten with two processors.
const BOOTS: u32 = 3;

/// The kernel in which storms are run: on an emulated processor they take minutes.
const STORMS: &str = "6.12";

/// What runs in the guest.
pub(crate) const PACKAGES: [&str; 3] = ["oomtrace", "oomtrace-fixtures", "oomtrace-scenarios"];

/// `cargo xtask vm`.
pub(crate) fn run(project: &Project, args: &VmArgs) -> Result<ExitCode> {
    let tools = setup::run(project)?;
    let build = BuildArgs {
        release: true,
        target: Arch::X86_64,
    };
    compile::packages(project, &tools, &build, false, &PACKAGES)?;
    let binaries = compile::folder(project, &build);
    let outcome = scenarios(project, args, &binaries)?;
    Ok(outcome.conclude(project))
}

/// Fetches ahead of time what booting needs from the network.
pub(crate) fn prepare(project: &Project) -> Result<()> {
    need_qemu()?;
    kernels::get(project, &SERIES.each_ref())?;
    programs::for_fixtures(project);
    Ok(())
}

/// Programs that the fixtures of this machine may run.
pub(crate) fn programs(project: &Project) -> std::path::PathBuf {
    programs::for_fixtures(project);
    programs::folder(project)
}

fn need_qemu() -> Result<()> {
    if command::find("qemu-system-x86_64").is_some() {
        return Ok(());
    }
    packages::install(
        &["qemu-system-x86"],
        "no QEMU (`qemu-system-x86_64`), which boots the kernels",
    )
}

/// One kernel with one version of the cgroups.
#[derive(Clone, Debug)]
struct Guest {
    kernel: Kernel,
    cgroup: &'static str,
}

impl Guest {
    fn name(&self) -> String {
        format!("{} {}", self.kernel.series.name, self.cgroup)
    }

    fn folder(&self) -> String {
        format!("{}-{}", self.kernel.series.name, self.cgroup)
    }
}

/// Boots all that is asked for and runs the scenarios (or a command) in it.
pub(crate) fn scenarios(project: &Project, args: &VmArgs, binaries: &Path) -> Result<Outcome> {
    need_qemu()?;
    let wanted = kernels::by_names(&args.kernel)?;
    let kernels = kernels::get(project, &wanted)?;
    let guests = guests(&kernels, args.cgroup);
    if guests.is_empty() {
        bail!(
            "Debian builds none of these kernels with cgroup v1's memory controller: try 5.10 or 6.1"
        );
    }
    let logs = project.logs("vm");
    fs::create_dir_all(&logs).with_context(|| format!("cannot create {}", logs.display()))?;
    let archive = initramfs::build(project, binaries, &script(args), &args.add)?;
    let initramfs = logs.join("initramfs.cpio");
    fs::write(&initramfs, archive)
        .with_context(|| format!("cannot write {}", initramfs.display()))?;
    let Some(first) = kernels.first() else {
        bail!("no kernel to boot")
    };
    let accel = accel::find(project, &first.image, &initramfs)?;
    eprintln!(
        "booting {} guests with {}, {} at a time",
        guests.len(),
        accel.name(),
        args.jobs
    );

    let queue = Mutex::new(VecDeque::from(guests));
    let next = || {
        queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front()
    };
    let total = Mutex::new(Outcome::default());
    let work = || {
        while let Some(guest) = next() {
            let machine = machine(project, args, &guest, &initramfs, accel);
            let outcome = guest_outcome(args, &guest, machine);
            total
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .absorb(outcome);
        }
    };
    thread::scope(|scope| {
        for _ in 1..args.jobs {
            scope.spawn(work);
        }
        work();
    });
    Ok(total.into_inner().unwrap_or_else(PoisonError::into_inner))
}

fn guests(kernels: &[Kernel], cgroup: Cgroup) -> Vec<Guest> {
    let versions = |kernel: &Kernel| {
        let v1 = kernel.series.cgroup_v1 && cgroup != Cgroup::V2;
        let v2 = cgroup != Cgroup::V1;
        [v1.then_some("v1"), v2.then_some("v2")]
            .into_iter()
            .flatten()
    };
    kernels
        .iter()
        .flat_map(|kernel| {
            versions(kernel).map(|cgroup| Guest {
                kernel: kernel.clone(),
                cgroup,
            })
        })
        .collect()
}

/// What init runs in the guest.
fn script(args: &VmArgs) -> String {
    if let Some(command) = &args.sh {
        return format!("{command}\n");
    }
    let hooks: Vec<&str> = args.hooks.iter().map(|hooks| hooks.name()).collect();
    let mut line = format!(
        "exec oomtrace-scenarios --tracer /bin/oomtrace --fixture /bin/oomtrace-fixture --hooks {}",
        hooks.join(",")
    );
    if args.require_hooks {
        line.push_str(" --require-hooks");
    }
    for only in args.only.iter().filter(|name| !is_own(name)) {
        line.push_str(" --only ");
        line.push_str(&quoted(only));
    }
    if args.save.is_some() {
        line.push_str(" --record /save");
    }
    line.push('\n');
    line
}

fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

fn machine(
    project: &Project,
    args: &VmArgs,
    guest: &Guest,
    initramfs: &Path,
    accel: Accel,
) -> Machine {
    let mut machine = Machine::new(
        guest.kernel.image.clone(),
        initramfs.to_path_buf(),
        accel,
        project.logs("vm").join(guest.folder()),
    );
    machine.memory_mib = args.memory;
    machine.cpus = args.cpus.unwrap_or(machine.cpus);
    machine.limit = Duration::from_secs(args.timeout);
    machine.append = format!("oomtrace.cgroup={}", guest.cgroup);
    if guest.kernel.series.name == STORMS {
        machine.append.push_str(" oomtrace.storms");
    }
    machine
}

/// Runs all that is wanted of one guest. What goes wrong is an outcome too: the others go on.
fn guest_outcome(args: &VmArgs, guest: &Guest, machine: Machine) -> Outcome {
    let started = Instant::now();
    let mut outcome = Outcome::default();
    if args.sh.is_some() || args.only.is_empty() || args.only.iter().any(|name| !is_own(name)) {
        outcome.absorb(script_outcome(args, guest, machine.clone()));
    }
    if args.sh.is_none() && (args.only.is_empty() || args.only.iter().any(|name| is_own(name))) {
        let mut machine = machine;
        machine.logs.push(sysrq::NAME);
        outcome.absorb(sysrq::outcome(machine, guest));
    }
    eprintln!(
        "{} ({}): {} in {:.0} s",
        guest.name(),
        guest.kernel.version,
        outcome.tally(),
        started.elapsed().as_secs_f32()
    );
    outcome
}

/// Whether a case has a boot of its own.
fn is_own(case: &str) -> bool {
    case == sysrq::NAME
}

/// Runs the script in a guest and judges what came out.
fn script_outcome(args: &VmArgs, guest: &Guest, mut machine: Machine) -> Outcome {
    let name = guest.name();
    if args.save.is_some() {
        machine.append.push_str(" oomtrace.save");
    }
    let mut outcome = match boot(&machine, &name) {
        Ok(end) => judge(&machine, &name, end, args.sh.is_some()),
        Err(error) => Outcome::fail(&name, format!("{error:#}"), Some(&machine.results())),
    };
    if let Some(dir) = &args.save {
        if let Err(error) = unpack(&machine.saved(), &dir.join(guest.folder())) {
            let what = format!("{name} saved files");
            outcome.add_failure(what, format!("{error:#}"), Some(&machine.console()));
        }
    }
    outcome
}

/// Boots again as long as the guest dies before init has run, and keeps the consoles.
fn boot(machine: &Machine, name: &str) -> Result<End> {
    let mut attempt = 1;
    loop {
        match qemu::boot(machine)? {
            End::BeforeInit(why) if attempt < BOOTS => {
                let kept = machine.logs.join(format!("console.{attempt}.log"));
                fs::rename(machine.console(), &kept).context("cannot keep the console's log")?;
                eprintln!("{name}: the guest did not reach init: {why}; booting again");
                attempt += 1;
            }
            end => return Ok(end),
        }
    }
}

fn judge(machine: &Machine, name: &str, end: End, is_command: bool) -> Outcome {
    let log = machine.results();
    let printed = machine.printed();
    let status = match end {
        End::Finished { status } => status,
        End::BeforeInit(why) => {
            let why = format!("did not reach init in {BOOTS} boots: {why}");
            return Outcome::fail(name, why, Some(&machine.console()));
        }
        End::Broken(why) if is_command => return Outcome::fail(name, why, Some(&log)),
        End::Broken(why) => {
            let mut outcome = cases::read(&printed, name, &log);
            outcome.add_failure(name.to_owned(), why, Some(&machine.console()));
            return outcome;
        }
    };
    if is_command {
        for line in printed
            .lines()
            .filter(|line| !line.starts_with("oomtrace-vm: "))
        {
            println!("{name}: {}", line.trim_end());
        }
        return match status {
            0 => Outcome::pass(),
            _ => Outcome::fail(name, format!("exit status {status}"), Some(&log)),
        };
    }
    let mut outcome = cases::read(&printed, name, &log);
    if status != 0 && outcome.failures.is_empty() {
        let why = format!("no case failed, but its exit status is {status}");
        outcome.add_failure(format!("{name} scenario runner"), why, Some(&log));
    }
    outcome
}

fn unpack(archive: &Path, into: &Path) -> Result<()> {
    fs::create_dir_all(into).with_context(|| format!("cannot create {}", into.display()))?;
    let mut tar = command::clean("tar");
    tar.args(["--extract", "--no-same-owner", "--file"])
        .arg(archive)
        .arg("--directory")
        .arg(into);
    command::output(&mut tar)
        .map(drop)
        .context("the guest's files did not come out whole")
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn kernel(index: usize) -> Kernel {
        Kernel {
            series: &SERIES[index],
            version: "1-1".into(),
            image: PathBuf::new(),
        }
    }

    #[test]
    fn v1_is_booted_only_where_the_kernel_has_it() {
        let names = |cgroup| -> Vec<String> {
            guests(&[kernel(0), kernel(4)], cgroup)
                .iter()
                .map(Guest::name)
                .collect()
        };
        assert_eq!(names(Cgroup::Both), ["5.10 v1", "5.10 v2", "7.2 v2"]);
        assert_eq!(names(Cgroup::V1), ["5.10 v1"]);
        assert_eq!(names(Cgroup::V2), ["5.10 v2", "7.2 v2"]);
    }

    #[test]
    fn words_are_quoted_for_the_guests_shell() {
        assert_eq!(quoted("a b'c"), r"'a b'\''c'");
    }
}
