//! A made-up system in a folder, with what real runtimes wrote: Docker 20.10.24, containerd
//! 1.6.20, runc 1.1.5, Podman 4.3.1. CRI-O's and crun's files are put together from what is
//! public of them.

mod bad_input;
mod ends;
mod processes;
mod sources;

use std::{
    fs,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use super::{Files, Roots};
use crate::{
    event::container::{Ask, ContainerFacts, What},
    identity::host,
};

/// A folder that goes with the test.
pub(super) struct Scratch(TempDir);

impl Scratch {
    pub(super) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(super) fn path(&self, below: &str) -> PathBuf {
        self.0.path().join(below.trim_start_matches('/'))
    }

    pub(super) fn write(&self, below: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(below);
        fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).unwrap();
        fs::write(&path, text).unwrap();
        path
    }
}

pub(super) const DOCKER_RUNNING: &str = include_str!("../samples/docker-running.json");
pub(super) const WEB: &str = "ee76824745d25f0d707527ccb95a4300782e669718c017ffec654f6bdb568438";
pub(super) const HOG: &str = "38ff4a9d27ff4a7493673399788f8ab392a6106f36f5085b7ab17e745166ed78";
pub(super) const CRI: &str = "82bbf68b0c3fb15296ea2518ca6606145aa6b3e8159d3889a0477b67d4403e93";
pub(super) const SANDBOX: &str = "9dcbb66e00c09ce127ca89ea8e4bafcd4a7c207c17fce5c58678f01ad76903d9";
pub(super) const PODMAN: &str = "0bcad4cadbb2da350113c5abd4c055a23f4dc1e5bcbbf2e4e4c3d9cb426c0a3f";
pub(super) const CRIO: &str = "49ecc282021562c567a8159ef424a06cdd8637efdca5953de9794eafe29adcad";
pub(super) const POD: &str = "/kubepods/burstable/pod7a1b2c3d-0000-4000-8000-0000000000b1";

impl Scratch {
    pub(super) fn files(&self) -> Files {
        Files::new(Roots::under(&self.path("")))
    }

    /// What the files tell of a container.
    pub(super) fn facts(&self, id: &str, cgroup: &str) -> Option<ContainerFacts> {
        self.files().facts(&ask(id, cgroup), 7).unwrap()
    }

    pub(super) fn docker(&self, id: &str, config: &str) {
        self.write(
            &format!("var/lib/docker/containers/{id}/config.v2.json"),
            config,
        );
    }

    /// A bundle of containerd's; its folder.
    pub(super) fn task(&self, namespace: &str, id: &str, config: &str) -> String {
        let folder = format!("run/containerd/io.containerd.runtime.v2.task/{namespace}/{id}");
        self.write(&format!("{folder}/config.json"), config);
        folder
    }

    pub(super) fn cri_status(&self, id: &str, status: &str) {
        let folder = "var/lib/containerd/io.containerd.grpc.v1.cri/containers";
        self.write(&format!("{folder}/{id}/status"), status);
    }

    /// A process, as /proc shows it.
    pub(super) fn process(&self, pid: u32, args: &[&str], cgroup: &str) -> String {
        let folder = format!("proc/{pid}");
        let program = args[0].rsplit('/').next().unwrap_or_default();
        let comm = &program[..program.len().min(15)];
        self.write(&format!("{folder}/comm"), format!("{comm}\n"));
        self.write(&format!("{folder}/cmdline"), args.join("\0") + "\0");
        self.write(
            &format!("{folder}/cgroup"),
            format!("4:memory:{cgroup}\n0::/\n"),
        );
        folder
    }
}

pub(super) fn ask(id: &str, cgroup: &str) -> Ask {
    Ask {
        id: id.to_owned(),
        cgroup: cgroup.to_owned(),
        what: What::Facts,
    }
}

/// A moment before now, on the wall clock and on that of the stream.
pub(super) fn ago(ns: u64) -> (i64, u64) {
    let now = host::now();
    (now.realtime_ns - ns as i64, now.boottime_ns - ns)
}

pub(super) const SECOND: u64 = 1_000_000_000;
