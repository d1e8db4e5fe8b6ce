//! `oomtrace exec` is not noticed by CMD: it sees what it would see without, as the user
//! who called sudo, and gets each signal once.

use std::{
    ffi::{CStr, CString},
    fs::File,
    io::{self, Write as _},
    os::{fd::FromRawFd as _, unix::process::CommandExt as _},
    process::Command,
};

use anyhow::{Context as _, Result};

use super::{Case, exec};
use crate::{
    cli::Options,
    run::{Ended, Program},
};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "exec-same-as-without",
        run: same_as_without,
    },
    Case {
        name: "exec-as-caller-of-sudo",
        run: as_caller_of_sudo,
    },
    Case {
        name: "exec-ended-by-signal",
        run: ended_by_signal,
    },
    Case {
        name: "exec-ctrl-c-once",
        run: ctrl_c_once,
    },
];

/// Signal masks, capabilities, the OOM killer's score and open files.
fn same_as_without(options: &Options) -> Result<Vec<String>> {
    const STATE: &str = "grep -E '^(Sig(Blk|Ign|Cgt)|Cap|Groups|NoNewPrivs|Seccomp):' /proc/self/status; \
                         cat /proc/self/oom_score_adj; ls /proc/self/fd; ulimit -n; nice; pwd; umask";
    let argv = ["sh", "-c", STATE];
    let mut alone = Command::new("sh");
    alone.args(["-c", STATE]);
    let without = Program::run(&mut alone, options.program_limit())?;
    let with = run(options, &[], &argv)?;
    Ok(if with.stdout == without.stdout {
        Vec::new()
    } else {
        vec![format!("under exec: {with}; without: {without}")]
    })
}

fn as_caller_of_sudo(options: &Options) -> Result<Vec<String>> {
    let state = "id -u; id -g; grep CapEff /proc/self/status | tr -d '[:blank:]'";
    let mut problems = Vec::new();
    for (own, wanted) in [
        (&[][..], &["65534", "65533", "CapEff:0000000000000000"][..]),
        (&["--as-root"], &["0", "0"]),
    ] {
        let mut command = exec::command(options, own, &["sh", "-c", state]);
        command.env("SUDO_UID", "65534").env("SUDO_GID", "65533");
        let ended = Program::run(&mut command, options.program_limit())?;
        if !ended
            .stdout
            .starts_with(&wanted.iter().map(ToString::to_string).collect::<Vec<_>>())
        {
            problems.push(format!("with {own:?} not {wanted:?}: {ended}"));
        }
    }
    Ok(problems)
}

fn ended_by_signal(options: &Options) -> Result<Vec<String>> {
    let ended = run(options, &[], &["sh", "-c", "kill -TERM $$"])?;
    Ok(exec::ended_with(&ended, 128 + libc::SIGTERM))
}

/// The terminal sends SIGINT to CMD as well: it is not passed on a second time.
fn ctrl_c_once(options: &Options) -> Result<Vec<String>> {
    // One second more, for a second signal.
    const COUNT: &str = "n=0; trap 'n=$((n+1))' INT; echo ready; \
                         while [ $n -eq 0 ]; do sleep 0.1; done; i=0; \
                         while [ $i -lt 10 ]; do sleep 0.1; i=$((i+1)); done; echo got $n";
    let (mut terminal, name) = terminal()?;
    let mut command = exec::command(options, &[], &["sh", "-c", COUNT]);
    // SAFETY: between fork and exec, system calls on memory that was prepared before.
    unsafe { command.pre_exec(move || take_terminal(&name)) };
    let program = Program::start(&mut command)?;
    let ready = program.wait_for(options.program_limit(), |lines| {
        lines.iter().any(|line| line == "ready").then_some(())
    });
    terminal.write_all(b"\x03")?;
    let ended = program.wait(options.program_limit())?;
    if ready.is_none() {
        return Ok(vec![format!("the command did not start: {ended}")]);
    }
    let mut problems = exec::ended_with(&ended, 0);
    problems.extend(exec::printed(&ended, &["ready", "got 1"]));
    Ok(problems)
}

/// A new terminal: the end that a person would sit at, and the name of the other one.
pub(super) fn terminal() -> Result<(File, CString)> {
    let mut name = [0; 64];
    // SAFETY: the descriptor is new and nobody else's; the buffer is as long as said.
    let terminal = unsafe {
        let fd = libc::posix_openpt(libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC);
        if fd < 0 {
            return Err(io::Error::last_os_error()).context("open a terminal");
        }
        let terminal = File::from_raw_fd(fd);
        if libc::grantpt(fd) != 0
            || libc::unlockpt(fd) != 0
            || libc::ptsname_r(fd, name.as_mut_ptr(), name.len()) != 0
        {
            return Err(io::Error::last_os_error()).context("set up a terminal");
        }
        terminal
    };
    // SAFETY: ptsname_r succeeded, and ended the name with a NUL.
    let name = unsafe { CStr::from_ptr(name.as_ptr()) };
    Ok((terminal, name.to_owned()))
}

/// Makes this process the leader of a session on the terminal, in the foreground. The
/// descriptor stays open: a terminal that nobody has open takes no input.
fn take_terminal(name: &CStr) -> io::Result<()> {
    // SAFETY: the name ends with a NUL.
    let failed = unsafe {
        libc::signal(libc::SIGINT, libc::SIG_DFL);
        libc::setsid() < 0 || libc::open(name.as_ptr(), libc::O_RDWR) < 0
    };
    if failed {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

fn run(options: &Options, own: &[&str], argv: &[&str]) -> Result<Ended> {
    Program::run(
        &mut exec::command(options, own, argv),
        options.program_limit(),
    )
}
