//! The cgroups in scope, as the programs look them up.

use aya::{
    Pod,
    maps::{HashMap, Map, MapData, MapError},
};
use oomtrace_common::maps::{CgroupKey, scope};

/// `BPF_ANY` and `BPF_EXIST` of include/uapi/linux/bpf.h.
const BPF_ANY: u64 = 0;
const BPF_EXIST: u64 = 2;

#[repr(transparent)]
#[derive(Clone, Copy)]
struct Key(CgroupKey);

// SAFETY: plain integers, and no padding that is not a member.
unsafe impl Pod for Key {}

/// See the module.
pub struct ScopeMap(HashMap<MapData, Key, u32>);

impl ScopeMap {
    pub(super) fn take(map: Map) -> Result<Self, MapError> {
        Ok(Self(HashMap::try_from(map)?))
    }

    /// Takes a cgroup into the scope, with all below it.
    pub fn hold(&mut self, cgroup: CgroupKey) {
        self.set(cgroup, scope::HELD);
    }

    /// The same of one of which it is not known yet.
    pub fn consider(&mut self, cgroup: CgroupKey) {
        self.set(cgroup, scope::CANDIDATE);
    }

    fn set(&mut self, cgroup: CgroupKey, value: u32) {
        if let Err(error) = self.0.insert(&Key(cgroup), &value, BPF_ANY) {
            log::error!("a cgroup cannot be taken into the scope: {error}");
        }
    }

    /// Decides about one that was considered, here or by the programs.
    pub fn decide(&mut self, cgroup: CgroupKey, held: bool) {
        // Either fails if it is gone meanwhile: nobody would take it out again.
        let _ = if held {
            self.0.insert(&Key(cgroup), &scope::HELD, BPF_EXIST)
        } else {
            self.0.remove(&Key(cgroup))
        };
    }
}
