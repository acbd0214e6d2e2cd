//! libFuzzer's door to `fanwire_fuzz::token`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fanwire_fuzz::token::check(data));
