//! The tables that verdicts rest on, read once from the files in `data/`; a user's own rows
//! for actors go before them.

use serde::Deserialize;
use thiserror::Error;

use super::record::Mechanism;

/// A table that cannot be read.
#[derive(Debug, Error)]
pub enum RulesError {
    #[error("{table}: {error}")]
    Table {
        table: &'static str,
        error: toml::de::Error,
    },
    // Told here, and so no source: else whoever tells the chain tells it twice.
    #[error("these are no rules for actors: {0}")]
    Users(toml::de::Error),
    #[error("rule {row} matches nothing: give it `names` or `paths`")]
    Empty { row: usize },
}

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Application,
    Runtime,
    /// What asks a runtime's daemon, and does nothing itself.
    Client,
    ServiceManager,
    OomDaemon,
    SecurityAgent,
    /// An interactive tool.
    Tool,
    Shell,
    /// What carries a person's session.
    Session,
}

/// A row of `data/actors.toml`, or of a user's file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActorRow {
    pub kind: Role,
    pub name: Option<String>,
    #[serde(default)]
    names: Vec<String>,
    #[serde(default)]
    paths: Vec<String>,
}

/// What a process was recognised by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    Exe,
    /// Its comm, which it can set as it likes.
    Comm,
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

/// A frame that tells that a process group was meant.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct GroupRow {
    function: String,
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

/// `data/actors.toml`, or a user's file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Actors {
    #[serde(default)]
    actor: Vec<ActorRow>,
    /// Programs that run others under their own executable.
    #[serde(default)]
    hosts: Vec<String>,
}

#[derive(Deserialize)]
struct Mechanisms {
    mechanism: Vec<MechanismRow>,
    process_group: Vec<GroupRow>,
}

/// All tables.
#[derive(Clone, Debug)]
pub struct Rules {
    actors: Vec<ActorRow>,
    hosts: Vec<String>,
    mechanisms: Vec<MechanismRow>,
    process_groups: Vec<GroupRow>,
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
            toml::from_str(text).map_err(|error| RulesError::Table { table, error })
        }
        let actors: Actors = parse("actors.toml", include_str!("../../data/actors.toml"))?;
        let mechanisms: Mechanisms = parse(
            "mechanisms.toml",
            include_str!("../../data/mechanisms.toml"),
        )?;
        Ok(Self {
            actors: actors.actor,
            hosts: actors.hosts,
            mechanisms: mechanisms.mechanism,
            process_groups: mechanisms.process_group,
            advice: parse("advice.toml", include_str!("../../data/advice.toml"))?,
        })
    }

    /// Puts a user's rows before those that are there.
    pub fn prepend(&mut self, toml: &str) -> Result<(), RulesError> {
        let Actors { mut actor, hosts } = toml::from_str(toml).map_err(RulesError::Users)?;
        let empty = |row: &ActorRow| row.names.is_empty() && row.paths.is_empty();
        if let Some(at) = actor.iter().position(empty) {
            return Err(RulesError::Empty { row: at + 1 });
        }
        actor.append(&mut self.actors);
        self.actors = actor;
        self.hosts.extend(hosts);
        Ok(())
    }

    /// The row for a process. Its executable counts; its comm, which it can set as it likes,
    /// only where the executable is not known or is one that runs others (busybox, an
    /// interpreter).
    #[must_use]
    pub fn actor(&self, exe: Option<&str>, comm: Option<&str>) -> Option<(&ActorRow, By)> {
        let file = exe.and_then(|exe| exe.rsplit('/').next());
        let by_exe = || {
            let exe = exe?;
            let row = self.actors.iter().find(|row| {
                row.paths.iter().any(|pattern| matches(pattern, exe))
                    || file.is_some_and(|file| row.names(file))
            })?;
            Some((row, By::Exe))
        };
        let by_comm = || {
            let comm = comm?;
            let row = self.actors.iter().find(|row| row.names(comm))?;
            Some((row, By::Comm))
        };
        let hosts = |file: &str| self.hosts.iter().any(|pattern| matches(pattern, file));
        if file.is_some_and(hosts) {
            by_comm().or_else(by_exe)
        } else if exe.is_some() {
            by_exe()
        } else {
            by_comm()
        }
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

    /// Whether a call path tells that the signal was sent to a whole process group.
    #[must_use]
    pub fn is_to_process_group(&self, stack: &[String]) -> bool {
        let is_one = |frame: &String| self.process_groups.iter().any(|row| row.function == *frame);
        stack.iter().any(is_one)
    }

    /// The advice under a key of `data/advice.toml`.
    #[must_use]
    pub fn advice(&self, key: &str) -> Option<&AdviceRow> {
        self.advice.get(key)
    }
}

impl ActorRow {
    fn names(&self, name: &str) -> bool {
        self.names.iter().any(|pattern| matches(pattern, name))
    }
}

/// Whether a name fits a pattern. The kernel cuts comm at 15 bytes, and the file name of a
/// stop request's sender is kept to 31: then so is the pattern.
fn matches(pattern: &str, name: &str) -> bool {
    let cut = matches!(name.len(), 15 | 31);
    let (start, open) = match pattern.strip_suffix('*') {
        Some(start) => (start, true),
        None => (pattern, false),
    };
    let fits = if open {
        name.starts_with(start)
    } else {
        start == name
    };
    fits || (cut && start.get(..name.len()) == Some(name))
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
    fn the_executable_counts_and_the_comm_where_it_says_nothing() {
        let rules = Rules::built_in().unwrap();
        let kind = |exe, comm| rules.actor(exe, comm).map(|(row, by)| (row.kind, by));
        assert_eq!(
            kind(Some("/usr/bin/bash"), Some("kubelet")),
            Some((Role::Shell, By::Exe))
        );
        assert_eq!(
            kind(Some("/bin/busybox"), Some("kill")),
            Some((Role::Tool, By::Comm))
        );
        assert_eq!(
            kind(Some("/usr/bin/python3.11"), Some("supervisord")),
            Some((Role::ServiceManager, By::Comm))
        );
        assert_eq!(
            kind(None, Some("containerd-shim")),
            Some((Role::Runtime, By::Comm))
        );
        assert_eq!(kind(Some("/app/server"), Some("server")), None);
        // A name that a program gave itself proves nothing.
        assert_eq!(kind(Some("/app/server"), Some("systemd-oomd")), None);
    }

    #[test]
    fn a_users_rows_come_first() {
        let mut rules = Rules::built_in().unwrap();
        rules
            .prepend(
                r#"
                [[actor]]
                kind = "service_manager"
                name = "acme"
                names = ["acme-superd"]
                paths = ["/opt/acme/*"]

                [[actor]]
                kind = "application"
                names = ["kill"]
                "#,
            )
            .unwrap();
        let kind = |exe, comm| rules.actor(exe, comm).map(|(row, _)| row.kind);
        assert_eq!(
            kind(Some("/opt/acme/bin/x"), None),
            Some(Role::ServiceManager)
        );
        assert_eq!(kind(None, Some("acme-superd")), Some(Role::ServiceManager));
        assert_eq!(kind(Some("/bin/kill"), None), Some(Role::Application));
        assert_eq!(kind(Some("/bin/pkill"), None), Some(Role::Tool));
    }

    #[test]
    fn bad_rows_are_refused() {
        let mut rules = Rules::built_in().unwrap();
        let mut refused = |toml| rules.prepend(toml).unwrap_err().to_string();
        assert!(refused("[[actor]]\nkind = \"tool\"").contains("rule 1"));
        assert!(refused("[[actor]]\nkind = \"no\"\nnames = [\"x\"]").contains("unknown variant"));
        assert!(refused("actors = 1").contains("unknown field"));
    }
}
