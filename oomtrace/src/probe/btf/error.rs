//! What can go wrong with BTF, and why something is not in it.

use std::io;

use super::KERNEL_BTF;

/// A question that could not be answered. That a kernel lacks a field is an answer: [`Absent`].
#[derive(Debug, thiserror::Error)]
pub enum BtfError {
    /// The kernel was built without BTF.
    #[error("the kernel has no BTF: {KERNEL_BTF} does not exist (needs CONFIG_DEBUG_INFO_BTF)")]
    NoKernelBtf,
    /// The kernel's BTF is there and cannot be read.
    #[error("cannot read {KERNEL_BTF}")]
    Read(#[source] io::Error),
    /// The header is cut off.
    #[error("BTF header is cut off: {len} bytes")]
    HeaderCutOff {
        /// Bytes that there are.
        len: usize,
    },
    /// Not BTF, or BTF of a machine with the other byte order.
    #[error("not BTF for this machine: magic is {found:#06x}")]
    Magic {
        /// What stands in place of the magic number.
        found: u16,
    },
    /// A version of the format that is not known here.
    #[error("BTF version {found} is not known")]
    Version {
        /// The version it claims.
        found: u8,
    },
    /// A section does not lie within the blob, or is not of the form it should have.
    #[error("BTF {section} section is damaged ({len} bytes at {offset})")]
    Section {
        /// Which section: `type`, `string` or `layout`.
        section: &'static str,
        /// Its offset from the end of the header.
        offset: u32,
        /// Its length in bytes.
        len: u32,
    },
    /// The record of a type reaches past the end of the type section.
    #[error("BTF type {id} is cut off")]
    TypeCutOff {
        /// The type.
        id: u32,
    },
    /// A kind of type whose length is not known, so that nothing after it can be found.
    #[error("BTF type {id} is of unknown kind {kind}, and the blob does not say how long it is")]
    UnknownKind {
        /// The type.
        id: u32,
        /// The number of its kind.
        kind: u8,
    },
    /// A type refers to a type that does not exist, or that makes no sense there.
    #[error("BTF type {id} is not {expected}")]
    WrongType {
        /// The type referred to.
        id: u32,
        /// What it should have been.
        expected: &'static str,
    },
    /// Types refer to each other in a circle, or nest deeper than any C program does.
    #[error("BTF type {id} nests without end")]
    Endless {
        /// The type where the search gave up.
        id: u32,
    },
    /// A name lies outside of the string section, or is not text.
    #[error("BTF name at {offset} is damaged")]
    Name {
        /// Offset into the string section.
        offset: u32,
    },
    /// A member reaches past the end of its struct.
    #[error("BTF type {id} has a member outside of itself")]
    MemberOutside {
        /// The struct or union.
        id: u32,
    },
    /// A path that is not of the form `type.member[index].member | type.member`.
    #[error("`{path}` is not a path to a field: {why}")]
    Path {
        /// The path.
        path: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The name was not announced in [`Wanted`](super::Wanted), so nothing is known about it.
    #[error("`{name}` was not among the names wanted from BTF")]
    NotWanted {
        /// The name.
        name: String,
    },
}

/// Why a field cannot be had from this kernel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Absent {
    /// No struct, union or typedef of that name has a definition.
    #[error("no type `{0}`")]
    NoType(String),
    /// The type has no such member, not in its anonymous members either.
    #[error("no member `{member}` in `{path}`")]
    NoMember {
        /// The alternative of the path that was followed.
        path: String,
        /// The member that is not there.
        member: String,
    },
    /// No enum has such an enumerator (or several have it, with different values).
    #[error("no enumerator `{0}`")]
    NoEnumerator(String),
    /// The path goes on below something that is no struct (a pointer, mostly).
    #[error("`{member}` in `{path}` cannot be reached: what is before it is no struct")]
    NotAStruct {
        /// The alternative of the path that was followed.
        path: String,
        /// The member that was looked for.
        member: String,
    },
    /// The path indexes something that is no array.
    #[error("`{0}` indexes something that is no array")]
    NotAnArray(String),
    /// The array is too short for the index.
    #[error("`{path}`: index {index} in an array of {len}")]
    OutOfBounds {
        /// The alternative of the path that was followed.
        path: String,
        /// The index.
        index: i64,
        /// Elements in the array.
        len: u32,
    },
    /// A bit field that is not made of whole bytes.
    #[error("`{0}` is a bit field")]
    BitField(String),
    /// Several types of that name disagree about the field.
    #[error("`{0}` is not the same in all types of that name")]
    Ambiguous(String),
}
