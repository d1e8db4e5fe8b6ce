//! The command and the processes that descend from it.

use std::{
    ffi::{CString, OsString},
    io,
    os::unix::process::CommandExt as _,
    process::Command,
};

use thiserror::Error;

use super::{
    super::{shield::Shield, user::Caller},
    signals::Received,
};

/// Why a command could not be started.
#[derive(Debug, Error)]
pub(super) enum SpawnError {
    #[error("command not found")]
    NotFound,
    #[error("the interpreter that its first line names is not there")]
    NoInterpreter,
    #[error("cannot be run: {0}")]
    NotExecutable(io::Error),
}

/// How the command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Exited(u8),
    Signal(i32),
}

impl Status {
    /// As a shell reports it.
    pub(super) fn exit_code(self) -> u8 {
        match self {
            Self::Exited(code) => code,
            Self::Signal(signal) => u8::try_from(128 + signal).unwrap_or(u8::MAX),
        }
    }

    fn from_wait(status: libc::c_int) -> Option<Self> {
        if libc::WIFEXITED(status) {
            Some(Self::Exited(libc::WEXITSTATUS(status) as u8))
        } else if libc::WIFSIGNALED(status) {
            Some(Self::Signal(libc::WTERMSIG(status)))
        } else {
            None
        }
    }
}

/// Makes this process the parent of those whose own has ended, so that they still can be
/// told to be the command's.
pub(super) fn adopt_orphans() {
    // SAFETY: sets a flag of this process; no pointers are passed.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
}

/// The command, running.
#[derive(Debug)]
pub(super) struct Tree {
    root: libc::pid_t,
}

impl Tree {
    /// Starts the command: as the user who called sudo, unless `as_root`.
    pub(super) fn spawn(
        words: &[OsString],
        as_root: bool,
        shield: &Shield,
        mask: libc::sigset_t,
        limits: libc::rlimit,
    ) -> Result<Self, SpawnError> {
        let Some((program, arguments)) = words.split_first() else {
            return Err(SpawnError::NotFound);
        };
        let mut command = Command::new(program);
        command.args(arguments);
        let caller = if as_root { None } else { Caller::from_sudo() };
        if let Some(account) = caller.as_ref().and_then(|caller| caller.account.as_ref()) {
            command
                .env("HOME", &account.home)
                .env("USER", &account.name)
                .env("LOGNAME", &account.name)
                .env("SHELL", &account.shell);
        }
        let score = shield.before().and_then(|score| CString::new(score).ok());
        let nice = shield.nice_before();
        let before_exec = move || {
            if let Some(nice) = nice {
                // SAFETY: no pointers are passed. To lower a priority is always allowed.
                unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) };
            }
            if let Some(score) = &score {
                restore_score(score);
            }
            if let Some(caller) = &caller {
                become_user(caller)?;
            }
            // SAFETY: the pointer is to a limit that getrlimit once filled in.
            unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limits) };
            // SAFETY: the pointer is to a set that pthread_sigmask once filled in.
            match unsafe {
                libc::pthread_sigmask(libc::SIG_SETMASK, &raw const mask, std::ptr::null_mut())
            } {
                0 => Ok(()),
                error => Err(io::Error::from_raw_os_error(error)),
            }
        };
        // SAFETY: between fork and exec the closure makes system calls only, on memory
        // that was prepared before.
        unsafe { command.pre_exec(before_exec) };
        match command.spawn() {
            Ok(child) => Ok(Self {
                root: libc::pid_t::try_from(child.id()).unwrap_or(-1),
            }),
            // A script without a first line that says for what: the shell's, as execvp(3)
            // has it.
            Err(error) if error.raw_os_error() == Some(libc::ENOEXEC) && !words_are_sh(words) => {
                let mut script = vec![OsString::from("/bin/sh")];
                script.extend_from_slice(words);
                Self::spawn(&script, as_root, shield, mask, limits)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let is_there = program.as_encoded_bytes().contains(&b'/')
                    && std::path::Path::new(program).exists();
                Err(if is_there {
                    SpawnError::NoInterpreter
                } else {
                    SpawnError::NotFound
                })
            }
            Err(error) => Err(SpawnError::NotExecutable(error)),
        }
    }

    /// The command's own process.
    pub(super) fn root(&self) -> u32 {
        self.root.unsigned_abs()
    }

    /// Passes a signal on, unless the command got it as well: what the terminal sends goes
    /// to its whole foreground process group, and what the command itself sends is meant for
    /// its own.
    pub(super) fn pass_on(&self, received: Received) {
        let from_command = received.sender == self.root;
        if received.signal == libc::SIGCHLD || received.from_kernel || from_command {
            return;
        }
        // SAFETY: no pointers are passed. The command has not been waited for, so the id
        // is still its own.
        unsafe { libc::kill(self.root, received.signal) };
    }

    /// Waits for all that have ended; the command's status, if it is among them.
    pub(super) fn reap(&self) -> Option<Status> {
        let mut ended = None;
        loop {
            let mut status = 0;
            // SAFETY: the pointer is to an int.
            let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
            if pid <= 0 {
                return ended;
            }
            if pid == self.root {
                ended = ended.or(Status::from_wait(status));
            }
        }
    }
}

fn words_are_sh(words: &[OsString]) -> bool {
    words.first().is_some_and(|word| word == "/bin/sh")
}

/// The limit of locked memory: before 5.11, BPF maps count, and loading them lifts it.
pub(super) fn memlock_limit() -> libc::rlimit {
    let mut limit = libc::rlimit {
        rlim_cur: libc::RLIM_INFINITY,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: the pointer is to an `rlimit`.
    unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit) };
    limit
}

/// The command must not inherit the tracer's shield against the OOM killer.
fn restore_score(score: &CString) {
    // SAFETY: both strings end with a NUL; the descriptor is our own.
    unsafe {
        let file = libc::open(
            c"/proc/self/oom_score_adj".as_ptr(),
            libc::O_WRONLY | libc::O_CLOEXEC,
        );
        if file >= 0 {
            libc::write(file, score.as_ptr().cast(), score.as_bytes().len());
            libc::close(file);
        }
    }
}

fn become_user(caller: &Caller) -> io::Result<()> {
    // SAFETY: `groups` is as long as said.
    let failed = unsafe {
        libc::setgroups(caller.groups.len() as _, caller.groups.as_ptr()) != 0
            || libc::setgid(caller.gid) != 0
            || libc::setuid(caller.uid) != 0
    };
    if failed {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Commands whose work is done by a daemon: tracing them shows nothing of it.
pub(super) fn client_notice(words: &[OsString]) -> Option<String> {
    const CLIENTS: &[&str] = &[
        "docker",
        "kubectl",
        "systemctl",
        "systemd-run",
        "nerdctl",
        "ctr",
        "crictl",
        "oc",
        "nomad",
    ];
    let name = std::path::Path::new(words.first()?).file_name()?.to_str()?;
    let remote_podman =
        name == "podman" && words.iter().any(|word| word == "--remote" || word == "-r");
    (CLIENTS.contains(&name) || remote_podman).then(|| {
        format!(
            "{name} only asks a daemon: what it starts runs elsewhere, and is not traced here; use `oomtrace run` in another terminal to see it"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_what_a_shell_would_say() {
        assert_eq!(Status::from_wait(7 << 8), Some(Status::Exited(7)));
        assert_eq!(Status::from_wait(9), Some(Status::Signal(9)));
        assert_eq!(Status::Signal(9).exit_code(), 137);
        assert_eq!(Status::from_wait(0x137f), None, "stopped is not ended");
    }

    #[test]
    fn clients_of_daemons_are_known() {
        let notice = |line: &str| {
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            client_notice(&words).is_some()
        };
        assert!(notice("/usr/bin/docker run x"));
        assert!(notice("podman --remote run x"));
        assert!(!notice("podman run x"));
        assert!(!notice("python3 x.py"));
    }
}
