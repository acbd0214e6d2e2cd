//! libFuzzer's door to `fanwire_fuzz::rooms`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fanwire_fuzz::rooms::check(data));
