//! What is said where a death may be missing: when nobody traced, and what others say of that time;
//! of when not all was kept; and which events were lost.

use super::when;
use crate::{
    event::text::printable,
    identity::target::is_within,
    provenance::record::{Gap, Inferred},
    store::{Loss, Reader, StoreError, Watch, now_ns, parse_time},
};

const SECOND_NS: i64 = 1_000_000_000;
/// So many of the latest stretches are looked at.
pub(super) const STRETCHES: usize = 32;
/// And so many of the latest watches.
const WATCHES: usize = 256;
/// So many kills are told.
const KILLS: usize = 5;
/// In less than this between two watches hardly anything dies.
const SHORTEST_NS: i64 = 2 * SECOND_NS;
/// A tracer has it noted once a minute that it watches. A disk may be slow.
const NOTED_NS: i64 = 3 * 60 * SECOND_NS;

/// What is stored of the time in which a death may be missing.
struct Unseen {
    /// In which nobody traced, or of which not all was kept, the latest first.
    gaps: Vec<Gap>,
    losses: Vec<Loss>,
    /// The latest first.
    watches: Vec<Watch>,
}

/// What may be missing after a moment (nanoseconds since 1970), with what is concluded of it; about
/// this process or place, if one is named. `None`: nothing.
pub(super) fn note(
    reader: &Reader,
    since_ns: i64,
    typed: Option<&str>,
) -> Result<Option<String>, StoreError> {
    let unseen = Unseen {
        gaps: reader.unwatched(since_ns, STRETCHES)?,
        losses: reader.losses(since_ns)?,
        watches: reader.watches(WATCHES)?,
    };
    let lines: Vec<String> = [
        open_end(&unseen.watches, now_ns()),
        untraced(&unseen, since_ns, typed),
        unkept(&unseen.gaps),
        lost(&unseen.losses, true),
        lost(&unseen.losses, false),
    ]
    .into_iter()
    .flatten()
    .collect();
    Ok((!lines.is_empty()).then(|| lines.join("\n")))
}

/// Whether anybody traces now.
fn open_end(watches: &[Watch], now_ns: i64) -> Option<String> {
    let last = watches.iter().max_by_key(|watch| watch.seen_ns)?;
    let for_ns = now_ns.saturating_sub(last.seen_ns);
    let since = when::local(last.seen_ns);
    match (last.is_ended, last.is_pinned) {
        (true, false) if for_ns >= SHORTEST_NS => {
            Some(format!("no tracer has watched since {since}"))
        }
        (true, true) if for_ns >= SHORTEST_NS => Some(format!(
            "no tracer has watched since {since}; it has left its programs attached, and the next \
             `oomtrace run --pin` tells what they have seen"
        )),
        (false, _) if for_ns > NOTED_NS => {
            Some(format!("no tracer is known to have watched since {since}"))
        }
        _ => None,
    }
}

/// The stretches in which nobody traced, and what others say of them.
fn untraced(unseen: &Unseen, since_ns: i64, typed: Option<&str>) -> Option<String> {
    let untraced = unseen.gaps.iter().filter(|gap| !gap.is_unkept());
    let gaps: Vec<(i64, i64)> = untraced.filter_map(times).collect();
    let mut stretches = between(&unseen.watches, &gaps);
    // Of what is older than the gaps that were looked at, it is not known whether one covers it.
    if unseen.gaps.len() >= STRETCHES
        && let Some((oldest_ns, _)) = gaps.last()
    {
        stretches.retain(|(from_ns, _)| from_ns > oldest_ns);
    }
    stretches.retain(|(_, to_ns)| *to_ns > since_ns);
    stretches.extend(gaps);
    stretches.sort_unstable_by_key(|(_, to_ns)| std::cmp::Reverse(*to_ns));
    let latest = stretches.first()?;
    let mut text = format!("nobody traced {}", stretch(*latest));
    match stretches.len() - 1 {
        0 => {}
        1 => text.push_str(", nor in a stretch before that"),
        before => text.push_str(&format!(", nor in {before} stretches before that")),
    }
    let kills: Vec<(&Gap, &Inferred)> = unseen
        .gaps
        .iter()
        .flat_map(|gap| gap.inferred.iter().map(move |kill| (gap, kill)))
        .filter(|(_, kill)| typed.is_none_or(|typed| is_meant(kill, typed)))
        .collect();
    for (gap, kill) in kills.iter().take(KILLS) {
        let when = times(gap).map_or_else(String::new, stretch);
        text.push_str(&format!(
            "\n  {when}: {} ({})",
            printable(&kill.text),
            printable(&kill.source)
        ));
    }
    let more: u64 = kills.iter().skip(KILLS).map(|(_, kill)| kill.kills).sum();
    if more > 0 {
        text.push_str(&format!("\n  and {more} more OOM kills are inferred"));
    }
    Some(text)
}

/// The latest stretch of which not all was kept.
fn unkept(gaps: &[Gap]) -> Option<String> {
    let mut gaps = gaps.iter().filter(|gap| gap.is_unkept());
    let latest = gaps.next()?;
    let before = match gaps.count() {
        0 => String::new(),
        1 => ", and in a stretch before that".to_owned(),
        before => format!(", and in {before} stretches before that"),
    };
    let unseen = latest.unseen(&stretch(times(latest)?));
    Some(format!("{unseen}{before}: {}", printable(&latest.why)))
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

/// The stretches between watches that no gap covers, in part at least: where one watch ended is
/// not known to the second.
fn between(watches: &[Watch], gaps: &[(i64, i64)]) -> Vec<(i64, i64)> {
    let mut watches: Vec<&Watch> = watches.iter().collect();
    watches.sort_unstable_by_key(|watch| watch.started_ns);
    let mut stretches = Vec::new();
    let mut watched_until_ns = None;
    for watch in watches {
        let to_ns = watch.started_ns;
        if let Some(from_ns) = watched_until_ns
            && to_ns.saturating_sub(from_ns) >= SHORTEST_NS
            && !gaps.iter().any(|gap| gap.0 < to_ns && gap.1 > from_ns)
        {
            stretches.push((from_ns, to_ns));
        }
        watched_until_ns = watched_until_ns.max(Some(watch.seen_ns));
    }
    stretches
}

/// Events that were lost, or may have been, on one line however many stretches those were.
fn lost(losses: &[Loss], is_certain: bool) -> Option<String> {
    let of: Vec<(&Loss, &str)> = losses
        .iter()
        .filter(|loss| loss.is_certain == is_certain)
        .filter_map(|loss| Some((loss, what(&loss.kind)?)))
        .collect();
    let from_ns = of.iter().map(|(loss, _)| loss.from_ns).min()?;
    let to_ns = of.iter().map(|(loss, _)| loss.to_ns).max()?;
    let stretches: u64 = of.iter().map(|(loss, _)| loss.stretches).sum();
    let counts: Vec<String> = of
        .iter()
        .enumerate()
        .map(|(at, (loss, what))| {
            let events = if at == 0 { " events" } else { "" };
            format!("{}{events} of {what}", loss.lost)
        })
        .collect();
    let counts = counts.join(", ");
    let within = match stretches {
        1 => String::new(),
        several => format!("in {several} stretches "),
    };
    let when = format!("{within}{}", stretch((from_ns, to_ns)));
    Some(if is_certain {
        format!("{counts} were lost {when}: a death may be missing or unknown")
    } else {
        format!("up to {counts} may have been lost {when}: a death may be missing or unknown")
    })
}

/// Events without which a death is missing or not explained, as people say it.
fn what(kind: &str) -> Option<&'static str> {
    match kind {
        "sigkill" => Some("SIGKILLs"),
        "exit" => Some("exits"),
        "mark_victim" | "oom_kill" => Some("OOM kills"),
        "image" | "cgroup_made" | "cgroup_emptied" => None,
        _ => Some("other kinds"),
    }
}

fn times(gap: &Gap) -> Option<(i64, i64)> {
    Some((parse_time(&gap.from)?, parse_time(&gap.to)?))
}

fn stretch((from_ns, to_ns): (i64, i64)) -> String {
    format!("from {} to {}", when::local(from_ns), when::local(to_ns))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch(from_s: i64, to_s: i64, is_ended: bool) -> Watch {
        Watch {
            boot_id: "b".to_owned(),
            started_ns: from_s * SECOND_NS,
            seen_ns: to_s * SECOND_NS,
            is_ended,
            is_pinned: false,
        }
    }

    fn seconds(stretches: Vec<(i64, i64)>) -> Vec<(i64, i64)> {
        let seconds = |(from, to): (i64, i64)| (from / SECOND_NS, to / SECOND_NS);
        stretches.into_iter().map(seconds).collect()
    }

    #[test]
    fn nobody_traced_between_two_watches() {
        let watches = [watch(500, 600, false), watch(100, 200, true)];
        assert_eq!(seconds(between(&watches, &[])), [(200, 500)]);
        // A gap tells of it, if not from just the same moment on.
        let gap = (230 * SECOND_NS, 500 * SECOND_NS);
        assert_eq!(between(&watches, &[gap]), []);
        let elsewhere = (20 * SECOND_NS, 50 * SECOND_NS);
        assert_eq!(seconds(between(&watches, &[elsewhere])), [(200, 500)]);
        // A restart; and watches of which one goes on with another.
        let restart = [watch(100, 200, true), watch(201, 300, true)];
        assert_eq!(between(&restart, &[]), []);
        let over = [
            watch(100, 900, true),
            watch(100, 200, true),
            watch(901, 950, true),
        ];
        assert_eq!(between(&over, &[]), []);
    }

    #[test]
    fn whether_anybody_traces_now_is_known() {
        let at = |watch: Watch, now_s: i64| open_end(&[watch], now_s * SECOND_NS);
        assert_eq!(at(watch(100, 200, false), 300), None, "noted once a minute");
        assert_eq!(at(watch(100, 200, true), 201), None);
        let text = at(watch(100, 200, true), 210).unwrap();
        assert!(
            text.starts_with("no tracer has watched since 1970"),
            "{text}"
        );
        let text = at(watch(100, 200, false), 2000).unwrap();
        assert!(text.contains("is known to have watched since"), "{text}");
        let mut pinned = watch(100, 200, true);
        pinned.is_pinned = true;
        let text = at(pinned, 2000).unwrap();
        assert!(text.contains("left its programs attached"), "{text}");
        assert_eq!(open_end(&[], 0), None);
    }

    #[test]
    fn what_was_not_kept_is_not_said_to_be_untraced() {
        let gap = |kind: &str, from: &str| Gap {
            schema: 1,
            lost: 0,
            kind: kind.to_owned(),
            cpu: None,
            from: format!("2026-11-28T{from}:00Z"),
            to: format!("2026-11-28T{from}:30Z"),
            from_boottime_ns: 0,
            to_boottime_ns: 0,
            certain: false,
            why: "the disk was full".to_owned(),
            inferred: Vec::new(),
        };
        let unkept_alone = Unseen {
            gaps: vec![gap("unkept", "12:00"), gap("unkept", "11:00")],
            losses: Vec::new(),
            watches: Vec::new(),
        };
        assert_eq!(untraced(&unkept_alone, 0, None), None);
        let text = unkept(&unkept_alone.gaps).unwrap();
        assert!(text.starts_with("what was seen from 2026-11-28"), "{text}");
        assert!(
            text.ends_with(
                " may not have been kept, and in a stretch before that: the disk was full"
            ),
            "{text}"
        );
        assert_eq!(unkept(&[gap("any", "12:00")]), None);
    }

    #[test]
    fn a_storm_is_one_line() {
        let loss = |kind: &str, lost, is_certain| Loss {
            kind: kind.to_owned(),
            lost,
            is_certain,
            stretches: 3,
            from_ns: SECOND_NS,
            to_ns: 9 * SECOND_NS,
        };
        let losses = [
            loss("sigkill", 50_000, true),
            loss("exit", 7, true),
            loss("image", 9, true),
            loss("sigkill", 2, false),
        ];
        let text = lost(&losses, true).unwrap();
        assert!(
            text.starts_with(
                "50000 events of SIGKILLs, 7 of exits were lost in 6 stretches from 1970"
            ),
            "{text}"
        );
        assert!(
            text.ends_with("a death may be missing or unknown"),
            "{text}"
        );
        let text = lost(&losses, false).unwrap();
        assert!(
            text.starts_with("up to 2 events of SIGKILLs may have been"),
            "{text}"
        );
        assert_eq!(lost(&losses[2..3], true), None);
    }

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
