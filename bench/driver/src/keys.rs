//! The keys and their values: a value begins with its key, so an answer to somebody else's question is seen at once.

use anyhow::{Result, ensure};

use crate::limits::{KEYS, VALUE_BYTES};

/// All keys, made before the clock starts.
#[derive(Debug)]
pub struct Keys(Vec<String>);

impl Keys {
    /// As many as are measured with.
    pub fn new() -> Self {
        Self((0..KEYS).map(|number| format!("key:{number:05}")).collect())
    }

    /// Key `number`, counted around.
    pub fn at(&self, number: u64) -> &str {
        let number = usize::try_from(number % self.0.len() as u64).expect("it is below a length");
        &self.0[number]
    }

    /// All keys with their values.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, String)> {
        self.0.iter().map(|key| (key.as_str(), format!("{key:.<VALUE_BYTES$}")))
    }
}

/// Whether `value` is what `key` holds.
///
/// # Errors
/// It is another key's, or nobody's.
pub fn check(key: &str, value: &[u8]) -> Result<()> {
    let filled = value.strip_prefix(key.as_bytes()).is_some_and(|rest| rest.iter().all(|&byte| byte == b'.'));
    let is_right = value.len() == VALUE_BYTES && filled;
    ensure!(is_right, "wrong answer: {key} got {:?}", String::from_utf8_lossy(value));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_fits_its_own_key_only() {
        let keys = Keys::new();
        for (key, value) in keys.pairs() {
            assert_eq!(value.len(), VALUE_BYTES);
            assert!(check(key, value.as_bytes()).is_ok());
            assert!(check(keys.at(1), value.as_bytes()).is_err() || key == keys.at(1));
        }
        assert!(check("key:00001", b"key:00001").is_err(), "a part of it");
        assert!(check("key:00001", b"").is_err());
    }
}
