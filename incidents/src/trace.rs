//! What happened in a run, step by step, for people.

use std::fmt;

/// The steps of one run, each in the column of its thread.
#[derive(Debug, Clone)]
pub struct Trace {
    columns: &'static [&'static str],
    steps: Vec<(usize, String)>,
}

impl Trace {
    /// An empty trace of these threads.
    #[must_use]
    pub const fn new(columns: &'static [&'static str]) -> Self {
        Self { columns, steps: Vec::new() }
    }

    /// A thread took a step.
    pub fn step(&mut self, column: usize, text: impl Into<String>) {
        assert!(column < self.columns.len(), "a column of the table");
        self.steps.push((column, text.into()));
    }

    /// How many steps were taken.
    #[must_use]
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Whether nothing happened.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
}

/// A table with one column a thread and one line a step.
impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |column: usize| {
            let texts = self.steps.iter().filter(|step| step.0 == column).map(|step| step.1.chars().count());
            texts.chain([self.columns[column].chars().count()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        write!(f, "      ")?;
        for (column, name) in self.columns.iter().enumerate() {
            write!(f, "{name:<width$}  ", width = widths[column])?;
        }
        for (number, (column, text)) in self.steps.iter().enumerate() {
            let indent: usize = widths[..*column].iter().map(|width| width + 2).sum();
            write!(f, "\n{:>4}  {:indent$}{text}", number + 1, "")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_stands_in_its_column() {
        let mut trace = Trace::new(&["one", "two"]);
        trace.step(0, "count 1 -> 0");
        trace.step(1, "HSET");
        let lines: Vec<String> = trace.to_string().lines().map(|line| line.trim_end().to_owned()).collect();
        assert_eq!(lines, ["      one           two", "   1  count 1 -> 0", "   2                HSET"]);
    }
}
