//! libFuzzer's door to `fanwire_fuzz::deflate`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fanwire_fuzz::deflate::check(data));
