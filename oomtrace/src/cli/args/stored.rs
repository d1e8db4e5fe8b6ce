//! What can be typed to the commands that ask the store.

use std::path::PathBuf;

use clap::{
    Args,
    builder::{PossibleValuesParser, TypedValueParser},
};

use super::Format;
use crate::{
    cli::{
        store::ReadArgs,
        wanted::{self, Wanted, of_kind},
        when,
    },
    identity::target::Target,
    provenance::record::Cause,
    store::{Filter, Roles},
};

/// Which of the stored deaths.
#[derive(Debug, Args)]
pub(in crate::cli) struct ListArgs {
    /// From this time on: so long ago (90s, 2h, 3days), a day or a time as the table has it
    /// (2026-11-20, "2026-11-20 14:05"), or one with its zone (2026-11-20T13:05:00Z)
    #[arg(long, value_name = "TIME", value_parser = when::parse)]
    since: Option<i64>,
    /// Before this time, or this day
    #[arg(long, value_name = "TIME", value_parser = when::parse)]
    until: Option<i64>,
    /// Of this cause; with it, those that went along with others are shown, too
    #[arg(long, value_parser = cause())]
    cause: Option<Cause>,
    /// Of the container with this name, or whose id begins so
    #[arg(long, value_name = "NAME|ID", value_parser = of_kind("container"))]
    container: Option<Target>,
    /// Of containers in this namespace
    #[arg(long)]
    namespace: Option<String>,
    /// Of this pod
    #[arg(long, value_name = "[NAMESPACE/]NAME", value_parser = of_kind("pod"))]
    pod: Option<Target>,
    /// Of this systemd unit
    #[arg(long, value_name = "NAME", value_parser = of_kind("unit"))]
    unit: Option<Target>,
    /// So many at the most, 0 for all [default: 50 in a table, else all]
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Also those that went along with another (with the init of their namespace, with their
    /// group), and container runtimes' own helpers
    #[arg(long)]
    all: bool,
    /// A table, or as they are stored: one JSON object a line
    #[arg(short, long, value_enum, default_value_t)]
    pub(in crate::cli) output: Format,
    #[command(flatten)]
    pub(in crate::cli) store: ReadArgs,
}

impl ListArgs {
    pub(in crate::cli) fn filter(&self) -> Filter {
        let targets = [&self.container, &self.pod, &self.unit];
        Filter {
            since_ns: self.since,
            until_ns: self.until,
            cause: self.cause,
            namespace: self.namespace.clone(),
            targets: targets.into_iter().flatten().cloned().collect(),
            roles: match (self.all, self.cause) {
                (true, _) => Roles::All,
                (false, Some(_)) => Roles::Workloads,
                (false, None) => Roles::Own,
            },
            ..Filter::default()
        }
    }

    /// How many at the most, where that was said.
    pub(in crate::cli) fn limit(&self) -> Option<usize> {
        self.limit
            .map(|limit| if limit == 0 { usize::MAX } else { limit })
    }
}

fn cause() -> impl TypedValueParser<Value = Cause> {
    PossibleValuesParser::new(Cause::ALL.map(Cause::name)).map(|name| {
        let is_it = |cause: &Cause| cause.name() == name;
        Cause::ALL.into_iter().find(is_it).unwrap_or(Cause::Unknown)
    })
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ShowArgs {
    /// The death's id, or the start of it
    #[arg(value_parser = wanted::id)]
    pub(in crate::cli) id: String,
    /// How it looks
    #[arg(short, long, value_enum, default_value_t)]
    pub(in crate::cli) output: Format,
    #[command(flatten)]
    pub(in crate::cli) store: ReadArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct WhyArgs {
    /// Whose death: container:NAME|ID, pod:[NAMESPACE/]NAME, unit:NAME, cgroup:PATH, pid:N, id:ID;
    /// without a prefix it may be any of them, or a command's name [default: the latest with which a container or a
    /// unit ended]
    #[arg(value_parser = Wanted::parse)]
    pub(in crate::cli) target: Option<Wanted>,
    /// Also write it as a page of HTML to this file; `-`: that alone, to stdout
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) html: Option<PathBuf>,
    /// A page for people, or one JSON object
    #[arg(short, long, value_enum, default_value_t)]
    pub(in crate::cli) output: Format,
    #[command(flatten)]
    pub(in crate::cli) store: ReadArgs,
}
