//! `oomtrace show`: one stored death, as `run` prints it.

use std::{
    io::{self, IsTerminal as _},
    process::ExitCode,
};

use anyhow::Result;

use super::{
    args::{Format, ShowArgs},
    code, output,
    table::Table,
    when,
};
use crate::{
    event::text::printable,
    sinks::pretty::Pretty,
    store::{Reader, Stored, now_ns},
};

/// So many are listed to choose from.
const CHOICE: usize = 20;

pub(super) fn run(args: &ShowArgs) -> Result<ExitCode> {
    let id = args.id.as_str();
    let reader = Reader::open(&args.store.path)?;
    let found = reader.by_id(id, CHOICE + 1)?;
    match found.as_slice() {
        [] => {
            let span = reader.span()?;
            output::complain(&format!(
                "none of the {} deaths that are stored has an id that begins with {:?}\n\
                 do: `oomtrace list --all` has all ids",
                span.deaths,
                printable(id)
            ));
            Ok(ExitCode::from(code::FAILED))
        }
        [one] => match args.output {
            Format::Json => output::print(format!("{}\n", one.json).as_bytes()),
            Format::Pretty => output::print(&pretty(one)?),
        },
        several => {
            let shown = several.get(..CHOICE).unwrap_or(several);
            output::complain(&format!(
                "{} deaths have an id that begins with {:?}: choose one\n{}",
                if several.len() > CHOICE {
                    format!("more than {CHOICE}")
                } else {
                    several.len().to_string()
                },
                printable(id),
                Table::of(shown, now_ns())
                    .with_whole_ids()
                    .render(output::width(), false)
            ));
            Ok(ExitCode::from(code::FAILED))
        }
    }
}

fn pretty(stored: &Stored) -> Result<Vec<u8>> {
    let colour = output::colour(io::stdout().is_terminal());
    let mut text = format!(
        "death {}, {} ({} ago)\n",
        printable(&stored.id),
        when::local(stored.time_ns),
        when::age(now_ns().saturating_sub(stored.time_ns))
    )
    .into_bytes();
    match stored.death() {
        Ok(death) => Pretty::new(&mut text, colour).tell(&death)?,
        Err(error) => {
            // As it is stored: a word that is not known here is not to be taken for another.
            log::warn!(
                "a newer oomtrace has written this, and it is shown as it is stored: {}",
                printable(&error.to_string())
            );
            text.extend_from_slice(as_stored(&stored.json)?.as_bytes());
        }
    }
    Ok(text)
}

/// The record with a line for each of its fields.
fn as_stored(json: &str) -> Result<String> {
    let value: serde_json::Value = serde_json::from_str(json)?;
    let lines = serde_json::to_string_pretty(&value)?;
    let mut text = String::with_capacity(lines.len());
    for line in lines.lines() {
        text.push_str(&printable(line));
        text.push('\n');
    }
    Ok(text)
}
