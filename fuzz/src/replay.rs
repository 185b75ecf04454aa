//! Feeding a target without libFuzzer: its samples, files of a corpus, and random changes of both.
//!
//! No coverage guides it, so it finds only what is shallow. It holds the targets alive on every change; real fuzzing is
//! `cargo xtask fuzz`.

use std::fs;
use std::io;
use std::path::Path;

use crate::Target;

/// Most changes of one input.
const CHANGES_MAX: u64 = 8;
/// Inputs are cut to this length.
const INPUT_BYTES_MAX: usize = 4096;

/// Feeds `target` with every sample and file of its corpus, then with `runs` changed ones. Returns how many inputs it had.
///
/// # Errors
/// The corpus cannot be read.
///
/// # Panics
/// If the target does: that is a finding.
pub fn replay(target: &Target, corpus: &Path, runs: u64, seed: u64) -> io::Result<u64> {
    let mut inputs: Vec<Vec<u8>> = target.samples.iter().map(|sample| sample.to_vec()).collect();
    if corpus.is_dir() {
        for entry in fs::read_dir(corpus)? {
            inputs.push(fs::read(entry?.path())?);
        }
    }
    inputs.iter().for_each(|input| (target.run)(input));
    let mut random = Random(seed);
    for _ in 0..runs {
        let input = change(&inputs, &mut random);
        // A panic must tell the input with which it can be repeated.
        let told = Told(&input);
        (target.run)(&input);
        drop(told);
    }
    Ok(inputs.len() as u64 + runs)
}

/// Prints the input when the target panics.
struct Told<'a>(&'a [u8]);

impl Drop for Told<'_> {
    #[expect(clippy::print_stderr, reason = "a finding is worth nothing without its input")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the input was b\"{}\"", self.0.escape_ascii());
        }
    }
}

/// One of `inputs`, with some random changes.
fn change(inputs: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut input = inputs[random.below(inputs.len())].clone();
    for _ in 0..=random.next() % CHANGES_MAX {
        let at = random.below(input.len() + 1);
        let byte = random.next().to_le_bytes()[0];
        match random.next() % 6 {
            0 => input.insert(at, byte),
            1 => input.truncate(at),
            2 => {
                let other = &inputs[random.below(inputs.len())];
                let from = random.below(other.len() + 1);
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
            // Numbers in texts are where limits are met.
            3 => input.splice(at..at, random.next().to_string().into_bytes()).for_each(drop),
            4 if at < input.len() => drop(input.remove(at)),
            _ if at < input.len() => input[at] = byte,
            _ => {}
        }
    }
    input.truncate(INPUT_BYTES_MAX);
    input
}

/// SplitMix64: small, and good enough to choose bytes.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).expect("it is below a usize")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refuse_x(input: &[u8]) {
        assert!(!input.contains(&b'x'), "found");
    }

    #[test]
    fn a_planted_bug_is_found_and_a_seed_repeats() {
        let target = Target { name: "planted", samples: &[b"abc"], run: refuse_x };
        let found = std::panic::catch_unwind(|| replay(&target, Path::new("none"), 10_000, 1));
        assert!(found.is_err());
        let inputs = [b"abc".to_vec(), b"12345".to_vec()];
        let draw = |seed| (0..50).map(|_| change(&inputs, &mut Random(seed))).collect::<Vec<_>>();
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }
}
