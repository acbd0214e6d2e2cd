//! Who comes in, as whom, and what they may: tokens, rules, secrets, the backend's hook.

#[path = "../common/mod.rs"]
mod common;

mod access;
mod hook;
mod hook_dialects;
mod hook_identity;
mod hook_requests;
mod identity;
mod identity_tls;
mod reviews;
mod rights;
mod secrets;
mod tenants_preset;
mod tokens;
mod users;
