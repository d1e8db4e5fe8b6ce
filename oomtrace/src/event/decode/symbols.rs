//! The names of the kernel's functions that came with the stream, and the call paths that are
//! made of them.

use std::{collections::HashMap, sync::Arc};

use super::record::all;
use crate::event::entry::{Entry, Symbol};

/// Call paths that are kept. A signal in interrupt context can come from anywhere.
const MOST_STACKS: usize = 1024;
/// Symbols that are kept; then all are looked up anew as they are needed.
const MOST_SYMBOLS: usize = 16 * 1024;

/// Names by address. `None`: it has been looked up, and has no name.
#[derive(Debug, Default)]
pub(super) struct Symbols {
    names: HashMap<u64, Option<String>>,
    /// Call paths are few: each is put together once.
    stacks: HashMap<Vec<u64>, Option<Arc<[String]>>>,
}

impl Symbols {
    /// All of them, as entries of so many each.
    pub(super) fn known(&self, at_a_time: usize) -> Vec<Entry> {
        let symbols: Vec<Symbol> = self
            .names
            .iter()
            .map(|(address, name)| Symbol {
                address: *address,
                name: name.clone(),
            })
            .collect();
        let parts = symbols.chunks(at_a_time.max(1));
        parts.map(|part| Entry::Symbols(part.to_vec())).collect()
    }

    pub(super) fn learn(&mut self, symbols: &[Symbol]) {
        for symbol in symbols {
            self.names.insert(symbol.address, symbol.name.clone());
        }
        self.stacks.clear();
    }

    /// Forgets all of them once they are too many.
    pub(super) fn bound(&mut self) {
        if self.names.len() > MOST_SYMBOLS {
            self.names.clear();
            self.stacks.clear();
        }
    }

    /// The addresses of a call path that were not looked up yet.
    pub(super) fn unknown(&self, stack: &[u8]) -> Vec<u64> {
        let unknown = |address: &u64| !self.names.contains_key(address);
        all::<u64>(stack).filter(unknown).collect()
    }

    /// The names of a call path, from the signal code outwards.
    pub(super) fn stack(&mut self, bytes: &[u8]) -> Option<Arc<[String]>> {
        let addresses: Vec<u64> = all::<u64>(bytes).collect();
        if let Some(known) = self.stacks.get(&addresses) {
            return known.clone();
        }
        let names = addresses
            .iter()
            .filter_map(|address| self.names.get(address)?.as_deref());
        let path = call_path(names);
        let path = (!path.is_empty()).then(|| Arc::from(path));
        if self.stacks.len() > MOST_STACKS {
            self.stacks.clear();
        }
        self.stacks.insert(addresses, path.clone());
        path
    }
}

/// The part of a call path that belongs to the kernel's signal code and its callers: the
/// frames before it are the tracer's own program and the tracing glue, whose names mean
/// nothing. Compiler suffixes are dropped.
fn call_path<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let plain: Vec<&str> = names
        .map(|name| name.split_once('.').map_or(name, |(name, _)| name))
        .collect();
    let start = plain
        .iter()
        .position(|name| name.starts_with("__send_signal") || name.ends_with("send_sigqueue"));
    let path = start
        .and_then(|start| plain.get(start..))
        .unwrap_or_default();
    path.iter().map(|name| (*name).to_owned()).collect()
}
