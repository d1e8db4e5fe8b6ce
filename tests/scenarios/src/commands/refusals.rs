//! What cannot be done: each refusal says what was found and what to do, with its own exit
//! status, and nothing panics.

use std::{fs::File, io, os::unix::process::CommandExt as _, process::Command};

use anyhow::{Context as _, Result};

use super::{Case, lacks};
use crate::{
    cli::Options,
    run::{Ended, Program},
    tracer::EXIT_LACKING,
};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "run-without-btf",
        run: without_btf,
    },
    Case {
        name: "run-in-user-namespace",
        run: in_user_namespace,
    },
    Case {
        name: "run-odd-ring",
        run: odd_ring,
    },
    Case {
        name: "run-full-disk",
        run: full_disk,
    },
    Case {
        name: "usage",
        run: usage,
    },
    Case {
        name: "replay-no-recording",
        run: replay_no_recording,
    },
];

const EXIT_FAILED: i32 = 1;
const EXIT_USAGE: i32 = 2;

/// In a mount namespace that shows no BTF, as a container may have it.
fn without_btf(options: &Options) -> Result<Vec<String>> {
    let mut command = tracer(options, &["run"]);
    // SAFETY: between fork and exec, system calls on constant strings only.
    unsafe { command.pre_exec(hide_btf) };
    let ended = Program::run(&mut command, options.program_limit())?;
    Ok(refused(&ended, &[EXIT_LACKING], &["BTF", "do:"]))
}

fn hide_btf() -> io::Result<()> {
    let none = std::ptr::null();
    // SAFETY: every pointer is to a constant string or null, as mount(2) allows.
    let failed = unsafe {
        libc::unshare(libc::CLONE_NEWNS) != 0
            || libc::mount(
                c"none".as_ptr(),
                c"/".as_ptr(),
                none,
                libc::MS_REC | libc::MS_PRIVATE,
                none.cast(),
            ) != 0
            || libc::mount(
                c"none".as_ptr(),
                c"/sys/kernel/btf".as_ptr(),
                c"tmpfs".as_ptr(),
                0,
                none.cast(),
            ) != 0
    };
    if failed {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Root of a user namespace has every capability, and the kernel refuses all the same.
fn in_user_namespace(options: &Options) -> Result<Vec<String>> {
    let mut command = tracer(options, &["run"]);
    // SAFETY: between fork and exec, system calls on constant strings only.
    unsafe { command.pre_exec(become_root_of_a_user_namespace) };
    let ended = Program::run(&mut command, options.program_limit())?;
    Ok(refused(&ended, &[EXIT_LACKING], &["bpf", "do:"]))
}

fn become_root_of_a_user_namespace() -> io::Result<()> {
    const MAP: &[u8] = b"0 0 1\n";
    // SAFETY: the path ends with a NUL, and `MAP` is as long as said.
    let failed = unsafe {
        libc::unshare(libc::CLONE_NEWUSER) != 0 || {
            let file = libc::open(
                c"/proc/self/uid_map".as_ptr(),
                libc::O_WRONLY | libc::O_CLOEXEC,
            );
            file < 0 || libc::write(file, MAP.as_ptr().cast(), MAP.len()) < 0
        }
    };
    if failed {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

fn odd_ring(options: &Options) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    for bytes in ["0", "3", "1000", "4294967295"] {
        let ended = run(options, &["run", "--ring-bytes", bytes])?;
        problems.extend(refused(
            &ended,
            &[EXIT_FAILED, EXIT_USAGE],
            &["power of two", bytes, "do:"],
        ));
    }
    Ok(problems)
}

fn full_disk(options: &Options) -> Result<Vec<String>> {
    let full = File::options().write(true).open("/dev/full")?;
    let mut command = tracer(options, &["run", "--no-store", "--output", "json"]);
    command.stdout(full);
    let ended = Program::start_with_stdout(&mut command)?.wait(options.program_limit())?;
    Ok(refused(
        &ended,
        &[EXIT_FAILED],
        &["standard output cannot be written", "No space left", "do:"],
    ))
}

/// What was typed wrong is 2, and asking for help is not wrong.
fn usage(options: &Options) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    for args in [
        &["--no-such-option"][..],
        &["no-such-command"],
        &["run", "--output", "yaml"],
        &["run", "--ring-bytes", "much"],
        &["run", "extra"],
        &["replay"],
        &[],
    ] {
        let ended = run(options, args)?;
        problems.extend(refused(&ended, &[EXIT_USAGE], &["--help"]));
    }
    for args in [
        &["--help"][..],
        &["exec", "--help"],
        &["--version"],
        &["man"],
        &["completions", "bash"],
    ] {
        let ended = run(options, args)?;
        if ended.status.code() != Some(0) || ended.stdout.is_empty() || !ended.stderr.is_empty() {
            problems.push(format!("{args:?}: not on standard output with 0: {ended}"));
        }
    }
    Ok(problems)
}

fn replay_no_recording(options: &Options) -> Result<Vec<String>> {
    let own = options.tracer.to_str().context("the tracer's path")?;
    let mut problems = Vec::new();
    for (file, words) in [
        ("/nonexistent", &["/nonexistent", "cannot be opened"]),
        ("/dev/null", &["/dev/null", "no oomtrace recording"]),
        (own, &[own, "no oomtrace recording"]),
    ] {
        let ended = run(options, &["replay", file])?;
        problems.extend(refused(&ended, &[EXIT_FAILED], words));
    }
    Ok(problems)
}

fn tracer(options: &Options, args: &[&str]) -> Command {
    let mut command = Command::new(&options.tracer);
    command.args(args);
    command
}

fn run(options: &Options, args: &[&str]) -> Result<Ended> {
    Program::run(&mut tracer(options, args), options.program_limit())
}

/// It ended with one of these statuses, said these words, and wrote no record.
pub(super) fn refused(ended: &Ended, codes: &[i32], words: &[&str]) -> Vec<String> {
    let mut problems = lacks("the error", &ended.stderr, words);
    if !ended
        .status
        .code()
        .is_some_and(|code| codes.contains(&code))
    {
        problems.push(format!(
            "ended with other than exit status {codes:?}: {ended}"
        ));
    }
    if ended.stderr.iter().any(|line| line.contains("panicked")) {
        problems.push(format!("it panicked: {ended}"));
    }
    if !ended.stdout.is_empty() {
        problems.push(format!("it printed something: {ended}"));
    }
    problems
}
