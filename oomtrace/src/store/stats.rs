//! What the store has done so far, for whoever wants to show it.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters that anybody may read at any time.
#[derive(Debug, Default)]
pub struct StoreStats {
    stored: AtomicU64,
    waiting: AtomicU64,
    waiting_bytes: AtomicU64,
    dropped: AtomicU64,
    errors: AtomicU64,
    deleted: AtomicU64,
}

impl StoreStats {
    /// Deaths that were stored, each once.
    #[must_use]
    pub fn stored(&self) -> u64 {
        self.stored.load(Ordering::Relaxed)
    }

    /// Records in memory that are to be stored.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// The same, in bytes.
    #[must_use]
    pub fn waiting_bytes(&self) -> u64 {
        self.waiting_bytes.load(Ordering::Relaxed)
    }

    /// Records that found no room in memory while the disk was away: they are not stored.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Attempts to write that failed.
    #[must_use]
    pub fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }

    /// Deaths that went because of their age, or for want of room.
    #[must_use]
    pub fn deleted(&self) -> u64 {
        self.deleted.load(Ordering::Relaxed)
    }

    pub(super) fn set_waiting(&self, count: usize, bytes: usize) {
        self.waiting.store(count as u64, Ordering::Relaxed);
        self.waiting_bytes.store(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn add_stored(&self, count: u64) {
        self.stored.fetch_add(count, Ordering::Relaxed);
    }

    pub(super) fn add_dropped(&self, count: u64) {
        self.dropped.fetch_add(count, Ordering::Relaxed);
    }

    pub(super) fn add_error(&self) {
        self.errors.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn add_deleted(&self, count: u64) {
        self.deleted.fetch_add(count, Ordering::Relaxed);
    }
}
