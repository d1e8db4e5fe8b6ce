//! The tables that verdicts rest on, read once from the files in `data/`.

use serde::Deserialize;
use thiserror::Error;

use super::record::Mechanism;

/// A table that cannot be read.
#[derive(Debug, Error)]
#[error("{table}: {error}")]
pub struct RulesError {
    table: &'static str,
    error: toml::de::Error,
}

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Runtime,
    ServiceManager,
    OomDaemon,
    SecurityAgent,
    /// An interactive tool.
    Tool,
    Shell,
    /// What carries a person's session.
    Session,
}

/// A row of `data/actors.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActorRow {
    pub kind: Role,
    pub name: Option<String>,
    names: Vec<String>,
}

/// A row of `data/mechanisms.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct MechanismRow {
    function: Option<String>,
    caller: Option<String>,
    name: Mechanism,
    #[expect(dead_code, reason = "for the reader of the table")]
    seen: String,
}

/// A row of `data/advice.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdviceRow {
    pub code: String,
    pub text: String,
}

#[derive(Deserialize)]
struct Actors {
    actor: Vec<ActorRow>,
}

#[derive(Deserialize)]
struct Mechanisms {
    mechanism: Vec<MechanismRow>,
}

/// All tables.
#[derive(Clone, Debug)]
pub struct Rules {
    actors: Vec<ActorRow>,
    mechanisms: Vec<MechanismRow>,
    advice: std::collections::BTreeMap<String, AdviceRow>,
}

/// The signal code's own plumbing, between a mechanism and `__send_signal*`.
const PLUMBING: &[&str] = &[
    "__send_signal",
    "__send_signal_locked",
    "send_signal",
    "send_signal_locked",
    "do_send_sig_info",
    "group_send_sig_info",
    "send_sig_info",
    "send_sig",
];

impl Rules {
    /// The tables that oomtrace comes with.
    pub fn built_in() -> Result<Self, RulesError> {
        fn parse<T: for<'a> Deserialize<'a>>(
            table: &'static str,
            text: &str,
        ) -> Result<T, RulesError> {
            toml::from_str(text).map_err(|error| RulesError { table, error })
        }
        let actors: Actors = parse("actors.toml", include_str!("../../data/actors.toml"))?;
        let mechanisms: Mechanisms = parse(
            "mechanisms.toml",
            include_str!("../../data/mechanisms.toml"),
        )?;
        Ok(Self {
            actors: actors.actor,
            mechanisms: mechanisms.mechanism,
            advice: parse("advice.toml", include_str!("../../data/advice.toml"))?,
        })
    }

    /// The row for a process: its executable's name counts before its comm, which a
    /// process can set as it likes.
    #[must_use]
    pub fn actor(&self, exe: Option<&str>, comm: Option<&str>) -> Option<&ActorRow> {
        let file = exe.and_then(|exe| exe.rsplit('/').next());
        [file, comm].into_iter().flatten().find_map(|name| {
            self.actors
                .iter()
                .find(|row| row.names.iter().any(|pattern| matches(pattern, name)))
        })
    }

    /// The mechanism that a call path tells, from the signal code outwards.
    #[must_use]
    pub fn mechanism(&self, stack: &[String]) -> Option<Mechanism> {
        let caller = stack
            .iter()
            .find(|frame| !PLUMBING.contains(&frame.as_str()));
        self.mechanisms
            .iter()
            .find(|row| {
                if let Some(function) = &row.function {
                    stack.iter().any(|frame| match function.strip_prefix('*') {
                        Some(end) => frame.ends_with(end),
                        None => frame == function,
                    })
                } else {
                    row.caller.is_some() && row.caller.as_ref() == caller
                }
            })
            .map(|row| row.name)
    }

    /// The advice under a key of `data/advice.toml`.
    #[must_use]
    pub fn advice(&self, key: &str) -> Option<&AdviceRow> {
        self.advice.get(key)
    }
}

/// Whether a name fits a pattern. The kernel cuts comm at 15 bytes: then so is the pattern.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => pattern == name || (name.len() == 15 && pattern.get(..15) == Some(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stack(frames: &str) -> Vec<String> {
        frames.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn the_specific_row_comes_before_the_general() {
        let rules = Rules::built_in().unwrap();
        let of = |frames: &str| rules.mechanism(&stack(frames));
        assert_eq!(
            of(
                "__send_signal_locked do_send_sig_info kill_pid_info_type kill_something_info __x64_sys_kill"
            ),
            Some(Mechanism::Kill)
        );
        assert_eq!(
            of(
                "__send_signal_locked do_send_sig_info kill_pid_info_type do_rt_sigqueueinfo __x64_sys_rt_sigqueueinfo"
            ),
            Some(Mechanism::RtSigqueueinfo)
        );
        assert_eq!(
            of("__send_signal_locked do_send_sig_info zap_pid_ns_processes do_exit do_group_exit"),
            Some(Mechanism::PidNamespace)
        );
        assert_eq!(
            of("__send_signal_locked do_send_sig_info __oom_kill_process oom_kill_memcg_member"),
            Some(Mechanism::OomGroup)
        );
        assert_eq!(of("__send_signal_locked something_else"), None);
    }

    #[test]
    fn pdeathsig_is_told_by_its_caller_alone() {
        let rules = Rules::built_in().unwrap();
        let direct =
            stack("__send_signal_locked send_signal_locked do_send_sig_info do_exit do_group_exit");
        assert_eq!(rules.mechanism(&direct), Some(Mechanism::Pdeathsig));
        let tracer = stack("__send_signal_locked do_send_sig_info exit_ptrace do_exit");
        assert_eq!(rules.mechanism(&tracer), Some(Mechanism::PtraceExitkill));
    }

    #[test]
    fn the_executable_counts_before_the_comm() {
        let rules = Rules::built_in().unwrap();
        let kind = |exe, comm| rules.actor(exe, comm).map(|row| row.kind);
        assert_eq!(
            kind(Some("/usr/bin/bash"), Some("kubelet")),
            Some(Role::Shell)
        );
        assert_eq!(kind(Some("/bin/busybox"), Some("kill")), Some(Role::Tool));
        assert_eq!(kind(None, Some("containerd-shim")), Some(Role::Runtime));
        assert_eq!(kind(Some("/app/server"), Some("server")), None);
    }
}
