//! libFuzzer's way into the target `resp_reply`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| bowline_fuzz::run("resp_reply", input));
