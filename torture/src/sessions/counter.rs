//! A session that holds a number, which many increment at the same time: each reads it and writes the next number on the condition
//! (`If-Match`) that it is still what was read. Each increment that was made counts once.

use std::collections::BTreeSet;

use super::register::Fate;

/// What is known of the increments.
#[derive(Debug, Default)]
pub struct Counter {
    /// The numbers that were acknowledged, of those that cannot be lost.
    acknowledged: BTreeSet<u64>,
    /// All that were acknowledged.
    done: u64,
    /// Increments that are under way or of unknown outcome.
    possible: u64,
    /// No smaller number can be found any more.
    floor: u64,
    is_losing: bool,
}

impl Counter {
    /// An increment begins.
    pub const fn begin(&mut self) {
        self.possible += 1;
    }

    /// The increment to `number` was answered.
    ///
    /// # Errors
    /// Another one to the same number was acknowledged: one of the two is lost.
    pub fn end(&mut self, number: u64, fate: Fate) -> Result<(), String> {
        match fate {
            Fate::Unknown => return Ok(()),
            Fate::NotExecuted => self.possible -= 1,
            Fate::Done => {
                self.possible -= 1;
                self.done += 1;
                let is_new = self.is_losing || self.acknowledged.insert(number);
                self.raise(number);
                if !is_new {
                    return Err(format!("two increments to {number} were acknowledged"));
                }
            }
        }
        Ok(())
    }

    /// What a read that begins now has to find at least.
    #[must_use]
    pub const fn floor(&self) -> u64 {
        self.floor
    }

    /// A read that began when the floor was `floor` found `number`.
    ///
    /// # Errors
    /// It cannot be that.
    pub fn judge(&mut self, floor: u64, number: u64) -> Result<(), String> {
        let floor = floor.min(self.floor);
        let most = self.done + self.possible;
        if !(floor..=most).contains(&number) {
            return Err(format!("it is {number}, and can be {floor} to {most}"));
        }
        self.raise(number);
        Ok(())
    }

    fn raise(&mut self, number: u64) {
        if !self.is_losing {
            self.floor = self.floor.max(number);
        }
    }

    /// From now on everything above `floor` may be lost.
    pub fn begin_loss(&mut self, floor: u64) {
        self.floor = floor;
        self.is_losing = true;
        self.acknowledged.clear();
    }

    /// From now on nothing is lost any more.
    pub const fn end_loss(&mut self) {
        self.is_losing = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn increments_count_once() {
        let mut counter = Counter::default();
        let mut add = |number, fate| {
            counter.begin();
            counter.end(number, fate)
        };
        add(1, Fate::Done).unwrap();
        add(2, Fate::Unknown).unwrap();
        add(2, Fate::NotExecuted).unwrap();
        assert!(counter.judge(1, 3).is_err(), "two at most were made");
        assert!(counter.judge(1, 0).is_err(), "one was made");
        assert!(counter.judge(1, 2).is_ok());
        assert!(counter.judge(counter.floor(), 1).is_err(), "it was 2 already");
        counter.begin();
        assert!(counter.end(1, Fate::Done).is_err(), "1 was there already");
    }
}
