//! What a victim was told about the size of its heap, by its arguments or its environment: a
//! heap that is sized off the node, and not off the limit, is killed before it is full.

/// A setting of a language runtime's.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Setting {
    /// As it was written: `-Xmx4g`, `GOMEMLIMIT=1GiB`.
    pub text: String,
    pub size: Size,
    pub of: Runtime,
}

/// Whose setting it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Runtime {
    Java,
    Node,
    Go,
}

impl Runtime {
    /// Whether a program with this name may read it: what else runs in the same environment
    /// does not. Programs in Go have any name, but for that of another language's.
    fn may_be(self, program: &str) -> bool {
        const OTHERS: &[&str] = &[
            "bash", "busybox", "chrom", "dash", "java", "jsvc", "node", "perl", "php", "postgres",
            "python", "ruby", "sh",
        ];
        match self {
            Self::Java => program.starts_with("java") || program.starts_with("jsvc"),
            Self::Node => program.starts_with("node"),
            Self::Go => !OTHERS.iter().any(|other| program.starts_with(other)),
        }
    }
}

/// How much it allows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Size {
    Bytes(u64),
    /// Of the memory that the runtime sees: the container's limit.
    Percent(f64),
}

/// How a setting stands to a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fit {
    /// The heap alone may grow beyond the limit.
    Beyond,
    /// It fits, and what a process needs beside its heap may not.
    Tight,
    Fits,
}

/// The same for Go, whose setting counts all memory of its runtime: 90 to 95 % of the limit is what
/// is commonly advised.
const ROOM_OF_GO: f64 = 0.95;
/// A heap beyond this part of the limit leaves too little for what else a process needs: stacks,
/// code, buffers, the runtime itself.
const ROOM: f64 = 0.8;

/// What leaves room beside it: the 75 % that JVMs are commonly given, the 90 % of Go.
#[must_use]
pub(crate) fn that_fits(of: Runtime, limit_bytes: u64) -> u64 {
    limit_bytes / 100
        * match of {
            Runtime::Go => 90,
            Runtime::Java | Runtime::Node => 75,
        }
}

impl Setting {
    pub(crate) fn fit(&self, limit_bytes: u64) -> Fit {
        let part = match self.size {
            Size::Bytes(bytes) => bytes as f64 / limit_bytes.max(1) as f64,
            Size::Percent(percent) => percent / 100.0,
        };
        let room = match self.of {
            Runtime::Go => ROOM_OF_GO,
            Runtime::Java | Runtime::Node => ROOM,
        };
        if part >= 1.0 {
            Fit::Beyond
        } else if part > room {
            Fit::Tight
        } else {
            Fit::Fits
        }
    }
}

/// No JVM reads this one: start scripts make arguments of it. Where the arguments are known they
/// say whether one did.
const BY_SCRIPTS: &str = "JAVA_OPTS";

/// The variables that such settings come from, in the order in which a runtime reads them; the
/// arguments come after them.
const BEFORE_ARGUMENTS: &[&str] = &[
    BY_SCRIPTS,
    "GOMEMLIMIT",
    "NODE_OPTIONS",
    "JAVA_TOOL_OPTIONS",
    "JDK_JAVA_OPTIONS",
];
const AFTER_ARGUMENTS: &str = "_JAVA_OPTIONS";

/// Of an environment (`NAME=value`) what sets a heap's size, and nothing else: the rest may be
/// anybody's secret.
#[must_use]
pub(crate) fn kept<'a>(environment: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let kept = environment.into_iter().filter_map(|variable| {
        let (name, value) = variable.split_once('=')?;
        (BEFORE_ARGUMENTS.contains(&name) || name == AFTER_ARGUMENTS).then_some(())?;
        let setting = of_variable(name, value)?;
        Some(format!("{name}={}", setting.text))
    });
    kept.collect()
}

/// The setting that counts for a program with these arguments and this environment, as [`kept`]
/// has kept it. `names`: what the program is called.
#[must_use]
pub(crate) fn of_program(
    names: &[&str],
    argv: Option<&[String]>,
    kept: &[String],
) -> Option<Setting> {
    let file = |name: &str| name.rsplit('/').next().unwrap_or_default().to_owned();
    let names: Vec<String> = names.iter().map(|name| file(name)).collect();
    let is_read =
        |setting: &Setting| !names.is_empty() && names.iter().all(|name| setting.of.may_be(name));
    let in_environment = |wanted: &str| {
        kept.iter().find_map(|variable| {
            let (name, value) = variable.split_once('=')?;
            let setting = of_variable(name, value).filter(|_| name == wanted)?;
            is_read(&setting).then(|| Setting {
                text: variable.clone(),
                ..setting
            })
        })
    };
    let is_open = |name: &&&str| **name != BY_SCRIPTS || argv.is_none();
    let before = BEFORE_ARGUMENTS.iter().filter(is_open);
    let settings = before
        .filter_map(|name| in_environment(name))
        .chain(argv.and_then(in_arguments))
        .chain(in_environment(AFTER_ARGUMENTS));
    that_counts(settings)
}

/// Of several settings, in the order in which they are read, the last; but a size before any
/// part of the memory, wherever it stands (`Arguments::set_heap_size` of HotSpot asks for
/// MaxRAMPercentage only where no MaxHeapSize is set).
fn that_counts(settings: impl Iterator<Item = Setting>) -> Option<Setting> {
    settings.fold(None, |counts: Option<Setting>, next| match counts {
        Some(counts)
            if counts.of == next.of
                && matches!(counts.size, Size::Bytes(_))
                && matches!(next.size, Size::Percent(_)) =>
        {
            Some(counts)
        }
        _ => Some(next),
    })
}

fn of_variable(name: &str, value: &str) -> Option<Setting> {
    if name == "GOMEMLIMIT" {
        return Some(Setting {
            text: value.to_owned(),
            size: Size::Bytes(go_bytes(value)?),
            of: Runtime::Go,
        });
    }
    let options: Vec<String> = value.split_whitespace().map(str::to_owned).collect();
    in_arguments(&options)
}

/// `900MiB`, `1073741824B`, `1073741824`; `off` is none (runtime/debug.SetMemoryLimit).
fn go_bytes(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match text.get(digits.len()..)? {
        "" | "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        "TiB" => 40,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// The setting that counts among a process's arguments.
#[must_use]
fn in_arguments(argv: &[String]) -> Option<Setting> {
    let next = argv.iter().skip(1).map(Some).chain([None]);
    that_counts(
        argv.iter()
            .zip(next)
            .filter_map(|(arg, next)| java(arg).or_else(|| node(arg, next))),
    )
}

/// A JVM's option.
fn java(arg: &str) -> Option<Setting> {
    let size = if let Some(size) = arg
        .strip_prefix("-Xmx")
        .or_else(|| arg.strip_prefix("-XX:MaxHeapSize="))
    {
        Size::Bytes(jvm_bytes(size)?)
    } else {
        let percent = arg.strip_prefix("-XX:MaxRAMPercentage=")?;
        Size::Percent(percent.parse().ok().filter(|percent| *percent > 0.0)?)
    };
    Some(Setting {
        text: arg.to_owned(),
        size,
        of: Runtime::Java,
    })
}

/// `4g`, `512M`, `1073741824`.
fn jvm_bytes(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = text.get(digits.len()..)?;
    let shift = match unit {
        "" => 0,
        "k" | "K" => 10,
        "m" | "M" => 20,
        "g" | "G" => 30,
        "t" | "T" => 40,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// V8's option, in MiB, with its value in the same argument or the next.
fn node(arg: &str, next: Option<&String>) -> Option<Setting> {
    let name = arg.replace('_', "-");
    let rest = name.strip_prefix("--max-old-space-size")?;
    let (value, text) = match rest.strip_prefix('=') {
        Some(value) => (value.to_owned(), arg.to_owned()),
        None if rest.is_empty() => (next?.clone(), format!("{arg} {}", next?)),
        None => return None,
    };
    let mib: u64 = value.parse().ok()?;
    Some(Setting {
        text,
        size: Size::Bytes(mib.checked_mul(1 << 20)?),
        of: Runtime::Node,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(line: &str) -> Option<Setting> {
        let argv: Vec<String> = line.split(' ').map(str::to_owned).collect();
        in_arguments(&argv)
    }

    #[test]
    fn a_heap_is_sized_by_the_last_setting() {
        const GIB: u64 = 1 << 30;
        for (line, text, size) in [
            ("java -Xmx4g -jar a.jar", "-Xmx4g", Size::Bytes(4 * GIB)),
            (
                "java -Xmx1g -Xmx512M -jar a",
                "-Xmx512M",
                Size::Bytes(GIB / 2),
            ),
            (
                "java -XX:MaxHeapSize=1073741824 A",
                "-XX:MaxHeapSize=1073741824",
                Size::Bytes(GIB),
            ),
            (
                "java -XX:MaxRAMPercentage=90.0 A",
                "-XX:MaxRAMPercentage=90.0",
                Size::Percent(90.0),
            ),
            (
                "java -Xmx1g -XX:MaxRAMPercentage=90 A",
                "-Xmx1g",
                Size::Bytes(GIB),
            ),
            (
                "java -XX:MaxRAMPercentage=50 -XX:MaxRAMPercentage=90 A",
                "-XX:MaxRAMPercentage=90",
                Size::Percent(90.0),
            ),
            (
                "node --max-old-space-size=4096 a.js",
                "--max-old-space-size=4096",
                Size::Bytes(4 * GIB),
            ),
            (
                "node --max_old_space_size 1024 a.js",
                "--max_old_space_size 1024",
                Size::Bytes(GIB),
            ),
        ] {
            let setting = found(line).unwrap();
            assert_eq!(
                (setting.text.as_str(), setting.size),
                (text, size),
                "{line}"
            );
        }
        for line in [
            "java -jar a.jar",
            "java -Xmxlots A",
            "java -Xmx99999999999999999999g A",
            "node --max-old-space-size",
            "node --max-old-space-size-of-mine=1",
            "",
        ] {
            assert_eq!(found(line), None, "{line}");
        }
    }

    #[test]
    fn of_an_environment_only_the_settings_are_kept() {
        let environment = [
            "PATH=/bin",
            "DB_PASSWORD=hunter2",
            "JAVA_TOOL_OPTIONS=-Dtoken=hunter2 -Xmx4g -ea",
            "GOMEMLIMIT=900MiB",
            "NODE_OPTIONS=--require secret.js",
            "MY_GOMEMLIMIT=1GiB",
            "broken",
        ];
        let kept = kept(environment);
        assert_eq!(kept, ["JAVA_TOOL_OPTIONS=-Xmx4g", "GOMEMLIMIT=900MiB"]);
        let of = |names: &[&str]| of_program(names, None, &kept).map(|setting| setting.text);
        let java = Some("JAVA_TOOL_OPTIONS=-Xmx4g".to_owned());
        assert_eq!(of(&["/usr/bin/java", "java"]), java);
        assert_eq!(
            of(&["/app/server", "server"]),
            Some("GOMEMLIMIT=900MiB".to_owned())
        );
        // What else runs there does not read them.
        for names in [&["python3.11"][..], &["/bin/sh", "sh"], &["chromium"], &[]] {
            assert_eq!(of(names), None, "{names:?}");
        }
        let argv = ["java", "-Xmx1g"].map(str::to_owned);
        let forced = vec!["_JAVA_OPTIONS=-Xmx2g".to_owned()];
        let text = |kept: &[String]| of_program(&["java"], Some(&argv), kept).unwrap().text;
        assert_eq!(text(&kept), "-Xmx1g");
        assert_eq!(text(&forced), "_JAVA_OPTIONS=-Xmx2g");
        let go = |value: &str| of_program(&["server"], None, &[format!("GOMEMLIMIT={value}")]);
        assert_eq!(go("900MiB").unwrap().size, Size::Bytes(900 << 20));
        assert_eq!(go("1073741824").unwrap().size, Size::Bytes(1 << 30));
        assert_eq!(go("off"), None);
        assert_eq!(go("1GB"), None);
    }

    /// As a container of Tomcat has it: its start script makes arguments of it, or does not.
    #[test]
    fn what_no_jvm_reads_counts_only_where_the_arguments_are_not_known() {
        let kept = kept(["JAVA_OPTS=-Xmx4g", "PATH=/bin"]);
        let of = |line: Option<&str>| {
            let argv: Option<Vec<String>> =
                line.map(|line| line.split(' ').map(str::to_owned).collect());
            of_program(&["java"], argv.as_deref(), &kept).map(|setting| setting.text)
        };
        assert_eq!(of(Some("java -jar a.jar")), None);
        assert_eq!(
            of(Some("java -Xmx4g -jar a.jar")).as_deref(),
            Some("-Xmx4g")
        );
        assert_eq!(of(None).as_deref(), Some("JAVA_OPTS=-Xmx4g"));
    }

    #[test]
    fn a_size_goes_before_a_part_of_the_memory_wherever_it_stands() {
        let text = |line: &str, kept: &str| {
            let argv: Vec<String> = line.split(' ').map(str::to_owned).collect();
            of_program(&["java"], Some(&argv), &[kept.to_owned()])
                .unwrap()
                .text
        };
        let percent = "-XX:MaxRAMPercentage=90";
        for (line, kept, wanted) in [
            (
                "java -Xmx1g A",
                format!("_JAVA_OPTIONS={percent}"),
                "-Xmx1g",
            ),
            (
                &format!("java {percent} A"),
                "JAVA_TOOL_OPTIONS=-Xmx2g".to_owned(),
                "JAVA_TOOL_OPTIONS=-Xmx2g",
            ),
            (
                &format!("java {percent} A"),
                "JAVA_TOOL_OPTIONS=-XX:MaxRAMPercentage=50".to_owned(),
                percent,
            ),
        ] {
            assert_eq!(text(line, &kept), wanted, "{line} {kept}");
        }
    }

    #[test]
    fn a_heap_needs_room_beside_it() {
        let fit = |of: Runtime, size: Size| {
            let setting = Setting {
                text: String::new(),
                size,
                of,
            };
            setting.fit(1 << 30)
        };
        assert_eq!(fit(Runtime::Java, Size::Bytes(2 << 30)), Fit::Beyond);
        assert_eq!(fit(Runtime::Java, Size::Bytes(1 << 30)), Fit::Beyond);
        assert_eq!(fit(Runtime::Node, Size::Bytes(900 << 20)), Fit::Tight);
        assert_eq!(fit(Runtime::Go, Size::Bytes(900 << 20)), Fit::Fits);
        assert_eq!(fit(Runtime::Node, Size::Bytes(512 << 20)), Fit::Fits);
        assert_eq!(fit(Runtime::Java, Size::Percent(90.0)), Fit::Tight);
        assert_eq!(fit(Runtime::Java, Size::Percent(75.0)), Fit::Fits);
    }
}
