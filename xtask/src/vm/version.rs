//! The order of Debian package versions (deb-version(7)): pure.

use std::{cmp::Ordering, iter};

pub(crate) fn compare(left: &str, right: &str) -> Ordering {
    let (left_epoch, left) = epoch(left);
    let (right_epoch, right) = epoch(right);
    let (left_upstream, left_revision) = left.rsplit_once('-').unwrap_or((left, "0"));
    let (right_upstream, right_revision) = right.rsplit_once('-').unwrap_or((right, "0"));
    left_epoch
        .cmp(&right_epoch)
        .then_with(|| part(left_upstream, right_upstream))
        .then_with(|| part(left_revision, right_revision))
}

fn epoch(version: &str) -> (u64, &str) {
    match version.split_once(':') {
        Some((epoch, rest)) => (epoch.parse().unwrap_or(0), rest),
        None => (0, version),
    }
}

/// Stretches of letters and of digits in turn.
fn part(mut left: &str, mut right: &str) -> Ordering {
    while !left.is_empty() || !right.is_empty() {
        let (left_text, left_rest) = split(left, |byte| !byte.is_ascii_digit());
        let (right_text, right_rest) = split(right, |byte| !byte.is_ascii_digit());
        let (left_number, left_rest) = split(left_rest, |byte| byte.is_ascii_digit());
        let (right_number, right_rest) = split(right_rest, |byte| byte.is_ascii_digit());
        let order = text(left_text, right_text).then_with(|| number(left_number, right_number));
        if order.is_ne() {
            return order;
        }
        (left, right) = (left_rest, right_rest);
    }
    Ordering::Equal
}

fn split(text: &str, belongs: impl Fn(u8) -> bool) -> (&str, &str) {
    let end = text
        .bytes()
        .position(|byte| !belongs(byte))
        .unwrap_or(text.len());
    text.split_at(end)
}

/// A tilde comes before the end, the end before letters, letters before all else.
fn text(left: &str, right: &str) -> Ordering {
    let weights = |text: &str| -> Vec<u16> {
        let weight = |byte: u8| match byte {
            b'~' => 0,
            letter if letter.is_ascii_alphabetic() => u16::from(letter) + 1,
            other => u16::from(other) + 256,
        };
        text.bytes().map(weight).chain(iter::once(1)).collect()
    };
    weights(left).cmp(&weights(right))
}

fn number(left: &str, right: &str) -> Ordering {
    let (left, right) = (left.trim_start_matches('0'), right.trim_start_matches('0'));
    left.len().cmp(&right.len()).then_with(|| left.cmp(right))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_in_debians_order() {
        let ordered = [
            "5.10.223-1",
            "5.10.262-1",
            "6.1.192-2",
            "6.12.9-1",
            "6.12.117-1~deb12u1",
            "6.12.117-1",
            "6.12.117-1+b1",
            "6.12.117-2",
            "7.2~rc4-1~exp1",
            "7.2-1~exp1",
            "7.2.12-1~bpo13+1",
            "7.2.12-1",
            "7.2.13-1",
            "1:1.0-1",
        ];
        for (at, left) in ordered.iter().enumerate() {
            for (beside, right) in ordered.iter().enumerate() {
                assert_eq!(compare(left, right), at.cmp(&beside), "{left} and {right}");
            }
        }
    }

    #[test]
    fn leading_zeros_do_not_count() {
        assert_eq!(compare("1.02-1", "1.2-1"), Ordering::Equal);
    }
}
