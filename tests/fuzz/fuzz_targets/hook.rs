//! libFuzzer's door to `fanwire_fuzz::hook`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fanwire_fuzz::hook::check(data));
