//! What a death is put down to: the cause, the mechanism, the kind of actor. DESIGN.md says when each
//! applies.

use serde::{Deserialize, Serialize};

/// Why a process died. DESIGN.md lists when each applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    CgroupOom,
    GlobalOom,
    NumaOom,
    StopTimeout,
    SupervisorKill,
    UserspaceOom,
    ManualKill,
    AppKill,
    SelfKill,
    NamespaceExit,
    ParentDeath,
    TracerExit,
    CpuLimit,
    OwnTimer,
    Bpf,
    Kernel,
    ExitCode,
    Unknown,
}

impl Cause {
    /// All of them.
    pub const ALL: [Self; 18] = [
        Self::CgroupOom,
        Self::GlobalOom,
        Self::NumaOom,
        Self::StopTimeout,
        Self::SupervisorKill,
        Self::UserspaceOom,
        Self::ManualKill,
        Self::AppKill,
        Self::SelfKill,
        Self::NamespaceExit,
        Self::ParentDeath,
        Self::TracerExit,
        Self::CpuLimit,
        Self::OwnTimer,
        Self::Bpf,
        Self::Kernel,
        Self::ExitCode,
        Self::Unknown,
    ];

    /// As it stands in records.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::CgroupOom => "cgroup_oom",
            Self::GlobalOom => "global_oom",
            Self::NumaOom => "numa_oom",
            Self::StopTimeout => "stop_timeout",
            Self::SupervisorKill => "supervisor_kill",
            Self::UserspaceOom => "userspace_oom",
            Self::ManualKill => "manual_kill",
            Self::AppKill => "app_kill",
            Self::SelfKill => "self_kill",
            Self::NamespaceExit => "namespace_exit",
            Self::ParentDeath => "parent_death",
            Self::TracerExit => "tracer_exit",
            Self::CpuLimit => "cpu_limit",
            Self::OwnTimer => "own_timer",
            Self::Bpf => "bpf",
            Self::Kernel => "kernel",
            Self::ExitCode => "exit_code",
            Self::Unknown => "unknown",
        }
    }
}

/// How the signal was generated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mechanism {
    Kill,
    Tkill,
    Tgkill,
    RtSigqueueinfo,
    PidfdSendSignal,
    CgroupKill,
    OomKiller,
    OomGroup,
    PidNamespace,
    Pdeathsig,
    PtraceExitkill,
    Ptrace,
    RlimitCpu,
    RlimitRttime,
    BpfSendSignal,
    PosixTimer,
    Sigio,
    ExitSignal,
    Sysrq,
    Seccomp,
    MemoryFailure,
    Kernel,
    Exit,
    Unknown,
}

/// The party on whose behalf a sender acted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActorKind {
    Human,
    Runtime,
    ServiceManager,
    OomDaemon,
    SecurityAgent,
    Application,
    Kernel,
    Unknown,
}
