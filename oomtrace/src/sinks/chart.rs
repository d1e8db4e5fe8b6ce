//! The memory before an OOM kill, drawn: in characters, and as SVG.

use std::fmt::Write as _;

use crate::{
    provenance::{human_bytes, record::OomMemory},
    why::offset,
};

/// Lines of a drawing in characters.
const ROWS: usize = 8;
/// Characters for what stands at its left.
const LABEL: usize = 10;
/// An eighth of a character and more.
const EIGHTHS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Fewer samples draw no curve.
const LEAST: usize = 3;

/// What is drawn.
struct Scale {
    /// Seconds before the kill at the left.
    from_s: f64,
    /// Bytes at the top.
    top: f64,
}

impl Scale {
    fn of(memory: &OomMemory) -> Option<Self> {
        let seconds = memory.samples.iter().map(|(before_s, ..)| *before_s);
        let from_s = seconds.fold(0.0, f64::max);
        let most = memory.samples.iter().map(|(_, usage, _)| *usage).max()?;
        let top = most.max(memory.limit_bytes.unwrap_or_default()) as f64;
        (memory.samples.len() >= LEAST && from_s > 0.0 && top > 0.0).then_some(Self { from_s, top })
    }

    /// How far a sample is from the left, of 1.
    fn x(&self, before_s: f64) -> f64 {
        ((self.from_s - before_s) / self.from_s).clamp(0.0, 1.0)
    }

    /// How far it is from the bottom, of 1.
    fn y(&self, bytes: u64) -> f64 {
        (bytes as f64 / self.top).clamp(0.0, 1.0)
    }
}

/// A column of a drawing in characters: how full it is, of 1.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Column {
    usage: f64,
    /// The part at the bottom that the kernel cannot take back. `None`: that is not known of any
    /// moment.
    working: Option<f64>,
}

/// Seconds before the kill, usage and working set.
type Sample = (f64, u64, Option<u64>);

/// Page cache on top of the working set.
const CACHE: char = '░';
/// What stands for what, where there are both.
const LEGEND: [&str; 2] = ["█ working set", "░ page cache on top of it"];

/// Lines of at most `width` characters; none where there is too little to draw.
#[must_use]
pub(super) fn lines(memory: &OomMemory, width: usize) -> Vec<String> {
    let Some(scale) = Scale::of(memory) else {
        return Vec::new();
    };
    let columns = columns(
        memory,
        &scale,
        width.saturating_sub(LABEL + 3).clamp(10, 120),
    );
    let mut lines = Vec::new();
    for row in (0..ROWS).rev() {
        let label = if row + 1 == ROWS {
            human_bytes(scale.top as u64)
        } else {
            String::new()
        };
        let mut line = format!("{label:>LABEL$} │");
        line.extend(columns.iter().map(|column| column.cell(row)));
        lines.push(line.trim_end().to_owned());
    }
    let has_cache = lines.iter().any(|line| line.contains(CACHE));
    lines.push(format!("{:>LABEL$} └{}", "0", "─".repeat(columns.len())));
    let left = offset(-((scale.from_s * 1e3) as i64));
    let room = columns.len().saturating_sub(left.chars().count());
    lines.push(format!("{:>LABEL$}  {left}{:>room$}", "", "the kill"));
    if has_cache {
        lines.extend(legend(width));
    }
    lines
}

/// In one line, or in two where that is too long for one.
fn legend(width: usize) -> Vec<String> {
    let line = format!("{:>LABEL$}  {}", "", LEGEND.join("   "));
    if line.chars().count() <= width {
        return vec![line];
    }
    let lines = LEGEND.map(|text| {
        let line = format!("{:>LABEL$}  {text}", "");
        if line.chars().count() <= width {
            line
        } else {
            text.to_owned()
        }
    });
    lines.to_vec()
}

impl Column {
    /// Its character in a row, counted from the bottom.
    fn cell(&self, row: usize) -> char {
        let here = |part: f64| {
            let eighths = (part * (ROWS * 8) as f64).round() as usize;
            eighths.saturating_sub(row * 8).min(8)
        };
        let usage = here(self.usage);
        let working = self.working.map_or(usage, here).min(usage);
        // A character has one shade: that of what takes up more of it.
        let cache = usage - working;
        if cache > working && usage >= 4 {
            CACHE
        } else {
            EIGHTHS.get(working).copied().unwrap_or(' ')
        }
    }
}

/// The most that was in use in each column's stretch of time, and of that the working set; where
/// nothing was seen, what was seen before.
fn columns(memory: &OomMemory, scale: &Scale, count: usize) -> Vec<Column> {
    let of = |figure: fn(&Sample) -> Option<u64>| {
        let mut columns: Vec<Option<f64>> = vec![None; count];
        for sample in &memory.samples {
            let at = (scale.x(sample.0) * count as f64) as usize;
            if let (Some(column), Some(bytes)) = (
                columns.get_mut(at.min(count.saturating_sub(1))),
                figure(sample),
            ) {
                *column = Some(column.unwrap_or(0.0).max(scale.y(bytes)));
            }
        }
        let first = columns.iter().flatten().next().copied();
        columns.into_iter().scan(first, |last, column| {
            *last = column.or(*last);
            Some(*last)
        })
    };
    let usage: Vec<Option<f64>> = of(|sample| Some(sample.1)).collect();
    let working = of(|sample| sample.2);
    usage
        .into_iter()
        .zip(working)
        .map(|(usage, working)| Column {
            usage: usage.unwrap_or(0.0),
            working,
        })
        .collect()
}

const WIDTH: f64 = 800.0;
const HEIGHT: f64 = 240.0;

/// The same as a drawing for a page; `None` where there is too little to draw.
#[must_use]
pub(super) fn svg(memory: &OomMemory) -> Option<String> {
    let scale = Scale::of(memory)?;
    let point = |before_s: f64, bytes: u64| {
        format!(
            "{:.1},{:.1}",
            scale.x(before_s) * WIDTH,
            (1.0 - scale.y(bytes)) * HEIGHT
        )
    };
    let usage: Vec<String> = memory
        .samples
        .iter()
        .map(|(before_s, usage, _)| point(*before_s, *usage))
        .collect();
    let working: Vec<String> = memory
        .samples
        .iter()
        .filter_map(|(before_s, _, working)| Some(point(*before_s, (*working)?)))
        .collect();
    let mut svg = format!(
        "<svg viewBox=\"-90 -12 {:.0} {:.0}\" role=\"img\" aria-label=\"memory before the kill\">\n",
        WIDTH + 110.0,
        HEIGHT + 44.0
    );
    if let Some(limit) = memory.limit_bytes {
        let y = (1.0 - scale.y(limit)) * HEIGHT;
        let _ = writeln!(
            svg,
            "<line class=\"limit\" x1=\"0\" x2=\"{WIDTH}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\n<text class=\"left\" x=\"-8\" y=\"{:.1}\">{}</text>",
            y + 4.0,
            human_bytes(limit)
        );
    }
    let _ = writeln!(
        svg,
        "<polyline class=\"usage\" points=\"{}\"/>",
        usage.join(" ")
    );
    if working.len() >= LEAST {
        let _ = writeln!(
            svg,
            "<polyline class=\"working\" points=\"{}\"/>",
            working.join(" ")
        );
    }
    let _ = write!(
        svg,
        "<line class=\"axis\" x1=\"0\" x2=\"{WIDTH}\" y1=\"{HEIGHT}\" y2=\"{HEIGHT}\"/>\n\
         <text class=\"left\" x=\"-8\" y=\"{:.1}\">0</text>\n\
         <text x=\"0\" y=\"{:.1}\">{}</text>\n<text class=\"left\" x=\"{WIDTH}\" y=\"{:.1}\">the kill</text>\n</svg>",
        HEIGHT + 4.0,
        HEIGHT + 22.0,
        offset(-((scale.from_s * 1e3) as i64)),
        HEIGHT + 22.0,
    );
    Some(svg)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(samples: Vec<(f64, u64, Option<u64>)>) -> OomMemory {
        OomMemory {
            samples,
            limit_bytes: Some(100),
            split: None,
            largest: Vec::new(),
            largest_read: None,
            cgroups: Vec::new(),
            cgroups_read: None,
            reading: None,
            slope_bytes_per_s: None,
            from_start_ms: None,
            may_be_start_up: false,
            why: String::new(),
        }
    }

    #[test]
    fn a_ramp_rises_from_left_to_right() {
        let ramp = memory(
            (0..=100)
                .map(|n| (f64::from(100 - n), n as u64, None))
                .collect(),
        );
        let lines = lines(&ramp, 60);
        assert_eq!(lines.len(), ROWS + 2);
        let filled = |line: &String| line.chars().filter(|c| EIGHTHS[1..].contains(c)).count();
        let counts: Vec<usize> = lines.iter().take(ROWS).map(filled).collect();
        assert!(counts.is_sorted(), "{lines:#?}");
        assert!(
            lines.iter().all(|line| line.chars().count() <= 60),
            "{lines:#?}"
        );
        assert!(lines.last().unwrap().contains("-100.0 s"), "{lines:#?}");
        assert!(lines.first().unwrap().contains("100 B"), "{lines:#?}");
    }

    #[test]
    fn what_was_not_seen_is_as_it_was_before() {
        let gap = memory(vec![(10.0, 50, None), (9.0, 50, None), (0.0, 100, None)]);
        let scale = Scale::of(&gap).unwrap();
        let columns = columns(&gap, &scale, 10);
        let usage: Vec<f64> = columns.iter().map(|column| column.usage).collect();
        assert_eq!(usage, [0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 1.0]);
        assert!(columns.iter().all(|column| column.working.is_none()));
    }

    /// Full of page cache all the time, and the heap below it grows.
    #[test]
    fn page_cache_stands_on_the_working_set() {
        let leak = memory(
            (0..=100)
                .map(|n| (f64::from(100 - n), 97, (n != 50).then_some(n as u64)))
                .collect(),
        );
        for width in [30, 40, 60, 100] {
            let lines = lines(&leak, width);
            let is_within = lines.iter().all(|line| line.chars().count() <= width);
            assert!(is_within, "{lines:#?}");
            let count = |line: &String, c: char| line.chars().filter(|has| *has == c).count();
            let rows = || lines.iter().take(ROWS);
            let cache: Vec<usize> = rows().map(|line| count(line, CACHE)).collect();
            assert!(
                cache.is_sorted_by(|a, b| a >= b) && cache[0] > 0,
                "{lines:#?}"
            );
            let full: Vec<usize> = rows().map(|line| count(line, '█')).collect();
            assert!(full.is_sorted() && full[ROWS - 1] > 0, "{lines:#?}");
            let legend = lines[ROWS + 2..].join(" ");
            assert!(
                legend.contains("working set") && legend.contains("page cache"),
                "{legend}"
            );
        }
        // Where there is none nothing is said of it.
        let heap = memory((0..=9).map(|n| (f64::from(9 - n), 90, Some(89))).collect());
        assert_eq!(lines(&heap, 60).len(), ROWS + 2);
        let unknown = memory((0..=9).map(|n| (f64::from(9 - n), 90, None)).collect());
        assert_eq!(lines(&unknown, 60).len(), ROWS + 2);
    }

    #[test]
    fn too_little_is_not_drawn() {
        assert!(lines(&memory(Vec::new()), 80).is_empty());
        let at_once = memory(vec![(0.0, 1, None); 5]);
        assert!(lines(&at_once, 80).is_empty());
        assert_eq!(svg(&at_once), None);
    }

    #[test]
    fn a_page_draws_usage_and_working_set() {
        let both = memory(vec![
            (2.0, 40, Some(10)),
            (1.0, 60, Some(20)),
            (0.0, 100, Some(30)),
        ]);
        let svg = svg(&both).unwrap();
        assert_eq!(svg.matches("<polyline").count(), 2);
        assert!(svg.contains("800.0,0.0"), "{svg}");
    }
}
