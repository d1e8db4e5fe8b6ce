//! systemd: this machine's own, or one that is process 1 of namespaces of its own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result};

use crate::tools;

const SCRIPT: &str = include_str!("systemd-root.sh");
const START_LIMIT: Duration = Duration::from_secs(120);
const CGROUPS: &str = "/sys/fs/cgroup";

/// Whose units there can be.
pub(crate) enum Systemd {
    /// Process 1 of this machine is systemd.
    Real,
    /// One of our own.
    Own(Own),
    None,
}

/// It is ended when it goes out of scope, with all of its units.
pub(crate) struct Own {
    unshare: Child,
    /// systemd, as the node sees it.
    pid: i32,
    /// Of its cgroups.
    name: String,
}

impl Systemd {
    pub(crate) fn is_real() -> bool {
        Path::new("/run/systemd/system").is_dir()
    }

    /// Starts one from a root file system, which stays as it is.
    pub(crate) fn start(root: &Path, folder: &Path) -> Result<Self> {
        let work = folder.join("systemd");
        fs::create_dir_all(&work)?;
        let log = fs::File::create(folder.join("systemd.log"))?;
        let name = format!("oomtrace-systemd-{}", std::process::id());
        let mut command = Command::new("sh");
        command
            .args(["-c", SCRIPT, "sh"])
            .args([root, &work])
            .arg(&name);
        let unshare = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("start systemd")?;
        let mut own = Own {
            pid: 0,
            unshare,
            name,
        };
        let parent = own.unshare.id() as i32;
        own.pid = tools::child(parent, "systemd", START_LIMIT)?;
        let systemd = Self::Own(own);
        tools::wait("systemd's units", START_LIMIT, || {
            let mut systemctl = systemd.command("systemctl");
            systemctl.args(["is-active", "--quiet", "basic.target", "dbus.socket"]);
            tools::output(&mut systemctl, START_LIMIT).ok()
        })?;
        Ok(systemd)
    }

    /// A command, where this systemd can be asked.
    pub(crate) fn command(&self, program: &str) -> Command {
        let Self::Own(own) = self else {
            return tools::command(program);
        };
        let mut command = tools::command("nsenter");
        command.args(["--target", &own.pid.to_string()]);
        command.args(["--mount", "--uts", "--ipc", "--pid", "--cgroup"]);
        command.args(["env", "PATH=/usr/bin:/bin", program]);
        command
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        // With process 1 of a namespace, all others in it end.
        if self.pid > 0 {
            // SAFETY: kill(2) takes numbers only; the child of a child that is not reaped yet.
            unsafe { libc::kill(self.pid, libc::SIGKILL) };
        }
        let _ = tools::wait("the end of systemd", START_LIMIT, || {
            matches!(self.unshare.try_wait(), Ok(Some(_))).then_some(())
        });
        let _ = self.unshare.kill();
        let _ = self.unshare.wait();
        remove_cgroups(&Path::new(CGROUPS).join(&self.name));
        for entry in fs::read_dir(CGROUPS).into_iter().flatten().flatten() {
            remove_cgroups(&entry.path().join(&self.name));
        }
    }
}

/// From the leaves on, for none may have others in it.
fn remove_cgroups(folder: &Path) {
    let inside: Vec<PathBuf> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_dir() && !path.is_symlink())
        .collect();
    for path in inside {
        remove_cgroups(&path);
    }
    let _ = fs::remove_dir(folder);
}
