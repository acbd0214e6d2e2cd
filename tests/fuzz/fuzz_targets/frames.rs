//! libFuzzer's door to `fanwire_fuzz::frames`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fanwire_fuzz::frames::check(data));
