//! Records counted, for Prometheus and its like.
//!
//! | file | owns |
//! |---|---|
//! | `families` | the families that are counted here, their names and what they mean |
//! | `deaths` | which death is counted, once, and when |
//! | `places` | the bound on how many namespaces and containers there are labels for |
//! | `current` | what is asked for at each scrape: events, hooks, the store |
//! | `process` | figures of oomtrace's own process |
//! | `page` | all of them as text: OpenMetrics, or Prometheus' older format |
//! | [`server`] | HTTP |
//!
//! Counting is the only thing that happens on the thread that works on records; the text is
//! made on the server's.

mod current;
mod deaths;
mod families;
mod page;
mod places;
mod process;
pub mod server;

use std::{
    io,
    sync::{Arc, OnceLock},
    time::Instant,
};

pub use self::page::{Format, Page};
use self::{current::Session, deaths::Deaths, families::Families};
use super::Sink;
use crate::{identity::host, provenance::record::Record, store::StoreStats, vitals::Vitals};

/// What is to be told of a store.
pub trait StoreFigures: Send + Sync {
    /// Deaths stored so far.
    fn stored(&self) -> u64;
    /// Records that wait to be stored.
    fn waiting(&self) -> u64;
    /// Records that will never be stored: too many were waiting.
    fn dropped(&self) -> u64;
    /// Attempts at writing that failed.
    fn errors(&self) -> u64;
}

impl StoreFigures for StoreStats {
    fn stored(&self) -> u64 {
        self.stored()
    }

    fn waiting(&self) -> u64 {
        self.waiting()
    }

    fn dropped(&self) -> u64 {
        self.dropped()
    }

    fn errors(&self) -> u64 {
        self.errors()
    }
}

/// See the module.
#[derive(Debug)]
pub struct Metrics {
    families: Arc<Families>,
    deaths: Deaths,
    session: Arc<OnceLock<Session>>,
}

impl Metrics {
    /// The sink, and the page that shows what it counts.
    #[must_use]
    pub fn new(vitals: Arc<Vitals>, store: Option<Arc<dyn StoreFigures>>) -> (Self, Page) {
        let families = Arc::new(Families::default());
        let session = Arc::default();
        let page = Page::new(&families, Arc::clone(&session), vitals, store);
        let metrics = Self {
            deaths: Deaths::new(Arc::clone(&families)),
            families,
            session,
        };
        (metrics, page)
    }
}

impl Sink for Metrics {
    fn write(&mut self, record: &Record) -> io::Result<()> {
        match record {
            Record::Started(started) => {
                // A tracer starts once.
                let _ = self.session.set(Session::of(started));
            }
            Record::Death(death) => {
                if death.revision == 1 {
                    let now_ns = host::now().boottime_ns;
                    let latency_ns = now_ns.saturating_sub(death.boottime_ns);
                    self.families.latency.observe(latency_ns as f64 / 1e9);
                }
                self.deaths.take(death, Instant::now());
            }
            Record::Gap(gap) => self.families.gap(gap),
            Record::Restart(_) | Record::Stopped(_) => {}
        }
        Ok(())
    }

    fn settle(&mut self, is_end: bool) -> io::Result<()> {
        self.deaths.settle(Instant::now(), is_end);
        Ok(())
    }
}
