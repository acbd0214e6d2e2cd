//! libFuzzer's door to `fanwire_fuzz::receive`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fanwire_fuzz::receive::check(data));
