//! The kernel's struct fields that the programs read.
//!
//! No offset is written here: each [`Field`] is resolved from the running kernel's BTF
//! when the programs are loaded, by the path that stands beside it. The programs get the
//! whole table as a read-only global, so that the verifier drops what a kernel lacks.

use bytemuck::{Pod, Zeroable};

/// Where a field lies in its struct, or that this kernel has no such field.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Field(u32);

impl Field {
    const PRESENT: u32 = 1 << 31;
    /// This kernel has no such field.
    pub const ABSENT: Self = Self(0);

    /// A field at `offset` bytes; `None` if no kernel struct could be as large.
    #[must_use]
    pub const fn at(offset: u32) -> Option<Self> {
        if offset < Self::PRESENT {
            Some(Self(offset | Self::PRESENT))
        } else {
            None
        }
    }

    /// The offset in bytes, if the kernel has the field.
    #[inline(always)]
    #[must_use]
    pub const fn offset(self) -> Option<usize> {
        if self.0 & Self::PRESENT == 0 {
            None
        } else {
            Some((self.0 & !Self::PRESENT) as usize)
        }
    }
}

macro_rules! offsets {
    ($($(#[$doc:meta])* $name:ident: $path:literal;)*) => {
        /// One [`Field`] for each path of [`PATHS`], in the same order.
        #[repr(C)]
        #[derive(Clone, Copy, Debug, Pod, Zeroable)]
        pub struct Offsets {
            $($(#[$doc])* pub $name: Field,)*
        }

        impl Offsets {
            /// Nothing is known of any field.
            pub const NONE: Self = Self { $($name: Field::ABSENT,)* };
        }

        /// What each field is called here, and its path in the kernel's types. Names
        /// between ` | ` are alternatives: the first that exists counts.
        pub const PATHS: &[(&str, &str)] = &[$((stringify!($name), $path),)*];
    };
}

offsets! {
    task_mm: "task_struct.mm";
    task_flags: "task_struct.flags";
    task_tgid: "task_struct.tgid";
    task_pid: "task_struct.pid";
    task_comm: "task_struct.comm";
    task_group_leader: "task_struct.group_leader";
    task_real_parent: "task_struct.real_parent";
    /// Renamed from `real_start_time` in 5.5.
    task_start_boottime: "task_struct.start_boottime | task_struct.real_start_time";
    task_exit_code: "task_struct.exit_code";
    task_signal: "task_struct.signal";
    task_cred: "task_struct.cred";
    task_loginuid: "task_struct.loginuid.val";
    task_cgroups: "task_struct.cgroups";
    task_cg_list: "task_struct.cg_list";
    /// Renamed in 5.14.
    task_state: "task_struct.__state | task_struct.state";
    task_jobctl: "task_struct.jobctl";
    task_blocked: "task_struct.blocked.sig";
    task_pending: "task_struct.pending.signal.sig";
    task_sighand: "task_struct.sighand";
    task_thread_node: "task_struct.thread_node";
    task_seccomp_mode: "task_struct.seccomp.mode";
    task_ptrace: "task_struct.ptrace";
    /// The tracer while one traces it, else the parent.
    task_parent: "task_struct.parent";
    /// The distance of the two is the size of an element.
    sighand_handler_0: "sighand_struct.action[0].sa.sa_handler";
    sighand_handler_1: "sighand_struct.action[1].sa.sa_handler";
    cred_uid: "cred.uid.val";
    signal_flags: "signal_struct.flags";
    signal_group_exit_code: "signal_struct.group_exit_code";
    signal_live: "signal_struct.live.counter";
    signal_oom_score_adj: "signal_struct.oom_score_adj";
    signal_tty: "signal_struct.tty";
    /// Moved here from `mm_struct` in 5.16.
    signal_core_state: "signal_struct.core_state";
    mm_core_state: "mm_struct.core_state";
    signal_pid_tgid: "signal_struct.pids[PIDTYPE_TGID]";
    signal_pid_pgid: "signal_struct.pids[PIDTYPE_PGID]";
    signal_pid_sid: "signal_struct.pids[PIDTYPE_SID]";
    signal_shared_pending: "signal_struct.shared_pending.signal.sig";
    signal_thread_head: "signal_struct.thread_head.next";
    /// `RLIMIT_CPU` and `RLIMIT_RTTIME` of include/uapi/asm-generic/resource.h.
    signal_cpu_hard: "signal_struct.rlim[0].rlim_max";
    signal_rttime_hard: "signal_struct.rlim[15].rlim_max";
    signal_cpu_user: "signal_struct.cputimer.cputime_atomic.utime.counter";
    signal_cpu_system: "signal_struct.cputimer.cputime_atomic.stime.counter";
    tty_name: "tty_struct.name";
    pid_level: "pid.level";
    pid_numbers: "pid.numbers";
    upid_nr: "upid.nr";
    mm_arg_start: "mm_struct.arg_start";
    mm_arg_end: "mm_struct.arg_end";
    mm_exe_file: "mm_struct.exe_file";
    mm_total_vm: "mm_struct.total_vm";
    mm_pgtables_bytes: "mm_struct.pgtables_bytes.counter";
    /// A `percpu_counter` for each kind since 6.2.
    mm_rss_file: "mm_struct.rss_stat[MM_FILEPAGES].count | mm_struct.rss_stat.count[MM_FILEPAGES].counter";
    mm_rss_anon: "mm_struct.rss_stat[MM_ANONPAGES].count | mm_struct.rss_stat.count[MM_ANONPAGES].counter";
    mm_rss_shmem: "mm_struct.rss_stat[MM_SHMEMPAGES].count | mm_struct.rss_stat.count[MM_SHMEMPAGES].counter";
    mm_rss_swap: "mm_struct.rss_stat[MM_SWAPENTS].count | mm_struct.rss_stat.count[MM_SWAPENTS].counter";
    file_dentry: "file.f_path.dentry";
    file_mnt: "file.f_path.mnt";
    dentry_parent: "dentry.d_parent";
    dentry_name: "dentry.d_name.name";
    vfsmount_root: "vfsmount.mnt_root";
    mount_vfsmount: "mount.mnt";
    mount_parent: "mount.mnt_parent";
    mount_mountpoint: "mount.mnt_mountpoint";
    css_set_default: "css_set.dfl_cgrp";
    css_set_memory: "css_set.subsys[memory_cgrp_id]";
    css_set_tasks: "css_set.tasks";
    /// The links of a cgroup to its sets of tasks.
    cgroup_cset_links: "cgroup.cset_links";
    cset_link_node: "cgrp_cset_link.cset_link";
    cset_link_set: "cgrp_cset_link.cset";
    css_cgroup: "cgroup_subsys_state.cgroup";
    css_parent: "cgroup_subsys_state.parent";
    cgroup_kernfs: "cgroup.kn";
    cgroup_root: "cgroup.root";
    cgroup_level: "cgroup.level";
    cgroup_children: "cgroup.self.children";
    /// Moved to the cgroup's own state by 7.2.
    cgroup_populated_csets: "cgroup.self.nr_populated_csets | cgroup.nr_populated_csets";
    cgroup_populated_children: "cgroup.nr_populated_domain_children";
    css_sibling: "cgroup_subsys_state.sibling";
    kernfs_id: "kernfs_node.id";
    kernfs_name: "kernfs_node.name";
    /// Renamed in 6.15.
    kernfs_parent: "kernfs_node.__parent | kernfs_node.parent";
    memcg_css: "mem_cgroup.css";
    memcg_usage: "mem_cgroup.memory.usage.counter";
    memcg_max: "mem_cgroup.memory.max";
    memcg_peak: "mem_cgroup.memory.watermark";
    /// On cgroup v1 the same place holds memory plus swap (`memsw`).
    memcg_swap_usage: "mem_cgroup.swap.usage.counter";
    memcg_swap_max: "mem_cgroup.swap.max";
    memcg_oom_events: "mem_cgroup.memory_events_local[MEMCG_OOM].counter";
    /// Gone from kernels built without cgroup v1's memory controller.
    memcg_oom_lock: "mem_cgroup.oom_lock";
    siginfo_code: "kernel_siginfo.si_code";
    siginfo_signal: "kernel_siginfo.si_signo";
    /// The queue behind `signal_shared_pending`.
    signal_shared_queue: "signal_struct.shared_pending.list";
    list_prev: "list_head.prev";
    sigqueue_list: "sigqueue.list";
    sigqueue_info: "sigqueue.info";
    oom_memcg: "oom_control.memcg";
    oom_gfp_mask: "oom_control.gfp_mask";
    oom_order: "oom_control.order";
    oom_total_pages: "oom_control.totalpages";
    oom_chosen: "oom_control.chosen";
    oom_chosen_points: "oom_control.chosen_points";
    oom_constraint: "oom_control.constraint";
}

/// What the programs are told when they are loaded.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Settings {
    /// 1: only victims in cgroups that stand in the map `SCOPE`, or below such.
    pub scoped: u32,
    /// 1: new cgroups are taken into `SCOPE` until the user side says otherwise.
    pub candidates: u32,
    /// Which programs they are, never 0: what others have noted in a map that they share does not
    /// hold for them.
    pub generation: u32,
}

impl Settings {
    /// Everything on the node.
    pub const NODE: Self = Self {
        scoped: 0,
        candidates: 0,
        generation: 1,
    };
}

/// Other facts about the kernel that the programs need to know.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct KernelFacts {
    /// Size of `struct upid`.
    pub upid_size: u32,
    /// 1 if `mark_victim` hands over a task, 0 if it hands over a thread id.
    pub mark_victim_task: u32,
    /// 1 if `sched_process_exit` says whether the group is dead.
    pub exit_group_dead: u32,
    pub pad: u32,
}

impl KernelFacts {
    /// Nothing is known.
    pub const NONE: Self = Self {
        upid_size: 0,
        mark_victim_task: 0,
        exit_group_dead: 0,
        pad: 0,
    };
}

const _: () = assert!(size_of::<Offsets>() == PATHS.len() * size_of::<Field>());
