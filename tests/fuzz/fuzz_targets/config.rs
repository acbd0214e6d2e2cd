//! libFuzzer's door to `fanwire_fuzz::config`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fanwire_fuzz::config::check(data));
