//! Records for a person on a terminal. What came from other processes, or from a recording
//! that somebody else made, is escaped.

use std::io::{self, Write};

use super::{
    Sink,
    lines::{
        chain, clock, container_line, memory_lines, oom_line, outcome_line, path_line, says_line,
        sender_line, sender_name, stop_line, unit_line, victim_line,
    },
    revisions::{News, Revisions, Seen},
    style::{BOLD, DIM, RED, YELLOW, paint},
    together::{Group, Together},
};
use crate::{
    event::text::printable,
    provenance::record::{Death, Gap, Record, Restart, Role, Sender, Started, Stopped},
};

/// See the module.
#[derive(Debug)]
pub struct Pretty<W> {
    to: W,
    colour: bool,
    /// Container runtimes' own helpers are shown, too.
    helpers: bool,
    together: Together,
    revisions: Revisions,
}

impl<W: Write> Pretty<W> {
    /// `colour`: the other end is a terminal that wants it.
    pub fn new(to: W, colour: bool) -> Self {
        Self {
            to,
            colour,
            helpers: false,
            together: Together::default(),
            revisions: Revisions::default(),
        }
    }

    /// Whether the deaths of container runtimes' own helpers are shown.
    #[must_use]
    pub fn with_helpers(self, helpers: bool) -> Self {
        Self { helpers, ..self }
    }

    fn paint(&self, colour: &str, text: &str) -> String {
        paint(self.colour, colour, text)
    }

    fn row(&mut self, name: &str, text: &str) -> io::Result<()> {
        let name = self.paint(DIM, &format!("{name:>9}"));
        writeln!(self.to, "{name}  {}", printable(text))
    }

    fn started(&mut self, started: &Started) -> io::Result<()> {
        let head = format!(
            "oomtrace {} on {} (Linux {}): tracing; OOM kills by {}{}; attached in {:.0} ms",
            started.version,
            started.node,
            started.kernel,
            started.hooks.oom,
            if started.hooks.symbols {
                ""
            } else {
                ", kernel symbols hidden"
            },
            started.attach_ms,
        );
        let head = match &started.tracing_since {
            Some(since) => format!("{head}; its programs have watched since {since}"),
            None => head,
        };
        let head = self.paint(DIM, &printable(&head));
        writeln!(self.to, "{head}")
    }

    /// A stretch of which deaths may be missing.
    fn unwatched(&mut self, gap: &Gap) -> io::Result<()> {
        let stretch = format!("between {} and {}", gap.from, gap.to);
        let text = format!("{}: {}", gap.unseen(&stretch), gap.why);
        let text = self.paint(YELLOW, &printable(&text));
        writeln!(self.to, "{text}")?;
        for kill in &gap.inferred {
            self.row("perhaps", &format!("{} ({})", kill.text, kill.source))?;
        }
        Ok(())
    }

    fn restart(&mut self, restart: &Restart) -> io::Result<()> {
        let time = clock(&restart.time);
        let text = self.paint(DIM, &printable(&restart.summary));
        writeln!(self.to, "{time}  {text}")
    }

    fn gap(&mut self, gap: &Gap) -> io::Result<()> {
        if gap.lost == 0 {
            return self.unwatched(gap);
        }
        let text = format!(
            "{} {} between {} and {}{}: {}",
            gap.lost,
            if gap.certain {
                format!("{} events were lost", gap.kind)
            } else {
                format!("{} events may have been missed", gap.kind)
            },
            gap.from,
            gap.to,
            gap.cpu
                .map_or_else(String::new, |cpu| format!(" on CPU {cpu}")),
            gap.why
        );
        let text = self.paint(YELLOW, &printable(&text));
        writeln!(self.to, "{text}")
    }

    fn stopped(&mut self, stopped: &Stopped) -> io::Result<()> {
        let counted = |count: u64, what: &str| match count {
            1 => format!("1 {what}"),
            count => format!("{count} {what}s"),
        };
        let deaths = counted(stopped.deaths, "death");
        let text = match stopped.lost {
            0 => format!("stopped: {deaths}, no event lost"),
            lost => format!("stopped: {deaths}, {} lost", counted(lost, "event")),
        };
        let text = match stopped.maybe_lost {
            0 => text,
            most => format!("{text}, up to {most} may have been missed"),
        };
        let text = match (stopped.pinned, stopped.open) {
            (false, _) => text,
            (true, 0) => format!("{text}; {STAYS}"),
            (true, open) => format!("{text}, {open} still dying; {STAYS}"),
        };
        let text = self.paint(DIM, &text);
        writeln!(self.to, "{text}")
    }

    fn head(&mut self, death: &Death, summary: &str) -> io::Result<()> {
        let time = clock(&death.time);
        let cause = self.paint(RED, death.cause.name());
        let summary = self.paint(BOLD, &printable(summary));
        writeln!(self.to, "{time}  {cause}  {summary}")
    }

    /// Those that went with the init of their namespace.
    fn group(&mut self, group: &Group) -> io::Result<()> {
        if group.count == 1 {
            self.revisions.note(&group.first);
            return self.death(&group.first);
        }
        let death = &group.first;
        let init = death
            .sender
            .as_ref()
            .map_or_else(|| "?".to_owned(), Sender::label);
        let caused_by = death
            .caused_by
            .as_ref()
            .map_or_else(String::new, |id| format!(", see death {id}"));
        let summary = format!(
            "+{} processes of its namespace ended with {init}{caused_by}",
            group.count
        );
        self.head(death, &summary)?;
        self.row("victims", &group.victims())?;
        for evidence in death
            .evidence
            .iter()
            .filter(|evidence| evidence.code.starts_with("init_"))
        {
            self.row("because", &evidence.text)?;
        }
        Ok(())
    }

    fn death(&mut self, death: &Death) -> io::Result<()> {
        self.head(death, &death.summary)?;
        self.row("victim", &victim_line(death))?;
        match (&death.container, &death.unit, &death.victim.cgroup) {
            (Some(container), ..) => self.row("container", &container_line(container))?,
            (None, None, Some(cgroup)) => self.row("cgroup", cgroup)?,
            _ => {}
        }
        if let Some(unit) = &death.unit {
            self.row("unit", &unit_line(unit))?;
        }
        if let Some(sender) = &death.sender {
            self.row(sender_name(death), &sender_line(sender))?;
            if !sender.ancestry.is_empty() {
                self.row("run by", &chain(sender))?;
            }
        }
        if let Some(stop) = &death.stop {
            self.row("asked", &stop_line(stop))?;
        }
        if let Some(oom) = &death.oom {
            self.row("limit", &oom_line(oom))?;
            for (name, line) in memory_lines(oom.memory.as_ref()) {
                self.row(name, &line)?;
            }
        }
        self.row("outcome", &outcome_line(death))?;
        if let Some(says) = &death.runtime_says {
            self.row("reported", &says_line(says))?;
        }
        if let Some(stack) = &death.kernel_stack {
            self.row("path", &path_line(stack))?;
        }
        for evidence in death
            .evidence
            .iter()
            .filter(|evidence| evidence.code != "call_path")
        {
            self.row("because", &evidence.text)?;
        }
        for advice in &death.advice {
            self.row("do", &advice.text)?;
        }
        Ok(())
    }
}

impl<W: Write> Pretty<W> {
    /// Tells one death in full, whatever it is and whatever was told before.
    pub fn tell(&mut self, death: &Death) -> io::Result<()> {
        self.death(death)?;
        self.to.flush()
    }

    /// What is known of a death that was not when it was written.
    fn news(&mut self, death: &Death, news: &News) -> io::Result<()> {
        match &news.summary {
            Some(summary) => self.head(death, summary)?,
            None => self.head(
                death,
                &format!("{}: more is known by now", death.victim.label()),
            )?,
        }
        if let (true, Some(container)) = (news.container, &death.container) {
            self.row("container", &container_line(container))?;
        }
        if news.outcome {
            self.row("outcome", &outcome_line(death))?;
        }
        if let (true, Some(says)) = (news.runtime_says, &death.runtime_says) {
            self.row("reported", &says_line(says))?;
        }
        Ok(())
    }
}

/// What is said at the end of a tracer whose programs are pinned.
const STAYS: &str = "its programs stay (oomtrace detach removes them): what dies now is told when oomtrace is started again";

impl<W: Write + Send> Sink for Pretty<W> {
    fn write(&mut self, record: &Record) -> io::Result<()> {
        match record {
            Record::Started(started) => self.started(started),
            Record::Death(death)
                if death.victim.role == Some(Role::RuntimeHelper) && !self.helpers =>
            {
                Ok(())
            }
            Record::Death(death) if self.together.hold(death) => Ok(()),
            Record::Death(death) => match self.revisions.news(death) {
                Seen::First => self.death(death),
                Seen::Before(Some(news)) => self.news(death, &news),
                Seen::Before(None) => Ok(()),
            },
            Record::Restart(restart) => self.restart(restart),
            Record::Gap(gap) => self.gap(gap),
            Record::Stopped(stopped) => {
                self.settle(true)?;
                self.stopped(stopped)
            }
        }?;
        self.to.flush()
    }

    fn settle(&mut self, is_end: bool) -> io::Result<()> {
        for group in self.together.settle(is_end) {
            self.group(&group)?;
        }
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::{
            Event, Exit, Group as Id, InfoKind, Process, Sigkill, SignalResult,
            entry::{Attached, Lost, Session, Tick},
        },
        provenance::{Config, Engine, Output, rules::Rules},
    };

    fn process(tgid: u32, comm: &str) -> Process {
        Process {
            group: Id { tgid, start_ns: 1 },
            comm: Some(comm.to_owned()),
            exit_code: Some(5 << 8),
            ..Process::default()
        }
    }

    /// The deaths of so many processes whose init has exited.
    fn namespace(count: u32) -> Vec<Record> {
        let mut engine = Engine::new(Config::default(), Rules::built_in().unwrap());
        let session = Session {
            version: String::new(),
            node: String::new(),
            boot_id: "0123456789".to_owned(),
            kernel: String::new(),
            page_bytes: 4096,
        };
        let mut out = Vec::new();
        engine.handle(Event::Session(session), &mut out);
        for tgid in 100..100 + count {
            let victim = process(tgid, "worker");
            let path = ["__send_signal_locked", "zap_pid_ns_processes"];
            let kill = Sigkill {
                boottime_ns: 5,
                result: SignalResult::Delivered,
                code: 0,
                group: true,
                info: InfoKind::Priv,
                sender: process(7, "init"),
                victim: victim.clone(),
                stack: Some(path.map(str::to_owned).into()),
                stops: Vec::new(),
                cpu_limits: crate::event::CpuLimits::default(),
            };
            engine.handle(Event::Sigkill(Box::new(kill)), &mut out);
            let exit = Exit {
                boottime_ns: 6,
                is_past: false,
                victim: Process {
                    exit_code: Some(9),
                    ..victim
                },
                ptracer: None,
                queued_kill: None,
            };
            engine.handle(Event::Exit(Box::new(exit)), &mut out);
        }
        out.into_iter()
            .filter_map(|output| match output {
                Output::Record(record) => Some(*record),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn those_that_end_with_their_namespace_share_a_line() {
        let mut pretty = Pretty::new(Vec::new(), false);
        for record in namespace(14) {
            pretty.write(&record).unwrap();
        }
        assert!(pretty.to.is_empty(), "more may come");
        pretty.settle(false).unwrap();
        assert!(pretty.to.is_empty(), "something came since the last time");
        pretty.settle(false).unwrap();
        let text = String::from_utf8(pretty.to).unwrap();
        assert!(
            text.contains("+14 processes of its namespace ended with init[7]"),
            "{text}"
        );
        assert!(text.contains("worker[104] and 9 more"), "{text}");
        assert!(text.contains("exited by itself with status 5"), "{text}");
        assert_eq!(text.matches("namespace_exit").count(), 1, "{text}");
    }

    #[test]
    fn one_alone_is_told_in_full_and_at_the_end_at_once() {
        let mut pretty = Pretty::new(Vec::new(), false);
        for record in namespace(1) {
            pretty.write(&record).unwrap();
        }
        pretty.settle(true).unwrap();
        let text = String::from_utf8(pretty.to).unwrap();
        assert!(
            text.contains("worker[100] ended with its PID namespace"),
            "{text}"
        );
    }

    const EVIL: &str = "\x1b[2J\n\u{202e}";

    fn events() -> [Event; 4] {
        let evil = || EVIL.to_owned();
        let now = Tick {
            boottime_ns: 1,
            realtime_ns: 1,
        };
        [
            Event::Session(Session {
                version: evil(),
                node: evil(),
                boot_id: evil(),
                kernel: evil(),
                page_bytes: 4096,
            }),
            Event::Attached(Attached {
                boottime_ns: 1,
                realtime_ns: 1,
                oom_hook: evil(),
                absent: Vec::new(),
                symbols: true,
                ring_bytes: 4096,
                attach_us: 1,
                resumed_since_ns: None,
            }),
            Event::Lost(Lost {
                kind: evil(),
                cpu: Some(0),
                certain: true,
                why: evil(),
                count: 1,
                from_ns: 1,
                to_ns: 2,
            }),
            Event::Stopped(now),
        ]
    }

    /// A recording may be anybody's.
    #[test]
    fn what_a_recording_says_of_its_tracer_does_not_move_the_cursor() {
        let mut engine = Engine::new(Config::default(), Rules::built_in().unwrap());
        let mut out = Vec::new();
        for event in events() {
            engine.handle(event, &mut out);
        }
        let mut pretty = Pretty::new(Vec::new(), false);
        for output in out {
            if let Output::Record(record) = output {
                pretty.write(&record).unwrap();
            }
        }
        let text = String::from_utf8(pretty.to).unwrap();
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(!text.contains(['\x1b', '\u{202e}']), "{text:?}");
    }
}
