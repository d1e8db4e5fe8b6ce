//! What may have come after a death and is not stored: stretches in which nobody traced, or of which
//! not all was kept, and the OOM kills that others tell of.

use serde::Serialize;

use super::timeline::moment;
use crate::{
    identity::target::is_within,
    provenance::record::{Death, Gap, Inferred},
};

/// A stretch after a death of which another may be missing.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Unwatched<'a> {
    /// RFC 3339, UTC.
    pub from: &'a str,
    pub to: &'a str,
    /// That it may be, and why.
    pub text: String,
    /// Of what others tell of that time, what happened where the victim was.
    pub inferred: Vec<&'a Inferred>,
}

impl Unwatched<'_> {
    /// What is said of it, and who says so.
    pub fn told(&self) -> impl Iterator<Item = (String, &str)> {
        let kills = self.inferred.iter();
        let kills = kills.map(|kill| (kill.text.clone(), kill.source.as_str()));
        std::iter::once((self.text.clone(), "")).chain(kills)
    }
}

/// `gaps`: the latest first. Of the stretches before the next death that is known, all are told; of
/// later ones, those in which something is inferred.
pub(super) fn of<'a>(death: &Death, next: Option<&Death>, gaps: &'a [Gap]) -> Vec<Unwatched<'a>> {
    let died = moment(&death.time);
    let next = next.and_then(|next| moment(&next.time));
    let mut after: Vec<Unwatched<'a>> = gaps
        .iter()
        .filter(|gap| moment(&gap.to) > died)
        .map(|gap| Unwatched {
            from: &gap.from,
            to: &gap.to,
            text: format!(
                "{}: another death of it may be missing",
                gap.unseen(&format!("from {} to {}", gap.from, gap.to))
            ),
            inferred: gap
                .inferred
                .iter()
                .filter(|kill| is_there(kill, death))
                .collect(),
        })
        .filter(|gap| {
            let is_before_next = next.is_none_or(|next| moment(gap.from) < Some(next));
            is_before_next || !gap.inferred.is_empty()
        })
        .collect();
    after.reverse();
    after
}

/// Whether it happened where the victim was: in its cgroup or one below, in another of its pod's,
/// or at the limit that was hit then.
fn is_there(kill: &Inferred, death: &Death) -> bool {
    let is_in_pod = death
        .container
        .as_ref()
        .is_some_and(|container| container.pod.is_some());
    let place = death.victim.cgroup.as_deref().map(|cgroup| {
        let pod = cgroup.rsplit_once('/').map(|(pod, _)| pod);
        pod.filter(|pod| is_in_pod && !pod.is_empty())
            .unwrap_or(cgroup)
    });
    let limit = death
        .oom
        .as_ref()
        .and_then(|oom| oom.limit_cgroup.as_deref());
    let is_in = |cgroup: &Option<String>, place: Option<&str>| matches!((cgroup, place), (Some(cgroup), Some(place)) if place != "/" && is_within(cgroup, place));
    is_in(&kill.cgroup, place) || is_in(&kill.limit_cgroup, limit)
}
