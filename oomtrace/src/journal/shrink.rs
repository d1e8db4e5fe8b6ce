//! A journal that cannot be cut for long, for something in it waits for days: the kernel's records
//! about all others go.

use std::{
    fs,
    io::{self, Seek as _},
};

use super::{IDLE, Inside, Journal, LARGE_BYTES, MOST_BYTES, OomCounts, WITH_PLACE, recovered};
use crate::{
    event::{entry::Entry, frame},
    store,
};

/// What takes its place until it is whole.
const NEW: &str = ".new";

impl Journal {
    /// Leaves out what is not `needed`, if it has grown large. Returns how many of the records
    /// that were taken are still there.
    pub fn shrink(&self, taken: u64, mut needed: impl FnMut(&Entry) -> bool) -> Option<u64> {
        let mut inside = self.lock();
        if inside.is_broken || inside.bytes < inside.shrink_at {
            return None;
        }
        let left = self.rewrite(&mut inside, taken, &mut needed);
        inside.shrink_at = LARGE_BYTES.max(2 * inside.bytes).min(MOST_BYTES);
        // It stays as it is, and there is room to grow.
        left.inspect_err(|error| {
            log::warn!("{} cannot be made smaller: {error}", self.shown());
            let _ = fs::remove_file(store::beside(&self.path, NEW));
            let _ = inside.end();
        })
        .ok()
    }

    fn rewrite(
        &self,
        inside: &mut Inside,
        taken: u64,
        needed: &mut dyn FnMut(&Entry) -> bool,
    ) -> io::Result<u64> {
        inside.file.rewind()?;
        let (mut recovered, _) = recovered::read(&inside.file)?;
        let path = store::beside(&self.path, NEW);
        let file = store::open_private(&path)?;
        file.lock()?;
        let mut next = Inside::of(file);
        next.begin()?;
        let counts: Option<OomCounts> = recovered.counts.take();
        if let Some(counts) = counts {
            next.frame(super::COUNTS, None, &serde_json::to_vec(&counts)?)?;
        }
        let records = recovered.rest.drain(..).map(Entry::Kernel);
        let mut seen = 0;
        let mut kept = 0;
        let mut tick = None;
        for entry in recovered.taken.drain(..).chain(records) {
            if let Entry::Kernel(record) = &entry {
                seen += 1;
                if seen > taken || needed(&entry) {
                    next.records += 1;
                    next.frame(frame::KERNEL, None, record)?;
                    kept += u64::from(seen <= taken);
                }
                continue;
            }
            // Of ticks in a row the last is enough.
            if let Entry::Tick(now) = entry {
                tick = Some(now);
                continue;
            }
            if let Some(tick) = tick.take() {
                next.frame(IDLE, Some(next.records), &serde_json::to_vec(&tick)?)?;
            }
            if needed(&entry) {
                let (kind, payload) = frame::encode(&entry)?;
                next.frame(kind | WITH_PLACE, Some(next.records), &payload)?;
            }
        }
        if let Some(tick) = tick {
            next.frame(IDLE, Some(kept), &serde_json::to_vec(&tick)?)?;
        }
        fs::rename(&path, &self.path)?;
        *inside = next;
        Ok(kept)
    }
}
