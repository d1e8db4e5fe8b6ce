//! The scenarios, in Debian's kernels: which to boot, with which version of the cgroups, and what
//! init runs there.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use super::{
    accel, each, initramfs,
    kernels::{self, Kernel},
    need_qemu, outcome,
    qemu::{Accel, Machine, Root},
    sysrq,
};
use crate::{
    cases::Outcome,
    cli::{Cgroup, VmArgs},
    project::Project,
};

/// The kernel in which storms are run: on an emulated processor they take minutes.
const STORMS: &str = "6.12";
const TIMEOUT: Duration = Duration::from_secs(240);
const MEMORY_MIB: u32 = 1024;

/// One kernel with one version of the cgroups.
#[derive(Clone, Debug)]
struct Guest {
    kernel: Kernel,
    cgroup: &'static str,
    /// The oldest or the newest of those that are booted.
    is_end: bool,
}

impl Guest {
    fn name(&self) -> String {
        format!("{} {}", self.kernel.series.name, self.cgroup)
    }

    fn has_storms(&self) -> bool {
        self.kernel.series.name == STORMS
    }

    fn folder(&self) -> String {
        format!("{}-{}", self.kernel.series.name, self.cgroup)
    }
}

/// Boots all that is asked for and runs the scenarios (or a command) in it.
pub(crate) fn run(project: &Project, args: &VmArgs, binaries: &Path) -> Result<Outcome> {
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

    Ok(each(guests, args.jobs, |guest| {
        let machine = machine(project, args, guest, &initramfs, accel);
        guest_outcome(args, guest, machine)
    }))
}

fn guests(kernels: &[Kernel], cgroup: Cgroup) -> Vec<Guest> {
    let versions = |kernel: &Kernel| {
        let v1 = kernel.series.cgroup_v1 && cgroup != Cgroup::V2;
        let v2 = cgroup != Cgroup::V1;
        [v1.then_some("v1"), v2.then_some("v2")]
            .into_iter()
            .flatten()
    };
    let mut guests: Vec<Guest> = kernels
        .iter()
        .flat_map(|kernel| {
            versions(kernel).map(|cgroup| Guest {
                kernel: kernel.clone(),
                cgroup,
                is_end: false,
            })
        })
        .collect();
    for end in [0, guests.len().saturating_sub(1)] {
        if let Some(guest) = guests.get_mut(end) {
            guest.is_end = true;
        }
    }
    // Those that take longest first, so that none of them is left alone at the end.
    guests.sort_by_key(|guest| !(guest.is_end || guest.has_storms()));
    guests
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

pub(super) fn quoted(word: &str) -> String {
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
        Root::Initramfs(initramfs.to_path_buf()),
        accel,
        project.logs("vm").join(guest.folder()),
    );
    machine.memory_mib = args.memory.unwrap_or(MEMORY_MIB);
    machine.cpus = args.cpus.unwrap_or(machine.cpus);
    machine.limit = args.timeout.map_or(TIMEOUT, Duration::from_secs);
    machine.append = format!("oomtrace.cgroup={}", guest.cgroup);
    if args.save.is_some() {
        machine.append.push_str(" oomtrace.save");
    }
    if guest.is_end {
        machine.append.push_str(" oomtrace.end");
    }
    if guest.has_storms() {
        machine.append.push_str(" oomtrace.storms");
    }
    machine
}

/// Runs all that is wanted of one guest. What goes wrong is an outcome too: the others go on.
fn guest_outcome(args: &VmArgs, guest: &Guest, machine: Machine) -> Outcome {
    let started = Instant::now();
    let mut total = Outcome::default();
    if args.sh.is_some() || args.only.is_empty() || args.only.iter().any(|name| !is_own(name)) {
        total.absorb(outcome::of(args, &guest.name(), &guest.folder(), &machine));
    }
    if args.sh.is_none() && (args.only.is_empty() || args.only.iter().any(|name| is_own(name))) {
        let mut machine = machine;
        machine.logs.push(sysrq::NAME);
        total.absorb(sysrq::run(machine, &guest.name()));
    }
    eprintln!(
        "{} ({}): {} in {:.0} s",
        guest.name(),
        guest.kernel.version,
        total.tally(),
        started.elapsed().as_secs_f32()
    );
    total
}

/// Whether a case has a boot of its own.
fn is_own(case: &str) -> bool {
    case == sysrq::NAME
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::{super::SERIES, *};

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
        assert_eq!(names(Cgroup::Both), ["5.10 v1", "7.2 v2", "5.10 v2"]);
        assert_eq!(names(Cgroup::V1), ["5.10 v1"]);
        assert_eq!(names(Cgroup::V2), ["5.10 v2", "7.2 v2"]);
    }

    #[test]
    fn the_oldest_and_the_newest_are_ends_and_come_first() {
        let ends = |kernels: &[Kernel]| -> Vec<(String, bool)> {
            let guests = guests(kernels, Cgroup::V2).into_iter();
            guests.map(|guest| (guest.name(), guest.is_end)).collect()
        };
        let of = |name: &str, is_end| (format!("{name} v2"), is_end);
        assert_eq!(
            ends(&[kernel(0), kernel(1), kernel(4)]),
            [of("5.10", true), of("7.2", true), of("6.1", false)]
        );
        assert_eq!(ends(&[kernel(1)]), [of("6.1", true)]);
    }

    #[test]
    fn words_are_quoted_for_the_guests_shell() {
        assert_eq!(quoted("a b'c"), r"'a b'\''c'");
    }
}
