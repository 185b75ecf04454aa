//! Which sentinels there are, and in which order to ask them.

use crate::limits::SENTINELS_MAX;

/// The sentinels of one service. Those of the configuration stay for ever; what the others are, the sentinels tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Roster {
    seeds: Vec<String>,
    /// All of them. Whom to ask first stands first.
    order: Vec<String>,
}

impl Roster {
    pub fn new(seeds: &[String]) -> Self {
        let mut order = Vec::new();
        for seed in seeds {
            if !order.contains(seed) {
                order.push(seed.clone());
            }
        }
        Self { seeds: order.clone(), order }
    }

    /// All sentinels, in the order in which to ask them.
    pub fn order(&self) -> &[String] {
        &self.order
    }

    /// `sentinel` has answered, and told of `others`: it is asked first from now on, and whom it does not know is forgotten.
    pub fn answered(&mut self, sentinel: &str, others: &[String]) {
        let seeds = &self.seeds;
        self.order.retain(|known| known == sentinel || seeds.contains(known) || others.contains(known));
        for other in others {
            if self.order.len() < SENTINELS_MAX.max(seeds.len()) && !self.order.contains(other) {
                self.order.push(other.clone());
            }
        }
        if let Some(place) = self.order.iter().position(|known| known == sentinel) {
            self.order[..=place].rotate_right(1);
        }
    }

    /// `sentinel` does not answer, or its answer led nowhere: it is asked last from now on.
    pub fn misled(&mut self, sentinel: &str) {
        if let Some(place) = self.order.iter().position(|known| known == sentinel) {
            self.order[place..].rotate_left(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn who_answers_comes_first_and_who_misleads_comes_last() {
        let mut roster = Roster::new(&names("a b c b"));
        let mut check = |change: &dyn Fn(&mut Roster), order: &str| {
            change(&mut roster);
            assert_eq!(roster.order(), names(order));
        };
        check(&|_| {}, "a b c");
        check(&|roster| roster.answered("b", &names("d c")), "b a c d");
        check(&|roster| roster.answered("d", &names("b")), "d b a c");
        check(&|roster| roster.misled("d"), "b a c d");
        check(&|roster| roster.misled("a"), "b c d a");
        // Nobody knows d any more.
        check(&|roster| roster.answered("a", &names("b c e")), "a b c e");
        check(&|roster| roster.misled("x"), "a b c e");
        check(&|roster| roster.answered("x", &[]), "a b c");
    }

    #[test]
    fn a_liar_can_neither_fill_the_memory_nor_drive_the_seeds_out() {
        let mut roster = Roster::new(&names("a b"));
        let liars: Vec<String> = (0..1000).map(|number| format!("liar{number}")).collect();
        roster.answered("a", &liars);
        assert_eq!(roster.order().len(), SENTINELS_MAX);
        assert_eq!(roster.order()[..2], names("a b"));
        roster.answered("b", &[]);
        assert_eq!(roster.order(), names("b a"));
    }
}
