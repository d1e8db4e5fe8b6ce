//! What is said where a death may be missing: when nobody traced, and what others say of that time.

use super::when;
use crate::{
    event::text::printable,
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
    // What is behind the kind in `container:web`.
    let wanted = typed.map(|typed| typed.rsplit([':', '/']).next().unwrap_or(typed));
    let kills: Vec<(&Gap, &Inferred)> = gaps
        .iter()
        .flat_map(|gap| gap.inferred.iter().map(move |kill| (gap, kill)))
        .filter(|(_, kill)| wanted.is_none_or(|wanted| kill.text.contains(wanted)))
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

fn stretch(gap: &Gap) -> String {
    let local = |time: &str| parse_time(time).map_or_else(|| time.to_owned(), when::local);
    format!("from {} to {}", local(&gap.from), local(&gap.to))
}
