//! earlyoom: it asks, and kills when memory gets shorter still. That is no stop timeout: whoever
//! it is, it is killed because memory ran out.
//!
//! It is run in the container's PID namespace, so that it can choose nobody else; memory is not
//! short then, it is only told so.

use std::{fs, io::Write as _, path::PathBuf, thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use oomtrace_scenarios::{
    check::{Death, Is},
    run::Program,
};

use super::{Case, Part, docker::Container};
use crate::{
    scene::{Scene, Skipped},
    subject::Expected,
    tools,
};

pub(crate) const CASES: &[Case] = &[
    Case::new("earlyoom-term-kill", Part::Docker, term_then_kill),
    Case::new("earlyoom-kill", Part::Docker, kill),
];

/// Process 1, which earlyoom leaves alone, and a child that ignores SIGTERM and that the kernel
/// would choose, too.
const LARGE: &str =
    "(trap '' TERM; echo 1000 >/proc/self/oom_score_adj; exec sleep 1000) & while :; do wait; done";

/// In percent of the memory.
const ASKS_BELOW: u64 = 50;
const KILLS_BELOW: u64 = 25;

const BY_DAEMON: Death = Death::of("userspace_oom", "kill")
    .or("pidfd_send_signal")
    .actor("oom_daemon");

/// It is ended when it goes out of scope.
struct Daemon {
    nsenter: Program,
    meminfo: PathBuf,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // nsenter waits for earlyoom, and passes signals on to nobody.
        let parent = self.nsenter.id() as i32;
        for child in tools::processes() {
            if child.parent == parent {
                // SAFETY: kill(2) takes numbers only; nsenter has not reaped its child yet.
                unsafe { libc::kill(child.pid, libc::SIGTERM) };
            }
        }
        let _ = fs::remove_file(&self.meminfo);
    }
}

impl Daemon {
    /// Starts it where it sees the processes of one PID namespace alone.
    fn start(scene: &Scene, init: i32, available_percent: u64) -> Result<Self> {
        let meminfo = scene.ground.place.folder.join(scene.name);
        fs::write(&meminfo, memory(available_percent)?)?;
        let script = format!(
            "mount -t proc proc /proc && mount --bind {} /proc/meminfo && \
             exec earlyoom -m {ASKS_BELOW},{KILLS_BELOW} -s 100,100 -r 0",
            meminfo.display()
        );
        let mut command = tools::command("nsenter");
        command.args(["--target", &init.to_string(), "--pid"]);
        command.args(["unshare", "--mount", "sh", "-c", &script]);
        Ok(Self {
            nsenter: Program::start(&mut command)?,
            meminfo,
        })
    }

    /// In place: it keeps the file open, and never sees half of it.
    fn tell(&self, available_percent: u64) -> Result<()> {
        let mut file = fs::OpenOptions::new().write(true).open(&self.meminfo)?;
        Ok(file.write_all(memory(available_percent)?.as_bytes())?)
    }

    fn said(&self, words: &str, limit: Duration) -> bool {
        let found = self.nsenter.wait_for_stderr(limit, |lines| {
            lines.iter().any(|line| line.contains(words)).then_some(())
        });
        found.is_some()
    }
}

/// This machine's `/proc/meminfo`, with another part of it available.
fn memory(available_percent: u64) -> Result<String> {
    let real = fs::read_to_string("/proc/meminfo")?;
    let total_kb: u64 = real
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|rest| rest.trim().strip_suffix(" kB"))
        .context("no MemTotal")?
        .parse()?;
    let available_kb = total_kb * available_percent / 100;
    let number = |name: &str, kb: u64| format!("{name}:{kb:>17} kB\n");
    let line = |line: &str| match line.split_once(':') {
        Some(("MemAvailable", _)) => number("MemAvailable", available_kb),
        // Newer ones take it for what is in use.
        Some(("AnonPages", _)) => number("AnonPages", total_kb - available_kb),
        Some((name, rest)) => format!("{name}:{:>20}\n", rest.trim()),
        None => String::new(),
    };
    Ok(real.lines().map(line).collect())
}

fn expected(large: i32, row: Death) -> Expected {
    Expected::child("sleep", row)
        .pid(large)
        .by("earlyoom")
        .with("/sender/comm", "earlyoom")
        .with("/sender/container", Is::Null)
        .with("/outcome/container_survived", true)
}

/// It asks, and memory gets shorter still.
fn term_then_kill(scene: &Scene) -> Result<()> {
    const ASKED: Death = BY_DAEMON.stop("ignored").fields(&[
        ("/stop/signal", Is::Text("SIGTERM")),
        ("/stop/grace_ms", Is::AtLeast(400)),
    ]);
    let (container, large) = container(scene)?;
    let daemon = Daemon::start(scene, container.init()?, ASKS_BELOW - 1)?;
    ensure!(
        daemon.said("sending SIGTERM", scene.limit()),
        "it did not ask"
    );
    thread::sleep(Duration::from_millis(500));
    daemon.tell(KILLS_BELOW - 1)?;
    scene.deaths(&container.subject(), &[expected(large, ASKED)]);
    Ok(())
}

fn kill(scene: &Scene) -> Result<()> {
    const AT_ONCE: Death = BY_DAEMON.fields(&[("/stop", Is::Null)]);
    let (container, large) = container(scene)?;
    let _daemon = Daemon::start(scene, container.init()?, KILLS_BELOW - 1)?;
    scene.deaths(&container.subject(), &[expected(large, AT_ONCE)]);
    Ok(())
}

/// With the process that is to be chosen.
fn container<'a>(scene: &'a Scene) -> Result<(Container<'a>, i32)> {
    if !tools::is_there("earlyoom") {
        return Err(Skipped("earlyoom is not installed".to_owned()).into());
    }
    let container = Container::run(scene, &[], &["sh", "-c", LARGE])?;
    let (_, large) = container.init_and("sleep")?;
    Ok((container, large))
}
