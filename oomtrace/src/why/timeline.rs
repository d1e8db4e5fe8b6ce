//! What happened when, from the start of the victim to what came after its death.

use serde::Serialize;
use time::{Duration, OffsetDateTime, format_description::well_known::Rfc3339};

use super::Around;
use crate::provenance::{
    human_duration,
    record::{Cause, Death, Mechanism, Outcome, Restart, Sender, Stop},
};

/// Of those that died with it, so many are named.
const NAMED: usize = 5;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Moment {
    /// On the wall clock, RFC 3339, UTC.
    pub time: String,
    /// From the SIGKILL (from the end, if there was none); below zero: before it.
    pub offset_ms: i64,
    /// What it was, for programs: `started`, `led_to_it`, `stop_request`, `sigkill`, `ended`,
    /// `with_it`, `restart`, `next_start`.
    pub what: &'static str,
    pub text: String,
}

/// See the module.
#[must_use]
pub(super) fn of(death: &Death, around: &Around<'_>) -> Vec<Moment> {
    let mut moments: Vec<Moment> = [start(death), stop_request(death), kill(death), end(death)]
        .into_iter()
        .flatten()
        .chain(around.cause.map(|cause| Moment {
            time: cause.time.clone(),
            offset_ms: since(death, cause),
            what: "led_to_it",
            text: format!("led to it: {}", cause.summary),
        }))
        .chain(with_it(death, around.with_it))
        .chain(around.restart.map(|restart| restarted(death, restart)))
        .chain(around.next.and_then(|next| next_start(death, next)))
        .collect();
    moments.sort_by_key(|moment| moment.offset_ms);
    moments
}

/// From a death to another, on the clock that both tell: that since boot where it is the same boot.
fn since(death: &Death, other: &Death) -> i64 {
    if death.boot_id == other.boot_id {
        return between_ms(death.boottime_ns, other.boottime_ns);
    }
    match (moment(&death.time), moment(&other.time)) {
        (Some(from), Some(to)) => whole_ms(to - from),
        _ => 0,
    }
}

fn between_ms(from_ns: u64, to_ns: u64) -> i64 {
    let ms = |ns: u64| i64::try_from(ns / 1_000_000).unwrap_or(i64::MAX);
    ms(to_ns) - ms(from_ns)
}

/// A time of a record's.
pub(super) fn moment(text: &str) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(text, &Rfc3339).ok()
}

fn whole_ms(duration: Duration) -> i64 {
    i64::try_from(duration.whole_milliseconds()).unwrap_or(i64::MAX)
}

/// The time so long after another.
fn later(time: &str, by: Duration) -> String {
    moment(time)
        .and_then(|time| time.checked_add(by))
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_else(|| time.to_owned())
}

fn start(death: &Death) -> Option<Moment> {
    let victim = &death.victim;
    let age_ms = victim.age_ms?;
    Some(Moment {
        time: victim.started_at.clone()?,
        offset_ms: i64::try_from(age_ms).ok()?.checked_neg()?,
        what: "started",
        text: format!("{} started", victim.label()),
    })
}

fn stop_request(death: &Death) -> Option<Moment> {
    let stop = death.stop.as_ref()?;
    Some(Moment {
        time: stop.sent_at.clone(),
        offset_ms: i64::try_from(stop.grace_ms).ok()?.checked_neg()?,
        what: "stop_request",
        text: format!(
            "{}{} from {}{}: {}",
            stop.signal,
            match stop.count {
                0 | 1 => String::new(),
                count => format!(" ({count} times)"),
            },
            stop.sender.label(),
            stop.configured_grace_ms
                .map_or_else(String::new, |grace_ms| format!(
                    ", with {} configured",
                    human_duration(grace_ms.saturating_mul(1_000_000))
                )),
            reason(stop),
        ),
    })
}

/// Why it did not stop.
fn reason(stop: &Stop) -> &'static str {
    match &*stop.reason {
        "ignored" => "it ignored that",
        "frozen" => "it was frozen and could not answer",
        "stopped" => "it was stopped and could not answer",
        "uninterruptible" => "it waited where no signal reaches it",
        "blocked" => "it blocks that signal",
        "not_taken" => "it did not take it",
        "ending" => "it was ending",
        _ => "it took that, and went on",
    }
}

fn kill(death: &Death) -> Option<Moment> {
    if death.cause == Cause::ExitCode {
        return None;
    }
    let text = match by_kernel(death) {
        Some(why) => format!("SIGKILL by {why}{}", grace(death)),
        None => sent(death)?,
    };
    Some(Moment {
        time: death.time.clone(),
        offset_ms: 0,
        what: "sigkill",
        text,
    })
}

/// What nobody sent: the kernel did that, and why. It may run in the context of whatever.
fn by_kernel(death: &Death) -> Option<String> {
    let sender = death.sender.as_ref().map(Sender::label);
    // That of a timer may be known by its traces alone, and not when it came.
    let is_unseen = |outcome: Outcome| outcome.latency_us.is_none();
    if sender.is_none() && death.outcome.is_some_and(is_unseen) {
        return None;
    }
    let ended = |who: &str| match &sender {
        Some(sender) => format!("the kernel: {who}, {sender}, ended"),
        None => format!("the kernel: {who} ended"),
    };
    let text = match (death.cause, death.mechanism) {
        (Cause::NamespaceExit, _) => return Some(ended("process 1 of its PID namespace")),
        (Cause::ParentDeath, _) => return Some(ended("its parent")),
        (Cause::TracerExit, _) => return Some(ended("its tracer")),
        (Cause::CpuLimit, Mechanism::RlimitRttime) => {
            "the kernel: it ran for longer at a stretch than RLIMIT_RTTIME allows"
        }
        (Cause::CpuLimit, _) => "the kernel: its CPU time was used up (RLIMIT_CPU)",
        (Cause::OwnTimer, Mechanism::PosixTimer) => "the kernel: a POSIX timer of its own ran out",
        (Cause::OwnTimer, Mechanism::Sigio) => {
            "the kernel: a file descriptor of its own was set to send that"
        }
        (Cause::OwnTimer, _) => "the kernel: a child ended whose exit signal was set to that",
        (Cause::Bpf, _) => "a BPF program",
        (Cause::Kernel, Mechanism::Sysrq) => "the kernel: somebody told it to (SysRq)",
        (Cause::Kernel, Mechanism::MemoryFailure) => "the kernel: memory of it had gone bad",
        // These end a process without a signal.
        (Cause::Kernel, Mechanism::Seccomp | Mechanism::Ptrace) => return None,
        (Cause::Kernel, _) if sender.is_some() => "the kernel itself",
        _ => return None,
    };
    Some(text.to_owned())
}

/// How long after it was asked to stop.
fn grace(death: &Death) -> String {
    death.stop.as_ref().map_or_else(String::new, |stop| {
        let grace = human_duration(stop.grace_ms.saturating_mul(1_000_000));
        format!(", {grace} after {}", stop.signal)
    })
}

/// What was sent, or the OOM killer's.
fn sent(death: &Death) -> Option<String> {
    let sender = death.sender.as_ref()?;
    let actor = &death.actor;
    Some(if let Some(oom) = &death.oom {
        let when = if oom.limit_lowered {
            "lowered the limit"
        } else if death.has_evidence("sysrq_f") {
            "called it by hand"
        } else {
            "asked for memory"
        };
        format!("SIGKILL by the OOM killer, when {} {when}", sender.label())
    } else {
        let whose = actor
            .name
            .as_deref()
            .filter(|_| actor.pid != Some(sender.pid))
            .map_or_else(String::new, |name| format!(", for {name}"));
        format!("SIGKILL from {}{whose}{}", sender.label(), grace(death))
    })
}

fn end(death: &Death) -> Option<Moment> {
    let outcome = death.outcome.as_ref()?;
    let latency_us = outcome.latency_us.unwrap_or_default();
    let how = match outcome.signal {
        Some(_) => format!("ended (exit code {})", outcome.exit_code),
        None => format!("ended by itself, with status {}", outcome.exit_code),
    };
    let took = outcome.latency_us.map_or_else(String::new, |us| {
        let took = human_duration(us.saturating_mul(1_000));
        format!(", {}{took} after the SIGKILL", death.at_most())
    });
    let latency_us = i64::try_from(latency_us).unwrap_or(i64::MAX);
    Some(Moment {
        time: later(&death.time, Duration::microseconds(latency_us)),
        offset_ms: latency_us / 1_000,
        what: "ended",
        text: format!("{} {how}{took}", death.victim.label()),
    })
}

/// What died with it, by cause.
fn with_it(death: &Death, others: &[Death]) -> Vec<Moment> {
    let mut causes: Vec<Cause> = Vec::new();
    for other in others {
        if !causes.contains(&other.cause) {
            causes.push(other.cause);
        }
    }
    let told = causes.into_iter().filter_map(|cause| {
        let of_cause: Vec<&Death> = others.iter().filter(|other| other.cause == cause).collect();
        let first = of_cause.iter().min_by_key(|other| other.boottime_ns)?;
        let text = if of_cause.len() == 1 {
            first.summary.clone()
        } else {
            let mut names: Vec<String> = of_cause
                .iter()
                .take(NAMED)
                .map(|other| other.victim.label())
                .collect();
            if of_cause.len() > NAMED {
                names.push(format!("{} more", of_cause.len() - NAMED));
            }
            format!(
                "{} died with it ({}): {}",
                of_cause.len(),
                cause.name(),
                names.join(", ")
            )
        };
        Some(Moment {
            time: first.time.clone(),
            offset_ms: since(death, first),
            what: "with_it",
            text,
        })
    });
    told.collect()
}

/// When what it ended ran again.
fn restarted(death: &Death, restart: &Restart) -> Moment {
    Moment {
        time: restart.time.clone(),
        offset_ms: between_ms(death.boottime_ns, restart.boottime_ns),
        what: "restart",
        text: restart.summary.clone(),
    }
}

/// When it ran again, as its next death tells.
fn next_start(death: &Death, next: &Death) -> Option<Moment> {
    let victim = &next.victim;
    let age_ms = i64::try_from(victim.age_ms?).ok()?;
    Some(Moment {
        time: victim.started_at.clone()?,
        // Of several of one workload, another may have run all the time.
        offset_ms: since(death, next)
            .checked_sub(age_ms)
            .filter(|offset_ms| *offset_ms > 0)?,
        what: "next_start",
        text: format!(
            "it ran again, as {} (which died of {})",
            victim.label(),
            next.cause.name()
        ),
    })
}

/// A stretch of time before or after, short.
#[must_use]
pub fn offset(ms: i64) -> String {
    let sign = if ms < 0 { '-' } else { '+' };
    let size = ms.unsigned_abs();
    match size {
        0 => "0".to_owned(),
        1..1_000 => format!("{sign}{size} ms"),
        1_000..120_000 => format!("{sign}{:.1} s", size as f64 / 1e3),
        120_000..7_200_000 => format!("{sign}{} min", size / 60_000),
        7_200_000..172_800_000 => format!("{sign}{} h", size / 3_600_000),
        _ => format!("{sign}{} days", size / 86_400_000),
    }
}

#[cfg(test)]
mod tests {
    use super::offset;

    #[test]
    fn offsets_are_short() {
        let said = [0, 12, -10_002, -86_400_123, 600_000, -400_000_000].map(offset);
        assert_eq!(
            said,
            ["0", "+12 ms", "-10.0 s", "-24 h", "+10 min", "-4 days"]
        );
    }
}
