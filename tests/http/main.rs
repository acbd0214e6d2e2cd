//! What is asked over HTTP: the API, the pages, metrics, proxies in front, and hostile requests.

#[path = "../common/mod.rs"]
mod common;

mod admin;
mod admin_listener;
mod answers;
mod connections;
mod cors;
mod counts;
mod docs;
mod hostile_bodies;
mod hostile_handshakes;
mod http;
mod ids;
mod keyless;
mod metrics;
mod openapi;
mod proxies;
mod registry;
mod routes;
