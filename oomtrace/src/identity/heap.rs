//! What a victim was told about the size of its heap, by its arguments or its environment: a
//! heap that is sized off the node, and not off the limit, is killed before it is full.

/// A setting of a language runtime's.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Setting {
    /// As it was written: `-Xmx4g`, `GOMEMLIMIT=1GiB`.
    pub text: String,
    pub size: Size,
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

/// A heap beyond this part of the limit leaves too little for what else a process needs: stacks,
/// code, buffers, the runtime itself.
const ROOM: f64 = 0.8;

/// A heap that leaves room beside it: the 75 % that JVMs are commonly given.
#[must_use]
pub(crate) fn that_fits(limit_bytes: u64) -> u64 {
    limit_bytes / 4 * 3
}

impl Size {
    pub(crate) fn fit(self, limit_bytes: u64) -> Fit {
        let part = match self {
            Self::Bytes(bytes) => bytes as f64 / limit_bytes.max(1) as f64,
            Self::Percent(percent) => percent / 100.0,
        };
        if part >= 1.0 {
            Fit::Beyond
        } else if part > ROOM {
            Fit::Tight
        } else {
            Fit::Fits
        }
    }
}

/// The variables that language runtimes read such settings from.
const VARIABLES: &[&str] = &[
    "GOMEMLIMIT",
    "JAVA_OPTS",
    "JAVA_TOOL_OPTIONS",
    "JDK_JAVA_OPTIONS",
    "NODE_OPTIONS",
    "_JAVA_OPTIONS",
];

/// Of an environment (`NAME=value`) what sets a heap's size, and nothing else: the rest may be
/// anybody's secret.
#[must_use]
pub(crate) fn kept<'a>(environment: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let kept = environment.into_iter().filter_map(|variable| {
        let (name, value) = variable.split_once('=')?;
        VARIABLES.contains(&name).then_some(())?;
        let setting = of_variable(name, value)?;
        Some(format!("{name}={}", setting.text))
    });
    kept.collect()
}

/// The setting that counts among what [`kept`] has kept.
#[must_use]
pub(crate) fn in_environment(kept: &[String]) -> Option<Setting> {
    kept.iter().find_map(|variable| {
        let (name, value) = variable.split_once('=')?;
        let setting = of_variable(name, value)?;
        Some(Setting {
            text: variable.clone(),
            ..setting
        })
    })
}

fn of_variable(name: &str, value: &str) -> Option<Setting> {
    if name == "GOMEMLIMIT" {
        return Some(Setting {
            text: value.to_owned(),
            size: Size::Bytes(go_bytes(value)?),
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

/// The setting that counts among a process's arguments: of several, the last.
#[must_use]
pub(crate) fn in_arguments(argv: &[String]) -> Option<Setting> {
    let next = argv.iter().skip(1).map(Some).chain([None]);
    argv.iter()
        .zip(next)
        .filter_map(|(arg, next)| java(arg).or_else(|| node(arg, next)))
        .last()
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
        let setting = in_environment(&kept).unwrap();
        assert_eq!(setting.text, "JAVA_TOOL_OPTIONS=-Xmx4g");
        assert_eq!(setting.size, Size::Bytes(4 << 30));
        let go = |value: &str| in_environment(&[format!("GOMEMLIMIT={value}")]);
        assert_eq!(go("900MiB").unwrap().size, Size::Bytes(900 << 20));
        assert_eq!(go("1073741824").unwrap().size, Size::Bytes(1 << 30));
        assert_eq!(go("off"), None);
        assert_eq!(go("1GB"), None);
    }

    #[test]
    fn a_heap_needs_room_beside_it() {
        let limit = 1 << 30;
        assert_eq!(Size::Bytes(2 << 30).fit(limit), Fit::Beyond);
        assert_eq!(Size::Bytes(1 << 30).fit(limit), Fit::Beyond);
        assert_eq!(Size::Bytes(900 << 20).fit(limit), Fit::Tight);
        assert_eq!(Size::Bytes(512 << 20).fit(limit), Fit::Fits);
        assert_eq!(Size::Percent(90.0).fit(limit), Fit::Tight);
        assert_eq!(Size::Percent(75.0).fit(limit), Fit::Fits);
        assert_eq!(Size::Bytes(1).fit(0), Fit::Beyond);
    }
}
