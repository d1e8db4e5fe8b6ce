//! `oomtrace detach`: removes programs and maps that `run --pin` has left.

use std::process::ExitCode;

use anyhow::Result;

use super::{args::DetachArgs, output};
use crate::{
    event::text::printable,
    probe::{
        attach::Older,
        error::ProbeError,
        pins::{Pins, PinsError},
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
    pins.remove_folder().map_err(ProbeError::from)?;
    let mut text = match sets {
        0 => format!("nothing was pinned in {name}\n"),
        _ => format!("what was pinned in {name} is detached and removed\n"),
    };
    if unread > 0 {
        text.push_str(&format!(
            "{unread} events that nobody had read went with it (oomtrace run --pin would have told them)\n"
        ));
    }
    output::print(text.as_bytes())
}
