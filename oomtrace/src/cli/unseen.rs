//! What is said where a death may be missing: when nobody traced, and what others say of that time.

use super::when;
use crate::{
    event::text::printable,
    identity::target::is_within,
    provenance::record::{Gap, Inferred},
    store::{Reader, StoreError, parse_time},
};

/// So many of the latest stretches are looked at.
const STRETCHES: usize = 32;
/// So many kills are told.
const KILLS: usize = 5;

/// The latest stretches after a moment (nanoseconds since 1970) in which nobody traced, with what
/// is concluded of them; about this process or place, if one is named. `None`: there were none.
pub(super) fn note(
    reader: &Reader,
    since_ns: i64,
    typed: Option<&str>,
) -> Result<Option<String>, StoreError> {
    let gaps = reader.unwatched(since_ns, STRETCHES)?;
    let Some(latest) = gaps.first() else {
        return Ok(None);
    };
    let mut text = format!("nobody traced {}", stretch(latest));
    match gaps.len() - 1 {
        0 => {}
        1 => text.push_str(", nor in a stretch before that"),
        before => text.push_str(&format!(", nor in {before} stretches before that")),
    }
    let kills: Vec<(&Gap, &Inferred)> = gaps
        .iter()
        .flat_map(|gap| gap.inferred.iter().map(move |kill| (gap, kill)))
        .filter(|(_, kill)| typed.is_none_or(|typed| is_meant(kill, typed)))
        .collect();
    for (gap, kill) in kills.iter().take(KILLS) {
        text.push_str(&format!(
            "\n  {}: {} ({})",
            stretch(gap),
            printable(&kill.text),
            printable(&kill.source)
        ));
    }
    let more: u64 = kills.iter().skip(KILLS).map(|(_, kill)| kill.kills).sum();
    if more > 0 {
        text.push_str(&format!("\n  and {more} more OOM kills are inferred"));
    }
    Ok(Some(text))
}

/// Whether a kill may be of whom somebody points at: by its process id, its command or a name in a
/// cgroup's path. Of a container's name and a pod's a cgroup tells nothing.
fn is_meant(kill: &Inferred, typed: &str) -> bool {
    /// The start of a container's id that is long enough to be meant as one.
    const ID_DIGITS: usize = 4;
    let (kind, name) = typed.split_once(':').unwrap_or(("", typed));
    let is_pid = || kill.pid.is_some_and(|pid| name == pid.to_string());
    let mut cgroups = [&kill.cgroup, &kill.limit_cgroup].into_iter().flatten();
    match kind {
        "pid" => is_pid(),
        "cgroup" => cgroups.any(|cgroup| is_within(cgroup, name)),
        _ => {
            let name = name.rsplit('/').next().unwrap_or(name);
            let is_id =
                name.len() >= ID_DIGITS && name.bytes().all(|byte| byte.is_ascii_hexdigit());
            // `docker-3f2a….scope`, `nginx.service`, `3f2a…`.
            let is_named = |part: &str| {
                let id = part.rsplit('-').next().unwrap_or(part);
                part == name
                    || part.strip_suffix(".service") == Some(name)
                    || is_id && id.starts_with(name)
            };
            let is_any = kind.is_empty() && (is_pid() || kill.comm.as_deref() == Some(name));
            is_any || cgroups.any(|cgroup| cgroup.split('/').any(is_named))
        }
    }
}

fn stretch(gap: &Gap) -> String {
    let local = |time: &str| parse_time(time).map_or_else(|| time.to_owned(), when::local);
    format!("from {} to {}", local(&gap.from), local(&gap.to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kill_is_meant_by_pid_command_or_a_whole_name_of_its_cgroup() {
        let kill = Inferred {
            code: "oom_kill_logged".into(),
            cgroup: Some("/system.slice/docker-3f2a99c0ffee.scope".to_owned()),
            kills: 1,
            pid: Some(41277),
            comm: Some("webhook".to_owned()),
            limit_cgroup: Some("/system.slice/nginx.service".to_owned()),
            text: String::new(),
            source: "kernel_log".to_owned(),
        };
        for typed in [
            "pid:41277",
            "41277",
            "webhook",
            "container:3f2a99",
            "unit:nginx.service",
            "nginx",
            "cgroup:/system.slice",
        ] {
            assert!(is_meant(&kill, typed), "{typed}");
        }
        for typed in [
            "pid:12",
            "412",
            "container:web",
            "web",
            "cgroup:/system",
            "3f",
            "unit:a",
        ] {
            assert!(!is_meant(&kill, typed), "{typed}");
        }
    }
}
