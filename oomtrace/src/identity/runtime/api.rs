//! What the APIs of container runtimes have in common: an answer about one container, and
//! what can go wrong.

use thiserror::Error;

use crate::event::container::{ContainerFacts, ContainerState};

/// What a runtime says of one container. The time is left to whoever passes it on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) facts: ContainerFacts,
    pub(crate) state: ContainerState,
    /// When its last run ended, `CLOCK_REALTIME`.
    pub(crate) ended_ns: Option<i64>,
}

impl Known {
    pub(crate) fn has_ended(&self) -> bool {
        self.state.running == Some(false)
    }
}

/// Why a runtime did not answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum ApiError {
    #[error("it does not know the container")]
    NotKnown,
    #[error("it does not offer this API")]
    NotServed,
    #[error("the socket has gone")]
    Gone,
    #[error("{0}")]
    Failed(String),
}

impl ApiError {
    pub(crate) fn is_failure(&self) -> bool {
        matches!(self, Self::Failed(_))
    }

    /// That containerd speaks no CRI, say, is of no use to anybody.
    pub(crate) fn is_worth_telling(&self) -> bool {
        !matches!(self, Self::NotServed | Self::Gone)
    }
}

/// Most of a text that is taken from a runtime, bytes.
const TEXT_BYTES: usize = 4096;
/// Most labels that are taken.
const LABELS: usize = 128;

/// A text that is there, cut to what is reasonable.
pub(crate) fn text(value: impl Into<String>) -> Option<String> {
    let mut value: String = value.into();
    value.truncate(value.floor_char_boundary(TEXT_BYTES));
    (!value.is_empty()).then_some(value)
}

/// Labels, cut to what is reasonable.
pub(crate) fn labels<K: Into<String>>(
    all: impl IntoIterator<Item = (K, String)>,
) -> std::collections::BTreeMap<String, String> {
    all.into_iter()
        .filter_map(|(key, value)| Some((text(key)?, text(value).unwrap_or_default())))
        .take(LABELS)
        .collect()
}

/// What the kubelet notes on a container that it makes (pkg/kubelet/kuberuntime/labels.go),
/// by whatever way `note` finds it: labels or annotations.
pub(crate) fn kubelet_notes(facts: &mut ContainerFacts, note: impl Fn(&str) -> Option<String>) {
    let text_of = |key: &str| note(key).and_then(text);
    let name = text_of("io.kubernetes.container.name");
    facts.name = name.or(facts.name.take());
    let pod = text_of("io.kubernetes.pod.name");
    facts.pod = pod.or(facts.pod.take());
    let namespace = text_of("io.kubernetes.pod.namespace");
    facts.namespace = namespace.or(facts.namespace.take());
    let uid = text_of("io.kubernetes.pod.uid");
    facts.pod_uid = uid.or(facts.pod_uid.take());
    let grace = text_of("io.kubernetes.pod.terminationGracePeriod")
        .and_then(|seconds| seconds.parse::<u64>().ok())
        .map(|seconds| seconds.saturating_mul(1_000));
    facts.stop_grace_ms = grace.or(facts.stop_grace_ms);
    // JSON of the handler: `{}` and `null` are none.
    facts.pre_stop |= text_of("io.kubernetes.container.preStopHandler")
        .is_some_and(|handler| !matches!(handler.trim(), "{}" | "null"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kubelets_notes_say_pod_and_grace() {
        let mut facts = ContainerFacts::default();
        kubelet_notes(&mut facts, |key| {
            let value = match key {
                "io.kubernetes.container.name" => "web",
                "io.kubernetes.pod.name" => "web-6f7",
                "io.kubernetes.pod.namespace" => "shop",
                "io.kubernetes.pod.terminationGracePeriod" => "30",
                "io.kubernetes.container.preStopHandler" => r#"{"exec":{"command":["true"]}}"#,
                _ => return None,
            };
            Some(value.to_owned())
        });
        assert_eq!(facts.name.as_deref(), Some("web"));
        assert_eq!(facts.pod.as_deref(), Some("web-6f7"));
        assert_eq!(facts.namespace.as_deref(), Some("shop"));
        assert_eq!(facts.pod_uid, None);
        assert_eq!(facts.stop_grace_ms, Some(30_000));
        assert!(facts.pre_stop);
    }

    #[test]
    fn no_pre_stop_hook_is_none() {
        for handler in ["{}", "null", ""] {
            let mut facts = ContainerFacts::default();
            kubelet_notes(&mut facts, |key| {
                key.ends_with("preStopHandler").then(|| handler.to_owned())
            });
            assert!(!facts.pre_stop, "{handler:?}");
        }
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        let long = "é".repeat(TEXT_BYTES);
        let cut = text(long).unwrap();
        assert!(cut.len() <= TEXT_BYTES && cut.ends_with('é'));
        assert_eq!(text(""), None);
    }
}
