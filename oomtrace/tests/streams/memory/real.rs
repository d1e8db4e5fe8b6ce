//! Curves of real processes (`curves/`), and how they are read and told.

use std::{fs, path::Path};

use oomtrace::{
    event::memory::MemoryCurve,
    provenance::record::{Death, Reading},
    sinks::{
        html,
        story::{self, Look},
    },
    why::{Around, tell},
};

use super::{MIB, answered, memory, oom};
use crate::support::make::{BY_SIGKILL, MS, exit_at, sigkill};

/// A curve of a real process (tests/fixtures/src/fixtures/memory), as it was looked up on the
/// kernel that its file is named for.
#[derive(serde::Deserialize)]
struct Recorded {
    killed_ns: u64,
    usage_bytes: u64,
    limit_bytes: u64,
    curve: MemoryCurve,
}

impl Recorded {
    fn death(self) -> Death {
        let mut kill = oom(4000);
        kill.boottime_ns = self.killed_ns;
        for memcg in [&mut kill.victim.memcg, &mut kill.sender.memcg] {
            memcg[0].path = Some(self.curve.cgroup.clone());
            memcg[0].usage_pages = Some(self.usage_bytes / 4096);
            memcg[0].max_pages = Some(self.limit_bytes / 4096);
        }
        let end = exit_at(&kill.victim, BY_SIGKILL, self.killed_ns + MS);
        let ran = answered([sigkill(&kill), end], Some(&self.curve));
        ran.the_death()
    }
}

#[test]
fn curves_of_real_processes_are_read_as_what_they_were() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/streams/curves");
    let mut seen = 0;
    for file in fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let recorded: Recorded = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let death = recorded.death();
        let memory = memory(&death);
        let (wanted, advice) = match name
            .rsplit_once("-v1-")
            .or(name.rsplit_once("-v2-"))
            .unwrap()
            .1
        {
            // It lived for seconds: that it would not have come to a level nobody can tell.
            "leak" => (Reading::Ramp, "leak_or_start_up"),
            "steps" => (Reading::Steps, "look_at_the_steps"),
            "undersized" => (Reading::Plateau, "raise_the_limit"),
            // Page cache fills its limit all the time, most of it on the active list.
            "burst" | "file-reader" => (Reading::Burst, "look_at_the_burst"),
            other => panic!("{other}"),
        };
        assert_eq!(memory.reading, Some(wanted), "{name}: {}", memory.why);
        // A leak is no reason to raise a limit, and a limit that is too small is no leak.
        assert_eq!(death.advice[0].code, advice, "{name}");
        if wanted == Reading::Plateau {
            let text = &death.advice[0].text;
            let (_, guess) = text.split_once("to between ").unwrap();
            let (least, most) = guess.split_once(" and ").unwrap();
            assert!(least.parse::<f64>().is_ok(), "{text}");
            assert!(most.contains("MiB (30 to 50 %"), "{text}");
        }
        for advice in &death.advice {
            assert!(
                !advice.text.contains(['{', '}', '?']),
                "{name}: {}",
                advice.text
            );
        }
        let story = tell(&death, &Around::default());
        let look = Look {
            colour: false,
            width: 100,
        };
        let mut page = Vec::new();
        story::write(&mut page, &story, look).unwrap();
        let page = String::from_utf8(page).unwrap();
        assert!(page.contains("memory before the kill"), "{page}");
        assert!(
            page.lines().all(|line| line.chars().count() <= 100),
            "{page}"
        );
        let mut html = Vec::new();
        html::write(&mut html, &story).unwrap();
        assert!(
            String::from_utf8(html).unwrap().contains("<polyline"),
            "{name}"
        );
        seen += 1;
    }
    assert!(seen >= 5, "{seen}");
}

/// With Kubernetes' figure, which counts active page cache as in use, it would have been
/// parked under its limit.
#[test]
fn active_page_cache_is_no_working_set() {
    let text = include_str!("../curves/6.18-v1-file-reader.json");
    let recorded: Recorded = serde_json::from_str(text).unwrap();
    let split = recorded.curve.split.unwrap().split;
    assert!(split.reclaimable_bytes >= 40 * MIB, "{split:?}");
    let working: Vec<u64> = recorded.curve.samples.iter().filter_map(|s| s.2).collect();
    assert!(
        working.iter().all(|working| *working < 10 * MIB),
        "{working:?}"
    );
}
