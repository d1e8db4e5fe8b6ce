//! The runner's own command line.

use std::{env, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result, bail};

use crate::cases::Part;

pub(crate) const USAGE: &str = "\
usage: oomtrace-runtimes --tracer PATH [--part PART[,PART…]]… [--only CASE]… [--jobs N]
                         [--busybox PATH] [--systemd-root DIR] | --list
PART is docker, containerd, cri, podman, runc, crun or systemd; all, where none is named.
Daemons that answer at their usual sockets are used; where none does, own ones are started, with
folders of their own, and ended.
--systemd-root is a root file system with systemd, for a machine that has another process 1.";

/// Before a command that a container is to run in a cgroup namespace of its own.
pub(crate) const IN_CGROUP_NAMESPACE: &str = "--in-cgroup-namespace";

#[derive(Debug)]
pub(crate) enum Action {
    List,
    Run(Options),
    /// This command, in a cgroup namespace of its own.
    InCgroupNamespace(Vec<String>),
}

#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) tracer: PathBuf,
    pub(crate) busybox: PathBuf,
    pub(crate) systemd_root: Option<PathBuf>,
    pub(crate) parts: Vec<Part>,
    pub(crate) only: Vec<String>,
    /// Cases at the same time: most of each is waiting.
    pub(crate) jobs: usize,
    /// In a test guest, where an emulated CPU takes its time.
    pub(crate) guest: bool,
}

impl Options {
    pub(crate) fn wants(&self, part: Part, name: &str) -> bool {
        if !self.only.is_empty() {
            return self.only.iter().any(|only| only == name);
        }
        self.parts.is_empty() || self.parts.contains(&part)
    }

    /// How long one command of a runtime may take.
    pub(crate) fn command_limit(&self) -> Duration {
        Duration::from_secs(if self.guest { 180 } else { 60 })
    }

    /// How long the last word about a death may take, where nothing is wrong: the tracer itself waits
    /// for a runtime's word for half a minute.
    pub(crate) fn record_limit(&self) -> Duration {
        Duration::from_secs(if self.guest { 60 } else { 40 })
    }
}

pub(crate) fn parse(args: impl Iterator<Item = String>) -> Result<Action> {
    let mut args = args;
    let guest = env::var_os("OOMTRACE_GUEST").is_some_and(|value| value == "1");
    let mut options = Options {
        tracer: PathBuf::new(),
        busybox: "/bin/busybox".into(),
        systemd_root: None,
        parts: Vec::new(),
        only: Vec::new(),
        jobs: if guest { 2 } else { 6 },
        guest,
    };
    while let Some(arg) = args.next() {
        let mut value = || args.next().with_context(|| format!("{arg} wants a value"));
        match arg.as_str() {
            "--list" => return Ok(Action::List),
            IN_CGROUP_NAMESPACE => return Ok(Action::InCgroupNamespace(args.collect())),
            "--tracer" => options.tracer = value()?.into(),
            "--busybox" => options.busybox = value()?.into(),
            "--systemd-root" => options.systemd_root = Some(value()?.into()),
            "--only" => options.only.push(value()?),
            "--jobs" => options.jobs = value()?.parse().context("--jobs wants a number")?,
            "--part" => {
                for name in value()?.split(',') {
                    let part = Part::of(name).with_context(|| format!("there is no part {name:?}"));
                    options.parts.push(part?);
                }
            }
            _ => bail!("there is no option {arg:?}"),
        }
    }
    if options.tracer.as_os_str().is_empty() {
        bail!("--tracer is needed");
    }
    if options.jobs == 0 {
        bail!("--jobs 0 would run nothing");
    }
    Ok(Action::Run(options))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(args: &str) -> Result<Options> {
        match parse(args.split_whitespace().map(str::to_owned))? {
            Action::Run(options) => Ok(options),
            Action::List | Action::InCgroupNamespace(_) => bail!("no run"),
        }
    }

    #[test]
    fn parts_and_cases_are_picked() -> Result<()> {
        let options = run("--tracer t --part cri,docker --part runc")?;
        assert!(options.wants(Part::Runc, "x"));
        assert!(!options.wants(Part::Podman, "x"));
        assert!(run("--tracer t")?.wants(Part::Podman, "x"));
        let options = run("--tracer t --part cri --only a")?;
        assert!(options.wants(Part::Docker, "a"));
        assert!(!options.wants(Part::Cri, "b"));
        Ok(())
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        for args in [
            "",
            "--tracer",
            "--tracer t --part magic",
            "--tracer t --jobs 0",
            "--tracer t x",
        ] {
            assert!(run(args).is_err(), "{args}");
        }
    }
}
