//! The table of offsets that the programs get, from the kernel's BTF.

use bytemuck::Zeroable as _;
use oomtrace_common::offsets::{Field, KernelFacts, Offsets, PATHS};

use super::{
    btf::{ArgKind, Btf, BtfError, Wanted},
    error::ProbeError,
};
use crate::event::entry::Absent;

/// What the running kernel's BTF says.
pub(super) struct Layout {
    pub(super) offsets: Offsets,
    pub(super) facts: KernelFacts,
    /// The BTF id of `oom_kill_process`, which fentry attaches to.
    pub(super) oom_kill_process: Option<u32>,
    /// Fields that this kernel has not.
    pub(super) absent: Vec<Absent>,
}

/// Fields without which a SIGKILL cannot be told apart from another.
const REQUIRED: &[&str] = &[
    "task_tgid",
    "task_pid",
    "task_group_leader",
    "task_real_parent",
    "task_start_boottime",
    "task_exit_code",
    "task_signal",
    "signal_flags",
    "signal_group_exit_code",
    "signal_live",
    "siginfo_code",
];

/// Fields of which one of a pair is there on any kernel, or whose absence costs nothing.
const QUIET: &[&str] = &["signal_core_state", "mm_core_state", "memcg_oom_lock"];

impl Layout {
    pub(super) fn from_kernel() -> Result<Self, ProbeError> {
        let btf = Btf::from_kernel().map_err(|error| match error {
            BtfError::NoKernelBtf => ProbeError::NoBtf,
            error => ProbeError::Btf { error },
        })?;
        Self::resolve(&btf).map_err(|error| ProbeError::Btf { error })?
    }

    fn resolve(btf: &Btf) -> Result<Result<Self, ProbeError>, BtfError> {
        let mut wanted = Wanted::new();
        for (_, path) in PATHS {
            wanted.path(path)?;
        }
        wanted
            .type_name("upid")
            .func("oom_kill_process")
            .tracepoint("mark_victim")
            .tracepoint("sched_process_exit");
        let index = btf.index(&wanted)?;

        let mut fields = Vec::with_capacity(PATHS.len());
        let mut absent = Vec::new();
        for (name, path) in PATHS {
            match index.lookup(path)? {
                Ok(field) => fields.push(Field::at(field.offset).unwrap_or(Field::ABSENT)),
                Err(why) => {
                    if REQUIRED.contains(name) {
                        return Ok(Err(ProbeError::Internal(format!(
                            "this kernel has no {path} ({why:?}), without which nothing can be traced; please report it with the kernel's version"
                        ))));
                    }
                    if !QUIET.contains(name) {
                        absent.push(Absent {
                            what: (*path).to_owned(),
                            why: "this kernel has no such field".to_owned(),
                        });
                    }
                    fields.push(Field::ABSENT);
                }
            }
        }
        let mut offsets = Offsets::zeroed();
        bytemuck::cast_slice_mut(std::slice::from_mut(&mut offsets)).copy_from_slice(&fields);

        let takes_task = index
            .tracepoint_args("mark_victim")?
            .is_some_and(|args| args.first() == Some(&ArgKind::PointerTo("task_struct")));
        let says_dead = index
            .tracepoint_args("sched_process_exit")?
            .is_some_and(|args| args.get(1) == Some(&ArgKind::Bool));
        let facts = KernelFacts {
            upid_size: index.size_of("upid")?.unwrap_or_default(),
            mark_victim_task: u32::from(takes_task),
            exit_group_dead: u32::from(says_dead),
            pad: 0,
        };
        Ok(Ok(Self {
            offsets,
            facts,
            oom_kill_process: index.func("oom_kill_process")?.map(|function| function.id),
            absent,
        }))
    }
}
