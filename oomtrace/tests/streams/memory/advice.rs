//! What is advised by the memory before an OOM kill.

use oomtrace::event::Argv;

use super::*;

/// The death of a process that held most of its cgroup's memory, which began so long before.
fn death_of(start_ns: u64, argv: &str, curve: &MemoryCurve) -> Death {
    let mut kill = oom(4000);
    kill.victim.group.start_ns = start_ns;
    kill.victim.comm = argv.split(' ').next().map(str::to_owned);
    kill.victim.exe = kill.victim.comm.clone();
    kill.victim.rss.as_mut().unwrap().anon_pages = (LIMIT - MIB) / 4096;
    kill.victim.argv = Some(Argv {
        args: argv.split(' ').map(str::to_owned).collect(),
        truncated: false,
    });
    let end = exit(&kill.victim, BY_SIGKILL);
    answered([sigkill(&kill), end], Some(curve)).the_death()
}

/// A leak that takes so many seconds to fill the limit, with a look each second.
fn leak_of(seconds: u64) -> MemoryCurve {
    MemoryCurve {
        samples: (0..seconds)
            .map(|at| {
                let bytes = LIMIT * at / seconds;
                MemorySample(KILLED_NS - (seconds - at) * S, bytes, Some(bytes))
            })
            .collect(),
        made_ns: Some(KILLED_NS - (seconds + 1) * S),
        ..leak()
    }
}

fn codes(death: &Death) -> Vec<&str> {
    let codes = death.advice.iter().map(|advice| advice.code.as_str());
    codes.collect()
}

#[test]
fn a_ramp_of_a_short_life_is_a_leak_or_a_start_up() {
    for (seconds, code) in [
        (6, "leak_or_start_up"),
        (250, "leak_or_start_up"),
        (400, "fix_the_leak"),
    ] {
        let death = death_of(KILLED_NS - seconds * S, "python3 app.py", &leak_of(seconds));
        assert_eq!(memory(&death).reading, Some(Reading::Ramp), "{seconds} s");
        assert_eq!(codes(&death), [code], "{seconds} s");
        let short = code == "leak_or_start_up";
        assert_eq!(memory(&death).may_be_start_up, short);
        assert_eq!(memory(&death).why.contains("start-up"), short);
        let text = &death.advice[0].text;
        // A higher limit is a question there, and no answer to a leak.
        assert_eq!(text.contains("for once"), short, "{text}");
        assert!(
            text.contains("a higher limit only moves the day")
                || text.contains("A higher limit only moves the day"),
            "{text}"
        );
    }
    // A young process in an old cgroup that outlives its processes: what grew is its own.
    let old = MemoryCurve {
        made_ns: Some(MS),
        ..leak_of(10)
    };
    let death = death_of(KILLED_NS - 10 * S, "python3 app.py", &old);
    assert_eq!(codes(&death), ["leak_or_start_up"]);
    // Where others hold the memory, the cgroup's own age counts.
    let mut kill = oom(4000);
    kill.victim.group.start_ns = KILLED_NS - 10 * S;
    let end = exit(&kill.victim, BY_SIGKILL);
    let death = answered([sigkill(&kill), end], Some(&old)).the_death();
    assert_eq!(codes(&death), ["fix_the_leak"]);
}

#[test]
fn a_heap_that_may_be_larger_than_the_limit_is_no_leak() {
    for seconds in [6, 400] {
        let start_ns = KILLED_NS - seconds * S;
        let death = death_of(start_ns, "java -Xmx512m -jar a.jar", &leak_of(seconds));
        assert_eq!(memory(&death).reading, Some(Reading::Ramp));
        assert_eq!(codes(&death), ["heap_beyond_limit"]);
        let text = &death.advice[0].text;
        assert!(
            text.contains("-Xmx512m lets the heap alone grow to 512.0 MiB"),
            "{text}"
        );
        assert!(
            !text.contains("raise the limit") && !text.contains('?'),
            "{text}"
        );
    }
    let death = death_of(
        KILLED_NS - 400 * S,
        "java -Xmx32m -jar a.jar",
        &leak_of(400),
    );
    assert_eq!(codes(&death), ["fix_the_leak"], "it fits");
}
