//! What this kernel and these privileges allow: facts, asked of the kernel. No version is
//! read, for features are brought back to older releases.

use std::{fs, io, path::Path};

use aya::{
    maps::MapType,
    sys::{SyscallError, is_map_supported},
};

/// Something that is there, is not there, or could not be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Availability {
    Yes,
    No(String),
    /// The question failed.
    Unknown(String),
}

impl Availability {
    /// It is certainly not there.
    #[must_use]
    pub fn is_no(&self) -> bool {
        matches!(self, Self::No(_))
    }
}

/// Capabilities by their bit: include/uapi/linux/capability.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    Chown = 0,
    DacOverride = 1,
    DacReadSearch = 2,
    Kill = 5,
    SetPcap = 8,
    SysPtrace = 19,
    SysAdmin = 21,
    SysResource = 24,
    Syslog = 34,
    Perfmon = 38,
    Bpf = 39,
}

impl Capability {
    /// As capabilities(7) names it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Chown => "CAP_CHOWN",
            Self::DacOverride => "CAP_DAC_OVERRIDE",
            Self::DacReadSearch => "CAP_DAC_READ_SEARCH",
            Self::Kill => "CAP_KILL",
            Self::SetPcap => "CAP_SETPCAP",
            Self::SysPtrace => "CAP_SYS_PTRACE",
            Self::SysAdmin => "CAP_SYS_ADMIN",
            Self::SysResource => "CAP_SYS_RESOURCE",
            Self::Syslog => "CAP_SYSLOG",
            Self::Perfmon => "CAP_PERFMON",
            Self::Bpf => "CAP_BPF",
        }
    }
}

/// The effective capabilities of this process, and its user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Privileges {
    pub uid: u32,
    pub effective: u64,
}

impl Privileges {
    /// Of this process.
    pub fn current() -> io::Result<Self> {
        Ok(Self::parse(&fs::read_to_string("/proc/self/status")?))
    }

    fn parse(status: &str) -> Self {
        let value = |key: &str| {
            status
                .lines()
                .find_map(|line| line.strip_prefix(key))
                .map(str::trim)
        };
        Self {
            // Real, effective, saved, file system.
            uid: value("Uid:")
                .and_then(|uids| uids.split_whitespace().nth(1))
                .and_then(|uid| uid.parse().ok())
                .unwrap_or(u32::MAX),
            effective: value("CapEff:")
                .and_then(|bits| u64::from_str_radix(bits, 16).ok())
                .unwrap_or(0),
        }
    }

    /// Whether a capability is in force.
    #[must_use]
    pub fn has(self, capability: Capability) -> bool {
        self.effective & (1 << capability as u64) != 0
    }

    /// What tracing needs and is not here: `CAP_SYS_ADMIN` does for both others.
    #[must_use]
    pub fn lacking(self) -> Vec<Capability> {
        if self.has(Capability::SysAdmin) {
            return Vec::new();
        }
        [Capability::Bpf, Capability::Perfmon]
            .into_iter()
            .filter(|capability| !self.has(*capability))
            .collect()
    }
}

/// Facts about kernel and privileges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelSupport {
    pub privileges: Privileges,
    pub btf: Availability,
    pub ring_buffer: Availability,
    /// `oom_kill_process` can be named to fentry.
    pub fentry: Availability,
    pub kprobe: Availability,
    pub symbols: Availability,
    pub kernel_log: Availability,
}

impl KernelSupport {
    /// Asks the kernel. `oom_kill_process`: whether BTF knows that function, where BTF was
    /// read.
    pub fn ask(btf: Availability, oom_kill_process: bool) -> io::Result<Self> {
        Ok(Self {
            privileges: Privileges::current()?,
            btf,
            ring_buffer: ring_buffer(),
            fentry: if oom_kill_process {
                Availability::Yes
            } else {
                Availability::No("BTF has no function oom_kill_process".to_owned())
            },
            kprobe: kprobe(Path::new("/sys/bus/event_source/devices")),
            symbols: super::kallsyms::availability(),
            kernel_log: super::kmsg::availability(),
        })
    }
}

fn ring_buffer() -> Availability {
    match is_map_supported(MapType::RingBuf) {
        Ok(true) => Availability::Yes,
        Ok(false) => Availability::No("the kernel refused to make one".to_owned()),
        Err(SyscallError { call, io_error }) => {
            Availability::Unknown(format!("{call}: {io_error}"))
        }
    }
}

/// The `kprobe` event source is there if and only if the kernel was built with kprobes.
fn kprobe(sources: &Path) -> Availability {
    if !sources.exists() {
        Availability::Unknown(format!("{} is not there", sources.display()))
    } else if sources.join("kprobe").exists() {
        Availability::Yes
    } else {
        Availability::No("this kernel is built without kprobes".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn privileges_are_read_from_status() {
        let status = "Name:\tx\nUid:\t1000\t0\t0\t0\nCapEff:\t000001c0fe3fffff\n";
        let privileges = Privileges::parse(status);
        assert_eq!(privileges.uid, 0);
        assert!(privileges.has(Capability::Bpf));
        assert!(!privileges.has(Capability::SysResource));
        assert!(privileges.lacking().is_empty());
    }

    #[test]
    fn bpf_and_perfmon_do_without_sys_admin() {
        let with = |bits: u64| Privileges {
            uid: 1000,
            effective: bits,
        };
        assert!(with(1 << 39 | 1 << 38).lacking().is_empty());
        assert!(with(1 << 21).lacking().is_empty());
        assert_eq!(with(1 << 39).lacking(), [Capability::Perfmon]);
        assert_eq!(with(0).lacking().len(), 2);
    }

    #[test]
    fn kprobes_show_as_an_event_source() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("event_source");
        assert!(matches!(kprobe(&folder), Availability::Unknown(_)));
        fs::create_dir(&folder).unwrap();
        assert!(kprobe(&folder).is_no());
        fs::create_dir(folder.join("kprobe")).unwrap();
        assert_eq!(kprobe(&folder), Availability::Yes);
    }
}
