//! oomtrace's own unit, as it is delivered, under the systemd that the other cases use: with all
//! its restrictions it starts, sees who kills, and ends well.

use std::{
    fs::{self, File},
    io::Write as _,
    process::Stdio,
};

use anyhow::{Context as _, Result, bail};

use super::{
    Case, Part,
    systemd::{KILLED, Unit, main},
};
use crate::{scene::Scene, tools};

pub(crate) const CASES: &[Case] = &[Case::new("systemd-own-unit", Part::Systemd, own_unit)];

const UNIT: &str = include_str!("../../../../deploy/systemd/oomtrace.service");
/// What the unit lets it have, by their bits: CAP_DAC_READ_SEARCH, CAP_SYS_PTRACE, CAP_SYSLOG,
/// CAP_PERFMON and CAP_BPF of capabilities(7).
const CAPABILITIES: u64 = 1 << 2 | 1 << 19 | 1 << 34 | 1 << 38 | BPF;
/// What its main thread keeps of that.
const BPF: u64 = 1 << 39;
/// Where systemd has the BPF file system.
const BPF_MOUNT: &str = "/sys/fs/bpf";
/// Ten times the level that systemd finds; newer releases look for more.
const MOST_EXPOSED: u32 = 35;

/// It is removed when it goes out of scope.
struct Service<'a> {
    scene: &'a Scene<'a>,
    name: String,
    folder: String,
    /// Where its programs are pinned.
    pins: String,
}

impl Drop for Service<'_> {
    fn drop(&mut self) {
        let _ = self.systemctl(&["stop", &self.name]);
        let _ = self.oomtrace(&["detach", &self.pins]);
        let file = format!("/run/systemd/system/{}", self.name);
        let _ = self.run("rm", &["-rf", &file, &self.folder]);
        let _ = self.systemctl(&["reset-failed", &self.name]);
        let _ = self.systemctl(&["daemon-reload"]);
    }
}

impl<'a> Service<'a> {
    fn start(scene: &'a Scene<'a>) -> Result<Self> {
        let name = format!("{}-tracer", scene.unique());
        let service = Self {
            scene,
            folder: format!("/var/lib/{name}"),
            pins: format!("{BPF_MOUNT}/{name}"),
            name: format!("{name}.service"),
        };
        // systemd mounts it, but not in a container.
        let mount = format!("mountpoint -q {BPF_MOUNT} || mount -t bpf bpf {BPF_MOUNT}");
        service.run("sh", &["-c", &mount])?;
        let binary = format!("{}/oomtrace", service.folder);
        service.run("mkdir", &["-p", &service.folder])?;
        let tracer = &scene.ground.options.tracer;
        let tracer = File::open(tracer).with_context(|| format!("{}", tracer.display()))?;
        service.write(&binary, Stdio::from(tracer), None)?;
        service.run("chmod", &["755", &binary])?;
        // Beside one that may be installed.
        let options = format!("--listen 127.0.0.1:0 --store {}/deaths.db", service.folder);
        let mut unit = UNIT.to_owned();
        for (from, to) in [
            ("/usr/bin/oomtrace", binary.as_str()),
            ("StateDirectory=oomtrace", &format!("StateDirectory={name}")),
            ("EnvironmentFile=", "#"),
            ("/sys/fs/bpf/oomtrace", &service.pins),
            (
                "--pin $OOMTRACE_OPTIONS",
                &format!("--pin={} {options}", service.pins),
            ),
        ] {
            if !unit.contains(from) {
                bail!("the unit does not say {from}");
            }
            unit = unit.replace(from, to);
        }
        let file = format!("/run/systemd/system/{}", service.name);
        service.write(&file, Stdio::piped(), Some(&unit))?;
        service.systemctl(&["daemon-reload"])?;
        // It comes back when the service says that it is ready.
        service.systemctl(&["start", &service.name])?;
        Ok(service)
    }

    fn run(&self, program: &str, args: &[&str]) -> Result<String> {
        let mut command = self.scene.ground.place.systemd.command(program);
        tools::output(command.args(args), self.scene.limit())
    }

    fn systemctl(&self, args: &[&str]) -> Result<String> {
        self.run("systemctl", args)
    }

    /// Where systemd sees it.
    fn write(&self, path: &str, from: Stdio, text: Option<&str>) -> Result<()> {
        let mut sh = self.scene.ground.place.systemd.command("sh");
        sh.args(["-c", "cat >\"$1\"", "sh", path]);
        let mut child = sh.stdin(from).spawn().context("sh")?;
        if let (Some(text), Some(mut stdin)) = (text, child.stdin.take()) {
            stdin.write_all(text.as_bytes())?;
        }
        let status = child.wait()?;
        if !status.success() {
            bail!("{path} cannot be written: {status}");
        }
        Ok(())
    }

    fn oomtrace(&self, args: &[&str]) -> Result<String> {
        self.run(&format!("{}/oomtrace", self.folder), args)
    }

    fn property(&self, name: &str) -> Result<String> {
        self.systemctl(&["show", "--value", "--property", name, &self.name])
    }

    /// What it has written to the journal.
    fn journal(&self) -> Result<String> {
        let unit = format!("--unit={}", self.name);
        self.run("journalctl", &[&unit, "--output=cat", "--no-pager"])
    }

    fn says(&self, what: &str, words: &[&str]) -> Result<()> {
        let limit = self.scene.ground.options.record_limit();
        tools::wait(what, limit, || {
            let journal = self.journal().ok()?;
            let is_it = |line: &str| words.iter().all(|word| line.contains(word));
            journal.lines().any(is_it).then_some(())
        })
        .with_context(|| self.journal().unwrap_or_default())
    }

    fn main_pid(&self) -> Result<i32> {
        let mark = format!("/{}", self.name);
        let of_it = |process: &tools::Process| {
            process.comm == "oomtrace" && tools::cgroup_text(process.pid).contains(&mark)
        };
        let found = tools::processes().into_iter().find(of_it);
        Ok(found.context("the unit's tracer")?.pid)
    }
}

fn own_unit(scene: &Scene) -> Result<()> {
    let service = Service::start(scene)?;
    // Both say what they dislike by their status.
    service.run("systemd-analyze", &["verify", &service.name])?;
    let exposure = format!("--threshold={MOST_EXPOSED}");
    let security = ["security", "--no-pager", &exposure, &service.name];
    service.run("systemd-analyze", &security)?;
    let status = service.property("StatusText")?;
    if !status.starts_with("Tracing: ") {
        scene.differs(format!("its status: {status}"));
    }
    let proc = fs::read_to_string(format!("/proc/{}/status", service.main_pid()?))?;
    let field = |name: &str| {
        let line = proc.lines().find_map(|line| line.strip_prefix(name));
        line.map(str::trim).unwrap_or_default()
    };
    let bits = |name: &str| u64::from_str_radix(field(name), 16);
    for (what, is_so) in [
        // It may not change this set.
        ("what it could have", bits("CapBnd:")? == CAPABILITIES),
        ("what it has kept", bits("CapPrm:")? == BPF),
        ("what is in force", bits("CapEff:")? == BPF),
        ("no new privileges", field("NoNewPrivs:") == "1"),
        ("a filter of system calls", field("Seccomp:") == "2"),
    ] {
        if !is_so {
            scene.differs(format!("{what}: {proc}"));
        }
    }

    let unit = Unit::run(scene, &[], "exec sleep 1000")?;
    let sleep = unit.process("sleep")?;
    unit.systemctl(&["kill", "--signal=KILL", &unit.name])?;
    let expected = main("sleep", sleep, KILLED).by("systemd");
    scene.deaths(&unit.subject(), &[expected]);
    let pid = format!("\"pid\":{sleep},");
    let words = ["\"type\":\"death\"", "supervisor_kill", &pid];
    service.says("the death in the journal", &words)?;

    // Its own folder is what it can write to; it does so within a second.
    let stored = format!("{}/deaths.db", service.folder);
    let is_stored = || service.run("test", &["-s", &stored]).ok();
    tools::wait("a store with something in it", scene.limit(), is_stored)?;

    while_it_is_away(scene, &service)?;
    // A stop sets it back.
    let restarts = service.property("NRestarts")?;
    if restarts != "1" {
        scene.differs(format!("{restarts} restarts: {}", service.journal()?));
    }

    service.systemctl(&["stop", &service.name])?;
    service.says(
        "the end in the journal",
        &["\"type\":\"stopped\"", "\"lost\":0", "\"pinned\":true"],
    )?;
    let detached = service.oomtrace(&["detach", &service.pins])?;
    if !detached.contains("detached and removed") {
        scene.differs(format!("detach: {detached}"));
    }
    for (name, wanted) in [("Result", "success"), ("ExecMainStatus", "0")] {
        let is = service.property(name)?;
        if is != wanted {
            scene.differs(format!("{name} is {is}: {}", service.journal()?));
        }
    }
    Ok(())
}

/// It is killed, and what dies before systemd has started it again is told then.
fn while_it_is_away(scene: &Scene, service: &Service<'_>) -> Result<()> {
    const SLEEP: &str = "1001.25";
    let tracer = service.main_pid()?;
    service.systemctl(&["kill", "--kill-who=main", "--signal=KILL", &service.name])?;
    let is_gone = || (!fs::exists(format!("/proc/{tracer}")).unwrap_or(true)).then_some(());
    tools::wait("the end of the tracer", scene.limit(), is_gone)?;
    let script =
        format!("sleep {SLEEP} & until grep -qx sleep /proc/$!/comm; do :; done; kill -9 $!");
    service.run("sh", &["-c", &script])?;
    service.says("its programs' own time", &["\"tracing_since\":"])?;
    let argv = format!("\"argv\":[\"sleep\",\"{SLEEP}\"]");
    let words = ["\"type\":\"death\"", "manual_kill", &argv];
    service.says("a death that came before it", &words)
}
