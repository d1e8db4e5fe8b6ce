//! The records of the type section, by place and by id. Every read is checked.

use super::{
    error::BtfError,
    format::{Header, Kind, Layouts, kind_bits, word},
};

/// Words of `struct btf_type`: name, info, size or type.
const TYPE_WORDS: usize = 3;
/// Typedefs and qualifiers in a row; C code has a handful.
const MAX_CHAIN: usize = 64;
/// The position of one type in so many is remembered; the others are found by walking on.
pub(super) const STRIDE: u32 = 32;

/// One record of the type section: `struct btf_type` and what follows it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Type<'a> {
    pub(super) id: u32,
    pub(super) kind: Kind,
    pub(super) name: u32,
    info: u32,
    /// The union of `size` and `type`.
    third: u32,
    tail: &'a [[u8; 4]],
}

impl<'a> Type<'a> {
    /// `BTF_INFO_KFLAG`.
    pub(super) fn kind_flag(&self) -> bool {
        self.info >> 31 != 0
    }

    /// Bytes that a value of the type takes; only of kinds that have a size.
    pub(super) fn size(&self) -> u32 {
        self.third
    }

    /// The type that it refers to; only of kinds that have no size.
    pub(super) fn target(&self) -> u32 {
        self.third
    }

    pub(super) fn is_composite(&self) -> bool {
        matches!(self.kind, Kind::Struct | Kind::Union)
    }

    /// Word `at` of what follows the `struct btf_type`.
    pub(super) fn tail_word(&self, at: usize) -> Option<u32> {
        word(self.tail, at)
    }

    /// What follows, in records of `N` words.
    pub(super) fn tail_records<const N: usize>(
        &self,
    ) -> impl Iterator<Item = [u32; N]> + use<'a, N> {
        self.tail
            .as_chunks::<N>()
            .0
            .iter()
            .map(|record| record.map(u32::from_ne_bytes))
    }
}

/// The type and string sections.
#[derive(Debug, Clone, Copy)]
pub(super) struct Types<'a> {
    words: &'a [[u8; 4]],
    strings: &'a [u8],
    layouts: &'a Layouts,
}

impl<'a> Types<'a> {
    pub(super) fn new(
        bytes: &'a [u8],
        header: &Header,
        layouts: &'a Layouts,
    ) -> Result<Self, BtfError> {
        let (words, strings) = header.sections(bytes)?;
        Ok(Self {
            words,
            strings,
            layouts,
        })
    }

    /// Words in the type section.
    pub(super) fn len(&self) -> usize {
        self.words.len()
    }

    /// The type whose record starts at word `at`, and the word after it.
    #[inline]
    pub(super) fn at(&self, id: u32, at: usize) -> Result<(Type<'a>, usize), BtfError> {
        let cut_off = || BtfError::TypeCutOff { id };
        let rest = self.words.get(at..).ok_or_else(cut_off)?;
        let (head, rest) = rest.split_first_chunk::<TYPE_WORDS>().ok_or_else(cut_off)?;
        let [name, info, third] = head.map(u32::from_ne_bytes);
        let layout = self.layouts.of(info);
        let Some((once, each)) = layout.words else {
            return Err(BtfError::UnknownKind {
                id,
                kind: kind_bits(info) as u8,
            });
        };
        // BTF_INFO_VLEN: 24 bits (16 at first, next to eight that were zero).
        let vlen = (info & 0x00ff_ffff) as usize;
        let tail_len = usize::from(once) + vlen * usize::from(each);
        let tail = rest.get(..tail_len).ok_or_else(cut_off)?;
        let next = at + TYPE_WORDS + tail_len;
        Ok((
            Type {
                id,
                kind: layout.kind,
                name,
                info,
                third,
                tail,
            },
            next,
        ))
    }

    /// What the string section holds at and after `offset`.
    #[inline]
    pub(super) fn name_bytes(&self, offset: u32) -> Result<&'a [u8], BtfError> {
        self.strings
            .get(offset as usize..)
            .ok_or(BtfError::Name { offset })
    }

    /// The name at `offset`.
    pub(super) fn name(&self, offset: u32) -> Result<&'a str, BtfError> {
        self.name_bytes(offset)?
            .split(|&byte| byte == 0)
            .next()
            .and_then(|name| str::from_utf8(name).ok())
            .ok_or(BtfError::Name { offset })
    }

    /// Whether the name at `offset` is `name`.
    pub(super) fn is_named(&self, offset: u32, name: &str) -> Result<bool, BtfError> {
        let rest = self.name_bytes(offset)?.strip_prefix(name.as_bytes());
        Ok(rest.is_some_and(|rest| rest.first() == Some(&0)))
    }
}

/// The types, and where some of them start.
#[derive(Debug)]
pub(super) struct TypesById<'a> {
    pub(super) types: Types<'a>,
    /// The word where type `1 + n * STRIDE` starts.
    pub(super) starts: Vec<u32>,
}

impl<'a> TypesById<'a> {
    /// The type numbered `id`. Number 0 is `void`, which has no record.
    pub(super) fn get(&self, id: u32) -> Result<Type<'a>, BtfError> {
        let missing = || BtfError::WrongType {
            id,
            expected: "a type",
        };
        let nth = id.checked_sub(1).ok_or_else(missing)?;
        let near = nth / STRIDE;
        let mut at = *self.starts.get(near as usize).ok_or_else(missing)? as usize;
        for id in near * STRIDE + 1..id {
            at = self.types.at(id, at)?.1;
        }
        if at >= self.types.len() {
            return Err(missing());
        }
        Ok(self.types.at(id, at)?.0)
    }

    /// The type behind typedefs and qualifiers, or `None` for `void`.
    pub(super) fn behind(&self, id: u32) -> Result<Option<Type<'a>>, BtfError> {
        let mut next = id;
        for _ in 0..MAX_CHAIN {
            if next == 0 {
                return Ok(None);
            }
            let ty = self.get(next)?;
            next = match ty.kind {
                Kind::Typedef | Kind::Volatile | Kind::Const | Kind::Restrict | Kind::TypeTag => {
                    ty.target()
                }
                _ => return Ok(Some(ty)),
            };
        }
        Err(BtfError::Endless { id })
    }

    /// As [`behind`](Self::behind), where `void` makes no sense.
    pub(super) fn sized(&self, id: u32) -> Result<Type<'a>, BtfError> {
        self.behind(id)?.ok_or(BtfError::WrongType {
            id,
            expected: "a type with a size",
        })
    }
}
