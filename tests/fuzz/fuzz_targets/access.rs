//! libFuzzer's door to `fanwire_fuzz::access`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fanwire_fuzz::access::check(data));
