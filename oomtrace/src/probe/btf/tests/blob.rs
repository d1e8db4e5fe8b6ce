//! Writes small BTF blobs.

use crate::probe::btf::format::{Kind, MAGIC, VERSION};

/// A member: name (empty if it has none), type, and the word that tells its place.
pub(super) type Member<'n> = (&'n str, u32, u32);

/// A blob in the making. Types are numbered from 1, in the order in which they are added.
pub(super) struct Blob {
    types: Vec<u32>,
    strings: Vec<u8>,
    layout: Vec<[u8; 4]>,
    count: u32,
}

impl Blob {
    pub(super) fn new() -> Self {
        Self {
            types: Vec::new(),
            strings: vec![0],
            layout: Vec::new(),
            count: 0,
        }
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let header_len = if self.layout.is_empty() { 24 } else { 32 };
        let types_len = self.types.len() as u32 * 4;
        let layout_len = self.layout.len() as u32 * 4;
        let strings_len = self.strings.len() as u32;
        let mut bytes = MAGIC.to_ne_bytes().to_vec();
        bytes.extend([VERSION, 0]);
        let mut words = vec![
            header_len,
            0,
            types_len,
            types_len + layout_len,
            strings_len,
        ];
        if header_len == 32 {
            words.extend([types_len, layout_len]);
        }
        words.extend(&self.types);
        bytes.extend(words.into_iter().flat_map(u32::to_ne_bytes));
        bytes.extend(self.layout.as_flattened());
        bytes.extend(&self.strings);
        bytes
    }

    /// A `struct btf_layout` table with one more kind than is known, of so many bytes.
    pub(super) fn layout_of_next_kind(&mut self, once: u8, each: u8) {
        self.layout = vec![[0; 4]; Kind::Enum64 as usize + 1];
        self.layout.push([once, each, 0, 0]);
    }

    fn name(&mut self, name: &str) -> u32 {
        if name.is_empty() {
            return 0;
        }
        let offset = self.strings.len() as u32;
        self.strings.extend(name.as_bytes());
        self.strings.push(0);
        offset
    }

    pub(super) fn raw(&mut self, name: &str, info: u32, third: u32, tail: &[u32]) -> u32 {
        let name = self.name(name);
        self.types.extend([name, info, third]);
        self.types.extend(tail);
        self.count += 1;
        self.count
    }

    fn add(&mut self, kind: Kind, name: &str, vlen: usize, third: u32, tail: &[u32]) -> u32 {
        self.raw(name, (kind as u32) << 24 | vlen as u32, third, tail)
    }

    /// An integer: 0 unsigned, 1 signed, 4 bool.
    pub(super) fn int(&mut self, name: &str, size: u32, encoding: u32) -> u32 {
        self.add(Kind::Int, name, 0, size, &[(encoding << 24) | (size * 8)])
    }

    /// Anything that has only a name and a type that it refers to.
    pub(super) fn link(&mut self, kind: Kind, name: &str, to: u32) -> u32 {
        self.add(kind, name, 0, to, &[])
    }

    pub(super) fn pointer(&mut self, to: u32) -> u32 {
        self.link(Kind::Ptr, "", to)
    }

    pub(super) fn array(&mut self, of: u32, len: u32) -> u32 {
        self.add(Kind::Array, "", 0, 0, &[of, 0, len])
    }

    pub(super) fn composite(
        &mut self,
        kind: Kind,
        name: &str,
        size: u32,
        members: &[Member<'_>],
    ) -> u32 {
        let mut tail = Vec::new();
        for (name, ty, place) in members {
            tail.extend([self.name(name), *ty, *place]);
        }
        self.add(kind, name, members.len(), size, &tail)
    }

    /// A struct, with the members' places in bytes.
    pub(super) fn structure(&mut self, name: &str, size: u32, members: &[Member<'_>]) -> u32 {
        let members: Vec<_> = members
            .iter()
            .map(|&(name, ty, at)| (name, ty, at * 8))
            .collect();
        self.composite(Kind::Struct, name, size, &members)
    }

    /// A struct with bit fields: the places are (width, bit).
    pub(super) fn bit_fields(
        &mut self,
        name: &str,
        size: u32,
        members: &[(&str, u32, (u32, u32))],
    ) -> u32 {
        let mut tail = Vec::new();
        for (name, ty, (width, bit)) in members {
            tail.extend([self.name(name), *ty, width << 24 | bit]);
        }
        let info = 1 << 31 | (Kind::Struct as u32) << 24 | members.len() as u32;
        self.raw(name, info, size, &tail)
    }

    pub(super) fn enumeration(&mut self, name: &str, signed: bool, values: &[(&str, i32)]) -> u32 {
        let mut tail = Vec::new();
        for (name, value) in values {
            tail.extend([self.name(name), value.cast_unsigned()]);
        }
        let info = u32::from(signed) << 31 | (Kind::Enum as u32) << 24 | values.len() as u32;
        self.raw(name, info, 4, &tail)
    }

    pub(super) fn enumeration64(&mut self, name: &str, values: &[(&str, i64)]) -> u32 {
        let mut tail = Vec::new();
        for (name, value) in values {
            let value = value.cast_unsigned();
            tail.extend([self.name(name), value as u32, (value >> 32) as u32]);
        }
        self.add(Kind::Enum64, name, values.len(), 8, &tail)
    }

    pub(super) fn prototype(&mut self, params: &[u32]) -> u32 {
        let tail: Vec<u32> = params.iter().flat_map(|param| [0, *param]).collect();
        self.add(Kind::FuncProto, "", params.len(), 0, &tail)
    }

    pub(super) fn tracepoint(&mut self, name: &str, args: &[u32]) {
        let data = self.pointer(0);
        let params: Vec<u32> = [&[data], args].concat();
        let prototype = self.prototype(&params);
        let pointer = self.pointer(prototype);
        self.link(Kind::Typedef, &format!("btf_trace_{name}"), pointer);
    }
}
