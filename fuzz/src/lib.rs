//! Fuzz targets: everything that reads bytes from outside must neither panic nor contradict itself.
//!
//! A target is a plain function from bytes. libFuzzer drives it through the binaries in `fuzz_targets/` (`cargo xtask
//! fuzz TARGET`); [`replay`] drives it with mutated samples on the stable compiler (`cargo xtask test`). A target
//! asserts more than the absence of panics: what was decoded encodes back, how bytes were cut never shows, what a
//! reader accepts obeys its limits.

pub mod replay;
pub mod targets;

/// A decoder under test.
pub struct Target {
    /// Its name on the command line; the same as that of its libFuzzer binary.
    pub name: &'static str,
    /// Inputs that reach far into it, to start from.
    pub samples: &'static [&'static [u8]],
    /// Feeds it. Panics if something is wrong.
    pub run: fn(&[u8]),
}

/// Every target.
pub const ALL: &[Target] = &[
    targets::resp::REPLY,
    targets::resp::REQUEST,
    targets::proto::FRAME,
    targets::proto::MESSAGES,
    targets::words::NAMES,
    targets::text::CONFIG_TOML,
    targets::text::CONFIG_VALUES,
    targets::text::TOKEN_TABLE,
    targets::signature::SIGNATURE_HEADERS,
    targets::signature::SIGNING_KEYS,
];

/// Feeds the target called `name`.
///
/// # Panics
/// If there is no such target, or if the target panics: that is a finding.
pub fn run(name: &str, input: &[u8]) {
    let target = ALL.iter().find(|target| target.name == name).expect("a binary has the name of its target");
    (target.run)(input);
}

#[cfg(test)]
mod tests {
    use super::ALL;

    #[test]
    fn every_target_has_a_binary() {
        let manifest = include_str!("../Cargo.toml");
        for target in ALL {
            let path = format!("path = \"fuzz_targets/{}.rs\"", target.name);
            assert!(manifest.contains(&path), "{} has no binary", target.name);
        }
    }
}
