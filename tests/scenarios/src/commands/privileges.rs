//! Privileges that are let go of once every hook is attached: what each thread has kept, and that
//! all works with it.

use std::{
    fs,
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _, chown},
        process::CommandExt as _,
    },
    path::Path,
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::{
    Case, NOBODY,
    exec::{command, ended_with},
    history::{Place, ask},
    listen::{free_address, get, within},
    rules::{acme, read_again},
};
use crate::{
    cli::Options,
    death, fixture,
    run::Program,
    tracer::{Start, Tracer},
};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "privileges-of-run",
        run: of_run,
    },
    Case {
        name: "privileges-of-a-users-store",
        run: of_a_users_store,
    },
    Case {
        name: "privileges-of-exec",
        run: of_exec,
    },
];

/// Capabilities by their bits, as capabilities(7) has them.
const CHOWN: u64 = 1;
const DAC_OVERRIDE: u64 = 1 << 1;
const DAC_READ_SEARCH: u64 = 1 << 2;
const KILL: u64 = 1 << 5;
const SETPCAP: u64 = 1 << 8;
const SYS_PTRACE: u64 = 1 << 19;
const SYSLOG: u64 = 1 << 34;
const BPF: u64 = 1 << 39;

/// The kernel's log has ten of these in five seconds at the most, and others may have had them.
const OOM_KILLS: usize = 4;

/// A line of `/proc/PID/status` (or of a thread's), in hexadecimal.
fn field(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let value = line.and_then(|line| u64::from_str_radix(line.trim(), 16).ok());
    value.unwrap_or(u64::MAX)
}

fn own_status() -> Result<String> {
    Ok(fs::read_to_string("/proc/self/status")?)
}

/// What the threads of a name may keep, and the main one must.
type Allowed<'a> = &'a [(&'a str, u64)];

/// What is wrong with the privileges of a process's threads; one that is just being started has
/// those of the one that starts it.
fn too_much(pid: u32, allowed: Allowed<'_>) -> Result<Vec<String>> {
    let own = field(&own_status()?, "CapEff:");
    let mut problems = Vec::new();
    let mut seen = Vec::new();
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let folder = thread?.path();
        // It may have ended.
        let [Ok(status), Ok(name)] =
            ["status", "comm"].map(|file| fs::read_to_string(folder.join(file)))
        else {
            continue;
        };
        let name = name.trim();
        let bound = if own & SETPCAP == 0 { own } else { 0 };
        let allowed = allowed.iter().find(|(known, _)| *known == name);
        let Some((_, allowed)) = allowed else {
            problems.push(format!("nobody knows the thread {name}"));
            continue;
        };
        seen.push(name.to_owned());
        let kept = field(&status, "CapPrm:");
        let is_main = folder.ends_with(pid.to_string());
        let is_right = kept & !allowed == 0
            && (kept == allowed & own || !is_main)
            && field(&status, "CapEff:") == kept
            && field(&status, "CapInh:") == 0
            && field(&status, "CapAmb:") == 0
            && field(&status, "CapBnd:") & !bound == 0
            && field(&status, "NoNewPrivs:") == 1;
        if !is_right {
            let of_it = |line: &&str| line.starts_with("Cap") || line.starts_with("NoNewPrivs");
            let status: Vec<&str> = status.lines().filter(of_it).collect();
            problems.push(format!("{name} is to keep {allowed:x}: {status:?}"));
        }
    }
    let missing = allowed.iter().find(|(name, _)| {
        // It is there while files are read.
        *name != "oomtrace-read" && !seen.iter().any(|seen| seen == name)
    });
    problems.extend(missing.map(|(name, _)| format!("there is no thread {name}")));
    Ok(problems)
}

/// The same, once all threads have got so far.
fn check_threads(options: &Options, pid: u32, allowed: Allowed<'_>) -> Result<Vec<String>> {
    let mut last = Ok(Vec::new());
    within(options.record_limit(), || {
        last = too_much(pid, allowed);
        last.as_ref().is_ok_and(Vec::is_empty)
    });
    last
}

/// Those that ask runtimes may connect to users' sockets, where there are some.
fn of_asking() -> u64 {
    let users = fs::read_dir("/run/user").into_iter().flatten().flatten();
    let has_socket = |user: fs::DirEntry| {
        let names = ["docker.sock", "podman/podman.sock"];
        names.iter().any(|name| user.path().join(name).exists())
    };
    let override_it = users.into_iter().any(has_socket);
    SYS_PTRACE | DAC_READ_SEARCH | if override_it { DAC_OVERRIDE } else { 0 }
}

/// A folder that only another user may look into.
fn give_to_nobody(folder: &Path) -> Result<()> {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
    chown(folder, Some(NOBODY), Some(NOBODY)).context("give a folder away")
}

/// All of it at once: store, metrics, rules that are read again, kernel functions by name, and
/// what the kernel's log says.
fn of_run(options: &Options) -> Result<Vec<String>> {
    let place = Place::new("privileges")?;
    let home = Place::new("privileges-home")?;
    let rules = home.0.join("rules.toml");
    fs::write(&rules, "")?;
    give_to_nobody(&home.0)?;
    let at = free_address()?;
    let mut command = Command::new(&options.tracer);
    command.args(["run", "--output", "json", "--store", &place.store()]);
    command
        .arg(format!("--listen={at}"))
        .arg("--rules")
        .arg(&rules);
    // SAFETY: setsid(2) is safe to call there, and nothing is allocated.
    unsafe {
        // Without a terminal, whose end SIGHUP tells.
        command.pre_exec(|| {
            libc::setsid();
            Ok(())
        });
    }
    let (tracer, started) = match Tracer::start_as(&mut command)? {
        Start::Running(tracer, started) => (tracer, started),
        Start::Lacking(reason) => bail!("the tracer cannot run here: {reason}"),
    };
    let mut problems = check_threads(
        options,
        tracer.id(),
        &[
            ("oomtrace", BPF | DAC_READ_SEARCH),
            ("oomtrace-work", SYSLOG | SYS_PTRACE | BPF),
            ("oomtrace-ask", of_asking()),
            ("oomtrace-read", of_asking()),
            ("oomtrace-memory", SYS_PTRACE | DAC_READ_SEARCH),
            ("oomtrace-node", SYS_PTRACE | DAC_READ_SEARCH),
            ("oomtrace-store", 0),
            ("oomtrace-http", 0),
        ],
    )?;
    let mut pids = Vec::new();
    let mut die = |wanted: &str| -> Result<Value> {
        let report = fixture::run(options, "app-kill", &[])?;
        let pid = report.victims().next().context("a victim")?.pid;
        pids.push(pid);
        final_death(options, &tracer, pid).with_context(|| format!("a death by {wanted}"))
    };
    let death = die("app_kill")?;
    if death["cause"] != "app_kill" {
        problems.push(format!("not app_kill: {death}"));
    }
    if started["hooks"]["symbols"] == true && !death["kernel_stack"].to_string().contains("kill") {
        problems.push(format!("kernel functions have no names: {death}"));
    }
    fs::write(&rules, acme(options)?)?;
    read_again(options, &tracer)?;
    let death = die("supervisor_kill")?;
    if death["cause"] != "supervisor_kill" {
        problems.push(format!("the rules were not read again: {death}"));
    }
    problems.extend(of_oom(options, &tracer, &started)?);
    let counted = |cause: &str| {
        let line =
            format!("oomtrace_deaths_total{{cause=\"{cause}\",namespace=\"\",container=\"\"}} ");
        within(options.record_limit(), || {
            let page = get(at, "/metrics").unwrap_or_default();
            let count = page.lines().find_map(|text| text.strip_prefix(&line));
            count.is_some_and(|count| count.parse::<u64>().is_ok_and(|count| count > 0))
        })
    };
    for cause in ["app_kill", "supervisor_kill"] {
        if !counted(cause) {
            problems.push(format!("metrics do not count {cause}"));
        }
    }
    tracer.signal(libc::SIGTERM);
    problems.extend(tracer.wait(options.program_limit())?.problems());
    problems.extend(not_stored(options, &place.store(), &pids)?);
    Ok(problems)
}

/// The last revision of a victim's death.
fn final_death(options: &Options, tracer: &Tracer, pid: i32) -> Result<Value> {
    let is_there = |records: &[Value]| death::is_complete(&death::of(records, pid));
    if !tracer.wait_for(0, options.record_limit(), is_there) {
        bail!("the death of {pid} was not written");
    }
    let records = tracer.records(0);
    let last = death::of(&records, pid).last().copied().cloned();
    last.context("a death")
}

/// An OOM kill, with what the kernel's log says of it, where that can be read.
fn of_oom(options: &Options, tracer: &Tracer, started: &Value) -> Result<Vec<String>> {
    let absent = started["absent"].as_array().into_iter().flatten();
    let has_log = !absent
        .filter_map(|one| one["what"].as_str())
        .any(|what| what.contains("/dev/kmsg"));
    let mut last = Value::Null;
    for _ in 0..OOM_KILLS {
        let report = fixture::run(options, "cgroup-oom", &[])?;
        let Some(victim) = report.victims().next().filter(|_| report.skipped.is_none()) else {
            // No cgroups of memory here.
            return Ok(Vec::new());
        };
        last = final_death(options, tracer, victim.pid)?;
        let from_log = last["evidence"]
            .as_array()
            .is_some_and(|all| all.iter().any(|one| one["source"] == "kmsg"));
        if last["cause"] == "cgroup_oom" && (from_log || !has_log) {
            return Ok(Vec::new());
        }
    }
    Ok(vec![format!("the kernel's log is not read: {last}")])
}

fn not_stored(options: &Options, store: &str, pids: &[i32]) -> Result<Vec<String>> {
    let args = ["list", "--all", "--store", store, "--output", "json"];
    let listed = ask(options, &args)?;
    let is_stored = |pid: &i32| {
        let is_of = |line: &String| {
            serde_json::from_str::<Value>(line).is_ok_and(|death| death["victim"]["pid"] == *pid)
        };
        listed.stdout.iter().any(is_of)
    };
    let missing = pids.iter().find(|pid| !is_stored(pid));
    Ok(missing
        .map(|pid| format!("the death of {pid} is not stored: {listed}"))
        .into_iter()
        .collect())
}

/// A store in a user's home is written there, and its journal is the user's as the file is.
fn of_a_users_store(options: &Options) -> Result<Vec<String>> {
    let home = Place::new("privileges-store")?;
    give_to_nobody(&home.0)?;
    let mut problems = Vec::new();
    // In a folder of the user's, and then in a file of the user's as well.
    for allowed in [DAC_OVERRIDE, DAC_OVERRIDE | CHOWN] {
        let args = ["--no-runtimes", "--no-memory", "--store", &home.store()];
        let mut command = Command::new(&options.tracer);
        command.args(["run", "--output", "json"]).args(args);
        let tracer = match Tracer::start_as(&mut command)? {
            Start::Running(tracer, _) => tracer,
            Start::Lacking(reason) => bail!("the tracer cannot run here: {reason}"),
        };
        problems.extend(check_threads(
            options,
            tracer.id(),
            &[
                ("oomtrace", BPF),
                ("oomtrace-work", SYSLOG | SYS_PTRACE | BPF),
                ("oomtrace-ask", 0),
                ("oomtrace-store", allowed),
            ],
        )?);
        let report = fixture::run(options, "app-kill", &[])?;
        let pid = report.victims().next().context("a victim")?.pid;
        final_death(options, &tracer, pid)?;
        if allowed & CHOWN != 0 {
            let journal = format!("{}-wal", home.store());
            let owner = || fs::metadata(&journal).ok().map(|file| file.uid());
            if !within(options.record_limit(), || owner() == Some(NOBODY)) {
                problems.push(format!("the journal belongs to {:?}", owner()));
            }
        }
        tracer.signal(libc::SIGTERM);
        problems.extend(tracer.wait(options.program_limit())?.problems());
        problems.extend(not_stored(options, &home.store(), &[pid])?);
        chown(home.store(), Some(NOBODY), Some(NOBODY))?;
    }
    Ok(problems)
}

/// The command has all that its caller has; and signals reach it when it is another user's.
fn of_exec(options: &Options) -> Result<Vec<String>> {
    const SCRIPT: &str = "trap 'exit 3' TERM; while read -r line; do echo \"$line\"; done \
                          </proc/self/status; echo ready; while :; do sleep 1; done";
    let mut problems = Vec::new();
    for user in [None, Some(NOBODY)] {
        let mut command = command(options, &[], &["sh", "-c", SCRIPT]);
        if let Some(user) = user {
            command.env("SUDO_UID", user.to_string());
            command.env("SUDO_GID", user.to_string());
        }
        let program = Program::start(&mut command)?;
        let status = program.wait_for(options.program_limit(), |lines| {
            let is_ready = lines.last().is_some_and(|line| line == "ready");
            is_ready.then(|| lines.join("\n"))
        });
        let status = status.context("the command did not start")?;
        problems.extend(check_threads(
            options,
            program.id(),
            &[
                ("oomtrace", BPF | KILL),
                ("oomtrace-work", SYSLOG | SYS_PTRACE | BPF),
                ("oomtrace-ask", of_asking()),
                ("oomtrace-read", of_asking()),
                ("oomtrace-memory", SYS_PTRACE | DAC_READ_SEARCH),
                ("oomtrace-node", SYS_PTRACE | DAC_READ_SEARCH),
            ],
        )?);
        let own = own_status()?;
        let names: &[&str] = match user {
            None => &[
                "CapPrm:",
                "CapEff:",
                "CapBnd:",
                "CapInh:",
                "CapAmb:",
                "NoNewPrivs:",
            ],
            Some(_) => &["CapBnd:", "NoNewPrivs:"],
        };
        for name in names {
            if field(&status, name) != field(&own, name) {
                problems.push(format!(
                    "{name} of the command is not its caller's: {status}"
                ));
            }
        }
        program.signal(libc::SIGTERM);
        problems.extend(ended_with(&program.wait(options.program_limit())?, 3));
    }
    Ok(problems)
}
