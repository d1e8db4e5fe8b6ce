//! When earlyoom kills: its arguments say it.

/// Its options that set a threshold (MANPAGE.md of earlyoom 1.8): of memory that is available and
/// of swap that is free, in percent and in KiB; after a comma the one for SIGKILL.
const THRESHOLDS: &[&str] = &["-m", "-s", "-M", "-S"];

/// The thresholds among its arguments, in words.
#[must_use]
pub(super) fn thresholds(argv: Option<&[String]>) -> String {
    let Some(argv) = argv else {
        return "its arguments, which could not be read, may set others than 10 % (-m, -s)"
            .to_owned();
    };
    let mut set = Vec::new();
    let mut rest = argv.iter().skip(1);
    while let Some(arg) = rest.next() {
        let Some((option, value)) = THRESHOLDS
            .iter()
            .find_map(|option| Some((option, arg.strip_prefix(option)?)))
        else {
            continue;
        };
        let value = if value.is_empty() {
            rest.next().map_or("", String::as_str)
        } else {
            value
        };
        let is_figure = |c: char| c.is_ascii_digit() || c == ',' || c == '.';
        if !value.is_empty() && value.chars().all(is_figure) {
            set.push(format!("{option} {value}"));
        }
    }
    if set.is_empty() {
        "its arguments set no others than 10 %, and 5 % for SIGKILL".to_owned()
    } else {
        format!("here {}", set.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_are_read_from_its_arguments() {
        let of = |line: &str| {
            let argv: Vec<String> = line.split(' ').map(str::to_owned).collect();
            thresholds(Some(&argv))
        };
        assert_eq!(
            of("earlyoom -r 3600 -m 20,18 -s100 --avoid x"),
            "here -m 20,18 -s 100"
        );
        assert_eq!(of("earlyoom -M 1048576"), "here -M 1048576");
        for line in [
            "earlyoom",
            "earlyoom -r 60 -m",
            "earlyoom --sort-by-rss -mlots",
        ] {
            assert!(of(line).contains("no others than 10 %"), "{line}");
        }
        assert!(thresholds(None).contains("could not be read"));
    }
}
