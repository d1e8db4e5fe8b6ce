//! Running other programs: without what the outer cargo put into the environment, with errors
//! that name the command, and with logs.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

/// What `cargo run` and rustup's proxies set for the program they start. An inner cargo would
/// take it as the user's wish.
const OUTER_CARGO: [&str; 12] = [
    "CARGO",
    "CARGO_BIN_NAME",
    "CARGO_CRATE_NAME",
    "CARGO_MANIFEST_DIR",
    "CARGO_MANIFEST_LINKS",
    "CARGO_MANIFEST_PATH",
    "CARGO_PRIMARY_PACKAGE",
    "RUSTC",
    "RUSTDOC",
    "RUSTUP_TOOLCHAIN",
    "RUSTUP_TOOLCHAIN_SOURCE",
    "RUST_RECURSION_COUNT",
];

/// A command with the environment that the user had before `cargo xtask`.
pub(crate) fn clean(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for name in OUTER_CARGO {
        command.env_remove(name);
    }
    for (name, _) in env::vars_os() {
        if name.to_string_lossy().starts_with("CARGO_PKG_") {
            command.env_remove(name);
        }
    }
    if let Some(path) = env::var_os("LD_LIBRARY_PATH") {
        let kept = without_toolchains(&path);
        if kept.is_empty() {
            command.env_remove("LD_LIBRARY_PATH");
        } else {
            command.env("LD_LIBRARY_PATH", kept);
        }
    }
    command
}

/// `cargo run` prepends the build's and the toolchain's own libraries to the search path.
fn without_toolchains(path: &OsStr) -> OsString {
    let ours = |dir: &PathBuf| {
        let text = dir.to_string_lossy();
        text.contains("/rustlib/") || text.contains("/toolchains/") || text.contains("/debug")
    };
    env::join_paths(env::split_paths(path).filter(|dir| !ours(dir))).unwrap_or_default()
}

/// Cargo of one toolchain, whatever toolchain the outer cargo is.
pub(crate) fn cargo(toolchain: &str) -> Command {
    let mut command = clean("rustup");
    command.args(["run", toolchain, "cargo"]);
    command
}

/// Runs a command whose output the user may want to see: all of it goes to stderr.
pub(crate) fn check(command: &mut Command) -> Result<()> {
    command.stdin(Stdio::null()).stdout(io::stderr());
    let status = command.status().with_context(|| not_started(command))?;
    if status.success() {
        return Ok(());
    }
    bail!("`{}` failed ({status})", line(command))
}

/// Runs a command for what it prints.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| not_started(command))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    bail!(
        "`{}` failed ({}): {}",
        line(command),
        output.status,
        said.trim()
    )
}

/// Runs a command with all its output in one file.
pub(crate) fn logged(command: &mut Command, log: &Path, limit: Duration) -> Result<ExitStatus> {
    if let Some(dir) = log.parent() {
        fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    }
    let file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    let copy = file
        .try_clone()
        .with_context(|| format!("cannot write {}", log.display()))?;
    let child = command
        .env("TERM", "dumb") // no colours in files
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(copy)
        .spawn();
    let mut child = Guard(child.with_context(|| not_started(command))?);
    let end = Instant::now() + limit;
    loop {
        if let Some(status) = child
            .0
            .try_wait()
            .context("cannot wait for a child process")?
        {
            return Ok(status);
        }
        if Instant::now() > end {
            bail!(
                "`{}` was stopped after {} s",
                line(command),
                limit.as_secs()
            );
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// A child that does not outlive the one who started it.
#[derive(Debug)]
pub(crate) struct Guard(pub(crate) Child);

impl Drop for Guard {
    fn drop(&mut self) {
        // Both fail only where the child is gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Where a program is on the search path.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|dir| dir.join(program))
        .find(|file| file.is_file())
}

pub(crate) fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    // The owner of a process's folder in /proc is its effective user.
    fs::metadata("/proc/self").is_ok_and(|meta| meta.uid() == 0)
}

fn not_started(command: &Command) -> String {
    format!("cannot start `{}`", line(command))
}

fn line(command: &Command) -> String {
    let mut line = command.get_program().to_string_lossy().into_owned();
    for arg in command.get_args() {
        line.push(' ');
        line.push_str(&arg.to_string_lossy());
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_users_own_library_path_stays() {
        let path = OsStr::new("/t/target/debug/deps:/r/toolchains/1/lib:/opt/lib");
        assert_eq!(without_toolchains(path), "/opt/lib");
        assert_eq!(without_toolchains(OsStr::new("/t/target/debug")), "");
    }

    #[test]
    fn a_failing_command_is_named_with_what_it_said() {
        let error = output(clean("sh").args(["-c", "echo no such luck >&2; exit 3"])).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("exit 3") && text.contains("no such luck"),
            "{text}"
        );
    }

    #[test]
    fn a_command_has_a_time_limit() {
        let log = env::temp_dir().join(format!("xtask-limit-{}", std::process::id()));
        let started = Instant::now();
        let error = logged(clean("sleep").arg("60"), &log, Duration::from_millis(50)).unwrap_err();
        fs::remove_file(&log).unwrap();
        assert!(error.to_string().contains("was stopped"));
        assert!(started.elapsed() < Duration::from_secs(30));
    }
}
