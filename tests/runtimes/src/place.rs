//! What this machine has. Daemons that answer at their usual sockets are used as they are; where
//! none does, own ones are started with folders of their own, and ended at the end.

use std::{
    fs,
    os::unix::{net::UnixStream, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result};

use crate::{
    cases::Part,
    cli::Options,
    cri::Cri,
    image::Layer,
    private,
    systemd::Systemd,
    tools::{self, is_there},
};

pub(crate) const DOCKER_SOCKET: &str = "/run/docker.sock";
pub(crate) const CONTAINERD_SOCKET: &str = "/run/containerd/containerd.sock";
const PODMAN_SOCKET: &str = "/run/podman/podman.sock";
/// The name of the image in every runtime.
pub(crate) const IMAGE: &str = "docker.io/library/oomtrace-busybox:1";
/// What own daemons are told to hold pods with.
const PAUSE_IMAGE: &str = "registry.k8s.io/pause:3.6";

/// How long a daemon may take from its start to its first answer.
const START_LIMIT: Duration = Duration::from_secs(120);
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// See the module.
pub(crate) struct Place {
    /// Of this run alone.
    pub(crate) folder: PathBuf,
    /// The memory controller has a hierarchy of its own.
    pub(crate) cgroup_v1: bool,
    pub(crate) systemd: Systemd,
    own: Vec<Daemon>,
    is_private: bool,
    lacks: Vec<(Part, String)>,
}

/// A daemon of our own. It is ended when it goes out of scope.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let pid = self.0.id() as i32;
        // SAFETY: kill(2) takes numbers only; the child is not reaped yet.
        unsafe { libc::kill(pid, libc::SIGTERM) };
        let ended = tools::wait("the end of a daemon", STOP_LIMIT, || {
            matches!(self.0.try_wait(), Ok(Some(_))).then_some(())
        });
        if ended.is_err() {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}

impl Place {
    /// To be called while the process has one thread.
    pub(crate) fn find(options: &Options, parts: &[Part]) -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("oomtrace-runtimes-{}", std::process::id()));
        fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
        let systemd = if Systemd::is_real() {
            Systemd::Real
        } else {
            Systemd::None
        };
        let mut place = Self {
            folder,
            cgroup_v1: Path::new("/sys/fs/cgroup/memory").is_dir(),
            systemd,
            own: Vec::new(),
            is_private: false,
            lacks: Vec::new(),
        };
        if !answers(DOCKER_SOCKET) && !answers(CONTAINERD_SOCKET) {
            private::enter(&place.folder)?;
            place.is_private = true;
            place.start_daemons(options, parts);
        }
        place.load_images(options, parts)?;
        Ok(place)
    }

    /// Why a part cannot be run here.
    pub(crate) fn lacks(&self, part: Part) -> Option<&str> {
        let found = self.lacks.iter().find(|(other, _)| *other == part);
        found.map(|(_, why)| why.as_str())
    }

    fn start_daemons(&mut self, options: &Options, parts: &[Part]) {
        let daemons = [Part::Docker, Part::Containerd, Part::Cri];
        if !parts.iter().any(|part| daemons.contains(part)) {
            return;
        }
        if let Err(error) = self.start_containerd(options) {
            for part in daemons {
                self.lacks.push((part, format!("containerd: {error:#}")));
            }
            return;
        }
        if parts.contains(&Part::Docker)
            && let Err(error) = self.start_dockerd(options)
        {
            self.lacks
                .push((Part::Docker, format!("docker: {error:#}")));
        }
    }

    fn start_containerd(&mut self, options: &Options) -> Result<()> {
        let config = self.folder.join("containerd.toml");
        // Without CAP_SYS_RESOURCE, a score cannot be lowered.
        let text = format!(
            "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\"]\nrestrict_oom_score_adj = true\n\
             sandbox_image = \"{PAUSE_IMAGE}\"\n"
        );
        fs::write(&config, text)?;
        let mut daemon = Command::new("containerd");
        daemon.arg("--config").arg(&config);
        self.start("containerd", &mut daemon)?;
        tools::wait("an answer of containerd", START_LIMIT, || {
            let mut ctr = tools::command("ctr");
            tools::output(ctr.arg("version"), options.command_limit()).ok()
        })?;
        Ok(())
    }

    fn start_dockerd(&mut self, options: &Options) -> Result<()> {
        let config = self.folder.join("docker.json");
        fs::write(&config, "{}")?;
        let mut daemon = Command::new("dockerd");
        daemon
            .arg("--config-file")
            .arg(&config)
            .args(["--containerd", CONTAINERD_SOCKET])
            .args(["--host", "unix:///run/docker.sock"])
            .args(["--iptables=false", "--bridge=none"])
            .args(["--ip-forward=false", "--ip-masq=false"]);
        self.start("dockerd", &mut daemon)?;
        tools::wait("an answer of docker", START_LIMIT, || {
            let mut docker = tools::command("docker");
            tools::output(docker.arg("version"), options.command_limit()).ok()
        })?;
        Ok(())
    }

    /// Podman has no daemon; its API is a service that systemd starts on demand, or nobody.
    fn start_podman(&mut self) -> Result<()> {
        if let Some(folder) = Path::new(PODMAN_SOCKET).parent() {
            fs::create_dir_all(folder)?;
        }
        let mut service = Command::new("podman");
        if self.cgroup_v1 {
            service.args(crate::cases::PODMAN_V1);
        }
        service.args(["system", "service", "--time=0"]);
        service.arg(format!("unix://{PODMAN_SOCKET}"));
        self.start("podman", &mut service)?;
        tools::wait("an answer of podman", START_LIMIT, || {
            answers(PODMAN_SOCKET).then_some(())
        })?;
        Ok(())
    }

    /// In a session of its own, as an init starts it, with its words in a file.
    fn start(&mut self, name: &str, command: &mut Command) -> Result<()> {
        anyhow::ensure!(is_there(name), "{name} is not installed");
        let log = fs::File::create(self.folder.join(format!("{name}.log")))?;
        // SAFETY: setsid(2) and prctl(2) are safe between fork and exec.
        unsafe {
            command.pre_exec(|| {
                libc::setsid();
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM);
                Ok(())
            });
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("start {name}"))?;
        self.own.push(Daemon(child));
        Ok(())
    }

    fn load_images(&mut self, options: &Options, parts: &[Part]) -> Result<()> {
        let layer = Layer::busybox(&options.busybox)?;
        let image = self.folder.join("image.tar");
        layer.write(&image, &[IMAGE], &["/bin/sh"])?;
        layer.unpack(&self.root())?;
        for part in parts {
            if self.lacks(*part).is_some() {
                continue;
            }
            if let Err(error) = self.load(options, *part, &layer, &image) {
                self.lacks.push((*part, format!("{error:#}")));
            }
        }
        Ok(())
    }

    fn load(&mut self, options: &Options, part: Part, layer: &Layer, image: &Path) -> Result<()> {
        let limit = options.command_limit();
        let import = |namespace: &str, image: &Path| {
            let mut ctr = tools::command("ctr");
            ctr.args(["--namespace", namespace, "image", "import"]);
            tools::output(ctr.arg(image), limit)
        };
        match part {
            Part::Docker => {
                let mut docker = tools::command("docker");
                tools::output(docker.args(["load", "--input"]).arg(image), limit)?;
            }
            Part::Containerd => {
                import("default", image)?;
            }
            Part::Cri => {
                import("k8s.io", image)?;
                let wanted = Cri::new(limit).sandbox_image()?;
                let pause = self.folder.join("pause.tar");
                layer.write(&pause, &[&wanted], &["/bin/sleep", "1000000"])?;
                import("k8s.io", &pause)?;
            }
            Part::Podman => {
                anyhow::ensure!(is_there("podman"), "podman is not installed");
                let mut podman = tools::command("podman");
                if self.cgroup_v1 {
                    podman.args(crate::cases::PODMAN_V1);
                }
                tools::output(podman.args(["load", "--input"]).arg(image), limit)?;
                if !answers(PODMAN_SOCKET) {
                    self.start_podman()?;
                }
            }
            Part::Runc => anyhow::ensure!(is_there("runc"), "runc is not installed"),
            Part::Crun => anyhow::ensure!(is_there("crun"), "crun is not installed"),
            Part::Systemd => {
                if let Systemd::None = self.systemd {
                    let root = options.systemd_root.as_ref().context(
                        "process 1 is not systemd, and there is no root file system with one",
                    )?;
                    self.systemd = Systemd::start(root, &self.folder)?;
                }
            }
        }
        Ok(())
    }

    /// The image's files, for runtimes that take a folder.
    pub(crate) fn root(&self) -> PathBuf {
        self.folder.join("root")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // The last that was started uses the others.
        while self.own.pop().is_some() {}
        self.systemd = Systemd::None;
        if self.is_private {
            private::end_all();
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn answers(socket: &str) -> bool {
    UnixStream::connect(socket).is_ok()
}
