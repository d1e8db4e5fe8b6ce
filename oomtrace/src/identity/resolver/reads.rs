//! Reading files without waiting for ever: on threads beside, with a time limit. A read that
//! hangs, as on a network file system whose server has gone, keeps its thread.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Semaphore, time::timeout};

/// So many reads go on at a time.
pub(super) const THREADS: usize = 4;
/// A read is given up after this.
const LIMIT: Duration = Duration::from_secs(2);
/// When so many hang, nothing is read any more until one of them comes back.
const STUCK: usize = 2;

const GOES_ON: u8 = 0;
const DONE: u8 = 1;
const GIVEN_UP: u8 = 2;

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Reads {
    permits: Arc<Semaphore>,
    stuck: Arc<AtomicUsize>,
}

impl Default for Reads {
    fn default() -> Self {
        Self {
            permits: Arc::new(Semaphore::new(THREADS)),
            stuck: Arc::default(),
        }
    }
}

impl Reads {
    /// Runs what may hang. The error says in words why there is no result.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, String> {
        let stuck = self.stuck.load(Ordering::Acquire);
        if stuck >= STUCK {
            return Err(format!("not read: {stuck} earlier reads hang"));
        }
        // Waiting for one's turn does not count; those before have the same limit.
        let Ok(permit) = Arc::clone(&self.permits).acquire_owned().await else {
            return Err("not read: oomtrace ends".to_owned());
        };
        let state = Arc::new(AtomicU8::new(GOES_ON));
        let (stuck, its_state) = (Arc::clone(&self.stuck), Arc::clone(&state));
        let reading = tokio::task::spawn_blocking(move || {
            let result = read();
            if its_state.swap(DONE, Ordering::AcqRel) == GIVEN_UP {
                stuck.fetch_sub(1, Ordering::AcqRel);
            }
            drop(permit);
            result
        });
        match timeout(LIMIT, reading).await {
            Ok(Ok(result)) => Ok(result),
            Ok(Err(_)) => Err("not read: the reader failed".to_owned()),
            Err(_) => {
                // Counted first: the thread takes off what it finds given up.
                let hang = self.stuck.fetch_add(1, Ordering::AcqRel) + 1;
                if state.swap(GIVEN_UP, Ordering::AcqRel) == DONE {
                    self.stuck.fetch_sub(1, Ordering::AcqRel);
                } else if hang == STUCK {
                    log::warn!("reading what container runtimes keep hangs, and is given up");
                }
                let limit = LIMIT.as_millis();
                Err(format!("reading took longer than {limit} ms"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn two_reads_that_hang_are_enough_until_one_comes_back() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let (go_on, waits) = channel::<()>();
        let waits = Arc::new(std::sync::Mutex::new(waits));
        runtime.block_on(async {
            let reads = Reads::default();
            for _ in 0..STUCK {
                let waits = Arc::clone(&waits);
                let hangs = reads.run(move || waits.lock().map(|waits| waits.recv()).is_ok());
                assert!(hangs.await.unwrap_err().contains("took longer"));
            }
            let why = reads.run(|| ()).await.unwrap_err();
            assert!(why.contains("2 earlier reads hang"), "{why}");
            drop(go_on);
            while reads.run(|| ()).await.is_err() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
    }
}
