//! Names of kernel functions, from /proc/kallsyms. The file has 100,000 lines and more and
//! the kernel makes each as it is read (70 ms were measured): so it is read when an
//! address has no name yet, line by line, and only what was asked for is kept. Call paths
//! are few; after the first of each kind nothing is read any more.

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
};

use super::support::Availability;
use crate::event::entry::Symbol;

const KALLSYMS: &str = "/proc/kallsyms";
/// No function is larger; what lies further from the nearest one before it is in none.
const LARGEST_FUNCTION: u64 = 1 << 20;

/// Names the functions that addresses lie in. Where symbols cannot be read, none has a
/// name.
#[must_use]
pub fn resolve(addresses: &[u64]) -> Vec<Symbol> {
    let found = File::open(KALLSYMS).and_then(|file| search(BufReader::new(file), addresses));
    found.unwrap_or_else(|error| {
        log::warn!("{KALLSYMS} cannot be read: {error}");
        addresses
            .iter()
            .map(|address| Symbol {
                address: *address,
                name: None,
            })
            .collect()
    })
}

/// Names the functions that addresses lie in, from the text of such a file.
pub fn search(mut lines: impl BufRead, addresses: &[u64]) -> io::Result<Vec<Symbol>> {
    // For each address the nearest function that starts at or before it.
    let mut best: Vec<(u64, u64, String)> = addresses
        .iter()
        .map(|address| (*address, 0, String::new()))
        .collect();
    let mut line = Vec::new();
    loop {
        line.clear();
        if lines.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        let Some((start, name)) = parse(&line) else {
            continue;
        };
        for (address, nearest, kept) in &mut best {
            if start <= *address && start > *nearest {
                *nearest = start;
                kept.clear();
                kept.push_str(name);
            }
        }
    }
    Ok(best
        .into_iter()
        .map(|(address, start, name)| Symbol {
            address,
            name: (start > 0 && address - start < LARGEST_FUNCTION).then_some(name),
        })
        .collect())
}

/// Start and name of a line's function: `ffffffff810c2a30 T __send_signal_locked`, with a
/// module's name behind it in brackets where there is one.
fn parse(line: &[u8]) -> Option<(u64, &str)> {
    let line = std::str::from_utf8(line).ok()?;
    let mut words = line.split_ascii_whitespace();
    let start = words.next()?;
    let kind = words.next()?;
    if !matches!(kind, "t" | "T" | "w" | "W") {
        return None;
    }
    Some((u64::from_str_radix(start, 16).ok()?, words.next()?))
}

/// Whether names can be had: where they are hidden, every address reads as 0.
#[must_use]
pub fn availability() -> Availability {
    let first = File::open(KALLSYMS).and_then(|file| {
        let mut line = Vec::new();
        // The very first symbols may be per-CPU ones at 0: a few lines tell.
        for read in BufReader::new(file).split(b'\n').take(64) {
            line = read?;
            if !line.starts_with(b"0000000000000000") {
                break;
            }
        }
        Ok(line)
    });
    match first {
        Ok(line) if line.is_empty() => {
            Availability::No("it is empty: the kernel was built without symbols".to_owned())
        }
        Ok(line) if line.starts_with(b"0000000000000000") => {
            Availability::No("kernel.kptr_restrict hides the addresses".to_owned())
        }
        Ok(_) => Availability::Yes,
        Err(error) => Availability::No(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
ffffffff81000000 T _stext
ffffffff810c2a30 t __send_signal_locked
ffffffff810c3000 T do_send_sig_info
ffffffff82000000 D some_data
ffffffffc0001000 t module_function\t[module]
";

    fn names(text: &str, addresses: &[u64]) -> Vec<Option<String>> {
        let found = search(text.as_bytes(), addresses).unwrap();
        found.into_iter().map(|symbol| symbol.name).collect()
    }

    #[test]
    fn an_address_belongs_to_the_nearest_function_before_it() {
        assert_eq!(
            names(
                TEXT,
                &[
                    0xffff_ffff_810c_2aff,
                    0xffff_ffff_810c_3000,
                    0xffff_ffff_c000_1010
                ]
            ),
            [
                Some("__send_signal_locked".to_owned()),
                Some("do_send_sig_info".to_owned()),
                Some("module_function".to_owned())
            ]
        );
    }

    #[test]
    fn an_address_in_no_function_has_no_name() {
        assert_eq!(names(TEXT, &[0xffff_ffff_8300_0000, 0x1000]), [None, None]);
        let hidden = "0000000000000000 T _stext\n0000000000000000 T do_exit\n";
        assert_eq!(names(hidden, &[0xffff_ffff_8100_0000]), [None]);
    }

    #[test]
    fn nonsense_is_passed_over() {
        assert_eq!(names("\n\0\u{1b}[2J\nzz T x\n12\n", &[5]), [None]);
    }
}
