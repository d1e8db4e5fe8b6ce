//! What is to be traced. The filter looks at the **victim's** cgroups: whoever kills it may be
//! anywhere on the node.

use aya_ebpf::{macros::map, maps::HashMap};
use oomtrace_common::{maps::scope, offsets::Settings, wire::MAX_CGROUP_NAMES};

use crate::kernel::{self, Address, chase, follow, get};

/// Filled in by the loader.
#[unsafe(no_mangle)]
pub(crate) static SETTINGS: Settings = Settings::NODE;

/// Cgroups in scope, by the kernel's number of them.
#[map]
static SCOPE: HashMap<u64, u32> = HashMap::with_max_entries(16384, 0);

/// `BPF_NOEXIST` of include/uapi/linux/bpf.h.
const BPF_NOEXIST: u64 = 1;

/// Takes in a new cgroup, until the user side says otherwise: its first process may be killed
/// before that.
#[inline(always)]
pub(crate) fn consider(id: u64) {
    if kernel::load(&SETTINGS).candidates == 1 {
        let _ = SCOPE.insert(&id, &scope::CANDIDATE, BPF_NOEXIST);
    }
}

/// Forgets a cgroup that is gone.
#[inline(always)]
pub(crate) fn forget(id: u64) {
    let _ = SCOPE.remove(&id);
}

/// Whether a task is in scope.
#[inline(always)]
pub(crate) fn holds(task: Address) -> bool {
    if kernel::load(&SETTINGS).scoped == 0 {
        return true;
    }
    let memory = chase!(task, task_cgroups, css_set_memory, css_cgroup);
    let unified = chase!(task, task_cgroups, css_set_default);
    is_held(memory) != 0 || is_held(unified) != 0
}

/// Whether a cgroup, or one above it, is in scope.
#[inline(always)]
pub(crate) fn holds_cgroup(cgroup: Address) -> bool {
    kernel::load(&SETTINGS).scoped == 0 || is_held(cgroup) != 0
}

#[inline(never)]
fn is_held(cgroup: Address) -> u32 {
    let mut node = chase!(cgroup, cgroup_kernfs);
    for _ in 0..=MAX_CGROUP_NAMES {
        let Some(id) = get!(node, kernfs_id, u64) else {
            return 0;
        };
        if SCOPE.get_ptr(&id).is_some() {
            return 1;
        }
        let Some(parent) = follow!(node, kernfs_parent) else {
            return 0;
        };
        node = parent;
    }
    0
}
