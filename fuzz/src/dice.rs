//! Choices that follow from a seed.

/// Numbers at which code that counts goes wrong.
const EDGES: [u64; 12] = [
    0,
    1,
    9,
    137,
    1_000_000_000,
    u32::MAX as u64,
    u32::MAX as u64 + 1,
    i64::MAX as u64,
    i64::MAX as u64 + 1,
    u64::MAX - 1,
    u64::MAX,
    1 << 52,
];

/// See the module. The generator is splitmix64.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    #[must_use]
    pub fn new(seed: u32) -> Self {
        Self(u64::from(seed))
    }

    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`; 0 where there is none.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.roll() % bound.max(1) as u64) as usize
    }

    /// True once in `times`.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// One of `all`.
    ///
    /// # Panics
    ///
    /// Where `all` is empty.
    pub fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }

    /// A number near `now`, or one at which code goes wrong.
    pub fn number(&mut self, now: u64) -> u64 {
        match self.below(4) {
            0 => now.wrapping_add(self.roll() % 16).wrapping_sub(8),
            1 => now ^ 1 << self.below(64),
            2 => self.roll() >> self.below(64),
            _ => *self.pick(&EDGES),
        }
    }
}

/// Puts `new` where a fuzzer keeps its input, as far as there is room, and says how much
/// that was.
pub fn put_back(new: &[u8], data: &mut [u8], max_size: usize) -> usize {
    let len = new.len().min(max_size).min(data.len());
    data[..len].copy_from_slice(&new[..len]);
    len
}

/// libFuzzer's own mutations, on a copy that may grow a little.
#[must_use]
pub fn any_mutation(bytes: &[u8], more: usize) -> Vec<u8> {
    let mut room = bytes.to_vec();
    room.resize(bytes.len() + more, 0);
    let max = room.len();
    let len = libfuzzer_sys::fuzzer_mutate(&mut room, bytes.len(), max);
    room.truncate(len);
    room
}
