//! libFuzzer's way into the target `token_table`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| bowline_fuzz::run("token_table", input));
