//! What a read of one session, or of one member of a document, may find.
//!
//! A register has one writer, who writes one thing after the other and numbers what it writes. A write of unknown outcome may
//! happen late, but never after a newer one was acknowledged: the writer stays with one gateway, whose driver fences its old
//! connections, and the store carries out nothing after its latest time. So writes happen in the order of their numbers,
//! and what was once seen is not followed by something older.

/// What became of a write, as its answer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It happened.
    Done,
    /// It did not, and never will.
    NotExecuted,
    /// It may have.
    Unknown,
}

/// What a write leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// Nothing.
    Absent,
    /// A value with the number of the write.
    Value,
}

/// What a read finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Absent,
    /// The value of this write.
    Value(usize),
    /// Some value; which one was not told.
    Some,
}

#[derive(Debug, Clone, Copy)]
struct Write {
    content: Content,
    /// `None` while it is under way.
    fate: Option<Fate>,
    is_seen: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Register {
    /// The first is what was there in the beginning.
    writes: Vec<Write>,
    /// Nothing older can be found any more.
    floor: usize,
    /// A primary has died, and with it perhaps what it had acknowledged last.
    is_losing: bool,
}

impl Default for Register {
    /// Nothing is there.
    fn default() -> Self {
        let nothing = Write { content: Content::Absent, fate: Some(Fate::Done), is_seen: false };
        Self { writes: vec![nothing], floor: 0, is_losing: false }
    }
}

impl Register {
    /// A write begins; its number.
    pub fn begin(&mut self, content: Content) -> usize {
        self.writes.push(Write { content, fate: None, is_seen: false });
        self.writes.len() - 1
    }

    /// A write was answered.
    ///
    /// # Errors
    /// The answer is not true.
    pub fn end(&mut self, number: usize, fate: Fate) -> Result<(), String> {
        let write = &mut self.writes[number];
        write.fate = Some(fate);
        if fate == Fate::NotExecuted && write.is_seen {
            return Err(format!("write {number} was said not to be executed, and its value was seen"));
        }
        if fate == Fate::Done {
            self.raise(number);
        }
        Ok(())
    }

    /// What a read that begins now has to find at least.
    #[must_use]
    pub const fn floor(&self) -> usize {
        self.floor
    }

    /// A read that began when the floor was `floor` ended with `found`.
    ///
    /// # Errors
    /// It cannot have found that.
    pub fn judge(&mut self, floor: usize, found: Found) -> Result<(), String> {
        // Only a loss lowers it.
        let floor = floor.min(self.floor);
        let is_possible = |write: &Write| write.fate != Some(Fate::NotExecuted);
        if let Found::Value(number) = found {
            let Some(write) = self.writes.get_mut(number) else {
                return Err(format!("there was no write {number}"));
            };
            if number < floor || !is_possible(write) || write.content == Content::Absent {
                return Err(format!("write {number} was found ({write:?}), and {floor} was there before"));
            }
            write.is_seen = true;
            self.raise(number);
            return Ok(());
        }
        let wanted = if found == Found::Absent { Content::Absent } else { Content::Value };
        let fits = |write: &Write| is_possible(write) && write.content == wanted;
        let Some(first) = self.writes[floor..].iter().position(fits) else {
            let since = &self.writes[floor..];
            return Err(format!("{found:?} was found, and since write {floor} there were {since:?}"));
        };
        self.raise(floor + first);
        Ok(())
    }

    fn raise(&mut self, number: usize) {
        if !self.is_losing {
            self.floor = self.floor.max(number);
        }
    }

    /// From now on everything after `floor` may be lost.
    pub const fn begin_loss(&mut self, floor: usize) {
        self.floor = floor;
        self.is_losing = true;
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
    fn what_may_be_found_follows_from_the_fates_of_writes() {
        let mut register = Register::default();
        let start = register.floor();
        assert!(register.judge(start, Found::Absent).is_ok());
        assert!(register.judge(start, Found::Value(1)).is_err(), "nobody has written");
        let first = register.begin(Content::Value);
        assert!(register.judge(start, Found::Absent).is_ok(), "it is under way");
        assert!(register.judge(start, Found::Value(first)).is_ok());
        assert!(register.judge(register.floor(), Found::Absent).is_err(), "it was seen");
        register.end(first, Fate::Done).unwrap();
        let (unknown, refused) = (register.begin(Content::Value), register.begin(Content::Value));
        register.end(unknown, Fate::Unknown).unwrap();
        register.end(refused, Fate::NotExecuted).unwrap();
        assert!(register.judge(register.floor(), Found::Value(refused)).is_err());
        let before = register.floor();
        assert!(register.judge(before, Found::Value(first)).is_ok());
        assert!(register.judge(before, Found::Value(unknown)).is_ok());
        assert!(register.judge(before, Found::Value(first)).is_ok(), "a read that began before");
        assert!(register.judge(register.floor(), Found::Value(first)).is_err(), "a read that began after");
        let erased = register.begin(Content::Absent);
        register.end(erased, Fate::Done).unwrap();
        assert!(register.judge(register.floor(), Found::Absent).is_ok());
        assert!(register.judge(register.floor(), Found::Some).is_err());
        assert!(register.judge(register.floor(), Found::Value(erased)).is_err());
    }

    #[test]
    fn what_was_seen_was_executed() {
        let mut register = Register::default();
        let number = register.begin(Content::Value);
        register.judge(0, Found::Value(number)).unwrap();
        assert!(register.end(number, Fate::NotExecuted).is_err());
    }

    #[test]
    fn a_loss_reaches_back_to_where_it_was_announced() {
        let mut register = Register::default();
        let numbers = [(); 3].map(|()| {
            let number = register.begin(Content::Value);
            register.end(number, Fate::Done).unwrap();
            number
        });
        register.begin_loss(numbers[1]);
        assert!(register.judge(numbers[2], Found::Value(numbers[1])).is_ok());
        assert!(register.judge(numbers[2], Found::Value(numbers[2])).is_ok());
        assert!(register.judge(numbers[2], Found::Value(numbers[0])).is_err());
        register.end_loss();
        assert!(register.judge(numbers[1], Found::Value(numbers[2])).is_ok());
        assert!(register.judge(register.floor(), Found::Value(numbers[1])).is_err());
    }
}
