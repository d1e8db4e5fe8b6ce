//! What is done, and what the tracer must say of it: one file for each runtime. A new case is a
//! function and a row.

mod containerd;
mod cri;
mod crun;
mod docker;
mod docker_oom;
mod earlyoom;
mod pod;
mod podman;
mod restarts;
mod runc;
mod service;
mod sidecar;
mod systemd;
mod systemd_oom;

use anyhow::Result;
use oomtrace_scenarios::check::{Death, Is};

pub(crate) use self::podman::V1_OPTIONS as PODMAN_V1;
use crate::scene::Scene;

/// Which runtime a case needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Docker,
    Containerd,
    Cri,
    Podman,
    Runc,
    Crun,
    Systemd,
}

impl Part {
    pub(crate) fn of(name: &str) -> Option<Self> {
        Some(match name {
            "docker" => Self::Docker,
            "containerd" => Self::Containerd,
            "cri" => Self::Cri,
            "podman" => Self::Podman,
            "runc" => Self::Runc,
            "crun" => Self::Crun,
            "systemd" => Self::Systemd,
            _ => return None,
        })
    }
}

pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) part: Part,
    pub(crate) run: fn(&Scene) -> Result<()>,
}

impl Case {
    const fn new(name: &'static str, part: Part, run: fn(&Scene) -> Result<()>) -> Self {
        Self { name, part, run }
    }
}

pub(crate) fn all() -> impl Iterator<Item = &'static Case> {
    [
        docker::CASES,
        docker_oom::CASES,
        earlyoom::CASES,
        containerd::CASES,
        cri::CASES,
        sidecar::CASES,
        podman::CASES,
        restarts::CASES,
        runc::CASES,
        crun::CASES,
        systemd::CASES,
        service::CASES,
        systemd_oom::CASES,
    ]
    .into_iter()
    .flatten()
}

/// A process 1 that takes SIGTERM and stays, with a child.
const STUBBORN: &str = "trap : TERM; sleep 1000 & while :; do wait; done";
/// The same with two children, so that it has one left when the other is killed.
const TWO_WORKERS: &str = "trap : TERM; sleep 1000 & sleep 1001 & while :; do wait; done";
/// A process 1 whose child is chosen by the OOM killer, and which ends by itself.
const OOM_CHILD: &str = "tail /dev/zero; sleep 2; exit 3";
/// The same, and it goes on until it is asked to end.
const OOM_CHILD_LIVES: &str = "trap 'exit 143' TERM; tail /dev/zero; sleep 1000 & wait";
const LIMIT_BYTES: u64 = 64 << 20;

const STOPPED: Death = Death::of("stop_timeout", "kill")
    .or("pidfd_send_signal")
    .actor("runtime")
    .fields(&[("/stop/signal", Is::Text("SIGTERM"))]);
const KILLED: Death = Death::of("supervisor_kill", "kill")
    .or("pidfd_send_signal")
    .actor("runtime")
    .fields(&[("/stop", Is::Null)]);
const OOM: Death = Death::of("cgroup_oom", "oom_killer")
    .actor("kernel")
    .fields(&[
        ("/oom/constraint", Is::Text("memcg")),
        ("/oom/limit_bytes", Is::Number(LIMIT_BYTES)),
        ("/oom/role", Is::Text("chosen")),
        ("/oom/levels/0", Is::There),
        ("/oom/limit_of", Is::There),
    ]);
const BY_HAND: Death = Death::of("manual_kill", "kill").actor("human");

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_words() {
        let names: BTreeSet<_> = all().map(|case| case.name).collect();
        assert_eq!(names.len(), all().count());
        assert!(names.iter().all(|name| !name.contains([' ', '@'])));
    }
}
