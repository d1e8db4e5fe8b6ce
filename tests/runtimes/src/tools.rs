//! Commands of the runtimes: each has a limit, and one that fails says what it printed.

use std::{
    fs,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use oomtrace_scenarios::run::{Ended, Program};

/// Where a client would go elsewhere than to the usual socket.
const DETOURS: &[&str] = &[
    "CONTAINERD_ADDRESS",
    "CONTAINERD_NAMESPACE",
    "CONTAINER_HOST",
    "CONTAINERS_CONF",
    "DOCKER_CONTEXT",
    "DOCKER_HOST",
];
const POLL: Duration = Duration::from_millis(20);

pub(crate) fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    for name in DETOURS {
        command.env_remove(name);
    }
    command
}

/// What a command prints; one that fails is an error.
pub(crate) fn output(command: &mut Command, limit: Duration) -> Result<String> {
    let ended = ended(command, limit)?;
    if !ended.status.success() {
        bail!("{command:?}: {ended}");
    }
    Ok(ended.stdout.join("\n"))
}

/// Runs a command, whatever its status.
pub(crate) fn ended(command: &mut Command, limit: Duration) -> Result<Ended> {
    Program::run(command, limit).with_context(|| format!("{command:?}"))
}

/// Asks until there is an answer.
pub(crate) fn wait<T>(
    what: &str,
    limit: Duration,
    mut answer: impl FnMut() -> Option<T>,
) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = answer() {
            return Ok(found);
        }
        if Instant::now() > deadline {
            bail!("{what}: not within {} s", limit.as_secs());
        }
        thread::sleep(POLL);
    }
}

/// A process as `/proc/PID/stat` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    pub(crate) parent: i32,
    pub(crate) comm: String,
}

pub(crate) fn processes() -> Vec<Process> {
    let Ok(folder) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    folder
        .flatten()
        .filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok())
        .filter_map(|stat| parse_stat(&stat))
        .collect()
}

fn parse_stat(stat: &str) -> Option<Process> {
    let (pid, rest) = stat.split_once(" (")?;
    let (comm, rest) = rest.rsplit_once(") ")?;
    Some(Process {
        pid: pid.parse().ok()?,
        parent: rest.split(' ').nth(1)?.parse().ok()?,
        comm: comm.to_owned(),
    })
}

/// Waits for a child of this name.
pub(crate) fn child(parent: i32, comm: &str, limit: Duration) -> Result<i32> {
    wait(&format!("{comm} below process {parent}"), limit, || {
        processes()
            .into_iter()
            .find(|process| process.parent == parent && process.comm == comm)
            .map(|process| process.pid)
    })
}

/// Waits until a process has become its command: before that, a container's process 1 is a
/// runtime's own, which SIGTERM ends at once.
pub(crate) fn named(pid: i32, comm: &str, limit: Duration) -> Result<i32> {
    wait(&format!("{comm} as process {pid}"), limit, || {
        let is = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
        (is.trim_end() == comm).then_some(pid)
    })
}

/// A process's paths in cgroupfs; nothing of one that is gone.
pub(crate) fn cgroup_text(pid: i32) -> String {
    fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default()
}

/// Whether such a program is on the search path.
pub(crate) fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comm_may_hold_anything() {
        let process = parse_stat("12 (a) (b) S 3 12 12 0").unwrap();
        assert_eq!((process.pid, process.parent), (12, 3));
        assert_eq!(process.comm, "a) (b");
        assert_eq!(parse_stat("12"), None);
    }

    #[test]
    fn this_process_is_there() {
        let me = std::process::id() as i32;
        assert!(processes().iter().any(|process| process.pid == me));
    }

    #[test]
    fn a_failing_command_says_what_it_printed() {
        let mut sh = command("sh");
        sh.args(["-c", "echo no such luck >&2; exit 3"]);
        let error = output(&mut sh, Duration::from_secs(20)).unwrap_err();
        assert!(error.to_string().contains("no such luck"));
    }
}
