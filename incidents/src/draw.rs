//! The random choices of a run, all from one seed.

/// Weyl increment and multipliers of SplitMix64 (Steele, Lea, Flood 2014).
const INCREMENT: u64 = 0x9e37_79b9_7f4a_7c15;
const MULTIPLIER_1: u64 = 0xbf58_476d_1ce4_e5b9;
const MULTIPLIER_2: u64 = 0x94d0_49bb_1331_11eb;

/// A seeded sequence of choices.
#[derive(Debug, Clone)]
pub struct Draw(u64);

impl Draw {
    /// The sequence of this seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(INCREMENT);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(MULTIPLIER_1);
        bits = (bits ^ (bits >> 27)).wrapping_mul(MULTIPLIER_2);
        bits ^ (bits >> 31)
    }

    /// A number below `bound`.
    ///
    /// # Panics
    /// If `bound` is 0: there is nothing to choose from.
    pub fn below(&mut self, bound: usize) -> usize {
        assert!(bound > 0, "nothing to choose from");
        let bound = u64::try_from(bound).expect("64 bits");
        usize::try_from(self.bits() % bound).expect("it is below the bound")
    }

    /// Whether something happens that happens once in `times`.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// One of the choices, each as likely as its weight says.
    ///
    /// # Panics
    /// If no choice has a weight.
    pub fn weighted<'a, T>(&mut self, choices: &'a [(usize, T)]) -> &'a T {
        let mut left = self.below(choices.iter().map(|(weight, _)| weight).sum());
        for (weight, choice) in choices {
            if left < *weight {
                return choice;
            }
            left -= weight;
        }
        unreachable!("the sum of the weights is above what was drawn")
    }
}
