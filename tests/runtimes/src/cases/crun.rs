//! crun alone. It refuses a machine with both kinds of cgroup hierarchies, so that there it is
//! given mounts with one kind.

use std::path::Path;

use anyhow::Result;

use super::{
    Case, KILLED, Part,
    runc::{Runtime, kill_with, oom_with},
};
use crate::scene::Scene;

pub(crate) const CASES: &[Case] = &[
    Case::new("crun-kill", Part::Crun, kill),
    Case::new("crun-oom", Part::Crun, oom),
];

fn crun() -> Runtime {
    let hybrid = Path::new("/sys/fs/cgroup/unified").is_dir();
    Runtime {
        name: "crun",
        before: if hybrid {
            "umount /sys/fs/cgroup/unified &&"
        } else {
            ""
        },
    }
}

fn kill(scene: &Scene) -> Result<()> {
    kill_with(scene, crun(), KILLED)
}

fn oom(scene: &Scene) -> Result<()> {
    oom_with(scene, crun())
}
