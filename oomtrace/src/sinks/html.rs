//! One death told in full as a page of its own: no script, and nothing from elsewhere, so that it
//! can be kept with a ticket.

use std::io::{self, Write};

use super::{
    chart,
    lines::{path_line, who},
};
use crate::{
    event::text::printable,
    why::{Moment, Story, Unwatched, offset},
};

const STYLE: &str = "\
:root{color-scheme:light dark}\
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}\
h1{font-size:1.4rem;line-height:1.3}\
h2{font-size:1.05rem;margin:1.8rem 0 .4rem}\
.cause{color:#c62828;font-weight:600}\
.dim{opacity:.65}\
table{border-collapse:collapse}\
td,th{vertical-align:top;text-align:left;padding:.1rem .9rem .1rem 0;font-weight:normal}\
th{opacity:.65;white-space:nowrap}\
td.number{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}\
code,.path{font:13px/1.5 ui-monospace,monospace}\
ul{margin:.2rem 0;padding-left:1.2rem}\
svg{width:100%;font:12px system-ui,sans-serif;fill:currentColor}\
polyline{fill:none;stroke-width:2}\
polyline.usage{stroke:#1565c0}\
polyline.working{stroke:#ef6c00}\
line.limit{stroke:#c62828;stroke-dasharray:6 4}\
line.axis{stroke:currentColor;opacity:.4}\
text.left{text-anchor:end}\
span.usage{color:#1565c0}\
span.working{color:#ef6c00}\
span.limit{color:#c62828}";

/// Writes a story as a page.
pub fn write(to: &mut dyn Write, story: &Story<'_>) -> io::Result<()> {
    let death = story.death;
    let title = escaped(&death.summary);
    writeln!(
        to,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>"
    )?;
    writeln!(
        to,
        "<p><span class=\"cause\">{}</span> {} on {} <span class=\"dim\">death {}</span></p>",
        death.cause.name(),
        escaped(&death.time),
        escaped(&death.node),
        escaped(&death.id)
    )?;
    rows(to, &who(death))?;
    let memory = death.oom.as_ref().and_then(|oom| oom.memory.as_ref());
    if let Some(svg) = memory.and_then(chart::svg) {
        writeln!(
            to,
            "<h2>Memory before the kill</h2>\n{svg}\n<p class=\"dim\">in use <span class=\"usage\">━</span>, \
             without page cache that could have gone <span class=\"working\">━</span>, the limit <span class=\"limit\">┅</span></p>"
        )?;
    }
    timeline(to, &story.timeline)?;
    let known = death
        .evidence
        .iter()
        .map(|evidence| (evidence.text.clone(), evidence.source.to_string()));
    let stack = death
        .kernel_stack
        .iter()
        .map(|stack| (path_line(stack), "call path".to_owned()));
    list(to, "How that is known", known.chain(stack))?;
    let not = story.not.iter();
    let not = not.map(|not| (not.text.clone(), not.source.to_owned()));
    list(to, "What it was not", not)?;
    let before = story.earlier.iter();
    let before = before.map(|earlier| (earlier.text.clone(), String::new()));
    list(to, "Before", before)?;
    let unwatched = story.unwatched.iter().flat_map(Unwatched::told);
    let unwatched = unwatched.map(|(text, source)| (text, source.to_owned()));
    list(to, "After it, unseen", unwatched)?;
    let advice = death.advice.iter();
    let advice = advice.map(|advice| (advice.text.clone(), String::new()));
    list(to, "What to do", advice)?;
    writeln!(to, "</body>\n</html>")
}

fn rows(to: &mut dyn Write, rows: &[(&str, String)]) -> io::Result<()> {
    writeln!(to, "<table>")?;
    for (name, text) in rows {
        writeln!(to, "<tr><th>{name}</th><td>{}</td></tr>", escaped(text))?;
    }
    writeln!(to, "</table>")
}

fn timeline(to: &mut dyn Write, moments: &[Moment]) -> io::Result<()> {
    writeln!(to, "<h2>What happened</h2>\n<table>")?;
    for moment in moments {
        writeln!(
            to,
            "<tr><td class=\"number dim\"><time datetime=\"{0}\">{0}</time></td><td class=\"number\">{1}</td><td>{2}</td></tr>",
            escaped(&moment.time),
            offset(moment.offset_ms),
            escaped(&moment.text)
        )?;
    }
    writeln!(to, "</table>")
}

fn list(
    to: &mut dyn Write,
    title: &str,
    items: impl Iterator<Item = (String, String)>,
) -> io::Result<()> {
    let mut items = items.peekable();
    if items.peek().is_none() {
        return Ok(());
    }
    writeln!(to, "<h2>{title}</h2>\n<ul>")?;
    for (text, source) in items {
        let source = if source.is_empty() {
            String::new()
        } else {
            format!(" <span class=\"dim\">{}</span>", escaped(&source))
        };
        writeln!(to, "<li>{}{source}</li>", escaped(&text))?;
    }
    writeln!(to, "</ul>")
}

/// Text as it may stand in a page, in an attribute too; what a reader would not see is written out.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in printable(text).chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn a_name_is_no_markup() {
        assert_eq!(
            escaped("<img src=x onerror='a(\"&\")'>\u{1b}"),
            "&lt;img src=x onerror=&#39;a(&quot;&amp;&quot;)&#39;&gt;\\u{1b}"
        );
    }
}
