//! `oomtrace list`: the deaths that are stored, the newest first.

use std::{
    io::{self, IsTerminal as _, Write as _},
    process::ExitCode,
};

use anyhow::Result;

use super::{
    args::{Format, ListArgs},
    code, output,
    table::Table,
    unseen, when,
};
use crate::{
    event::text::printable,
    sinks::stdout::cannot_write,
    store::{Filter, Reader, Roles, Stored},
};

/// So many rows a person looks at; a program gets all.
const ROWS: usize = 50;

pub(super) fn run(args: &ListArgs) -> Result<ExitCode> {
    let filter = args.filter();
    if let (Some(since_ns), Some(until_ns)) = (filter.since_ns, filter.until_ns)
        && since_ns >= until_ns
    {
        output::complain(&format!(
            "nothing is from {} on and before {}\n\
             do: give --since a time before that of --until (--since 3h --until 2h)",
            when::local(since_ns),
            when::local(until_ns)
        ));
        return Ok(ExitCode::from(code::USAGE));
    }
    let reader = Reader::open(&args.store.path)?;
    let found = match args.output {
        Format::Json => json(&reader, &filter, args.limit().unwrap_or(usize::MAX))?,
        Format::Pretty => table(&reader, &filter, args.limit().unwrap_or(ROWS))?,
    };
    if found > 0 {
        return Ok(ExitCode::SUCCESS);
    }
    output::complain(&nothing(&reader, &filter)?);
    Ok(ExitCode::from(code::FAILED))
}

/// As they are stored, one a line.
fn json(reader: &Reader, filter: &Filter, limit: usize) -> Result<usize> {
    let mut stdout = io::BufWriter::new(io::stdout().lock());
    let found = reader.each(filter, limit, |stored| {
        writeln!(stdout, "{}", stored.json).map_err(|error| cannot_write(&error))?;
        anyhow::Ok(true)
    })?;
    stdout.flush().map_err(|error| cannot_write(&error))?;
    Ok(found)
}

fn table(reader: &Reader, filter: &Filter, limit: usize) -> Result<usize> {
    let mut rows: Vec<Stored> = Vec::new();
    // One more than is shown tells whether there are more.
    reader.each(filter, limit.saturating_add(1), |stored| {
        rows.push(stored.clone());
        anyhow::Ok(true)
    })?;
    let has_more = rows.len() > limit;
    rows.truncate(limit);
    let Some(last) = rows.last() else {
        return Ok(0);
    };
    let stdout = io::stdout();
    let width = output::width();
    let table = Table::of(&rows, crate::store::now_ns());
    let mut text = table.render(width, output::colour(stdout.is_terminal()));
    let hidden = reader.hidden(filter, if has_more { last.time_ns } else { i64::MIN })?;
    let count = |count: u64| {
        if hidden.is_least {
            format!("{count} or more")
        } else {
            count.to_string()
        }
    };
    let mut notes = Vec::new();
    if hidden.along > 0 {
        notes.push(format!(
            "{} that went along with others",
            count(hidden.along)
        ));
    }
    if hidden.helpers > 0 {
        notes.push(format!(
            "{} of container runtimes' own helpers",
            count(hidden.helpers)
        ));
    }
    if !notes.is_empty() {
        text.push_str(&format!(
            "not shown: {}; --all shows them\n",
            notes.join(", ")
        ));
    }
    if has_more {
        text.push_str(&format!(
            "the newest {limit} of more; --limit N shows more, 0 all of them\n"
        ));
    }
    // What died then is not in the table.
    let since_ns = if has_more { last.time_ns } else { i64::MIN };
    let since_ns = filter.since_ns.unwrap_or(i64::MIN).max(since_ns);
    if let Some(unseen) = unseen::note(reader, since_ns, None)? {
        text.push_str(&format!("{unseen}\n"));
    }
    output::print(text.as_bytes())?;
    Ok(rows.len())
}

/// What was looked at, where nothing was found.
fn nothing(reader: &Reader, filter: &Filter) -> Result<String> {
    let span = reader.span()?;
    let unseen = unseen::note(reader, filter.since_ns.unwrap_or(i64::MIN), None)?;
    let unseen = unseen.map_or_else(String::new, |unseen| format!("\nbut: {unseen}"));
    let (Some(first_ns), Some(last_ns)) = (span.first_ns, span.last_ns) else {
        return Ok(format!(
            "no death is stored yet{unseen}\ndo: deaths are stored while `oomtrace run` runs"
        ));
    };
    let mut text = format!(
        "none of the {} deaths that are stored fits; they are from {} to {}{unseen}",
        span.deaths,
        when::local(first_ns),
        when::local(last_ns)
    );
    if filter.roles != Roles::All {
        let all = Filter {
            roles: Roles::All,
            ..filter.clone()
        };
        let others = reader.list(&all, None, 1)?;
        if let Some(other) = others.first() {
            text.push_str(&format!(
                "\ndo: --all shows those, too, that went along with others and runtimes' own helpers: the latest is {} of {}",
                printable(&other.id),
                when::local(other.time_ns)
            ));
        }
    }
    Ok(text)
}
