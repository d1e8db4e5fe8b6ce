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
        for filled in &columns {
            let eighths = (filled * (ROWS * 8) as f64).round() as usize;
            let here = eighths.saturating_sub(row * 8).min(8);
            line.push(EIGHTHS.get(here).copied().unwrap_or(' '));
        }
        lines.push(line.trim_end().to_owned());
    }
    lines.push(format!("{:>LABEL$} └{}", "0", "─".repeat(columns.len())));
    let left = offset(-((scale.from_s * 1e3) as i64));
    let room = columns.len().saturating_sub(left.chars().count());
    lines.push(format!("{:>LABEL$}  {left}{:>room$}", "", "the kill"));
    lines
}

/// The most that was in use in each column's stretch of time; where nothing was seen, what was
/// seen before.
fn columns(memory: &OomMemory, scale: &Scale, count: usize) -> Vec<f64> {
    let mut columns: Vec<Option<f64>> = vec![None; count];
    for (before_s, usage, _) in &memory.samples {
        let at = (scale.x(*before_s) * count as f64) as usize;
        if let Some(column) = columns.get_mut(at.min(count.saturating_sub(1))) {
            *column = Some(column.unwrap_or(0.0).max(scale.y(*usage)));
        }
    }
    let mut last = 0.0;
    columns
        .into_iter()
        .map(|column| {
            last = column.unwrap_or(last);
            last
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
        assert_eq!(columns, [0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 1.0]);
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
