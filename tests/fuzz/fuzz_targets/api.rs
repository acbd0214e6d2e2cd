//! libFuzzer's door to `fanwire_fuzz::api`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fanwire_fuzz::api::check(data));
