//! Mutations of text that is made of lines.

use crate::dice::{Dice, any_mutation};

/// Other text, made of this one and of sample lines.
#[must_use]
pub fn mutate(text: &[u8], samples: &[&str], dice: &mut Dice) -> Vec<u8> {
    let mut lines: Vec<Vec<u8>> = text
        .split(|byte| *byte == b'\n')
        .map(<[u8]>::to_vec)
        .collect();
    let at = dice.below(lines.len());
    match dice.below(8) {
        0 => lines.insert(at, dice.pick(samples).as_bytes().to_vec()),
        1 => lines[at] = dice.pick(samples).as_bytes().to_vec(),
        2 => lines.insert(at, lines[at].clone()),
        3 => drop(lines.remove(at)),
        4 => {
            let to = dice.below(lines.len());
            lines.swap(at, to);
        }
        _ => lines[at] = any_mutation(&lines[at], 32),
    }
    lines.join(&b'\n')
}
