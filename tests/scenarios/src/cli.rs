//! The runner's own command line.

use std::{env, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result, bail};

pub(crate) const USAGE: &str = "\
usage: oomtrace-scenarios --tracer PATH --fixture PATH [--hooks TIER[,TIER…]]…
                          [--require-hooks] [--only NAME]… [--record DIR] | --list
TIER is auto (the default), fentry, kprobe or tracepoint. The first is a full pass, the others
run what the hook on the OOM killer has to do with, or what --only names.
--require-hooks makes a failure of a tier that this kernel does not give.
--record keeps each pass' event stream in DIR.";

const TIERS: &[&str] = &["auto", "fentry", "kprobe", "tracepoint"];

#[derive(Debug)]
pub(crate) enum Action {
    List,
    Run(Options),
}

#[derive(Debug, Default)]
pub(crate) struct Options {
    pub(crate) tracer: PathBuf,
    pub(crate) fixture: PathBuf,
    pub(crate) hooks: Vec<String>,
    pub(crate) require_hooks: bool,
    pub(crate) only: Vec<String>,
    pub(crate) record: Option<PathBuf>,
    /// In a test guest, where an emulated CPU takes its time.
    pub(crate) guest: Option<Guest>,
}

/// What a guest is there for, besides what every one is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Guest {
    /// Its kernel is the oldest or the newest of those that are booted.
    pub(crate) is_end: bool,
    /// Storms too, which one guest is enough for.
    pub(crate) has_storms: bool,
}

impl Options {
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == name)
    }

    /// How long a record may take to arrive after the fixture has ended.
    pub(crate) fn record_limit(&self) -> Duration {
        Duration::from_secs(if self.guest.is_some() { 30 } else { 15 })
    }

    /// How long a program may take that does little.
    pub(crate) fn program_limit(&self) -> Duration {
        Duration::from_secs(if self.guest.is_some() { 120 } else { 60 })
    }

    /// How much longer than planned a wait may take.
    pub(crate) fn slack_ms(&self) -> u64 {
        if self.guest.is_some() { 5000 } else { 1000 }
    }
}

pub(crate) fn parse(args: impl Iterator<Item = String>) -> Result<Action> {
    let mut args = args;
    let is_set = |name: &str| env::var_os(name).is_some_and(|value| value == "1");
    let guest = is_set("OOMTRACE_GUEST").then(|| Guest {
        is_end: is_set("OOMTRACE_END"),
        has_storms: is_set("OOMTRACE_STORMS"),
    });
    let mut options = Options {
        guest,
        ..Options::default()
    };
    while let Some(arg) = args.next() {
        let mut value = || args.next().with_context(|| format!("{arg} wants a value"));
        match arg.as_str() {
            "--list" => return Ok(Action::List),
            "--tracer" => options.tracer = value()?.into(),
            "--fixture" => options.fixture = value()?.into(),
            "--hooks" => options.hooks.extend(value()?.split(',').map(str::to_owned)),
            "--require-hooks" => options.require_hooks = true,
            "--only" => options.only.push(value()?),
            "--record" => options.record = Some(value()?.into()),
            _ => bail!("there is no option {arg:?}"),
        }
    }
    if options.tracer.as_os_str().is_empty() || options.fixture.as_os_str().is_empty() {
        bail!("--tracer and --fixture are needed");
    }
    if options.hooks.is_empty() {
        options.hooks.push("auto".into());
    }
    if let Some(tier) = options
        .hooks
        .iter()
        .find(|tier| !TIERS.contains(&tier.as_str()))
    {
        bail!("there is no tier {tier:?}");
    }
    Ok(Action::Run(options))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(args: &str) -> Result<Options> {
        match parse(args.split_whitespace().map(str::to_owned))? {
            Action::Run(options) => Ok(options),
            Action::List => bail!("a list"),
        }
    }

    #[test]
    fn tiers_may_be_repeated_or_a_list() -> Result<()> {
        let options = run("--tracer t --fixture f --hooks fentry,kprobe --hooks tracepoint")?;
        assert_eq!(options.hooks, ["fentry", "kprobe", "tracepoint"]);
        assert_eq!(run("--tracer t --fixture f")?.hooks, ["auto"]);
        Ok(())
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        for args in [
            "",
            "--tracer t",
            "--tracer t --fixture f --hooks magic",
            "--tracer t --fixture",
            "--tracer t --fixture f x",
        ] {
            assert!(run(args).is_err(), "{args}");
        }
    }

    #[test]
    fn only_picks_cases() -> Result<()> {
        let options = run("--tracer t --fixture f --only a --only b")?;
        assert!(options.wants("b"));
        assert!(!options.wants("c"));
        assert!(run("--tracer t --fixture f")?.wants("c"));
        Ok(())
    }
}
