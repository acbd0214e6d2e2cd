//! The nouns that hub and dialects share. Nothing here does I/O or knows a protocol's syntax.

mod close;
mod command;
mod connection;
mod connection_id;
mod cursor;
pub mod hook;
mod hook_event;
mod identity;
mod position;
mod presence;
mod publication;
mod room;
mod selector;

pub use close::{CloseReason, DropReason, Eviction, IDLE_TEXT};
pub use command::{
    Answer, Command, NOTIFICATION_TYPES_MAX, ORIGINAL_BYTES_MAX, PRESENCE_LIMIT_MAX, Refusal, RequestId,
};
pub use connection::{ConnectionInfo, ROOMS_SHOWN_MAX, SlowConsumer, Which};
pub use connection_id::{ConnectionId, ConnectionKey, Locator, NodeId};
pub use cursor::{MembersCursor, NoCursor};
pub use hook_event::{HookEvent, HookEvents};
pub use identity::{Identity, Info, Life, TokenMark};
pub use position::{Epoch, Position};
pub use presence::{Changed, CountOf, NamedMembers, Person};
pub use publication::{
    Compression, DialectId, EVENT_BYTES_MAX, EVENT_DEFAULT, Encoding, Publication, Sender,
};
pub use room::{Audience, RoomName, RoomNameError};
pub use selector::{Draft, Selector};
