//! libFuzzer's way into the target `signature_headers`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| bowline_fuzz::run("signature_headers", input));
