//! libFuzzer's way into the target `config_values`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| bowline_fuzz::run("config_values", input));
