//! What a victim was told about the size of its heap, by its arguments or its environment: a
//! heap that is sized off the node, and not off the limit, is killed before it is full.

/// A setting of a language runtime's.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Setting {
    /// As it was written: `-Xmx4g`, `GOMEMLIMIT=1GiB`.
    pub text: String,
    pub size: Size,
}

/// How much it allows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Size {
    Bytes(u64),
    /// Of the memory that the runtime sees: the container's limit.
    Percent(f64),
}

/// How a setting stands to a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
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
pub(super) fn that_fits(limit_bytes: u64) -> u64 {
    limit_bytes / 4 * 3
}

impl Size {
    pub(super) fn fit(self, limit_bytes: u64) -> Fit {
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

/// The setting that counts among a process's arguments: of several, the last.
#[must_use]
pub(super) fn in_arguments(argv: &[String]) -> Option<Setting> {
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
