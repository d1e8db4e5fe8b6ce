//! Paths, as lists of names from the leaf upwards: of an executable, of a cgroup.

use aya_ebpf::helpers::generated;
use oomtrace_common::wire::{
    MAX_CGROUP_NAMES, MAX_EXE_MOUNTS, MAX_EXE_NAMES, MAX_NAME_BYTES, tag, who,
};

use crate::{
    kernel::{Address, chase, follow, offset},
    memcg,
    record::Record,
};

/// Appends one NUL-terminated name; false if it cannot be read or there is no room.
#[inline(always)]
pub(crate) fn put_name(record: Record, name: Address) -> bool {
    let Some(room) = record.room(MAX_NAME_BYTES) else {
        return false;
    };
    // SAFETY: `room` promises the bytes; the helper checks the source.
    let len = unsafe {
        generated::bpf_probe_read_kernel_str(room.cast(), MAX_NAME_BYTES as u32, name.cast())
    };
    if len <= 0 {
        return false;
    }
    record.advance(core::cmp::min(len as usize, MAX_NAME_BYTES));
    true
}

/// Appends an empty name: at the end of a path it says that the path goes on.
#[inline(always)]
pub(crate) fn put_no_name(record: Record) {
    if let Some(room) = record.room(1) {
        // SAFETY: `room` promises the byte.
        unsafe { room.write(0) };
        record.advance(1);
    }
}

/// Appends the names of the path of a process's executable, the file's own first, up
/// through the mounts to the root that the kernel sees for it.
#[inline(never)]
pub(crate) fn put_exe(record: Record, who: u16, task: Address) {
    let Some(file) = follow!(task, task_mm).and_then(|mm| follow!(mm, mm_exe_file)) else {
        return;
    };
    let (Some(mut dentry), Some(mut mount), Some(mount_offset)) = (
        follow!(file, file_dentry),
        follow!(file, file_mnt),
        offset!(mount_vfsmount),
    ) else {
        return;
    };
    if !record.section(tag::EXE, who) {
        return;
    }
    let mut root = chase!(mount, vfsmount_root);
    let mut is_whole = false;
    let file_dentry = dentry;
    for _ in 0..MAX_EXE_NAMES + MAX_EXE_MOUNTS {
        if dentry == root {
            // The root of this mount: go on where it is mounted. `struct mount` has its
            // `struct vfsmount` inside; the topmost is its own parent.
            let outer = mount.wrapping_sub(mount_offset);
            let (Some(above), Some(at)) = (
                follow!(outer, mount_parent),
                follow!(outer, mount_mountpoint),
            ) else {
                break;
            };
            if above == outer {
                // A file that was mounted by itself, away from all others: runtimes hide their
                // own executable so.
                if dentry == file_dentry {
                    put_name(record, chase!(dentry, dentry_name));
                }
                is_whole = true;
                break;
            }
            mount = above.wrapping_add(mount_offset);
            root = chase!(mount, vfsmount_root);
            dentry = at;
            continue;
        }
        let (Some(name), Some(parent)) =
            (follow!(dentry, dentry_name), follow!(dentry, dentry_parent))
        else {
            break;
        };
        if parent == dentry {
            // A file that no path leads to, as memfd_create(2) makes them.
            put_name(record, name);
            is_whole = true;
            break;
        }
        if !put_name(record, name) {
            break;
        }
        dentry = parent;
    }
    if !is_whole {
        put_no_name(record);
    }
    record.end();
}

/// Appends the names of a cgroup's path, its own first.
#[inline(never)]
pub(crate) fn put_cgroup(record: Record, tag: u16, who: u16, cgroup: Address) {
    let Some(mut node) = follow!(cgroup, cgroup_kernfs) else {
        return;
    };
    if !record.section(tag, who) {
        return;
    }
    for _ in 0..MAX_CGROUP_NAMES {
        // The root has no name and no parent.
        let Some(parent) = follow!(node, kernfs_parent) else {
            break;
        };
        let Some(name) = follow!(node, kernfs_name) else {
            break;
        };
        if !put_name(record, name) {
            break;
        }
        node = parent;
    }
    if !chase!(node, kernfs_parent).is_null() {
        put_no_name(record);
    }
    record.end();
}

/// Appends a task's cgroups: that of the memory controller, and that of the v2 hierarchy
/// where it is another one.
#[inline(always)]
pub(crate) fn put_cgroups(record: Record, who: u16, task: Address) {
    let memory = memcg::cgroup_of(task);
    let unified = memcg::unified_of(task);
    put_cgroup(record, tag::MEMORY_CGROUP, who, memory);
    if memory != unified {
        put_cgroup(record, tag::UNIFIED_CGROUP, who, unified);
    }
}

/// Appends the path of the cgroup of a memory controller's state.
#[inline(always)]
pub(crate) fn put_limit_cgroup(record: Record, css: Address) {
    put_cgroup(
        record,
        tag::MEMORY_CGROUP,
        who::LIMIT,
        chase!(css, css_cgroup),
    );
}
