//! What is asked for at each scrape: how tracing gets on, what it hangs on, and the store.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge, info::Info},
};

use super::{StoreFigures, families::KindLabel};
use crate::{provenance::record::Started, vitals::Vitals};

/// What is known once every hook is attached.
#[derive(Debug)]
pub(super) struct Session {
    hooks: HooksLabels,
    build: BuildLabels,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HooksLabels {
    signal: String,
    oom: String,
    symbols: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BuildLabels {
    version: String,
    kernel: String,
    arch: &'static str,
}

impl Session {
    pub(super) fn of(started: &Started) -> Self {
        Self {
            hooks: HooksLabels {
                signal: started.hooks.signal.to_string(),
                oom: started.hooks.oom.clone(),
                symbols: started.hooks.symbols,
            },
            build: BuildLabels {
                version: started.version.clone(),
                kernel: started.kernel.clone(),
                arch: std::env::consts::ARCH,
            },
        }
    }
}

/// See the module.
pub(super) struct Current {
    pub(super) session: Arc<OnceLock<Session>>,
    pub(super) vitals: Arc<Vitals>,
    pub(super) store: Option<Arc<dyn StoreFigures>>,
}

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Current")
            .field("session", &self.session)
            .field("vitals", &self.vitals)
            .field("store", &self.store.is_some())
            .finish()
    }
}

/// A gauge with one value.
pub(super) fn gauge(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: u64,
) -> fmt::Result {
    let value = i64::try_from(value).unwrap_or(i64::MAX);
    ConstGauge::new(value).encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)
}

/// A counter with one value.
pub(super) fn counter(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: u64,
) -> fmt::Result {
    ConstCounter::new(value).encode(encoder.encode_descriptor(
        name,
        help,
        None,
        MetricType::Counter,
    )?)
}

impl Collector for Current {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let to = &mut encoder;
        if let Some(session) = self.session.get() {
            Info::new(session.build.clone()).encode(to.encode_descriptor(
                "build",
                "The tracer's version, and the kernel that it runs on.",
                None,
                MetricType::Info,
            )?)?;
            Info::new(session.hooks.clone()).encode(to.encode_descriptor(
                "hooks",
                "What the capture hangs on: fentry and kprobe see all of an OOM kill, a tracepoint less.",
                None,
                MetricType::Info,
            )?)?;
        }
        gauge(
            to,
            "healthy",
            "1 while every hook is attached and events are taken, as /healthz says; else 0.",
            u64::from(self.vitals.check().is_ok()),
        )?;
        gauge(
            to,
            "dying",
            "Victims that were still there seconds after their SIGKILL, and have not ended since.",
            self.vitals.hanging() as u64,
        )?;
        let mut events = to.encode_descriptor(
            "events",
            "Events that the kernel sent and oomtrace took.",
            None,
            MetricType::Counter,
        )?;
        for (kind, taken) in self.vitals.events() {
            ConstCounter::new(taken).encode(events.encode_family(&KindLabel { kind })?)?;
        }
        match &self.store {
            Some(store) => figures(to, &**store),
            None => Ok(()),
        }
    }
}

fn figures(to: &mut DescriptorEncoder<'_>, store: &dyn StoreFigures) -> fmt::Result {
    counter(
        to,
        "store_deaths",
        "Deaths that were written to the store.",
        store.stored(),
    )?;
    gauge(
        to,
        "store_waiting",
        "Records, deaths mostly, that wait to be written to the store.",
        store.waiting(),
    )?;
    counter(
        to,
        "store_dropped",
        "Records that will never be in the store, because too many were waiting.",
        store.dropped(),
    )?;
    counter(
        to,
        "store_errors",
        "Attempts at writing to the store that failed.",
        store.errors(),
    )
}
