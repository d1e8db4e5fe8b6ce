//! `--scope`: whose deaths are told, whoever the sender is and wherever it stands.

use std::{
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use super::{Case, lacks, listen::within};
use crate::{
    cli::Options,
    death,
    run::Program,
    tracer::{Finished, Start, Tracer},
};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "scope-cgroup",
        run: of_cgroup,
    },
    Case {
        name: "scope-container",
        run: of_container,
    },
    Case {
        name: "scope-pod",
        run: of_pod,
    },
    Case {
        name: "scope-pod-that-pauses",
        run: of_pod_that_pauses,
    },
    Case {
        name: "scope-refused",
        run: refused,
    },
];

/// Where the memory controller's cgroups are.
fn memory_root() -> PathBuf {
    let v1 = PathBuf::from("/sys/fs/cgroup/memory");
    if v1.is_dir() {
        v1
    } else {
        PathBuf::from("/sys/fs/cgroup")
    }
}

/// A cgroup of the memory controller, right below the root.
pub(super) struct Group(PathBuf);

impl Group {
    pub(super) fn new(path: &str) -> Result<Self> {
        let path = memory_root().join(path);
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }

    /// A shell that goes in and then runs this.
    pub(super) fn shell(&self, script: &str) -> Command {
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!(
            "echo $$ > {}/cgroup.procs; {script}",
            self.0.display()
        ));
        command
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // What died in it may not be gone yet.
        let limit = Instant::now() + Duration::from_secs(5);
        while fs::remove_dir(&self.0).is_err() && Instant::now() < limit {
            thread::sleep(Duration::from_millis(10));
        }
    }
}

fn start(options: &Options, scope: &str) -> Result<Tracer> {
    running(Tracer::start_with(&options.tracer, &["--scope", scope])?)
}

fn running(start: Start) -> Result<Tracer> {
    match start {
        Start::Running(tracer, _) => Ok(tracer),
        Start::Lacking(reason) => bail!("the tracer cannot run here: {reason}"),
    }
}

/// A process that sleeps in a cgroup.
fn asleep_in(group: &Group, options: &Options) -> Result<Child> {
    waiting_in(group, SLEEP, options)
}

/// A process that waits: by the script that makes one, and its name from then on.
type Waiting = (&'static str, &'static str);

const SLEEP: Waiting = ("exec sleep 1000", "sleep");
const PAUSE: Waiting = ("printf pause > /proc/self/comm; read -r _", "pause");

/// A process in a cgroup that waits there.
fn waiting_in(group: &Group, (script, comm): Waiting, options: &Options) -> Result<Child> {
    let child = group.shell(script).stdin(Stdio::piped()).spawn()?;
    // It has its name once it is in the cgroup.
    let file = format!("/proc/{}/comm", child.id());
    let is_waiting = || fs::read_to_string(&file).is_ok_and(|name| name.trim_end() == comm);
    if !within(options.program_limit(), is_waiting) {
        bail!("the process {comm} does not wait");
    }
    Ok(child)
}

/// Ends one by SIGKILL; its pid.
fn kill(mut child: Child) -> Result<i32> {
    child.kill()?;
    child.wait()?;
    Ok(child.id() as i32)
}

/// Runs a shell to its end; its pid.
pub(super) fn run(command: &mut Command) -> Result<i32> {
    let mut child = command.spawn()?;
    let pid = child.id() as i32;
    child.wait()?;
    Ok(pid)
}

/// Compares who was told with who should be.
fn judge(options: &Options, tracer: Tracer, wanted: &[i32], others: &[i32]) -> Result<Vec<String>> {
    tracer.wait_for(0, options.record_limit(), |records| {
        wanted
            .iter()
            .all(|pid| !death::of(records, *pid).is_empty())
    });
    tracer.signal(libc::SIGTERM);
    let finished = tracer.wait(options.program_limit())?;
    Ok(differences(&finished, wanted, others))
}

fn differences(finished: &Finished, wanted: &[i32], others: &[i32]) -> Vec<String> {
    let mut problems = finished.problems();
    for pid in wanted {
        if death::of(&finished.records, *pid).is_empty() {
            problems.push(format!(
                "the death of pid {pid} is in scope and was not told"
            ));
        }
    }
    for pid in others {
        if let Some(death) = death::of(&finished.records, *pid).first() {
            problems.push(format!("out of scope, and told: {}", death["summary"]));
        }
    }
    problems
}

/// In it, below it, made again after it was gone, and by a sender from outside; not what a
/// process in it kills elsewhere.
fn of_cgroup(options: &Options) -> Result<Vec<String>> {
    let name = format!("fx-scope-{}", std::process::id());
    let inside = Group::new(&name)?;
    let outside = Group::new(&format!("{name}-not"))?;
    let tracer = start(options, &format!("cgroup:/{name}"))?;
    let mut wanted = vec![run(&mut inside.shell("kill -9 $$"))?];
    let below = Group::new(&format!("{name}/below"))?;
    wanted.push(run(&mut below.shell("kill -9 $$"))?);
    drop(below);
    wanted.push(kill(asleep_in(&inside, options)?)?);
    let mut others = vec![run(&mut outside.shell("kill -9 $$"))?];
    let mut victim = Command::new("sleep").arg("1000").spawn()?;
    let script = format!("kill -9 {}", victim.id());
    run(&mut inside.shell(&script))?;
    others.push(victim.id() as i32);
    victim.wait()?;
    drop(inside);
    let again = Group::new(&name)?;
    wanted.push(run(&mut again.shell("kill -9 $$"))?);
    judge(options, tracer, &wanted, &others)
}

/// Of a container whose cgroup comes after the tracer, and of one that is there in another
/// container's already, by the start of their ids.
fn of_container(options: &Options) -> Result<Vec<String>> {
    let outer = format!("docker/{}", "1f".repeat(32));
    let outer = Group::new(&outer)?;
    let inner = format!("docker/{}/docker/{}", "1f".repeat(32), "0f".repeat(32));
    let inner = Group::new(&inner)?;
    let tracer = start(options, "container:0f0f0f0f0f0f")?;
    let nested = run(&mut inner.shell("kill -9 $$"))?;
    let ours = format!("docker/{}", "0f".repeat(32));
    let other = format!("docker/{}", "1e".repeat(32));
    let (ours, other) = (Group::new(&ours)?, Group::new(&other)?);
    let wanted = run(&mut ours.shell("kill -9 $$"))?;
    let others = run(&mut other.shell("kill -9 $$"))?;
    let problems = judge(options, tracer, &[wanted, nested], &[others]);
    drop((ours, other, inner));
    let _ = fs::remove_dir(outer.0.join("docker"));
    drop(outer);
    let _ = fs::remove_dir(memory_root().join("docker"));
    problems
}

/// As containerd has it: the sandbox is the first, whatever runs in it.
fn of_pod(options: &Options) -> Result<Vec<String>> {
    in_pod(options, "", SLEEP)
}

/// As CRI-O has it: a sandbox that has a process is known by that process's name.
fn of_pod_that_pauses(options: &Options) -> Result<Vec<String>> {
    in_pod(options, "crio-", PAUSE)
}

/// As a sidecar, in a cgroup like a pod's, with those of a sandbox and of another container: told
/// to end, it stays until that one is gone, though its sandbox ends before.
fn in_pod(options: &Options, prefix: &str, paused: Waiting) -> Result<Vec<String>> {
    let pod = format!(
        "kubepods/pod0f0f0f0f-0f0f-0f0f-0f0f-{:012x}",
        std::process::id()
    );
    let group = |digits: &str| Group::new(&format!("{pod}/{prefix}{}", digits.repeat(32)));
    let (pause, own, app) = (group("0a")?, group("0b")?, group("0c")?);
    let outside = Group::new("kubepods/fx-scope-not")?;
    let sandbox = waiting_in(&pause, paused, options)?;
    let workload = asleep_in(&app, options)?;
    let mut command = own.shell("exec \"$0\" \"$@\"");
    command
        .arg(&options.tracer)
        .args(["run", "--no-store", "--output", "json", "--scope", "pod"]);
    let tracer = running(Tracer::start_as(&mut command)?)?;
    let others = run(&mut outside.shell("kill -9 $$"))?;
    tracer.signal(libc::SIGTERM);
    // The sandbox does not count.
    let staying = "other containers (1)";
    let is_staying = |lines: &[String]| lines.iter().any(|line| line.contains(staying));
    tracer.wait_for_stderr(options.program_limit(), is_staying);
    let mut wanted = vec![kill(sandbox)?];
    // It looks every 100 ms, and is to go on all the same.
    thread::sleep(Duration::from_millis(700));
    wanted.push(kill(workload)?);
    // By itself.
    let finished = tracer.wait(options.program_limit())?;
    let mut problems = differences(&finished, &wanted, &[others]);
    problems.extend(lacks("--scope pod", &finished.ended.stderr, &[staying]));
    drop((pause, own, app, outside));
    let _ = fs::remove_dir(memory_root().join(&pod));
    let _ = fs::remove_dir(memory_root().join("kubepods"));
    Ok(problems)
}

/// What is no scope, and a pod where there is none.
fn refused(options: &Options) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    for (scope, status, words) in [
        ("cgroup:here", 2, ["slash", "/proc/PID/cgroup"]),
        ("container:", 2, ["container:web", "nothing behind"]),
        ("pod", 1, ["in no Kubernetes pod", "do: "]),
    ] {
        let mut command = Command::new(&options.tracer);
        command.args(["run", "--scope", scope]);
        let ended = Program::run(&mut command, options.program_limit())?;
        if ended.status.code() != Some(status) || !ended.stdout.is_empty() {
            problems.push(format!("--scope {scope}: {ended}"));
        }
        problems.extend(lacks(scope, &ended.stderr, &words));
    }
    Ok(problems)
}
