//! `oomtrace record`: the stream of events of the node to a file, until it is told to end.

use std::{
    io,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Instant,
};

use anyhow::Result;

use super::{
    args::RecordArgs,
    live::{Keeping, Tracing},
    output,
    privileges::Privileges,
    run::until_told,
};
use crate::{
    event::text::printable,
    provenance::{Config, record::Record, rules::Rules},
    sinks::Sink,
};

pub(super) fn run(
    args: &RecordArgs,
    verbose: u8,
    quiet: bool,
    started: Instant,
) -> Result<ExitCode> {
    let what = Tracing {
        probe: &args.probe,
        config: Config::default(),
        rules: Rules::built_in()?,
        reread: None,
        record: Some(&args.file),
        scope: args.scope.scope.clone(),
        lookups: args.lookups,
        privileges: Privileges::of(args.lookups, &args.scope.scope).decide(),
        vitals: Arc::default(),
        keeping: Keeping::default(),
    };
    let progress = Progress {
        file: args.file.clone(),
        quiet,
    };
    until_told(what, vec![Box::new(progress)], verbose, started)
}

/// Says what goes on; the deaths themselves are told by `replay`.
struct Progress {
    file: PathBuf,
    quiet: bool,
}

impl Progress {
    fn say(&self, text: &str) {
        if !self.quiet {
            output::complain(text);
        }
    }
}

fn name(file: &Path) -> String {
    printable(&file.to_string_lossy())
}

impl Sink for Progress {
    fn write(&mut self, record: &Record) -> io::Result<()> {
        match record {
            Record::Started(_) => {
                self.say(&format!(
                    "recording to {}; Ctrl-C ends it",
                    name(&self.file)
                ));
            }
            Record::Death(death) if death.revision == 1 => self.say(&printable(&death.summary)),
            Record::Death(_) | Record::Restart(_) => {}
            Record::Gap(gap) if gap.certain => {
                self.say(&format!("{} events were lost: {}", gap.lost, gap.why));
            }
            Record::Gap(gap) => self.say(&format!(
                "{} events may have been missed: {}",
                gap.lost, gap.why
            )),
            Record::Stopped(stopped) => self.say(&format!(
                "{} deaths recorded, {} events lost; look at them with: oomtrace replay {}",
                stopped.deaths,
                stopped.lost,
                name(&self.file)
            )),
        }
        Ok(())
    }
}
