//! The families that are counted as records come. Names end in their unit; a counter's
//! `_total` is added where it is written.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::{Registry, Unit},
};

use crate::{
    event::decode,
    provenance::record::{Cause, Gap},
};

/// Labels of a death.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct DeathLabels {
    pub(super) cause: &'static str,
    /// Empty where there is none, which to Prometheus is as if there were no such label.
    pub(super) namespace: String,
    pub(super) container: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct CauseLabel {
    pub(super) cause: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct KindLabel {
    pub(super) kind: &'static str,
}

/// Grace that people configure: 10 s (docker), 30 s (a pod), 90 s (a unit).
const GRACE_SECONDS: [f64; 14] = [
    0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 45.0, 60.0, 90.0, 120.0, 300.0, 1800.0,
];
/// Most victims are gone, and written, after a few milliseconds; one that hangs is written
/// after five seconds.
const LATENCY_SECONDS: [f64; 14] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

type Histograms = Family<CauseLabel, Histogram, fn() -> Histogram>;

/// See the module.
#[derive(Debug)]
pub(super) struct Families {
    pub(super) deaths: Family<DeathLabels, Counter>,
    pub(super) ooms: Family<DeathLabels, Counter>,
    pub(super) overflow: Counter,
    pub(super) helpers: Counter,
    pub(super) grace: Histograms,
    pub(super) latency: Histogram,
    gaps: Counter,
    lost: Family<KindLabel, Counter>,
    maybe_lost: Family<KindLabel, Counter>,
}

impl Default for Families {
    /// With a zero for all that is known beforehand: of a series that begins above zero,
    /// Prometheus does not see the first step.
    fn default() -> Self {
        let families = Self {
            deaths: Family::default(),
            ooms: Family::default(),
            overflow: Counter::default(),
            helpers: Counter::default(),
            grace: Family::new_with_constructor(|| Histogram::new(GRACE_SECONDS)),
            latency: Histogram::new(LATENCY_SECONDS),
            gaps: Counter::default(),
            lost: Family::default(),
            maybe_lost: Family::default(),
        };
        for cause in Cause::ALL {
            families.begin(cause, "", "");
        }
        let stop_timeout = Cause::StopTimeout.name();
        drop(families.grace.get_or_create(&CauseLabel {
            cause: stop_timeout,
        }));
        for (_, kind) in decode::KINDS {
            drop(families.lost.get_or_create(&KindLabel { kind }));
            drop(families.maybe_lost.get_or_create(&KindLabel { kind }));
        }
        families
    }
}

impl Families {
    /// All with their names, and what they mean.
    pub(super) fn register(&self, to: &mut Registry) {
        to.register(
            "deaths",
            "Deaths by SIGKILL and exits with status 137, each counted once, without the \
             helpers of container runtimes",
            self.deaths.clone(),
        );
        to.register(
            "ooms",
            "Times that the OOM killer chose a victim, which counts once however many \
             processes died with it",
            self.ooms.clone(),
        );
        to.register(
            "deaths_overflow",
            "Deaths counted under namespace and container \"(other)\", because there were \
             too many different ones",
            self.overflow.clone(),
        );
        to.register(
            "runtime_helper_deaths",
            "Deaths of short-lived processes of container runtimes, which are no part of a \
             workload",
            self.helpers.clone(),
        );
        to.register_with_unit(
            "grace",
            "From the request to stop to the SIGKILL, of deaths that had such a request",
            Unit::Seconds,
            self.grace.clone(),
        );
        to.register_with_unit(
            "record_latency",
            "From the kernel's SIGKILL (or the exit, where there was none) to the death's \
             first record, with the time that the victim took to end",
            Unit::Seconds,
            self.latency.clone(),
        );
        to.register(
            "gaps",
            "Stretches of time in which events were lost, or may have been",
            self.gaps.clone(),
        );
        to.register(
            "events_lost",
            "Events that were lost, because the ring buffer was full",
            self.lost.clone(),
        );
        to.register(
            "events_maybe_lost",
            "Events that may have been lost, at the most: a program was passed over",
            self.maybe_lost.clone(),
        );
    }

    /// A series at zero.
    fn begin(&self, cause: Cause, namespace: &str, container: &str) {
        let labels = DeathLabels {
            cause: cause.name(),
            namespace: namespace.to_owned(),
            container: container.to_owned(),
        };
        drop(self.deaths.get_or_create(&labels));
        if is_oom(cause) {
            drop(self.ooms.get_or_create(&labels));
        }
    }

    /// Forgets all series of a namespace and container.
    pub(super) fn forget(&self, namespace: &str, container: &str) {
        for cause in Cause::ALL {
            let labels = DeathLabels {
                cause: cause.name(),
                namespace: namespace.to_owned(),
                container: container.to_owned(),
            };
            self.deaths.remove(&labels);
            self.ooms.remove(&labels);
        }
    }

    pub(super) fn gap(&self, gap: &Gap) {
        self.gaps.inc();
        let lost = if gap.certain {
            &self.lost
        } else {
            &self.maybe_lost
        };
        // Only kinds that are known, so that there are only so many.
        let kind = decode::KINDS.iter().find(|(_, name)| *name == gap.kind);
        let kind = kind.map_or("other", |(_, name)| name);
        lost.get_or_create(&KindLabel { kind }).inc_by(gap.lost);
    }
}

/// The OOM killer's.
pub(super) fn is_oom(cause: Cause) -> bool {
    matches!(cause, Cause::CgroupOom | Cause::GlobalOom | Cause::NumaOom)
}
