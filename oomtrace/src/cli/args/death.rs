//! Options about what deaths are put down to, and how they are written.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Result, anyhow};
use clap::Args;

use super::Format;
use crate::provenance::{Config, redact::ArgvPolicy, rules::Rules};

/// Options about what deaths are put down to, and how they are written.
#[derive(Clone, Debug, Args)]
pub(in crate::cli) struct DeathArgs {
    /// How records look
    #[arg(short, long, value_enum, default_value_t)]
    pub(in crate::cli) output: Format,
    /// Of each process's arguments, write the first only
    #[arg(long, conflicts_with = "no_mask")]
    redact_argv: bool,
    /// Do not mask the values of well-known secret flags and variables in arguments
    #[arg(long)]
    no_mask: bool,
    /// A request to stop counts for this long: a SIGKILL after it is a stop timeout
    #[arg(long, value_name = "DURATION", default_value = "30m", value_parser = stop_window)]
    stop_window: Duration,
    /// Rules of your own for who stands behind a sender (TOML; see the README): they go
    /// before the built-in ones. May be given more than once: the first file goes first
    #[arg(long, value_name = "FILE")]
    rules: Vec<PathBuf>,
}

impl DeathArgs {
    pub(in crate::cli) fn config(&self) -> Config {
        Config {
            argv: match (self.redact_argv, self.no_mask) {
                (true, _) => ArgvPolicy::NameOnly,
                (_, true) => ArgvPolicy::Keep,
                _ => ArgvPolicy::Mask,
            },
            stop_window_ns: u64::try_from(self.stop_window.as_nanos()).unwrap_or(u64::MAX),
            ..Config::default()
        }
    }

    /// Whether there are rules of the user's own.
    pub(in crate::cli) fn has_rules(&self) -> bool {
        !self.rules.is_empty()
    }

    /// The built-in rules with the user's own before them.
    pub(in crate::cli) fn rules(&self) -> Result<Rules> {
        let mut rules = Rules::built_in()?;
        for path in self.rules.iter().rev() {
            let name = path.display();
            let text = fs::read_to_string(path).map_err(|error| {
                anyhow!(
                    "the rules in {name} cannot be read: {error}\n\
                     do: name a file that is there and that this user may read, or leave --rules out"
                )
            })?;
            rules.prepend(&text).map_err(|error| {
                anyhow!(
                    "the rules in {name} cannot be used: {}\n\
                     do: mend them; \"Rules of your own\" in the README has an example",
                    error.to_string().trim_end()
                )
            })?;
        }
        Ok(rules)
    }
}

fn stop_window(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|error| format!("{error}; for example 90s, 30m or 1h 30m"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::Parser as _;

    use super::super::{Cli, Command};

    #[test]
    fn rules_that_are_none_are_told_once_and_with_what_to_do() {
        let told = |path: &str| {
            let words = ["oomtrace", "replay", "--rules", path, "file"];
            match Cli::try_parse_from(words).unwrap().command {
                Command::Replay(args) => {
                    format!("{:#}", args.deaths.rules().unwrap_err())
                }
                other => panic!("{other:?}"),
            }
        };
        let missing = told("/nonexistent/rules.toml");
        assert!(
            missing.contains("cannot be read") && missing.contains("\ndo: "),
            "{missing}"
        );
        let wrong = told(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
        assert_eq!(wrong.matches("unknown field").count(), 1, "{wrong}");
        assert!(wrong.contains("\ndo: "), "{wrong}");
    }

    #[test]
    fn a_stop_window_is_a_duration() {
        assert_eq!(super::stop_window("90s"), Ok(Duration::from_secs(90)));
        assert!(super::stop_window("soon").unwrap_err().contains("30m"));
    }
}
