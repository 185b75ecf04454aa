//! libFuzzer's way into the target `proto_frame`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| bowline_fuzz::run("proto_frame", input));
