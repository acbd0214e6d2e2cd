//! libFuzzer's door to `fanwire_fuzz::upgrade`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fanwire_fuzz::upgrade::check(data));
