//! What stands in the rows of a death for a person.

use crate::{
    event::text::command_line,
    provenance::{
        human_bytes, pod_label,
        record::{
            Container, Death, Oom, OomCgroup, OomMemory, OomRead, Reading, RuntimeSays, Sender,
            Stop, Unit,
        },
        short_id,
    },
};

fn arguments(argv: Option<&Vec<String>>, truncated: bool) -> Option<String> {
    let line = command_line(argv?);
    Some(if truncated {
        format!("{line} …")
    } else {
        line
    })
}

/// The time of day of a record's time, to the millisecond: on the clock that records tell, which is
/// UTC, and so marked.
pub(super) fn clock(time: &str) -> String {
    time.get(11..23)
        .map_or_else(|| time.to_owned(), |clock| format!("{clock}Z"))
}

pub(super) fn victim_line(death: &Death) -> String {
    let victim = &death.victim;
    let mut line = format!(
        "pid {}{}",
        victim.pid,
        victim
            .ns_pid
            .filter(|pid| *pid != victim.pid)
            .map_or_else(String::new, |pid| format!(" ({pid} in its namespace)"))
    );
    if let Some(uid) = victim.uid {
        line.push_str(&format!(", uid {uid}"));
    }
    let program =
        arguments(victim.argv.as_ref(), victim.argv_truncated).or_else(|| victim.exe.clone());
    if let Some(program) = program {
        line.push_str(&format!(": {program}"));
    }
    if let (Some(memory), true) = (&victim.memory, death.oom.is_some()) {
        line.push_str(&format!(
            " ({} anonymous, {} files)",
            human_bytes(memory.anon_bytes),
            human_bytes(memory.file_bytes)
        ));
    }
    line
}

/// Who died, where, and by whom, each with its name.
pub(super) fn who(death: &Death) -> Vec<(&'static str, String)> {
    let container = death.container.as_ref();
    let unit = death.unit.as_ref();
    let mut rows = vec![("victim", victim_line(death))];
    rows.extend(container.map(|container| ("container", container_line(container))));
    rows.extend(unit.map(|unit| ("unit", unit_line(unit))));
    if let Some(sender) = &death.sender {
        rows.push((sender_name(death), sender_line(sender)));
        if !sender.ancestry.is_empty() {
            rows.push(("run by", chain(sender)));
        }
    }
    if let Some(oom) = &death.oom {
        rows.push(("limit", oom_line(oom)));
        rows.extend(memory_lines(oom.memory.as_ref()));
    }
    rows
}

/// What the sender is called: in an OOM it is the task that asked for memory, and has sent
/// nothing.
pub(super) fn sender_name(death: &Death) -> &'static str {
    if death.oom.is_some() {
        "trigger"
    } else {
        "sender"
    }
}

pub(super) fn container_line(container: &Container) -> String {
    let id = short_id(&container.id);
    let mut line = match &container.name {
        Some(name) => format!("{name} ({id})"),
        None => id.to_owned(),
    };
    if let Some(pod) = pod_label(container.namespace.as_deref(), container.pod.as_deref()) {
        line.push_str(&format!(" of pod {pod}"));
    }
    for (what, value) in [("image", &container.image), ("run by", &container.runtime)] {
        if let Some(value) = value {
            line.push_str(&format!(", {what} {value}"));
        }
    }
    for outer in &container.outer {
        let name = outer.name.as_deref().unwrap_or(short_id(&outer.id));
        line.push_str(&format!(", in container {name}"));
    }
    line
}

pub(super) fn unit_line(unit: &Unit) -> String {
    let mut line = unit.name.clone();
    if let Some(slice) = &unit.slice {
        line.push_str(&format!(" in {slice}"));
    }
    if let Some(user) = unit.user {
        line.push_str(&format!(", of user {user}"));
    }
    line
}

pub(super) fn says_line(says: &RuntimeSays) -> String {
    let verdict = if says.agrees { "so it was" } else { "NOT SO" };
    format!(
        "{} says {}; {verdict}: {}",
        says.runtime, says.words, says.why
    )
}

pub(super) fn sender_line(sender: &Sender) -> String {
    let mut line = sender.label();
    if let Some(uid) = sender.uid {
        line.push_str(&format!(", uid {uid}"));
    }
    if let Some(uid) = sender.loginuid {
        line.push_str(&format!(", login uid {uid}"));
    }
    if let Some(tty) = &sender.tty {
        line.push_str(&format!(", on {tty}"));
    }
    if let Some(container) = &sender.container {
        let name = container.name.as_deref();
        let name = name.unwrap_or(short_id(&container.id));
        line.push_str(&format!(", in container {name}"));
    }
    if let Some(unit) = &sender.unit {
        line.push_str(&format!(", in {}", unit.name));
    }
    if let Some(argv) = arguments(sender.argv.as_ref(), sender.argv_truncated) {
        line.push_str(&format!(": {argv}"));
    }
    line
}

pub(super) fn chain(sender: &Sender) -> String {
    let links: Vec<String> = sender
        .ancestry
        .iter()
        .map(|ancestor| format!("{}[{}]", ancestor.comm, ancestor.pid))
        .collect();
    links.join(" < ")
}

pub(super) fn stop_line(stop: &Stop) -> String {
    format!(
        "{}{} by {}, {:.1} s before; {}{}",
        stop.signal,
        if stop.count > 1 {
            format!(" x{}", stop.count)
        } else {
            String::new()
        },
        stop.sender.label(),
        stop.grace_ms as f64 / 1_000.0,
        stop.result,
        if stop.reason == stop.result {
            String::new()
        } else {
            format!(", {}", stop.reason.replace('_', " "))
        },
    )
}

pub(super) fn oom_line(oom: &Oom) -> String {
    let size = |bytes: Option<u64>| bytes.map_or_else(|| "?".to_owned(), human_bytes);
    let trigger = oom.trigger.as_ref().map_or_else(String::new, |trigger| {
        format!("; triggered by {}[{}]", trigger.comm, trigger.pid)
    });
    match &oom.limit_cgroup {
        Some(cgroup) => format!(
            "{}: {} of {} in use, peak {}{trigger}",
            limit_name(oom, cgroup),
            size(oom.usage_bytes),
            size(oom.limit_bytes),
            size(oom.peak_bytes)
        ),
        None => format!(
            "constraint {}{trigger}",
            oom.constraint.as_deref().unwrap_or("unknown")
        ),
    }
}

/// What came before, what memory was used for, and by whom. What was not seen takes no line.
pub(super) fn memory_lines(memory: Option<&OomMemory>) -> Vec<(&'static str, String)> {
    const MOST: usize = 4;
    let Some(memory) = memory else {
        return Vec::new();
    };
    let mut lines = Vec::new();
    let name = match memory.reading {
        Some(Reading::Plateau) => "plateau: ",
        Some(Reading::Ramp) => "ramp: ",
        Some(Reading::Burst) => "burst: ",
        Some(Reading::Steps) => "steps: ",
        Some(Reading::TooShort) | None => "",
    };
    lines.push(("before", format!("{name}{}", memory.why)));
    if let Some(split) = &memory.split {
        let kinds = [
            ("anonymous", Some(split.anon_bytes)),
            ("page cache", Some(split.file_bytes)),
            ("tmpfs and shared", Some(split.shmem_bytes)),
            ("slab", split.slab_bytes),
            ("kernel stacks", split.kernel_stack_bytes),
            ("page tables", split.page_tables_bytes),
            ("sockets", split.sock_bytes),
            ("swap", split.swap_bytes),
        ];
        let mut kinds: Vec<(&str, u64)> = kinds
            .into_iter()
            .filter_map(|(name, bytes)| Some((name, bytes.filter(|bytes| *bytes > 0)?)))
            .collect();
        kinds.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
        let kinds: Vec<String> = kinds
            .iter()
            .take(MOST)
            .map(|(name, bytes)| format!("{} {name}", human_bytes(*bytes)))
            .collect();
        if !kinds.is_empty() {
            let age = if split.seconds_before >= 1.0 {
                format!(" ({:.0} s before)", split.seconds_before)
            } else {
                String::new()
            };
            lines.push(("used for", format!("{}{age}", kinds.join(", "))));
        }
    }
    if memory.largest.len() > 1 {
        let held: Vec<String> = memory
            .largest
            .iter()
            .take(MOST)
            .map(|one| format!("{}[{}] {}", one.comm, one.pid, human_bytes(one.rss_bytes)))
            .collect();
        lines.push((
            "held by",
            held.join(", ") + &read_after(memory.largest_read.as_ref()),
        ));
    }
    if !memory.cgroups.is_empty() {
        let held: Vec<String> = memory
            .cgroups
            .iter()
            .take(MOST)
            .map(|one| format!("{} {}", cgroup_name(one), human_bytes(one.own_bytes)))
            .collect();
        lines.push((
            "cgroups",
            held.join(", ") + &read_after(memory.cgroups_read.as_ref()),
        ));
    }
    lines
}

/// What is to be known of figures that are not of the kill itself.
fn read_after(read: Option<&OomRead>) -> String {
    let Some(read) = read.filter(|read| read.source != "kernel_log") else {
        return String::new();
    };
    let ms = (read.seconds_before * 1e3).abs();
    let side = if read.seconds_before > 0.0 {
        "before"
    } else {
        "after"
    };
    let cut = match read.complete {
        Some(false) => ", not all of them",
        _ => "",
    };
    format!(" (read {ms:.0} ms {side} the kill{cut})")
}

/// A cgroup as people speak of it, as far as that is known.
fn cgroup_name(one: &OomCgroup) -> String {
    if let Some(container) = &one.container
        && let Some(name) = &container.name
    {
        return match pod_label(container.namespace.as_deref(), container.pod.as_deref()) {
            Some(pod) => format!("{name} of pod {pod}"),
            None => format!("container {name}"),
        };
    }
    match &one.unit {
        Some(unit) if one.container.is_none() => unit.name.clone(),
        _ => one.cgroup.clone(),
    }
}

/// Whose limit it was, with the path where that says more.
fn limit_name(oom: &Oom, cgroup: &str) -> String {
    let level = oom
        .levels
        .iter()
        .find(|level| level.cgroup.as_deref() == Some(cgroup));
    match level.map(|level| (level.of.as_deref(), &level.name)) {
        Some((Some(of @ ("container" | "pod")), Some(name))) => format!("{of} {name}"),
        Some((Some("unit" | "slice"), Some(name))) => name.clone(),
        _ => cgroup.to_owned(),
    }
}

/// The frames that tell the mechanism; what is further out is how the kernel got there.
pub(super) fn path_line(stack: &[String]) -> String {
    const MOST: usize = 7;
    let shown = stack.get(..MOST).unwrap_or(stack).join(" < ");
    if stack.len() > MOST {
        format!("{shown} < …")
    } else {
        shown
    }
}

pub(super) fn outcome_line(death: &Death) -> String {
    let Some(outcome) = &death.outcome else {
        let says = |code: &str| death.has_evidence(code);
        return if says("state_hidden") {
            "not seen yet, and not to be seen from this PID namespace"
        } else if says("end_not_seen") {
            "its end was not seen"
        } else {
            "still there, as far as is known"
        }
        .to_owned();
    };
    let mut line = format!("exit code {}", outcome.exit_code);
    if let Some(latency) = outcome.latency_us {
        line.push_str(&format!(
            ", gone {}{:.1} ms after the signal",
            death.at_most(),
            latency as f64 / 1_000.0
        ));
    }
    if let Some(id) = &death.caused_by {
        line.push_str(&format!(", caused by death {id}"));
    }
    line
}
