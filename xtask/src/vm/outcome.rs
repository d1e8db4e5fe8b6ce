//! From a machine to what came out of it: boots that are tried again, results read, files kept.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};

use super::qemu::{self, End, Machine};
use crate::{
    cases::{self, Outcome},
    cli::VmArgs,
    command,
};

/// Emulation kills some guests before init has run: about one in ten with two processors.
const BOOTS: u32 = 3;

/// Runs what is asked for in a guest and judges what came out. `folder` is the guest's own below
/// that for saved files.
pub(super) fn of(args: &VmArgs, name: &str, folder: &str, machine: &Machine) -> Outcome {
    let mut outcome = match boot(machine, name) {
        Ok(end) => judge(machine, name, end, args.sh.is_some()),
        Err(error) => Outcome::fail(name, format!("{error:#}"), Some(&machine.results())),
    };
    if let Some(dir) = &args.save {
        if let Err(error) = unpack(&machine.saved(), &dir.join(folder)) {
            let what = format!("{name} saved files");
            outcome.add_failure(what, format!("{error:#}"), Some(&machine.console()));
        }
    }
    outcome
}

/// Boots again as long as the guest dies before init has run, and keeps the consoles.
pub(super) fn boot(machine: &Machine, name: &str) -> Result<End> {
    let mut attempt = 1;
    loop {
        match qemu::boot(machine)? {
            End::BeforeInit(why) if attempt < BOOTS => {
                let kept = machine.logs.join(format!("console.{attempt}.log"));
                fs::rename(machine.console(), &kept).context("cannot keep the console's log")?;
                eprintln!("{name}: the guest did not reach init: {why}; booting again");
                attempt += 1;
            }
            end => return Ok(end),
        }
    }
}

fn judge(machine: &Machine, name: &str, end: End, is_command: bool) -> Outcome {
    let log = machine.results();
    let printed = machine.printed();
    let status = match end {
        End::Finished { status } => status,
        End::BeforeInit(why) => {
            let why = format!("did not reach init in {BOOTS} boots: {why}");
            return Outcome::fail(name, why, Some(&machine.console()));
        }
        End::Broken(why) if is_command => return Outcome::fail(name, why, Some(&log)),
        End::Broken(why) => {
            let mut outcome = cases::read(&printed, name, &log);
            outcome.add_failure(name.to_owned(), why, Some(&machine.console()));
            return outcome;
        }
    };
    if is_command {
        for line in printed
            .lines()
            .filter(|line| !line.starts_with("oomtrace-vm: "))
        {
            println!("{name}: {}", line.trim_end());
        }
        return match status {
            0 => Outcome::pass(),
            _ => Outcome::fail(name, format!("exit status {status}"), Some(&log)),
        };
    }
    let mut outcome = cases::read(&printed, name, &log);
    if status != 0 && outcome.failures.is_empty() {
        let why = format!("no case failed, but its exit status is {status}");
        outcome.add_failure(format!("{name} scenario runner"), why, Some(&log));
    }
    outcome
}

fn unpack(archive: &Path, into: &Path) -> Result<()> {
    fs::create_dir_all(into).with_context(|| format!("cannot create {}", into.display()))?;
    let mut tar = command::clean("tar");
    tar.args(["--extract", "--no-same-owner", "--file"])
        .arg(archive)
        .arg("--directory")
        .arg(into);
    command::output(&mut tar)
        .map(drop)
        .context("the guest's files did not come out whole")
}
