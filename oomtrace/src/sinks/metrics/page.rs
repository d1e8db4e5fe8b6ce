//! All metrics as text. The crate writes OpenMetrics; Prometheus' older format is made from
//! that, for what reads nothing else: `promtool check metrics`, and agents of other makers.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use prometheus_client::{encoding::text, registry::Registry};

use super::{
    StoreFigures,
    current::{Current, Session},
    families::Families,
    process::Process,
};
use crate::vitals::Vitals;

/// How metrics are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    OpenMetrics,
    /// Prometheus' text format 0.0.4.
    Classic,
}

impl Format {
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Classic => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// What a client wants that says this in `Accept`. Whoever does not ask for OpenMetrics
    /// gets what everything reads.
    #[must_use]
    pub fn wanted(accept: &str) -> Self {
        let (mut open, mut classic) = (0.0, 0.0);
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default();
            let weight = parts
                .find_map(|part| part.strip_prefix("q="))
                .map_or(1.0, |weight| weight.parse::<f64>().unwrap_or(0.0));
            let best = match name {
                "application/openmetrics-text" => &mut open,
                "text/plain" => &mut classic,
                _ => continue,
            };
            *best = f64::max(*best, weight);
        }
        if open > 0.0 && open >= classic {
            Self::OpenMetrics
        } else {
            Self::Classic
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Page {
    registry: Registry,
    vitals: Arc<Vitals>,
}

impl Page {
    pub(super) fn new(
        families: &Families,
        session: Arc<OnceLock<Session>>,
        vitals: Arc<Vitals>,
        store: Option<Arc<dyn StoreFigures>>,
    ) -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Process::of_self()));
        let own = registry.sub_registry_with_prefix("oomtrace");
        families.register(own);
        own.register_collector(Box::new(Current {
            session,
            vitals: Arc::clone(&vitals),
            store,
        }));
        Self { registry, vitals }
    }

    /// How tracing gets on.
    #[must_use]
    pub fn vitals(&self) -> &Vitals {
        &self.vitals
    }

    /// All metrics as they are now.
    pub fn text(&self, format: Format) -> Result<String, fmt::Error> {
        let mut page = String::new();
        text::encode(&mut page, &self.registry)?;
        Ok(match format {
            Format::OpenMetrics => page,
            Format::Classic => classic(&page),
        })
    }
}

/// OpenMetrics in Prometheus' older format: there a counter's or info's family is named as its
/// samples are, an info is a gauge, and units stand in names alone. The end mark stays, which
/// is a comment there.
fn classic(page: &str) -> String {
    let mut classic = String::with_capacity(page.len());
    // The help comes before the type that decides on the name.
    let mut help = None;
    for line in page.lines() {
        if let Some(text) = line.strip_prefix("# HELP ") {
            help = text.split_once(' ');
        } else if let Some((name, kind)) = line
            .strip_prefix("# TYPE ")
            .and_then(|text| text.split_once(' '))
        {
            let (suffix, kind) = match kind {
                "counter" => ("_total", kind),
                "info" => ("_info", "gauge"),
                _ => ("", kind),
            };
            if let Some((_, text)) = help.take() {
                classic.push_str(&format!("# HELP {name}{suffix} {text}\n"));
            }
            classic.push_str(&format!("# TYPE {name}{suffix} {kind}\n"));
        } else if !line.starts_with("# UNIT ") {
            classic.push_str(line);
            classic.push('\n');
        }
    }
    classic
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openmetrics_is_for_those_who_ask() {
        use Format::{Classic, OpenMetrics};
        for (accept, format) in [
            ("", Classic),
            ("*/*", Classic),
            ("text/html,*/*;q=0.8", Classic),
            ("application/openmetrics-text", OpenMetrics),
            ("text/plain;version=0.0.4", Classic),
            ("application/openmetrics-text;q=0", Classic),
            (
                "application/openmetrics-text;q=0.2,text/plain;q=0.9",
                Classic,
            ),
            // Prometheus 2 and 3.
            (
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                OpenMetrics,
            ),
            (
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,/;q=0.1",
                OpenMetrics,
            ),
        ] {
            assert_eq!(Format::wanted(accept), format, "{accept}");
        }
    }

    #[test]
    fn the_older_format_names_families_as_samples() {
        let page = "# HELP a_b Some help.\n# TYPE a_b counter\na_b_total 1\n\
                    # HELP c Info.\n# TYPE c info\nc_info{v=\"1\"} 1\n\
                    # HELP d_seconds Time.\n# TYPE d_seconds gauge\n# UNIT d_seconds seconds\nd_seconds 2\n\
                    # EOF\n";
        assert_eq!(
            classic(page),
            "# HELP a_b_total Some help.\n# TYPE a_b_total counter\na_b_total 1\n\
             # HELP c_info Info.\n# TYPE c_info gauge\nc_info{v=\"1\"} 1\n\
             # HELP d_seconds Time.\n# TYPE d_seconds gauge\nd_seconds 2\n\
             # EOF\n"
        );
    }
}
