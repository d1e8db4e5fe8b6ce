//! The binary format: header, sections, and how long each kind of type is.
//!
//! `include/uapi/linux/btf.h` and `Documentation/bpf/btf.rst`. All of it is made of 32-bit words
//! in the byte order of the machine that the kernel runs on.

use super::error::BtfError;

/// `BTF_MAGIC`.
pub(super) const MAGIC: u16 = 0xeb9f;
/// `BTF_VERSION`.
pub(super) const VERSION: u8 = 1;
/// `struct btf_header` without the layout section, as all kernels have it.
const HEADER_LEN: usize = 24;
/// `struct btf_header` with `layout_off` and `layout_len` (newer kernels).
const HEADER_LEN_LAYOUT: usize = 32;
/// `BTF_INFO_KIND` has seven bits (five at first, next to two that were zero).
const KINDS: usize = 0x80;

/// `BTF_KIND_*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Int = 1,
    Ptr = 2,
    Array = 3,
    Struct = 4,
    Union = 5,
    Enum = 6,
    Fwd = 7,
    Typedef = 8,
    Volatile = 9,
    Const = 10,
    Restrict = 11,
    Func = 12,
    FuncProto = 13,
    Var = 14,
    Datasec = 15,
    Float = 16,
    DeclTag = 17,
    TypeTag = 18,
    Enum64 = 19,
    /// A kind from after this was written.
    Unknown = 127,
}

impl Kind {
    /// Each kind with the bytes that follow its `struct btf_type`: once, and for each of `vlen`.
    const KNOWN: [(Self, u8, u8); 19] = [
        (Self::Int, 4, 0),
        (Self::Ptr, 0, 0),
        (Self::Array, 12, 0),
        (Self::Struct, 0, 12),
        (Self::Union, 0, 12),
        (Self::Enum, 0, 8),
        (Self::Fwd, 0, 0),
        (Self::Typedef, 0, 0),
        (Self::Volatile, 0, 0),
        (Self::Const, 0, 0),
        (Self::Restrict, 0, 0),
        (Self::Func, 0, 0),
        (Self::FuncProto, 0, 8),
        (Self::Var, 4, 0),
        (Self::Datasec, 0, 12),
        (Self::Float, 0, 0),
        (Self::DeclTag, 4, 0),
        (Self::TypeTag, 0, 0),
        (Self::Enum64, 0, 12),
    ];
}

/// How long the records of one kind are, in words.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    pub(super) kind: Kind,
    /// `None`: not known, and whatever follows such a record cannot be found.
    pub(super) words: Option<(u8, u8)>,
}

/// How long the records of each kind are.
#[derive(Debug)]
pub(super) struct Layouts([Layout; KINDS]);

impl Layouts {
    fn known() -> Self {
        let mut all = [Layout {
            kind: Kind::Unknown,
            words: None,
        }; KINDS];
        for (kind, once, each) in Kind::KNOWN {
            if let Some(layout) = all.get_mut(kind as usize) {
                *layout = Layout {
                    kind,
                    words: Some((once / 4, each / 4)),
                };
            }
        }
        Self(all)
    }

    pub(super) fn of(&self, info: u32) -> Layout {
        let none = Layout {
            kind: Kind::Unknown,
            words: None,
        };
        self.0.get(kind_bits(info)).copied().unwrap_or(none)
    }
}

/// `BTF_INFO_KIND`.
pub(super) fn kind_bits(info: u32) -> usize {
    (info >> 24) as usize & (KINDS - 1)
}

/// The parts of `struct btf_header` that say where the sections are.
#[derive(Debug)]
pub(super) struct Header {
    len: u32,
    types: Section,
    strings: Section,
    layout: Option<Section>,
}

#[derive(Debug, Clone, Copy)]
struct Section {
    name: &'static str,
    offset: u32,
    len: u32,
}

impl Section {
    fn of<'a>(&self, bytes: &'a [u8], header_len: u32) -> Result<&'a [u8], BtfError> {
        let start = (header_len as usize).checked_add(self.offset as usize);
        start
            .and_then(|start| bytes.get(start..)?.get(..self.len as usize))
            .ok_or_else(|| self.damaged())
    }

    fn damaged(&self) -> BtfError {
        BtfError::Section {
            section: self.name,
            offset: self.offset,
            len: self.len,
        }
    }
}

impl Header {
    pub(super) fn read(bytes: &[u8]) -> Result<Self, BtfError> {
        let cut_off = || BtfError::HeaderCutOff { len: bytes.len() };
        let &[m0, m1, version, _flags, ..] = bytes else {
            return Err(cut_off());
        };
        let magic = u16::from_ne_bytes([m0, m1]);
        if magic != MAGIC {
            return Err(BtfError::Magic { found: magic });
        }
        if version != VERSION {
            return Err(BtfError::Version { found: version });
        }
        let words = bytes.as_chunks::<4>().0;
        let header_word = |at| word(words, at).ok_or_else(cut_off);
        let len = header_word(1)?;
        if (len as usize) < HEADER_LEN || len as usize > bytes.len() {
            return Err(cut_off());
        }
        let section = |name, at| -> Result<Section, BtfError> {
            Ok(Section {
                name,
                offset: header_word(at)?,
                len: header_word(at + 1)?,
            })
        };
        let types = section("type", 2)?;
        let strings = section("string", 4)?;
        let layout = if len as usize >= HEADER_LEN_LAYOUT {
            Some(section("layout", 6)?).filter(|layout| layout.len > 0)
        } else {
            None
        };
        let header = Self {
            len,
            types,
            strings,
            layout,
        };
        header.sections(bytes)?;
        Ok(header)
    }

    /// The words of the type section, and the bytes of the string section.
    pub(super) fn sections<'a>(
        &self,
        bytes: &'a [u8],
    ) -> Result<(&'a [[u8; 4]], &'a [u8]), BtfError> {
        let (types, rest) = self.types.of(bytes, self.len)?.as_chunks::<4>();
        if !rest.is_empty() || !self.types.offset.is_multiple_of(4) {
            return Err(self.types.damaged());
        }
        // Offset 0 is the empty name, and the last name is terminated too.
        let strings = self.strings.of(bytes, self.len)?;
        if strings.first() != Some(&0) || strings.last() != Some(&0) {
            return Err(self.strings.damaged());
        }
        Ok((types, strings))
    }

    /// The layouts known here, and from the blob's `struct btf_layout` table those that are not.
    ///
    /// Known kinds keep what this code relies on, whatever the table says.
    pub(super) fn layouts(&self, bytes: &[u8]) -> Result<Layouts, BtfError> {
        let mut layouts = Layouts::known();
        let Some(section) = self.layout else {
            return Ok(layouts);
        };
        let (entries, rest) = section.of(bytes, self.len)?.as_chunks::<4>();
        if !rest.is_empty() {
            return Err(section.damaged());
        }
        // struct btf_layout { __u8 info_sz; __u8 elem_sz; __u16 flags; }
        for (layout, &[once, each, ..]) in layouts.0.iter_mut().zip(entries) {
            if layout.words.is_none() && once.is_multiple_of(4) && each.is_multiple_of(4) {
                layout.words = Some((once / 4, each / 4));
            }
        }
        Ok(layouts)
    }
}

pub(super) fn word(words: &[[u8; 4]], at: usize) -> Option<u32> {
    words.get(at).map(|&bytes| u32::from_ne_bytes(bytes))
}
