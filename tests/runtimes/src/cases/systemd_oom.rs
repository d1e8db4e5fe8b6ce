//! systemd and OOM kills: what it does with the rest of the unit, and its own daemon. The memory
//! of units is only accounted for on cgroup v2.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::Result;
use oomtrace_scenarios::check::{Death, Is};

use super::{
    Case, LIMIT_BYTES, OOM, Part,
    systemd::{Unit, child, main},
};
use crate::{
    scene::{Scene, Skipped},
    subject::{Expected, Subject},
    systemd::Systemd,
    tools,
};

pub(crate) const CASES: &[Case] = &[
    Case::new("systemd-oom-stop", Part::Systemd, policy_stop),
    Case::new("systemd-oom-kill", Part::Systemd, policy_kill),
    Case::new("systemd-oom-continue", Part::Systemd, policy_continue),
    Case::new("systemd-oom-group", Part::Systemd, group),
    Case::new("systemd-oomd", Part::Systemd, oomd),
];

/// The main process and one of its children stay, whatever they are asked; another child waits for
/// the file `$GO`, and is chosen.
const CROWD: &str = "trap '' TERM
    sleep 1000 &
    (until [ -e $GO ]; do sleep 0.1; done; exec tail /dev/zero) &
    while :; do wait; done";
const SETTLE: Duration = Duration::from_secs(2);

const CHOSEN: Death = OOM;
const WITH_IT: Death = Death::of("cgroup_oom", "oom_group")
    .actor("kernel")
    .evidence(&["oom_group"])
    .fields(&[("/oom/role", Is::Text("group"))]);
const REST: Death = Death::of("stop_timeout", "kill")
    .or("pidfd_send_signal")
    .actor("service_manager")
    .stop("ignored")
    .evidence(&["unit_oom"]);
/// systemd saw the first kill before the kernel came to this one.
const REST_SOONER: Death = Death::of("supervisor_kill", "kill")
    .or("pidfd_send_signal")
    .actor("service_manager")
    .evidence(&["unit_oom"]);

/// A unit with a limit, and its main process.
struct Crowd<'a> {
    unit: Unit<'a>,
    main: i32,
    go: PathBuf,
}

impl<'a> Crowd<'a> {
    fn run(scene: &'a Scene, policy: &str) -> Result<Self> {
        if scene.ground.place.cgroup_v1 {
            return skip("the memory of units is not accounted for on cgroup v1");
        }
        if !Systemd::is_real() {
            return skip("process 1 is not systemd");
        }
        let go = scene.ground.place.folder.join(scene.name);
        let limit = format!("MemoryMax={LIMIT_BYTES}");
        let variable = format!("Environment=GO={}", go.display());
        let properties = [
            &limit,
            "MemorySwapMax=0",
            "TimeoutStopSec=2",
            &variable,
            policy,
        ];
        let unit = Unit::run(scene, &properties, CROWD)?;
        let main = unit.systemctl(&["show", "--property=MainPID", "--value", &unit.name])?;
        let main = main.trim().parse()?;
        Ok(Self { unit, main, go })
    }

    /// Lets the one child go on.
    fn go(&self) -> Result<()> {
        Ok(fs::write(&self.go, "")?)
    }

    fn chosen() -> Expected {
        child("tail", CHOSEN)
            .with("/oom/levels/0/of", "unit")
            .with("/oom/limit_of", "unit")
    }
}

fn skip<T>(why: &str) -> Result<T> {
    Err(Skipped(why.to_owned()).into())
}

/// systemd ends the rest, by its usual way to stop a unit.
fn policy_stop(scene: &Scene) -> Result<()> {
    let crowd = Crowd::run(scene, "OOMPolicy=stop")?;
    crowd.go()?;
    let expected = [
        Crowd::chosen(),
        main("sh", crowd.main, REST).by("systemd").caused_by(0),
        child("sleep", REST).by("systemd").caused_by(0),
    ];
    scene.deaths(&crowd.unit.subject(), &expected);
    Ok(())
}

/// The kernel kills them all together, and systemd kills who is still there.
fn policy_kill(scene: &Scene) -> Result<()> {
    killed_together(scene, &Crowd::run(scene, "OOMPolicy=kill")?)
}

/// The same, as whoever sets it without systemd.
fn group(scene: &Scene) -> Result<()> {
    let crowd = Crowd::run(scene, "OOMPolicy=continue")?;
    let cgroup = format!("/sys/fs/cgroup/system.slice/{}", crowd.unit.name);
    fs::write(format!("{cgroup}/memory.oom.group"), "1")?;
    killed_together(scene, &crowd)
}

fn killed_together(scene: &Scene, crowd: &Crowd) -> Result<()> {
    crowd.go()?;
    let expected = [
        Crowd::chosen(),
        main("sh", crowd.main, WITH_IT).or(REST_SOONER),
        child("sleep", WITH_IT).or(REST_SOONER),
    ];
    scene.deaths(&crowd.unit.subject(), &expected);
    Ok(())
}

/// Nobody else is ended.
fn policy_continue(scene: &Scene) -> Result<()> {
    let crowd = Crowd::run(scene, "OOMPolicy=continue")?;
    crowd.go()?;
    let subject = crowd.unit.subject();
    scene.deaths(&subject, &[Crowd::chosen()]);
    thread::sleep(SETTLE);
    scene.deaths(&subject, &[Crowd::chosen()]);
    crowd.unit.systemctl(&["is-active", &crowd.unit.name])?;
    Ok(())
}

/// Who writes its own rules for a slice is watched by systemd-oomd, which wants swap.
fn oomd(scene: &Scene) -> Result<()> {
    const SLICE: &str = "oomtracehog.slice";
    const BY_OOMD: Death = Death::of("userspace_oom", "kill")
        .or("pidfd_send_signal")
        .or("cgroup_kill")
        .actor("oom_daemon");
    if !Systemd::is_real() {
        return skip("process 1 is not systemd");
    }
    if fs::read_to_string("/proc/swaps")?.lines().count() < 2 {
        return skip("systemd-oomd kills nobody where there is no swap");
    }
    if !Path::new("/usr/lib/systemd/systemd-oomd").exists() {
        return skip("systemd-oomd is not installed");
    }
    let put = |path: &str, text: &str| -> Result<()> {
        let path = Path::new("/run/systemd").join(path);
        fs::create_dir_all(path.parent().unwrap_or(&path))?;
        Ok(fs::write(path, text)?)
    };
    let rules = "[Slice]\nManagedOOMMemoryPressure=kill\nManagedOOMMemoryPressureLimit=1%\n";
    put(&format!("system/{SLICE}"), rules)?;
    let patience = "[OOM]\nDefaultMemoryPressureDurationSec=2s\n";
    put("oomd.conf.d/oomtrace.conf", patience)?;
    let systemctl =
        |args: &[&str]| tools::output(tools::command("systemctl").args(args), scene.limit());
    systemctl(&["daemon-reload"])?;
    systemctl(&["restart", "systemd-oomd.service"])?;
    let slice = format!("Slice={SLICE}");
    let unit = Unit::run(scene, &[&slice, "MemoryHigh=60M"], "exec tail /dev/zero")?;
    let expected = Expected::new("tail", BY_OOMD)
        .by("systemd-oomd")
        .with("/sender/comm", "systemd-oomd")
        .with("/victim/role", "unit_main");
    let subject = Subject::unit(&unit.name).with("/unit/slice", SLICE);
    scene.deaths(&subject, &[expected]);
    Ok(())
}
