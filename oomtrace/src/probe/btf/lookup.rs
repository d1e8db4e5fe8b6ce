//! From a type and a path to an offset.

use super::{
    error::{Absent, BtfError},
    format::Kind,
    path::{Path, Step, Subscript},
    raw::{Type, TypesById},
};

/// BTF does not say it. The kernels that oomtrace runs on are 64-bit ones.
const POINTER_SIZE: u32 = 8;
/// Arrays of arrays, and anonymous structs in anonymous structs; C code has a handful.
const MAX_DEPTH: u32 = 32;
/// Members looked at for one step of a path. The biggest structs have a few hundred.
const MAX_MEMBERS: u32 = 1 << 14;

/// A field of a kernel struct, as the running kernel has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// Bytes from the start of the type that the path begins with.
    pub offset: u32,
    /// Bytes that it takes. An array counts whole; a flexible array member has 0.
    pub size: u32,
}

/// What a path has led to so far.
#[derive(Debug, Clone, Copy)]
struct Spot {
    ty: u32,
    /// From the start of the type that the path begins with.
    bits: u64,
    /// Not 0: a bit field, of so many bits.
    width: u32,
}

/// Follows a path down from the type numbered `root`.
pub(super) fn field(
    types: &TypesById<'_>,
    root: u32,
    path: &Path<'_>,
    enumerator: impl Fn(&str) -> Result<Option<i64>, BtfError>,
) -> Result<Result<Field, Absent>, BtfError> {
    let text = || path.text.to_owned();
    if types.behind(root)?.is_none_or(|ty| ty.kind == Kind::Fwd) {
        return Ok(Err(Absent::NoType(path.root.to_owned())));
    }
    let mut spot = Spot {
        ty: root,
        bits: 0,
        width: 0,
    };
    for step in &path.steps {
        let ty = types.sized(spot.ty)?;
        match *step {
            Step::Member(name) => {
                if !ty.is_composite() {
                    return Ok(Err(Absent::NotAStruct {
                        path: text(),
                        member: name.to_owned(),
                    }));
                }
                let mut budget = MAX_MEMBERS;
                let Some(member) = member(types, &ty, name, MAX_DEPTH, &mut budget)? else {
                    return Ok(Err(Absent::NoMember {
                        path: text(),
                        member: name.to_owned(),
                    }));
                };
                let bits = spot.bits.checked_add(member.bits);
                let bits = bits.ok_or(BtfError::MemberOutside { id: root })?;
                spot = Spot { bits, ..member };
            }
            Step::Element(subscript) => {
                let Some((element, len)) = array(&ty) else {
                    return Ok(Err(Absent::NotAnArray(text())));
                };
                let index = match subscript {
                    Subscript::Number(number) => i64::from(number),
                    Subscript::Enumerator(name) => match enumerator(name)? {
                        Some(value) => value,
                        None => return Ok(Err(Absent::NoEnumerator(name.to_owned()))),
                    },
                };
                // A flexible array member has length 0: only the kernel knows how long it is.
                match u32::try_from(index) {
                    Ok(at) if len == 0 || at < len => {
                        let bytes = u64::from(at) * u64::from(size_of(types, element)?);
                        spot.ty = element;
                        spot.bits = bytes
                            .checked_mul(8)
                            .and_then(|bits| bits.checked_add(spot.bits))
                            .ok_or(BtfError::MemberOutside { id: root })?;
                    }
                    _ => {
                        return Ok(Err(Absent::OutOfBounds {
                            path: text(),
                            index,
                            len,
                        }));
                    }
                }
            }
        }
    }
    let Some(size) = bytes_of(types, spot)? else {
        return Ok(Err(Absent::BitField(text())));
    };
    let offset = u32::try_from(spot.bits / 8).map_err(|_| BtfError::MemberOutside { id: root })?;
    Ok(Ok(Field { offset, size }))
}

/// The size of what is at `spot`, or `None` for bits that are not whole bytes.
fn bytes_of(types: &TypesById<'_>, spot: Spot) -> Result<Option<u32>, BtfError> {
    if !spot.bits.is_multiple_of(8) {
        return Ok(None);
    }
    if spot.width != 0 {
        let bytes = spot.width / 8;
        let whole = spot.width.is_multiple_of(8) && bytes.is_power_of_two();
        return Ok(whole.then_some(bytes));
    }
    let ty = types.sized(spot.ty)?;
    // Without BTF_INFO_KFLAG, a bit field is a member of an integer type with fewer bits
    // (BTF_INT_BITS) or other bits (BTF_INT_OFFSET) than its size has.
    if ty.kind == Kind::Int {
        let encoding = ty.tail_word(0).unwrap_or_default();
        if u64::from(encoding & 0xff) != u64::from(ty.size()) * 8 || encoding >> 16 & 0xff != 0 {
            return Ok(None);
        }
    }
    size_of(types, spot.ty).map(Some)
}

/// Size of a type in bytes.
pub(super) fn size_of(types: &TypesById<'_>, id: u32) -> Result<u32, BtfError> {
    let no_size = || BtfError::WrongType {
        id,
        expected: "a type with a size",
    };
    let mut elements: u32 = 1;
    let mut next = id;
    for _ in 0..MAX_DEPTH {
        let ty = types.sized(next)?;
        let size = match ty.kind {
            Kind::Int | Kind::Enum | Kind::Enum64 | Kind::Float | Kind::Struct | Kind::Union => {
                ty.size()
            }
            Kind::Ptr => POINTER_SIZE,
            _ => {
                let (element, len) = array(&ty).ok_or_else(no_size)?;
                elements = elements.checked_mul(len).ok_or_else(no_size)?;
                next = element;
                continue;
            }
        };
        return size.checked_mul(elements).ok_or_else(no_size);
    }
    Err(BtfError::Endless { id })
}

/// Element type and length: `struct btf_array { __u32 type; __u32 index_type; __u32 nelems; }`.
fn array(ty: &Type<'_>) -> Option<(u32, u32)> {
    match ty.kind {
        Kind::Array => Some((ty.tail_word(0)?, ty.tail_word(2)?)),
        _ => None,
    }
}

/// Name, type and place: `struct btf_member { __u32 name_off; __u32 type; __u32 offset; }`.
fn members<'a>(parent: &Type<'a>) -> impl Iterator<Item = (u32, Spot)> + use<'a> {
    let flag = parent.kind_flag();
    parent.tail_records().map(move |[name, ty, offset]| {
        // BTF_MEMBER_BIT_OFFSET and BTF_MEMBER_BITFIELD_SIZE, if BTF_INFO_KFLAG is set.
        let (bits, width) = if flag {
            (offset & 0x00ff_ffff, offset >> 24)
        } else {
            (offset, 0)
        };
        (
            name,
            Spot {
                ty,
                bits: u64::from(bits),
                width,
            },
        )
    })
}

/// The member called `name`, of `parent` or of an anonymous struct or union in it.
///
/// `depth` and `budget` end the search in a struct that holds itself.
fn member(
    types: &TypesById<'_>,
    parent: &Type<'_>,
    name: &str,
    depth: u32,
    budget: &mut u32,
) -> Result<Option<Spot>, BtfError> {
    let endless = || BtfError::Endless { id: parent.id };
    let depth = depth.checked_sub(1).ok_or_else(endless)?;
    for (at, spot) in members(parent) {
        *budget = budget.checked_sub(1).ok_or_else(endless)?;
        if types.types.is_named(at, name)? {
            return inside(types, parent, spot).map(Some);
        }
    }
    for (at, outer) in members(parent) {
        if !types.types.is_named(at, "")? {
            continue;
        }
        let ty = types.sized(outer.ty)?;
        if ty.is_composite()
            && let Some(inner) = member(types, &ty, name, depth, budget)?
        {
            let outer = inside(types, parent, outer)?;
            return Ok(Some(Spot {
                bits: outer.bits + inner.bits,
                ..inner
            }));
        }
    }
    Ok(None)
}

/// `spot`, if it lies within `parent`: an offset beyond it would be read from something else.
fn inside(types: &TypesById<'_>, parent: &Type<'_>, spot: Spot) -> Result<Spot, BtfError> {
    let bits = match spot.width {
        0 => u64::from(size_of(types, spot.ty)?) * 8,
        width => u64::from(width),
    };
    if spot.bits + bits > u64::from(parent.size()) * 8 {
        return Err(BtfError::MemberOutside { id: parent.id });
    }
    Ok(spot)
}
