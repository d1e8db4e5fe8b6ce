//! From a record to the event of its kind.

use oomtrace_common::wire::{
    self, CgroupBody, ExitBody, MarkVictimBody, OomKillBody, RecordHeader, SigkillBody, StopSlot,
    exit_seen, info_kind, kind, oom_present, tag, who,
};

use super::{
    Decoder,
    process::{levels, process},
    record::{DecodeError, Sections, all, split, take},
};
use crate::event::{
    Ancestor, CpuLimits, Event, Exit, Image, InfoKind, MarkVictim, OomKill, Sigkill,
    container::{CgroupChange, CgroupChangeKind},
    facts, text,
};

impl Decoder {
    /// The event of a record.
    pub(super) fn record(&mut self, bytes: &[u8]) -> Result<Event, DecodeError> {
        let (header, sections) = split(bytes)?;
        let body = bytes.get(size_of::<RecordHeader>()..).unwrap_or_default();
        let boottime_ns = header.boottime_ns;
        Ok(match header.kind {
            kind::SIGKILL => {
                let (body, _) = take::<SigkillBody>(body, "a SIGKILL")?;
                Event::Sigkill(Box::new(self.sigkill(boottime_ns, &body, &sections)?))
            }
            kind::MARK_VICTIM => {
                let (body, _) = take::<MarkVictimBody>(body, "a marked victim")?;
                Event::MarkVictim(MarkVictim {
                    boottime_ns,
                    victim_tid: body.victim_tid,
                    sender_tid: body.sender_tid,
                })
            }
            kind::EXIT => {
                let (body, _) = take::<ExitBody>(body, "an end")?;
                Event::Exit(Box::new(Exit {
                    boottime_ns,
                    is_past: body.seen == exit_seen::FREED,
                    victim: process(&sections, who::VICTIM, "victim", self.page_bytes)?,
                    ptracer: sections
                        .get(tag::PTRACER, who::VICTIM)
                        .and_then(|ptracer| all::<wire::Ancestor>(ptracer).next())
                        .map(|ptracer| Ancestor::from(&ptracer)),
                    queued_kill: sections
                        .get(tag::QUEUED_KILL, who::VICTIM)
                        .and_then(|queued| all::<wire::QueuedKill>(queued).next())
                        .map(|queued| queued.code),
                }))
            }
            kind::OOM_KILL => {
                let (body, _) = take::<OomKillBody>(body, "an OOM kill")?;
                Event::OomKill(Box::new(self.oom_kill(boottime_ns, &body, &sections)))
            }
            kind::IMAGE => {
                let victim = process(&sections, who::VICTIM, "victim", self.page_bytes)?;
                Event::Image(Image {
                    boottime_ns,
                    victim: victim.group,
                    argv: victim.argv,
                })
            }
            kind @ (kind::CGROUP_MADE | kind::CGROUP_EMPTIED) => {
                let (body, _) = take::<CgroupBody>(body, "a change of a cgroup")?;
                Event::Cgroup(CgroupChange {
                    boottime_ns,
                    path: sections
                        .get(tag::MEMORY_CGROUP, who::EVENT)
                        .map(text::path)
                        .ok_or(DecodeError::Missing("cgroup"))?,
                    cgroup_id: body.id,
                    unified: body.unified == 1,
                    kind: match kind {
                        kind::CGROUP_MADE => CgroupChangeKind::Made,
                        _ => CgroupChangeKind::Emptied,
                    },
                })
            }
            unknown => return Err(DecodeError::Kind(unknown)),
        })
    }

    fn sigkill(
        &mut self,
        boottime_ns: u64,
        body: &SigkillBody,
        sections: &Sections<'_>,
    ) -> Result<Sigkill, DecodeError> {
        let stops = sections.get(tag::STOPS, who::VICTIM).unwrap_or_default();
        let sender = process(sections, who::SENDER, "sender", self.page_bytes)?;
        let mut victim = process(sections, who::VICTIM, "victim", self.page_bytes)?;
        facts::complete_ancestry(&mut victim, &sender);
        Ok(Sigkill {
            boottime_ns,
            result: facts::signal_result(body.result),
            code: body.code,
            group: body.group != 0,
            info: match body.info_kind {
                info_kind::NONE => InfoKind::None,
                info_kind::PRIV => InfoKind::Priv,
                _ => InfoKind::Pointer,
            },
            sender,
            victim,
            stack: sections
                .get(tag::STACK, who::EVENT)
                .and_then(|stack| self.symbols.stack(stack)),
            stops: all::<StopSlot>(stops)
                .map(|slot| facts::stop_request(&slot))
                .collect(),
            cpu_limits: sections
                .get(tag::CPU_LIMITS, who::VICTIM)
                .and_then(|limits| all::<wire::CpuLimits>(limits).next())
                .map(|limits| CpuLimits::from_wire(&limits))
                .unwrap_or_default(),
        })
    }

    fn oom_kill(&self, boottime_ns: u64, body: &OomKillBody, sections: &Sections<'_>) -> OomKill {
        let has = |bit: u32| body.present & bit != 0;
        let path = sections.get(tag::MEMORY_CGROUP, who::LIMIT).map(text::path);
        OomKill {
            boottime_ns,
            sender_tid: body.sender_tid,
            chosen_tgid: has(oom_present::CHOSEN).then_some(body.chosen_tgid),
            constraint: has(oom_present::CONSTRAINT)
                .then(|| facts::constraint(body.constraint))
                .flatten(),
            points: has(oom_present::POINTS).then_some(body.points),
            total_pages: has(oom_present::TOTAL_PAGES).then_some(body.total_pages),
            gfp_mask: has(oom_present::GFP).then_some(body.gfp_mask),
            order: has(oom_present::ORDER).then_some(body.order),
            is_memcg: has(oom_present::MEMCG_KNOWN).then(|| has(oom_present::MEMCG)),
            limit: levels(sections, who::LIMIT, path.as_deref(), self.page_bytes),
        }
    }
}
