//! What goes over a WebSocket: frames, compression, the dialects word for word, the documents' own clients, and hostile bytes.

#[path = "../common/mod.rs"]
mod common;

mod autobahn;
mod autobahn_cases;
mod channels;
mod client_js;
mod clients;
mod closes;
mod deflate;
mod deflate_clients;
mod deflate_echo;
mod dialects;
mod documents;
mod documents_calls;
mod hostile_frames;
mod hostile_json;
mod rooms;
mod tenants;
mod topics;
mod websocket;
