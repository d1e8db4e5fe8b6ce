//! `oomtrace replay`: a recorded stream through the same pipeline.

use std::{fs::File, io::BufReader, process::ExitCode};

use anyhow::{Context as _, Result};

use super::{args::ReplayArgs, output};
use crate::{
    event::{
        entry::{Entry, Tick},
        recording::Reader,
    },
    pipeline::{NoLookups, Pipeline, Source},
};

pub(super) fn run(args: &ReplayArgs) -> Result<ExitCode> {
    let name = args.file.display().to_string();
    let file = File::open(&args.file).with_context(|| format!("{name} cannot be opened"))?;
    let reader = Reader::new(BufReader::new(file)).with_context(|| name.clone())?;
    let rules = args.deaths.rules()?;
    let scope = args.scope.scope.recorded()?;
    let sinks = vec![output::stdout_sink(
        args.deaths.output,
        output::policy(false),
    )?];
    let mut pipeline = Pipeline::new(
        Source::Recorded,
        NoLookups,
        args.deaths.config(),
        rules,
        sinks,
    );
    pipeline.set_scope(scope);
    let mut last = Tick::default();
    for entry in reader {
        match entry {
            Ok(entry) => {
                if let Entry::Tick(tick) = entry {
                    last = tick;
                }
                pipeline.push(&entry)?;
            }
            Err(error) => {
                // What came before counts: the deaths of those that were dying are written.
                pipeline.push(&Entry::Stopped(last))?;
                return Err(error).with_context(|| name.clone());
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
