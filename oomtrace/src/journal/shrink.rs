//! A journal that cannot be cut for long, for something in it waits for days, or deaths come one
//! after the other: what is not needed any more goes.

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    os::unix::fs::FileExt as _,
};

use super::{Bounds, IDLE, Inside, Journal, WITH_PLACE, recovered};
use crate::{
    event::{decode, entry::Entry, frame},
    store,
};

/// What takes its place until it is whole.
const NEW: &str = ".new";

impl Journal {
    /// Whether it has grown so large that [`Self::shrink`] is worth it.
    #[must_use]
    pub fn is_large(&self) -> bool {
        let inside = self.lock();
        !inside.is_broken && inside.bytes >= inside.shrink_at
    }

    /// Leaves out what is not `needed`; that is given each entry that was taken and about when it
    /// came (`CLOCK_BOOTTIME`). Returns how many of the records that were taken are still there.
    ///
    /// Whoever writes down the kernel's records is kept waiting only while those are copied that
    /// have come meanwhile. Nobody else may write.
    pub fn shrink(&self, taken: u64, needed: impl FnMut(&Entry, u64) -> bool) -> Option<u64> {
        let left = self.rewrite(taken, needed);
        let mut inside = self.lock();
        let Bounds {
            large_bytes,
            most_bytes,
        } = inside.bounds;
        // Where most of it is needed, it is looked at again after a little more.
        let at_most = most_bytes
            .saturating_sub(large_bytes)
            .max(inside.bytes + large_bytes / 8);
        inside.shrink_at = large_bytes.max(2 * inside.bytes).min(at_most);
        // It stays as it is, and there is room to grow.
        left.inspect_err(|error| {
            log::warn!("{} cannot be made smaller: {error}", self.shown());
            let _ = fs::remove_file(store::beside(&self.path, NEW));
        })
        .ok()
    }

    fn rewrite(&self, taken: u64, mut needed: impl FnMut(&Entry, u64) -> bool) -> io::Result<u64> {
        let (bytes, records, bounds) = {
            let inside = self.lock();
            (inside.bytes, inside.records, inside.bounds)
        };
        let path = store::beside(&self.path, NEW);
        let file = store::open_private(&path)?;
        file.lock()?;
        let mut next = Inside::of(file, bounds);
        next.begin()?;
        let old = File::open(&self.path)?;
        let kept = next.fill(old.take(bytes), taken, &mut needed)?;

        let mut inside = self.lock();
        if inside.is_broken || inside.bytes < bytes {
            return Err(io::Error::other("it was begun anew meanwhile"));
        }
        let mut tail = vec![0; usize::try_from(inside.bytes - bytes).unwrap_or_default()];
        inside.file.read_exact_at(&mut tail, bytes)?;
        next.file.write_all(&tail)?;
        next.bytes += inside.bytes - bytes;
        next.records += inside.records - records;
        fs::rename(&path, &self.path)?;
        *inside = next;
        Ok(kept)
    }
}

impl Inside {
    /// Writes down what is needed of another journal; see [`Journal::shrink`].
    fn fill(
        &mut self,
        old: impl io::Read,
        taken: u64,
        needed: &mut dyn FnMut(&Entry, u64) -> bool,
    ) -> io::Result<u64> {
        let (mut recovered, _) = recovered::read(old)?;
        if let Some(counts) = recovered.counts.take() {
            self.frame(super::COUNTS, None, &serde_json::to_vec(&counts)?)?;
        }
        let records = recovered.rest.drain(..).map(Entry::Kernel);
        let mut seen = 0;
        let mut kept = 0;
        let mut now_ns = 0;
        let mut tick = None;
        for entry in recovered.taken.drain(..).chain(records) {
            if let Entry::Kernel(record) = &entry {
                seen += 1;
                now_ns = decode::boottime_ns(record).unwrap_or(now_ns);
                if seen > taken || needed(&entry, now_ns) {
                    self.records += 1;
                    self.frame(frame::KERNEL, None, record)?;
                    kept += u64::from(seen <= taken);
                }
                continue;
            }
            // Of ticks in a row the last is enough.
            if let Entry::Tick(now) = entry {
                now_ns = now.boottime_ns;
                tick = Some(now);
                continue;
            }
            if let Some(tick) = tick.take() {
                self.frame(IDLE, Some(self.records), &serde_json::to_vec(&tick)?)?;
            }
            if needed(&entry, now_ns) {
                let (kind, payload) = frame::encode(&entry)?;
                self.frame(kind | WITH_PLACE, Some(self.records), &payload)?;
            }
        }
        if let Some(tick) = tick {
            self.frame(IDLE, Some(kept), &serde_json::to_vec(&tick)?)?;
        }
        Ok(kept)
    }
}
