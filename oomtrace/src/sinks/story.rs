//! One death told in full, for a person on a terminal.

use std::io::{self, Write};

use super::{
    chart,
    lines::{clock, path_line, who},
    style::{BOLD, DIM, RED, paint, wrap},
};
use crate::{
    event::text::printable,
    provenance::record::Death,
    why::{Moment, Story, Unwatched, offset},
};

/// How it is to look.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    pub colour: bool,
    /// Characters a line.
    pub width: usize,
}

/// Narrower than this, lines are broken by the terminal.
const LEAST_WIDTH: usize = 40;

/// Writes a story.
pub fn write(to: &mut dyn Write, story: &Story<'_>, look: Look) -> io::Result<()> {
    let mut page = Page { to, look };
    page.head(story.death)?;
    writeln!(page.to)?;
    for (name, text) in who(story.death) {
        page.row(name, &text)?;
    }
    page.curve(story.death)?;
    page.title("what happened")?;
    for moment in &story.timeline {
        page.moment(moment)?;
    }
    page.title("how that is known")?;
    for evidence in &story.death.evidence {
        page.item(&evidence.text, &evidence.source)?;
    }
    if let Some(stack) = &story.death.kernel_stack {
        page.item(&path_line(stack), "call path")?;
    }
    if !story.not.is_empty() {
        page.title("what it was not")?;
        for not in &story.not {
            page.item(&not.text, not.source)?;
        }
    }
    if let Some(earlier) = &story.earlier {
        page.title("before")?;
        page.item(&earlier.text, "")?;
    }
    if !story.unwatched.is_empty() {
        page.title("after it, unseen")?;
        for (text, source) in story.unwatched.iter().flat_map(Unwatched::told) {
            page.item(&text, source)?;
        }
    }
    if !story.death.advice.is_empty() {
        page.title("what to do")?;
        for advice in &story.death.advice {
            page.item(&advice.text, "")?;
        }
    }
    Ok(())
}

struct Page<'a> {
    to: &'a mut dyn Write,
    look: Look,
}

impl Page<'_> {
    fn paint(&self, colour: &str, text: &str) -> String {
        paint(self.look.colour, colour, text)
    }

    fn head(&mut self, death: &Death) -> io::Result<()> {
        for line in wrap(&printable(&death.summary), self.width(0)) {
            let line = self.paint(BOLD, &line);
            writeln!(self.to, "{line}")?;
        }
        let cause = self.paint(RED, death.cause.name());
        let more = printable(&format!(
            "{} on {}, death {}{}",
            death.time,
            death.node,
            death.id,
            if death.is_final {
                ""
            } else {
                ", more may be known of it later"
            }
        ));
        let more = self.paint(DIM, &more);
        writeln!(self.to, "{cause}  {more}")
    }

    /// The memory before an OOM kill.
    fn curve(&mut self, death: &Death) -> io::Result<()> {
        let memory = death.oom.as_ref().and_then(|oom| oom.memory.as_ref());
        let lines = memory.map(|memory| chart::lines(memory, self.width(0)));
        let lines = lines.unwrap_or_default();
        if lines.is_empty() {
            return Ok(());
        }
        self.title("memory before the kill")?;
        for line in lines {
            writeln!(self.to, "{line}")?;
        }
        Ok(())
    }

    fn title(&mut self, title: &str) -> io::Result<()> {
        let title = self.paint(BOLD, title);
        writeln!(self.to, "\n{title}")
    }

    fn row(&mut self, name: &str, text: &str) -> io::Result<()> {
        let name = self.paint(DIM, &format!("{name:>9}"));
        self.hang(&format!("{name}  "), 11, text)
    }

    fn moment(&mut self, moment: &Moment) -> io::Result<()> {
        let clock = self.paint(DIM, &clock(&moment.time));
        let offset = offset(moment.offset_ms);
        self.hang(&format!("  {clock}  {offset:>9}  "), 28, &moment.text)
    }

    fn item(&mut self, text: &str, source: &str) -> io::Result<()> {
        let text = if source.is_empty() {
            text.to_owned()
        } else {
            format!("{text} [{source}]")
        };
        self.hang("  - ", 4, &text)
    }

    /// A text beside what stands at its left, which takes so many characters.
    fn hang(&mut self, left: &str, taken: usize, text: &str) -> io::Result<()> {
        let lines = wrap(&printable(text), self.width(taken));
        for (number, line) in lines.iter().enumerate() {
            if number == 0 {
                writeln!(self.to, "{left}{line}")?;
            } else {
                writeln!(self.to, "{:taken$}{line}", "")?;
            }
        }
        Ok(())
    }

    fn width(&self, taken: usize) -> usize {
        self.look.width.max(LEAST_WIDTH).saturating_sub(taken)
    }
}
