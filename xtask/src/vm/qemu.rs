//! One boot: starting QEMU, watching the guest's serial lines, ending it in time.
//!
//! The kernel logs to the first serial line and init reports on the second, so that a message of
//! the kernel cuts no result in two. Files come out over a third, or on a disk.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use crate::command::{self, Guard};

/// What `tests/vm/init` and `image-init` print before all else.
const INIT_RAN: &str = "oomtrace-vm: init has run";
/// What they print at their end, with the exit status of what it ran.
const EXIT_STATUS: &str = "oomtrace-vm: exit status ";
/// Seen to take 4 to 8 s; on a busy machine more.
const INIT_LIMIT: Duration = Duration::from_secs(75);
/// Room for the files that a guest with disks sends out; only what is written takes space.
const OUTBOX_BYTES: u64 = 64 << 20;
/// The memory of the second NUMA node, soon filled.
const SMALL_NODE_MIB: u32 = 128;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Accel {
    Kvm,
    Tcg,
}

impl Accel {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }

    /// An emulator with a thread for each processor may run a breakpoint that the kernel has
    /// taken out of its code again. The kernel puts them there whenever a tracepoint or kprobe is
    /// switched on, and dies of a stray one (`Oops: int3`). Seen with QEMU 7.2 on 6.12 and 7.2,
    /// before init as well as after; never with one processor, which boots as fast.
    fn cpus(self) -> u8 {
        match self {
            Self::Kvm => 2,
            Self::Tcg => 1,
        }
    }

    fn option(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg,thread=multi",
        }
    }

    /// Without `cmpxchg16b`, whose flags QEMU before 8.0 gets wrong: it may take for them what an
    /// instruction before had as an operand. The kernel's allocator uses it, and where emulation is
    /// interrupted right behind it such flags stay, the direction flag among them. Seen with QEMU
    /// 7.2 on 6.18: an oops in the allocator, with flags that no processor has.
    fn processor(self) -> &'static str {
        match self {
            Self::Kvm => "max",
            Self::Tcg => "max,cx16=off",
        }
    }
}

/// Where the guest's files come from.
#[derive(Clone, Debug)]
pub(crate) enum Root {
    /// Everything in memory; files come out over the third serial line.
    Initramfs(PathBuf),
    /// NVMe: Debian's cloud kernels need no module for it. Files come out on a disk of their own.
    Disks(Vec<Disk>),
}

#[derive(Clone, Debug)]
pub(crate) struct Disk {
    pub(crate) file: PathBuf,
    /// What the guest knows it by: the order of the disks is another one at each boot.
    pub(crate) serial: &'static str,
}

#[derive(Clone, Debug)]
pub(crate) struct Machine {
    pub(crate) kernel: PathBuf,
    pub(crate) root: Root,
    pub(crate) accel: Accel,
    pub(crate) memory_mib: u32,
    pub(crate) cpus: u8,
    /// Added to the kernel's command line, for init to read.
    pub(crate) append: String,
    /// Where the serial lines are written.
    pub(crate) logs: PathBuf,
    pub(crate) limit: Duration,
    pub(crate) init_limit: Duration,
    /// Told by what the guest has printed, for one that nobody is left to end.
    pub(crate) done: fn(&str) -> bool,
}

impl Machine {
    pub(crate) fn new(kernel: PathBuf, root: Root, accel: Accel, logs: PathBuf) -> Self {
        Self {
            kernel,
            root,
            accel,
            memory_mib: 1024,
            cpus: accel.cpus(),
            append: String::new(),
            logs,
            limit: Duration::from_secs(240),
            init_limit: INIT_LIMIT,
            done: |_| false,
        }
    }

    pub(crate) fn console(&self) -> PathBuf {
        self.logs.join("console.log")
    }

    pub(crate) fn results(&self) -> PathBuf {
        self.logs.join("results.log")
    }

    /// What came over the second serial line.
    pub(crate) fn printed(&self) -> String {
        read(&self.results())
    }

    /// The files that the guest sent out: a tar archive, or nothing.
    pub(crate) fn saved(&self) -> PathBuf {
        self.logs.join("saved.tar")
    }
}

/// How a boot ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The guest died or hung before init had run: nothing of ours was at work yet.
    BeforeInit(String),
    /// Init ran, and what it ran ended with this status.
    Finished { status: i32 },
    /// Init ran, but the guest did not come to its end.
    Broken(String),
}

pub(crate) fn boot(machine: &Machine) -> Result<End> {
    fs::create_dir_all(&machine.logs)
        .with_context(|| format!("cannot create {}", machine.logs.display()))?;
    for file in [machine.console(), machine.results(), machine.saved()] {
        fs::write(&file, "").with_context(|| format!("cannot write {}", file.display()))?;
    }
    let mut qemu = start(machine)?;
    let started = Instant::now();
    let mut init_ran = false;
    loop {
        // First whether it lives, then what it wrote: so the last words are always read.
        let exited = qemu.0.try_wait().context("cannot wait for QEMU")?;
        let printed = machine.printed();
        init_ran = init_ran || printed.contains(INIT_RAN);
        if let Some(code) = exited {
            let said = || last_words(machine);
            return Ok(match status(&printed) {
                Some(status) => End::Finished { status },
                None if init_ran => End::Broken(format!("the guest died ({code}): {}", said())),
                None => End::BeforeInit(format!("it died ({code}): {}", said())),
            });
        }
        if (machine.done)(&printed) {
            return Ok(End::Finished { status: 0 });
        }
        let elapsed = started.elapsed();
        if !init_ran && elapsed > machine.init_limit.min(machine.limit) {
            return Ok(End::BeforeInit(format!(
                "nothing within {} s",
                elapsed.as_secs()
            )));
        }
        if elapsed > machine.limit {
            return Ok(End::Broken(format!(
                "not done within {} s",
                elapsed.as_secs()
            )));
        }
        thread::sleep(Duration::from_millis(50));
    }
}

fn start(machine: &Machine) -> Result<Guard> {
    let log = machine.logs.join("qemu.log");
    let log_file =
        fs::File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
    let serial = |path: PathBuf| format!("file:{}", path.display());
    let mut qemu = command::clean("qemu-system-x86_64");
    qemu.args([
        "-nodefaults",
        "-no-user-config",
        "-display",
        "none",
        "-no-reboot",
    ])
    .args(["-accel", machine.accel.option()])
    .args(["-cpu", machine.accel.processor()])
    .args(["-smp", &machine.cpus.to_string()])
    .arg("-kernel")
    .arg(&machine.kernel)
    .args(["-serial", &serial(machine.console())])
    .args(["-serial", &serial(machine.results())])
    // Whoever waits for a thread that died of an oops waits for ever: the guest dies at once
    // instead, and it is said why.
    .args([
        "-append",
        &format!("console=ttyS0 panic=-1 oops=panic {}", machine.append),
    ])
    .stdin(Stdio::null())
    .stdout(Stdio::null())
    .stderr(log_file);
    match &machine.root {
        Root::Initramfs(initramfs) => {
            qemu.arg("-initrd").arg(initramfs);
            qemu.args(["-serial", &serial(machine.saved())]);
            qemu.args(["-m", &format!("{}M", machine.memory_mib + SMALL_NODE_MIB)]);
            qemu.args(numa(machine));
        }
        Root::Disks(disks) => {
            qemu.args(["-m", &format!("{}M", machine.memory_mib)]);
            qemu.args(disks.iter().flat_map(|disk| drive(disk, "on")));
            qemu.args(drive(&outbox(machine)?, "off"));
        }
    }
    Ok(Guard(
        qemu.spawn().context("cannot start qemu-system-x86_64")?,
    ))
}

/// A disk; with a `snapshot`, what the guest writes is forgotten at its end.
fn drive(disk: &Disk, snapshot: &str) -> [String; 4] {
    let (file, serial) = (disk.file.display(), disk.serial);
    [
        "-drive".to_owned(),
        format!("if=none,id={serial},file={file},format=raw,snapshot={snapshot}"),
        "-device".to_owned(),
        format!("nvme,drive={serial},serial={serial}"),
    ]
}

/// The disk that the guest writes a tar archive to: its file is that archive, with room behind it.
fn outbox(machine: &Machine) -> Result<Disk> {
    let file = machine.saved();
    fs::File::options()
        .write(true)
        .open(&file)
        .and_then(|opened| opened.set_len(OUTBOX_BYTES))
        .with_context(|| format!("cannot write {}", file.display()))?;
    Ok(Disk {
        file,
        serial: "oomtrace-save",
    })
}

/// Two NUMA nodes: all the processors and the memory that was asked for, and a little of memory.
fn numa(machine: &Machine) -> Vec<String> {
    let backend = |id, mib| format!("memory-backend-ram,id={id},size={mib}M");
    vec![
        "-object".to_owned(),
        backend("main", machine.memory_mib),
        "-object".to_owned(),
        backend("small", SMALL_NODE_MIB),
        "-numa".to_owned(),
        format!("node,nodeid=0,cpus=0-{},memdev=main", machine.cpus - 1),
        "-numa".to_owned(),
        "node,nodeid=1,memdev=small".to_owned(),
    ]
}

fn read(path: &Path) -> String {
    fs::read(path)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default()
}

fn status(printed: &str) -> Option<i32> {
    printed
        .lines()
        .find_map(|line| line.strip_prefix(EXIT_STATUS)?.trim().parse().ok())
}

/// What tells best why a guest died.
fn last_words(machine: &Machine) -> String {
    let console = read(&machine.console());
    let qemu = read(&machine.logs.join("qemu.log"));
    let telling = |line: &&str| {
        ["Kernel panic", "BUG:", "Oops", "double fault"]
            .iter()
            .any(|word| line.contains(word))
    };
    let line = console
        .lines()
        .find(telling)
        .or_else(|| qemu.lines().next_back())
        .or_else(|| console.lines().next_back());
    line.map_or_else(
        || "no output at all".to_owned(),
        |line| line.trim().to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_read_from_a_serial_line() {
        assert_eq!(
            status("oomtrace-vm: init has run\r\noomtrace-vm: exit status 1\r\n"),
            Some(1)
        );
        assert_eq!(status("oomtrace-vm: exit status"), None);
    }
}
