//! The cgroups in scope, as the programs look them up.

use aya::maps::{HashMap, Map, MapData, MapError};
use oomtrace_common::maps::scope;

/// See the module.
pub struct ScopeMap(HashMap<MapData, u64, u32>);

impl ScopeMap {
    pub(super) fn take(map: Map) -> Result<Self, MapError> {
        Ok(Self(HashMap::try_from(map)?))
    }

    /// Takes a cgroup into the scope, with all below it.
    pub fn hold(&mut self, cgroup_id: u64) {
        self.set(cgroup_id, scope::HELD);
    }

    /// The same of one of which it is not known yet.
    pub fn consider(&mut self, cgroup_id: u64) {
        self.set(cgroup_id, scope::CANDIDATE);
    }

    fn set(&mut self, cgroup_id: u64, value: u32) {
        if let Err(error) = self.0.insert(&cgroup_id, &value, 0) {
            log::error!("a cgroup cannot be taken into the scope: {error}");
        }
    }

    /// Takes it out again.
    pub fn release(&mut self, cgroup_id: u64) {
        // It may be gone by itself.
        let _ = self.0.remove(&cgroup_id);
    }
}
