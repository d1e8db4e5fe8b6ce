//! Paths to fields: `type.member[index].member`, and alternatives between ` | `.

use super::error::BtfError;

/// One step of a path, from a struct to its member or from an array to its element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step<'p> {
    Member(&'p str),
    Element(Subscript<'p>),
}

/// What stands between `[` and `]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Subscript<'p> {
    Number(u32),
    Enumerator(&'p str),
}

/// One alternative: the type where it starts, and the steps from there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Path<'p> {
    pub(super) text: &'p str,
    pub(super) root: &'p str,
    pub(super) steps: Vec<Step<'p>>,
}

/// The alternatives of a path, in the order in which they are to be tried.
pub(super) fn alternatives(text: &str) -> impl Iterator<Item = Result<Path<'_>, BtfError>> {
    text.split('|').map(move |one| {
        Path::parse(one.trim()).map_err(|why| BtfError::Path {
            path: text.to_owned(),
            why,
        })
    })
}

impl<'p> Path<'p> {
    fn parse(text: &'p str) -> Result<Self, &'static str> {
        let mut parts = text.split('.');
        let root = identifier(parts.next().unwrap_or_default())?;
        let mut steps = Vec::new();
        for part in parts {
            let (member, mut subscripts) = part.split_at(part.find('[').unwrap_or(part.len()));
            steps.push(Step::Member(identifier(member)?));
            while let Some(open) = subscripts.strip_prefix('[') {
                let (inner, rest) = open.split_once(']').ok_or("`[` without `]`")?;
                steps.push(Step::Element(Subscript::parse(inner)?));
                subscripts = rest;
            }
            if !subscripts.is_empty() {
                return Err("something after `]`");
            }
        }
        if steps.is_empty() {
            Err("no member")
        } else {
            Ok(Self { text, root, steps })
        }
    }

    /// The enumerators whose values the path needs.
    pub(super) fn enumerators(&self) -> impl Iterator<Item = &'p str> {
        self.steps.iter().filter_map(|step| match step {
            Step::Element(Subscript::Enumerator(name)) => Some(*name),
            _ => None,
        })
    }
}

impl<'p> Subscript<'p> {
    fn parse(text: &'p str) -> Result<Self, &'static str> {
        if text.starts_with(|first: char| first.is_ascii_digit()) {
            text.parse()
                .map(Self::Number)
                .map_err(|_| "an index that is no number")
        } else {
            identifier(text).map(Self::Enumerator)
        }
    }
}

fn identifier(text: &str) -> Result<&str, &'static str> {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if text.is_empty() {
        Err("an empty name")
    } else if text.bytes().all(word) {
        Ok(text)
    } else {
        Err("a name that is no C identifier")
    }
}
