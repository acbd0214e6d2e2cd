//! libFuzzer's door to `fanwire_fuzz::proxy`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fanwire_fuzz::proxy::check(data));
