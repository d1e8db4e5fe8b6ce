//! The one pass over all types, and the answers.

use super::{
    error::{Absent, BtfError},
    format::Kind,
    lookup::{self, Field},
    path::{self, Path},
    raw::{STRIDE, Type, Types, TypesById},
    wanted::{Filter, Names, Space, TRACEPOINT_PREFIX, Wanted},
};

/// `BTF_INT_SIGNED` and `BTF_INT_BOOL`, in the word that follows a `BTF_KIND_INT`.
const INT_SIGNED: u32 = 1 << 24;
const INT_BOOL: u32 = 1 << 26;

/// What a kernel function is in BTF.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FuncInfo {
    /// Id of its `BTF_KIND_FUNC`: the `attach_btf_id` of an fentry or fexit program.
    pub id: u32,
    /// Number of its parameters, `...` included.
    pub params: u32,
    /// Whether it is the only function of that name. Where it is not (static functions of
    /// several files), nobody can tell which one a program will be attached to.
    pub unique: bool,
}

/// What a function or tracepoint is given for one argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArgKind<'a> {
    /// A pointer to a named struct or union, known by its layout or not.
    PointerTo(&'a str),
    /// A pointer to anything else.
    Pointer,
    /// `bool`.
    Bool,
    /// An integer or enum.
    Int {
        /// Bytes.
        size: u32,
        /// Whether it is signed.
        signed: bool,
    },
    /// Something else: a struct by value, a float, `...`.
    Other,
}

/// Where the wanted types are. Made by [`Btf::index`](super::Btf::index).
///
/// All answers are read from the blob when asked for. A name that was not announced in
/// [`Wanted`] gives [`BtfError::NotWanted`]: it may well be there.
#[derive(Debug)]
pub struct Index<'a> {
    types: TypesById<'a>,
    names: Names<'a>,
    /// Place of the name, id of the type: sorted.
    ids: Vec<(u32, u32)>,
    /// Place of the name, value of the enumerator: sorted, each once.
    values: Vec<(u32, i64)>,
    count: u32,
}

impl<'a> Index<'a> {
    pub(super) fn build(types: Types<'a>, wanted: &Wanted<'a>) -> Result<Self, BtfError> {
        let names = wanted.names();
        let mut pass = Pass {
            composites: names.filter(Space::Type),
            typedefs: names.filter_typedefs(),
            funcs: names.filter(Space::Func),
            enumerators: names.filter(Space::Enumerator),
            types,
            names,
            ids: Vec::new(),
            values: Vec::new(),
        };
        let mut starts = Vec::new();
        let (mut id, mut at) = (0, 0);
        while at < types.len() {
            if id % STRIDE == 0 {
                starts.push(at as u32);
            }
            id += 1;
            let (ty, next) = types.at(id, at)?;
            pass.look_at(&ty)?;
            at = next;
        }
        let Pass {
            names,
            mut ids,
            mut values,
            ..
        } = pass;
        ids.sort_unstable();
        values.sort_unstable();
        values.dedup();
        Ok(Self {
            types: TypesById { types, starts },
            names,
            ids,
            values,
            count: id,
        })
    }

    /// Number of types in the blob.
    #[must_use]
    pub fn type_count(&self) -> u32 {
        self.count
    }

    /// Where a field is, or `None` if this kernel has no such field.
    ///
    /// A path is `type.member.member`, with `[enumerator]` or `[number]` behind an array, and
    /// with alternatives between ` | ` of which the first that exists is taken:
    /// `mm_struct.rss_stat[MM_ANONPAGES].count | mm_struct.rss_stat.count[MM_ANONPAGES].counter`.
    /// Anonymous structs and unions are searched; typedefs and qualifiers are seen through. A
    /// path ends at a pointer: what is behind it has a path of its own.
    pub fn field(&self, path: &str) -> Result<Option<Field>, BtfError> {
        Ok(self.lookup(path)?.ok())
    }

    /// As [`field`](Self::field), with the reason why the first alternative is absent.
    pub fn lookup(&self, path: &str) -> Result<Result<Field, Absent>, BtfError> {
        let mut first = None;
        for path in path::alternatives(path) {
            match self.alternative(&path?)? {
                Ok(field) => return Ok(Ok(field)),
                Err(absent) => first = first.or(Some(absent)),
            }
        }
        // A path has at least one alternative.
        Ok(Err(first.unwrap_or_else(|| Absent::NoType(path.to_owned()))))
    }

    /// Size in bytes of a struct, union, enum or typedef; `None` if this kernel has no
    /// definition of it, or several that differ.
    pub fn size_of(&self, name: &str) -> Result<Option<u32>, BtfError> {
        let mut size = None;
        for id in self.ids(Space::Type, name)? {
            if self.types.behind(id)?.is_none_or(|ty| ty.kind == Kind::Fwd) {
                continue;
            }
            let this = lookup::size_of(&self.types, id)?;
            if size.is_some_and(|size| size != this) {
                return Ok(None);
            }
            size = Some(this);
        }
        Ok(size)
    }

    /// The value of an enumerator of any enum; `None` if this kernel has none of that name, or
    /// several with different values.
    ///
    /// BTF says since Linux 6.0 (and pahole 1.24) whether an enum is signed. Before, all claim to
    /// be unsigned: a negative value then reads as one above `i32::MAX`.
    pub fn enumerator(&self, name: &str) -> Result<Option<i64>, BtfError> {
        let place = self.names.expect(Space::Enumerator, name)?;
        let mut values = at_place(&self.values, place);
        Ok(values.next().filter(|_| values.next().is_none()))
    }

    /// A kernel function; `None` if this kernel has none of that name in its BTF (it may have
    /// been inlined, or built under another name).
    pub fn func(&self, name: &str) -> Result<Option<FuncInfo>, BtfError> {
        let mut ids = self.ids(Space::Func, name)?;
        let Some(id) = ids.next() else {
            return Ok(None);
        };
        let params = self
            .prototype(self.types.get(id)?.target())?
            .tail_records::<2>()
            .count();
        Ok(Some(FuncInfo {
            id,
            params: params as u32,
            unique: ids.next().is_none(),
        }))
    }

    /// The arguments of a kernel function; `None` as for [`func`](Self::func).
    pub fn func_args(&self, name: &str) -> Result<Option<Vec<ArgKind<'a>>>, BtfError> {
        let Some(func) = self.func(name)? else {
            return Ok(None);
        };
        self.args(self.types.get(func.id)?.target()).map(Some)
    }

    /// The arguments that a raw tracepoint gives to a program; `None` if this kernel has no such
    /// tracepoint.
    pub fn tracepoint_args(&self, name: &str) -> Result<Option<Vec<ArgKind<'a>>>, BtfError> {
        let Some(id) = self.ids(Space::Tracepoint, name)?.next() else {
            return Ok(None);
        };
        let pointer = self.types.sized(id)?;
        if pointer.kind != Kind::Ptr {
            return Err(BtfError::WrongType {
                id,
                expected: "a pointer to a tracepoint's prototype",
            });
        }
        let mut args = self.args(pointer.target())?;
        // `void *__data`, which is the tracepoint's own.
        if args.is_empty() {
            return Err(BtfError::WrongType {
                id,
                expected: "a tracepoint's prototype",
            });
        }
        args.remove(0);
        Ok(Some(args))
    }

    fn alternative(&self, path: &Path<'_>) -> Result<Result<Field, Absent>, BtfError> {
        let mut found = None;
        let mut absent = None;
        for id in self.ids(Space::Type, path.root)? {
            match lookup::field(&self.types, id, path, |name| self.enumerator(name))? {
                Ok(field) if found.is_some_and(|found| found != field) => {
                    return Ok(Err(Absent::Ambiguous(path.text.to_owned())));
                }
                Ok(field) => found = Some(field),
                Err(reason) => absent = absent.or(Some(reason)),
            }
        }
        Ok(found.ok_or_else(|| absent.unwrap_or_else(|| Absent::NoType(path.root.to_owned()))))
    }

    fn ids(&self, space: Space, name: &str) -> Result<impl Iterator<Item = u32>, BtfError> {
        Ok(at_place(&self.ids, self.names.expect(space, name)?))
    }

    fn prototype(&self, id: u32) -> Result<Type<'a>, BtfError> {
        let ty = self.types.sized(id)?;
        match ty.kind {
            Kind::FuncProto => Ok(ty),
            _ => Err(BtfError::WrongType {
                id,
                expected: "a function prototype",
            }),
        }
    }

    fn args(&self, prototype: u32) -> Result<Vec<ArgKind<'a>>, BtfError> {
        // struct btf_param { __u32 name_off; __u32 type; }
        self.prototype(prototype)?
            .tail_records()
            .map(|[_, ty]| self.arg(ty))
            .collect()
    }

    fn arg(&self, id: u32) -> Result<ArgKind<'a>, BtfError> {
        let Some(ty) = self.types.behind(id)? else {
            return Ok(ArgKind::Other);
        };
        Ok(match ty.kind {
            Kind::Ptr => match self.types.behind(ty.target())? {
                Some(to) if to.is_composite() || to.kind == Kind::Fwd => {
                    match self.types.types.name(to.name)? {
                        "" => ArgKind::Pointer,
                        name => ArgKind::PointerTo(name),
                    }
                }
                _ => ArgKind::Pointer,
            },
            Kind::Int => {
                let encoding = ty.tail_word(0).unwrap_or_default();
                if encoding & INT_BOOL != 0 {
                    ArgKind::Bool
                } else {
                    ArgKind::Int {
                        size: ty.size(),
                        signed: encoding & INT_SIGNED != 0,
                    }
                }
            }
            Kind::Enum | Kind::Enum64 => ArgKind::Int {
                size: ty.size(),
                signed: ty.kind_flag(),
            },
            _ => ArgKind::Other,
        })
    }
}

/// The second of each pair whose first is `place`, in sorted pairs.
fn at_place<T: Copy>(pairs: &[(u32, T)], place: u32) -> impl Iterator<Item = T> {
    let from = pairs.partition_point(|(at, _)| *at < place);
    pairs
        .iter()
        .skip(from)
        .take_while(move |(at, _)| *at == place)
        .map(|(_, what)| *what)
}

/// The state of the pass over all types.
struct Pass<'a> {
    types: Types<'a>,
    names: Names<'a>,
    composites: Filter,
    typedefs: Filter,
    funcs: Filter,
    enumerators: Filter,
    ids: Vec<(u32, u32)>,
    values: Vec<(u32, i64)>,
}

impl Pass<'_> {
    /// Notes the type if it is wanted. A forward declaration says nothing, and is passed over.
    #[inline]
    fn look_at(&mut self, ty: &Type<'_>) -> Result<(), BtfError> {
        let (space, filter) = match ty.kind {
            Kind::Struct | Kind::Union => (Space::Type, &self.composites),
            Kind::Typedef => (Space::Type, &self.typedefs),
            Kind::Func => (Space::Func, &self.funcs),
            Kind::Enum | Kind::Enum64 => {
                self.look_at_enumerators(ty)?;
                (Space::Type, &self.composites)
            }
            _ => return Ok(()),
        };
        if filter.may_hold(self.types.name_bytes(ty.name)?) {
            self.note(ty, space)?;
        }
        Ok(())
    }

    #[cold]
    fn note(&mut self, ty: &Type<'_>, space: Space) -> Result<(), BtfError> {
        let name = self.types.name(ty.name)?;
        let mut places = [self.names.find(space, name), None];
        if ty.kind == Kind::Typedef
            && let Some(tracepoint) = name.strip_prefix(TRACEPOINT_PREFIX)
        {
            places[1] = self.names.find(Space::Tracepoint, tracepoint);
        }
        self.ids
            .extend(places.into_iter().flatten().map(|place| (place, ty.id)));
        Ok(())
    }

    fn look_at_enumerators(&mut self, ty: &Type<'_>) -> Result<(), BtfError> {
        if ty.kind == Kind::Enum {
            for [name, value] in ty.tail_records() {
                let signed = i64::from(value.cast_signed());
                let value = if ty.kind_flag() {
                    signed
                } else {
                    i64::from(value)
                };
                self.note_enumerator(name, value)?;
            }
        } else {
            for [name, low, high] in ty.tail_records() {
                let value = u64::from(high) << 32 | u64::from(low);
                self.note_enumerator(name, value.cast_signed())?;
            }
        }
        Ok(())
    }

    #[inline]
    fn note_enumerator(&mut self, offset: u32, value: i64) -> Result<(), BtfError> {
        if self.enumerators.may_hold(self.types.name_bytes(offset)?)
            && let Some(place) = self.names.find(Space::Enumerator, self.types.name(offset)?)
        {
            self.values.push((place, value));
        }
        Ok(())
    }
}
