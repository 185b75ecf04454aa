//! libFuzzer's way into the target `signing_keys`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| bowline_fuzz::run("signing_keys", input));
