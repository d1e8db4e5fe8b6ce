//! What is to be traced. The filter looks at the **victim's** cgroups: whoever kills it may be
//! anywhere on the node.

use aya_ebpf::{macros::map, maps::HashMap};
use oomtrace_common::{
    maps::{CgroupKey, scope},
    wire::MAX_CGROUP_NAMES,
};

use crate::{
    kernel::{Address, BPF_NOEXIST, chase, current, follow, get, settings},
    memcg,
};

/// Cgroups in scope.
#[map]
static SCOPE: HashMap<CgroupKey, u32> = HashMap::with_max_entries(16384, 0);

/// The key of a cgroup of the hierarchies that are looked at: v2, and the memory controller's of
/// v1.
#[inline(always)]
pub(crate) fn key(cgroup: Address) -> Option<CgroupKey> {
    let root = follow!(cgroup, cgroup_root)?;
    let task = current();
    let unified = chase!(memcg::unified_of(task), cgroup_root);
    let memory = chase!(memcg::cgroup_of(task), cgroup_root);
    if root != unified && root != memory {
        return None;
    }
    let id = get!(follow!(cgroup, cgroup_kernfs)?, kernfs_id, u64)?;
    Some(CgroupKey::new(id, root == unified))
}

/// Takes in a new cgroup, until the user side says otherwise: its first process may be killed
/// before that.
#[inline(always)]
pub(crate) fn consider(key: &CgroupKey) {
    if settings().candidates == 1 {
        let _ = SCOPE.insert(key, &scope::CANDIDATE, BPF_NOEXIST);
    }
}

/// Forgets a cgroup that is gone.
#[inline(always)]
pub(crate) fn forget(key: &CgroupKey) {
    let _ = SCOPE.remove(key);
}

/// Whether a task is in scope.
#[inline(always)]
pub(crate) fn holds(task: Address) -> bool {
    if settings().scoped == 0 {
        return true;
    }
    let memory = memcg::cgroup_of(task);
    let unified = memcg::unified_of(task);
    if is_held(unified, 1) != 0 {
        return true;
    }
    // Where there is v2 alone, it has the memory controller as well.
    chase!(memory, cgroup_root) != chase!(unified, cgroup_root) && is_held(memory, 0) != 0
}

/// Whether a cgroup, or one above it, is in scope.
#[inline(always)]
pub(crate) fn holds_cgroup(cgroup: Address, unified: u32) -> bool {
    settings().scoped == 0 || is_held(cgroup, unified) != 0
}

#[inline(never)]
fn is_held(cgroup: Address, unified: u32) -> u32 {
    let mut node = chase!(cgroup, cgroup_kernfs);
    for _ in 0..=MAX_CGROUP_NAMES {
        let Some(id) = get!(node, kernfs_id, u64) else {
            return 0;
        };
        if SCOPE.get_ptr(&CgroupKey::new(id, unified == 1)).is_some() {
            return 1;
        }
        let Some(parent) = follow!(node, kernfs_parent) else {
            return 0;
        };
        node = parent;
    }
    0
}
