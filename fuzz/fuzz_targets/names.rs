//! libFuzzer's way into the target `names`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| bowline_fuzz::run("names", input));
