//! libFuzzer's door to `fanwire_fuzz::dialects::tenants`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fanwire_fuzz::dialects::tenants(data));
