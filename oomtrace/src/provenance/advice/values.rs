//! What stands in the braces of an advice.

use super::{About, earlyoom};
use crate::{
    event::MemcgLevel,
    identity::heap::{self, Size},
    provenance::{
        actor, levels,
        record::{self, OomSplit},
        rules::Rules,
        signal_names, words,
    },
};

impl About<'_> {
    pub(super) fn value(&self, name: &str) -> Option<String> {
        let verdict = self.verdict;
        let oom = verdict.oom.as_ref();
        let limit = oom.and_then(|oom| oom.limit.as_ref());
        let size = |pages: Option<u64>| {
            pages.map_or_else(
                || "?".to_owned(),
                |pages| words::bytes(pages.saturating_mul(self.page_bytes)),
            )
        };
        match name {
            "victim" => self.victim.comm.clone(),
            "actor" => Some(words::actor_label(verdict, self.sender)),
            "limit" => Some(size(limit.and_then(|level| level.max_pages))),
            "usage" => Some(size(limit.and_then(|level| level.usage_pages))),
            "cgroup" => limit
                .and_then(|level| level.path.as_deref())
                .map(|path| levels::name(path, self.at)),
            "signal" => verdict
                .stop
                .map(|stop| signal_names::name(stop.request.signal)),
            "grace" => verdict.stop.map(|stop| words::duration_ns(stop.grace_ns)),
            "configured" => self
                .grace
                .map(|grace| words::duration_ns(grace.configured_ms.saturating_mul(1_000_000))),
            "shortened_by" => {
                let facts = self.at.known.and_then(|known| known.facts.as_deref());
                facts.map(|facts| words::shortens_grace(facts).to_owned())
            }
            "thresholds" => {
                let argv = self.sender.argv.as_ref();
                Some(earlyoom::thresholds(argv.map(|argv| &*argv.args)))
            }
            "setting" => self.setting().map(|(setting, _)| setting.text),
            "heap" => self.setting().map(|(setting, _)| match setting.size {
                Size::Bytes(bytes) => words::bytes(bytes),
                Size::Percent(percent) => format!("{percent:.0} % of the limit"),
            }),
            "heap_fits" => self.setting().map(|(setting, limit_bytes)| {
                words::bytes(heap::that_fits(setting.of, limit_bytes))
            }),
            "grower" => Some(self.grower(limit)),
            "guess" => self.guess(),
            "slope" => self
                .memory
                .and_then(|memory| memory.slope_bytes_per_s)
                .map(rate),
            "shmem" => self.split(|split| Some(split.shmem_bytes)),
            "slab" => self.split(|split| split.slab_bytes),
            "sockets" => self.split(|split| split.sock_bytes),
            "file" => self.split(|split| Some(split.file_bytes)),
            "request" => self.request_bytes().map(words::bytes),
            "adj" => self.victim.oom_score_adj.map(|adj| adj.to_string()),
            _ => None,
        }
    }

    /// Whose growth the curve of a cgroup was: the process that holds most of the limit, and where
    /// none does, what runs there together.
    fn grower(&self, limit: Option<&MemcgLevel>) -> String {
        let largest = self.memory.and_then(|memory| {
            let half = memory.limit_bytes? / 2;
            memory.largest.first().filter(|one| one.rss_bytes >= half)
        });
        match (largest, limit.and_then(|level| level.path.as_deref())) {
            (Some(one), _) if one.pid == self.victim.group.tgid => one.comm.clone(),
            (Some(one), _) => record::label(Some(&one.comm), one.pid),
            (None, Some(path)) => format!("what runs in {}", levels::name(path, self.at)),
            (None, None) => "what runs there".to_owned(),
        }
    }

    fn split(&self, part: impl Fn(&OomSplit) -> Option<u64>) -> Option<String> {
        part(self.memory?.split.as_ref()?).map(words::bytes)
    }

    /// A limit to try: 30 to 50 % above what was in use. What is parked under a limit has not
    /// shown how much more it would have taken.
    fn guess(&self) -> Option<String> {
        let limit_bytes = self.memory?.limit_bytes?;
        let more = |percent: u64| words::bytes(limit_bytes / 100 * percent);
        let (least, most) = (more(130), more(150));
        // One unit does for both, where it is the same.
        let least = match (least.split_once(' '), most.split_once(' ')) {
            (Some((figure, unit)), Some((_, other))) if unit == other => figure,
            _ => &least,
        };
        Some(format!("{least} and {most}"))
    }

    /// Who acted, with what tells a person from another.
    pub(super) fn whom(&self, rules: &Rules) -> String {
        let mut text = words::actor_label(self.verdict, self.sender);
        let is_sender = self.verdict.actor.group == Some(self.sender.group);
        if let Some(behind) = actor::behind_tool(self.sender, rules).filter(|_| is_sender) {
            let behind = record::label(Some(&behind.comm), behind.group.tgid);
            text = format!("{behind}, which ran {text}");
        }
        if let Some(uid) = self.sender.login_uid {
            text.push_str(&format!(", login uid {uid}"));
        }
        if let Some(tty) = &self.sender.tty {
            text.push_str(&format!(", on {tty}"));
        }
        text
    }
}

/// A growth in the unit in which it is a figure that people can think of.
fn rate(bytes_per_s: i64) -> String {
    const MIB: u64 = 1 << 20;
    let size = bytes_per_s.unsigned_abs();
    match size {
        MIB.. => format!("{} a second", words::bytes(size)),
        _ if size >= MIB / 60 => format!("{} a minute", words::bytes(size * 60)),
        _ => format!("{} an hour", words::bytes(size * 3_600)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_told_in_a_unit_for_people() {
        assert_eq!(rate(10 << 20), "10.0 MiB a second");
        assert_eq!(rate(100 << 10), "5.9 MiB a minute");
        assert_eq!(rate(1 << 10), "3.5 MiB an hour");
    }
}
