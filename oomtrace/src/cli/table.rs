//! Stored deaths as a table that fits its terminal. What came from other processes is escaped.

use std::{borrow::Cow, collections::HashMap};

use serde_json::Value;

use super::when;
use crate::{
    event::text::printable,
    provenance::{record::Cause, short_id},
    store::Stored,
};

const HEADS: [&str; 6] = ["TIME", "AGE", "CAUSE", "WHO", "BY", "ID"];
/// Columns that give way when there is no room: these two first, down to what a process takes;
/// then times go without year and seconds; then these, down to what a process's id takes.
const TIME: usize = 0;
const WHO: usize = 3;
const BY: usize = 4;
const PROCESS: usize = 22;
const LEAST: usize = 11;
/// Of `2026-11-20 13:05:01`.
const SHORT_TIME: std::ops::Range<usize> = 5..16;
const BETWEEN: &str = "  ";

/// See the module.
#[derive(Debug)]
pub(super) struct Table {
    zone: String,
    rows: Vec<[String; 6]>,
    ids: Vec<String>,
}

impl Table {
    pub(super) fn of(deaths: &[Stored], now_ns: i64) -> Self {
        let mut zone = String::new();
        let mut rows = Vec::new();
        let labels: HashMap<&str, String> = deaths
            .iter()
            .map(|death| (death.id.as_str(), label(death)))
            .collect();
        for death in deaths {
            let record: Value = serde_json::from_str(&death.json).unwrap_or_default();
            let clock;
            (clock, zone) = when::clock(death.time_ns);
            rows.push([
                clock,
                when::age(now_ns.saturating_sub(death.time_ns)),
                printable(&death.cause),
                printable(&who(death)),
                printable(&by(&record, &labels)),
                printable(short(&death.id)),
            ]);
        }
        Self {
            zone,
            rows,
            ids: deaths.iter().map(|death| printable(&death.id)).collect(),
        }
    }

    /// Ids in full, to tell those apart that begin alike.
    pub(super) fn with_whole_ids(mut self) -> Self {
        for (row, id) in self.rows.iter_mut().zip(&self.ids) {
            row[5].clone_from(id);
        }
        self
    }

    /// The text, in lines of at most `width` characters; `None`: as wide as it takes.
    pub(super) fn render(&self, width: Option<usize>, colour: bool) -> String {
        let mut heads = HEADS.map(str::to_owned);
        if !self.zone.is_empty() {
            heads[0] = format!("TIME ({})", self.zone);
        }
        let mut widths = [0; 6];
        for row in std::iter::once(&heads).chain(&self.rows) {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let mut rows = Cow::Borrowed(&self.rows);
        if let Some(width) = width
            && !shrink(&mut widths, width, PROCESS)
        {
            "TIME".clone_into(&mut heads[TIME]);
            for row in rows.to_mut() {
                if let Some(short) = row[TIME].get(SHORT_TIME) {
                    row[TIME] = String::from(short);
                }
            }
            widths[TIME] = SHORT_TIME.len();
            shrink(&mut widths, width, LEAST);
        }
        let mut text = String::new();
        let head = line(&heads, &widths);
        if colour {
            text.push_str(&format!("\x1b[1m{head}\x1b[0m\n"));
        } else {
            text.push_str(&format!("{head}\n"));
        }
        for row in rows.iter() {
            text.push_str(&line(row, &widths));
            text.push('\n');
        }
        text
    }
}

/// Takes from the wider of the two columns that can give, until all fits or nothing above the
/// least is left to take. Whether it fits.
fn shrink(widths: &mut [usize; 6], width: usize, least: usize) -> bool {
    let all = |widths: &[usize; 6]| widths.iter().sum::<usize>() + 5 * BETWEEN.len();
    while all(widths) > width {
        let widest = if widths[WHO] >= widths[BY] { WHO } else { BY };
        if widths[widest] <= least {
            return false;
        }
        widths[widest] -= 1;
    }
    true
}

fn line(row: &[String; 6], widths: &[usize; 6]) -> String {
    let cells: Vec<String> = row
        .iter()
        .zip(widths)
        .map(|(cell, width)| format!("{:<width$}", cut(cell, *width)))
        .collect();
    cells.join(BETWEEN).trim_end().to_owned()
}

/// So many characters at the most, with a mark where some are missing. A process at the end keeps
/// its id, and its name as long as it can.
fn cut(text: &str, width: usize) -> String {
    let all = text.chars().count();
    if all <= width {
        return text.to_owned();
    }
    let (name, pid) = text.split_at(pid_at(text).unwrap_or(text.len()));
    let room = width.saturating_sub(pid.chars().count() + 1);
    let process = name.rsplit(' ').next().unwrap_or_default();
    if !pid.is_empty() && process.len() < name.len() && process.chars().count() <= room {
        let cut: String = text.chars().skip(all + 1 - width).collect();
        return format!("…{cut}");
    }
    let from = if pid.is_empty() { name } else { process };
    let cut: String = from.chars().take(room).collect();
    format!("{cut}…{pid}")
}

/// Where `[31744]` begins, if a text ends so.
fn pid_at(text: &str) -> Option<usize> {
    let (before, pid) = text.strip_suffix(']')?.rsplit_once('[')?;
    let is_pid = !pid.is_empty() && pid.bytes().all(|byte| byte.is_ascii_digit());
    is_pid.then_some(before.len())
}

/// The part of an id that tells deaths of one boot apart: `BOOT-PID`. `show` takes it, too.
fn short(id: &str) -> &str {
    id.match_indices('-')
        .nth(1)
        .and_then(|(at, _)| id.get(..at))
        .unwrap_or(id)
}

/// What died: what people call it, and the process.
fn who(death: &Stored) -> String {
    let process = label(death);
    let container = death
        .container
        .as_deref()
        .or_else(|| death.container_id.as_deref().map(short_id));
    match (&death.namespace, &death.pod, container, &death.unit) {
        (Some(namespace), Some(pod), Some(container), _) => {
            format!("{namespace}/{pod} {container} {process}")
        }
        (_, _, Some(container), _) => format!("{container} {process}"),
        (.., Some(unit)) => format!("{unit} {process}"),
        _ => process,
    }
}

fn label(death: &Stored) -> String {
    format!("{}[{}]", death.comm.as_deref().unwrap_or("?"), death.pid)
}

/// By whom: the actor, or whose limit it was; of a status of its own, from whom that came.
/// `labels`: of the deaths in the table, by their ids.
fn by(record: &Value, labels: &HashMap<&str, String>) -> String {
    let text = |pointer: &str| record.pointer(pointer).and_then(Value::as_str);
    if text("/cause") == Some(Cause::ExitCode.name()) {
        return match text("/caused_by") {
            Some(id) => labels.get(id).cloned().unwrap_or_else(|| {
                let pid = id.split('-').nth(1).unwrap_or("?");
                format!("pid {pid}")
            }),
            None => "itself".to_owned(),
        };
    }
    if let Some(cgroup) = text("/oom/limit_cgroup") {
        // Which one it is stands in the column before.
        return match text("/oom/limit_of") {
            Some(own @ ("container" | "pod" | "unit")) => format!("the {own}'s limit"),
            _ => format!("limit of {cgroup}"),
        };
    }
    match text("/actor/name").or_else(|| text("/actor/comm")) {
        Some(name) => match record.pointer("/actor/pid").and_then(Value::as_u64) {
            Some(pid) => format!("{name}[{pid}]"),
            None => name.to_owned(),
        },
        None => text("/actor/kind").unwrap_or("?").to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(who: &str, by: &str) -> Table {
        let row = [
            "2026-11-20 13:05:01",
            "2 d",
            "stop_timeout",
            who,
            by,
            "9c464020-1324",
        ];
        Table {
            zone: "UTC".to_owned(),
            rows: vec![row.map(str::to_owned)],
            ids: vec!["9c464020-1324-22999217916939".to_owned()],
        }
    }

    #[test]
    fn what_has_room_is_not_cut() {
        let text = table("web nginx[31744]", "containerd[2210]").render(Some(120), false);
        assert!(
            text.contains("web nginx[31744]  containerd[2210]  9c464020-1324"),
            "{text}"
        );
    }

    #[test]
    fn lines_fit_the_terminal() {
        let name = "long".repeat(30);
        for width in 76..200 {
            let text = table(&name, &name).render(Some(width), false);
            assert!(
                text.lines().all(|line| line.chars().count() <= width),
                "{text}"
            );
            assert!(
                text.contains("9c464020-1324") && text.contains("stop_timeout"),
                "{text}"
            );
        }
    }

    #[test]
    fn a_process_keeps_its_id() {
        let cut = |width| cut("shop/web-6f7d8b9c4-tq2nn web python3[272011]", width);
        assert_eq!(cut(44), "shop/web-6f7d8b9c4-tq2nn web python3[272011]");
        assert_eq!(cut(22), "…n web python3[272011]");
        assert_eq!(cut(16), "…python3[272011]");
        assert_eq!(cut(15), "python…[272011]");
        assert_eq!(cut(11), "py…[272011]");
        assert_eq!(super::cut("limit of /a/b/c", 12), "limit of /a…");
        let text = table("shop/web-6f python3[272011]", "containerd[2210]").render(Some(80), false);
        assert!(
            text.contains("[272011]") && text.contains("[2210]") && text.contains("11-20 13:05  "),
            "{text}"
        );
    }

    #[test]
    fn the_limit_of_what_died_needs_no_path() {
        let by = |oom: &str| {
            let record = serde_json::from_str(oom).unwrap();
            super::by(&record, &HashMap::new())
        };
        let own = r#"{"oom":{"limit_cgroup":"/docker/0123","limit_of":"container"}}"#;
        assert_eq!(by(own), "the container's limit");
        let slice = r#"{"oom":{"limit_cgroup":"/a.slice","limit_of":"slice"}}"#;
        assert_eq!(by(slice), "limit of /a.slice");
    }

    #[test]
    fn ids_are_short_where_they_are_unlike() {
        assert_eq!(short("9c464020-1324-22999217916939"), "9c464020-1324");
        assert_eq!(short("9c464020"), "9c464020");
        let text = table("a", "b").with_whole_ids().render(None, false);
        assert!(text.contains("22999217916939"), "{text}");
    }
}
