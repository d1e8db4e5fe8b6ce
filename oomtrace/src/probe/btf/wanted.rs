//! The names to look for, and the quick test that nearly all other names fail.

use super::{error::BtfError, path};

/// What a name is the name of: C keeps these apart, and so does BTF.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Space {
    /// A struct, union, enum or typedef.
    Type,
    Enumerator,
    Func,
    /// A tracepoint, by the typedef [`TRACEPOINT_PREFIX`] + name.
    Tracepoint,
}

/// Each raw tracepoint has a typedef of a pointer to its prototype, made by
/// `DECLARE_EVENT_CLASS` and friends for the verifier (`include/trace/bpf_probe.h`).
pub(super) const TRACEPOINT_PREFIX: &str = "btf_trace_";

/// The names that the index is to be built for.
///
/// Only what was announced here can be asked for later, for the blob is walked once.
#[derive(Debug, Clone, Default)]
pub struct Wanted<'w> {
    names: Vec<(Space, &'w str)>,
}

impl<'w> Wanted<'w> {
    /// Nothing, so far.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The types and enumerators that a path (with all its alternatives) goes through.
    pub fn path(&mut self, path: &'w str) -> Result<&mut Self, BtfError> {
        for path in path::alternatives(path) {
            let path = path?;
            self.type_name(path.root);
            for name in path.enumerators() {
                self.enumerator(name);
            }
        }
        Ok(self)
    }

    /// A struct, union, enum or typedef, for its size.
    pub fn type_name(&mut self, name: &'w str) -> &mut Self {
        self.add(Space::Type, name)
    }

    /// An enumerator of any enum, named or not.
    pub fn enumerator(&mut self, name: &'w str) -> &mut Self {
        self.add(Space::Enumerator, name)
    }

    /// A kernel function.
    pub fn func(&mut self, name: &'w str) -> &mut Self {
        self.add(Space::Func, name)
    }

    /// A tracepoint, by the name it has in tracefs.
    pub fn tracepoint(&mut self, name: &'w str) -> &mut Self {
        self.add(Space::Tracepoint, name)
    }

    fn add(&mut self, space: Space, name: &'w str) -> &mut Self {
        self.names.push((space, name));
        self
    }

    /// The names, sorted, each once.
    pub(super) fn names(&self) -> Names<'w> {
        let mut names = self.names.clone();
        names.sort_unstable();
        names.dedup();
        Names(names)
    }
}

/// Names, sorted: each is known by its place.
#[derive(Debug)]
pub(super) struct Names<'w>(Vec<(Space, &'w str)>);

impl Names<'_> {
    pub(super) fn find(&self, space: Space, name: &str) -> Option<u32> {
        self.0
            .binary_search(&(space, name))
            .ok()
            .map(|place| place as u32)
    }

    /// As [`find`](Self::find), for a name that has to be there.
    pub(super) fn expect(&self, space: Space, name: &str) -> Result<u32, BtfError> {
        self.find(space, name).ok_or_else(|| BtfError::NotWanted {
            name: name.to_owned(),
        })
    }

    pub(super) fn filter(&self, space: Space) -> Filter {
        let mut filter = Filter([0; FILTER_WORDS]);
        for (_, name) in self.0.iter().filter(|(of, _)| *of == space) {
            filter.insert(name.as_bytes());
        }
        filter
    }

    pub(super) fn filter_typedefs(&self) -> Filter {
        let mut filter = self.filter(Space::Type);
        if self.0.iter().any(|(of, _)| *of == Space::Tracepoint) {
            // Longer than what the filter looks at: so this admits all of them.
            filter.insert(TRACEPOINT_PREFIX.as_bytes());
        }
        filter
    }
}

const FILTER_WORDS: usize = 64;

/// A set of names that may answer yes for a name that was not put in, but never no for one that
/// was. It looks at the first eight bytes only, so that the test is a load, a product and a bit.
#[derive(Debug)]
pub(super) struct Filter([u64; FILTER_WORDS]);

impl Filter {
    fn insert(&mut self, name: &[u8]) {
        let mut bytes = [0; 8];
        for (to, from) in bytes.iter_mut().zip(name) {
            *to = *from;
        }
        let (at, bit) = Self::place(u64::from_le_bytes(bytes));
        if let Some(word) = self.0.get_mut(at) {
            *word |= 1 << bit;
        }
    }

    /// Whether the name at the start of `text`, up to its NUL, may be in the set.
    #[inline]
    pub(super) fn may_hold(&self, text: &[u8]) -> bool {
        // Near the end of the section there are fewer than eight: let the real test decide.
        let Some(first) = text.first_chunk::<8>() else {
            return true;
        };
        let first = u64::from_le_bytes(*first);
        let (at, bit) = Self::place(first & up_to_nul(first));
        self.0.get(at).is_some_and(|word| word >> bit & 1 != 0)
    }

    fn place(first: u64) -> (usize, u32) {
        // The golden ratio, as in the kernel's hash_64(): the top bits are well mixed.
        let hash = first.wrapping_mul(0x61c8_8646_80b5_83eb) >> 52;
        (hash as usize >> 6, hash as u32 & 63)
    }
}

/// A mask of the bytes before the first NUL (the lowest byte comes first).
fn up_to_nul(text: u64) -> u64 {
    const LOW: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let nuls = text.wrapping_sub(LOW) & !text & HIGH;
    if nuls == 0 {
        u64::MAX
    } else {
        (1 << (nuls.trailing_zeros() & !7)) - 1
    }
}
