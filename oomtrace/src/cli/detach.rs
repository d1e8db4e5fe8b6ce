//! `oomtrace detach`: removes programs and maps that `run --pin` has left.

use std::process::ExitCode;

use anyhow::Result;

use super::{args::DetachArgs, output};
use crate::{
    event::text::printable,
    probe::{
        attach::Older,
        error::ProbeError,
        pins::{Fate, Pins, PinsError},
    },
};

pub(super) fn run(args: &DetachArgs) -> Result<ExitCode> {
    let name = printable(&args.folder.display().to_string());
    if !args.folder.exists() {
        return output::print(format!("nothing is pinned in {name}\n").as_bytes());
    }
    let pins = Pins::open(&args.folder).map_err(ProbeError::from)?;
    let generations = pins.generations().map_err(ProbeError::from)?;
    let mut unread = 0u64;
    let sets = generations.len();
    for generation in generations {
        // What cannot be opened any more can be removed all the same.
        if let Ok(mut older) = Older::of(generation.clone()) {
            while older.next_record(|_| ()).is_some() {
                unread += 1;
            }
        }
        generation.remove().map_err(|error| {
            ProbeError::from(PinsError::Io {
                folder: name.clone(),
                error,
            })
        })?;
    }
    let fate = pins.remove_folder(sets > 0).map_err(ProbeError::from)?;
    let mut text = words(&name, sets > 0, fate);
    if unread > 0 {
        text.push_str(&format!(
            "{unread} events that nobody had read went with it (oomtrace run --pin would have told them)\n"
        ));
    }
    output::print(text.as_bytes())
}

fn words(name: &str, had_pins: bool, fate: Fate) -> String {
    let pins = if had_pins {
        format!("what was pinned in {name} is detached and removed")
    } else {
        format!("nothing was pinned in {name}")
    };
    let stays = match fate {
        Fate::Removed => "",
        Fate::NotOurs => "; the folder stays: it may be another program's",
        Fate::NotEmpty => "; the folder stays: something else is in it",
        Fate::MountPoint => "; the folder stays: a file system is mounted there",
    };
    format!("{pins}{stays}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_stays_is_said_to() {
        assert_eq!(
            words("/sys/fs/bpf/cilium", false, Fate::NotOurs),
            "nothing was pinned in /sys/fs/bpf/cilium; the folder stays: it may be another program's\n"
        );
        assert_eq!(
            words("/sys/fs/bpf/oomtrace", true, Fate::Removed),
            "what was pinned in /sys/fs/bpf/oomtrace is detached and removed\n"
        );
    }
}
