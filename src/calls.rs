//! The server-side calls of the clients' documents, under the names that they have there.
//!
//! Those that publish are a selector and a message that is delivered as it is given, so each can be made over HTTP as
//! well, by a `POST /v1/publish` with `message` and the fields of the table.
//!
//! | document | call there | here | over HTTP, beside `"message"` |
//! |---|---|---|---|
//! | topics | `broadcast(channel, message, exclude?)` | [`Calls::broadcast`] | `"room"`, `"except":[id]` |
//! | channels, tenants | `broadcastToChannel(channel, message, exclude?)` | [`Calls::broadcast_to_channel`] | `"room"`, `"except":[id]` |
//! | channels | `broadcastToFiltered({organizationId, userId}, message)` | [`Calls::broadcast_to_filtered`] | `"tenant"`, `"user"`; or `/v1/broadcast` with `organizationId`, `userId`, `type`, `data` |
//! | channels | `eventBus.publish("broadcast_to_channel", {channel, type, data})` | [`Calls::event_bus_publish`] | `"room"`; or `/v1/broadcast` with `channel`, `type`, `data` |
//! | tenants | `broadcastToTenant(tenantId, message, exclude?)` | [`Calls::broadcast_to_tenant`] | `"tenant"`, `"except":[id]` |
//! | topics | `sendToUser(userId, message)` | [`Calls::send_to_user`] with no tenant | `"user"` |
//! | tenants | `sendToUser(userId, tenantId, message)` | [`Calls::send_to_user`] | `"user"`, `"tenant"` |
//! | topics, tenants | `sendToConnection(connectionId, message)` | [`Calls::send_to_connection`] | `"connection"` |
//! | tenants | `notifyUser(tenantId, userId, notification)` | [`Calls::notify_user`] | `"user"`, `"tenant"`, `"event":"notification"`, `"data"` in place of `"message"` |
//! | tenants | `globalBroadcast(message)` | [`Calls::global_broadcast`] | `"all":true` |
//! | tenants | `sendToChannel(channel, message)` | [`Calls::send_to_channel`] | `"room"` |
//! | rooms | `Broadcast(message)` | [`Calls::global_broadcast`] | `"all":true` |
//! | rooms | `RoomBroadcast(room, message)` | [`Calls::room_broadcast`] | `"room"` |
//!
//! | document | other calls there | here | over HTTP |
//! |---|---|---|---|
//! | rooms | `RegisterCustomHandler(type, handler)` | [`Calls::register_custom_handler`] | the hook's event `message` |
//! | topics | `subscribeToChannel(connectionId, channel)` | [`Calls::subscribe_to_channel`] | `PUT /v1/connections/{id}/rooms/{room}` |
//! | topics | `unsubscribeFromChannel(connectionId, channel)` | [`Calls::unsubscribe_from_channel`] | `DELETE` of the same |
//! | tenants | `joinChannel(connectionId, channel)` | [`Calls::join_channel`] | as `subscribeToChannel` |
//! | tenants | `leaveChannel(connectionId, channel)` | [`Calls::leave_channel`] | as `unsubscribeFromChannel` |
//! | topics | `getConnectionsByChannel(channel)` | [`Calls::get_connections_by_channel`] | `GET /v1/connections?room=` |
//! | topics | `getConnectionsByUser(userId)` | [`Calls::get_connections_by_user`] | `GET /v1/connections?user=` |
//! | topics | `getActiveConnections()` | [`Calls::get_active_connections`] | `clients` of `GET /v1/stats` |
//! | topics | `cleanupInactiveConnections()` | [`Calls::cleanup_inactive_connections`] | `POST /v1/cleanup?idle_s=` |
//! | tenants | `getConnectionStats()` | [`Calls::get_connection_stats`] | `GET /v1/stats/connections` |

use crate::api::{CONNECTIONS_LIMIT_MAX, ConnectionStats};
use crate::handle::{Handle, HandleError};
use crate::handler::{CustomRequest, Outcome};
use crate::io::{Answer, Ended};
use crate::model::{ConnectionId, ConnectionInfo, MembersCursor, RoomName, Selector, Which};
use serde::Serialize;
use std::time::Duration;

/// Type of the message that [`Calls::notify_user`] sends.
const NOTIFICATION: &str = "notification";

/// The topic of the event bus.
const BROADCAST_TO_CHANNEL: &str = "broadcast_to_channel";

/// What a call comes to: the number of connections of this node that the message is handed to.
type Handed = Result<Answer<u32>, HandleError>;

/// What joining comes to, as [`Handle::join`] has it.
type Joined = Result<Answer<Option<Result<u32, String>>>, HandleError>;

/// What leaving comes to, as [`Handle::leave`] has it.
type Left = Result<Answer<Option<bool>>, HandleError>;

/// The calls, see the tables above. Made by [`Handle::calls`].
#[derive(Debug, Clone, Copy)]
pub struct Calls<'h>(&'h Handle);

/// Whom [`Calls::broadcast_to_filtered`] is for: those of whom all that is given holds. Nothing given: all.
#[derive(Debug, Clone, Copy, Default)]
pub struct ClientFilter<'a> {
    /// The organization, which is a tenant.
    pub organization_id: Option<&'a str>,
    /// The user.
    pub user_id: Option<&'a str>,
}

impl<'h> Calls<'h> {
    pub(crate) fn new(handle: &'h Handle) -> Self {
        Self(handle)
    }

    /// To the members of a channel but one.
    ///
    /// # Errors
    /// As [`Handle::publish_whole`].
    pub fn broadcast(self, channel: &str, message: &impl Serialize, exclude: Option<ConnectionId>) -> Handed {
        self.0.publish_whole(Selector::room(channel).except(exclude), message)
    }

    /// The same under its other name.
    ///
    /// # Errors
    /// As [`Handle::publish_whole`].
    pub fn broadcast_to_channel(
        self,
        channel: &str,
        message: &impl Serialize,
        exclude: Option<ConnectionId>,
    ) -> Handed {
        self.broadcast(channel, message, exclude)
    }

    /// To the connections of a user, of an organization, or of a user in an organization.
    ///
    /// # Errors
    /// As [`Handle::publish_whole`].
    pub fn broadcast_to_filtered(self, filter: ClientFilter<'_>, message: &impl Serialize) -> Handed {
        let ClientFilter { organization_id, user_id } = filter;
        let (user, tenant) = (user_id.map(Into::into), organization_id.map(Into::into));
        self.0.publish_whole(Selector { user, tenant, ..Selector::all() }, message)
    }

    /// To the connections of a tenant but one.
    ///
    /// # Errors
    /// As [`Handle::publish_whole`].
    pub fn broadcast_to_tenant(
        self,
        tenant: &str,
        message: &impl Serialize,
        exclude: Option<ConnectionId>,
    ) -> Handed {
        self.0.publish_whole(Selector::tenant(tenant).except(exclude), message)
    }

    /// To the connections of a user, in one tenant or, without one, in all.
    ///
    /// # Errors
    /// As [`Handle::publish_whole`].
    pub fn send_to_user(self, user: &str, tenant: Option<&str>, message: &impl Serialize) -> Handed {
        let tenant = tenant.map(Into::into);
        self.0.publish_whole(Selector { tenant, ..Selector::user(user) }, message)
    }

    /// To one connection: 1 if there is such an open one.
    ///
    /// # Errors
    /// As [`Handle::publish_whole`].
    pub fn send_to_connection(self, connection: ConnectionId, message: &impl Serialize) -> Handed {
        self.0.publish_whole(Selector::connection(connection), message)
    }

    /// To the connections of a user of a tenant: a message of type `notification` with this data.
    ///
    /// # Errors
    /// As [`Handle::publish_to`].
    pub fn notify_user(self, tenant: &str, user: &str, notification: &impl Serialize) -> Handed {
        let to = Selector { tenant: Some(tenant.into()), ..Selector::user(user) };
        self.0.publish_to(to, NOTIFICATION, notification)
    }

    /// To every connection.
    ///
    /// # Errors
    /// As [`Handle::publish_whole`].
    pub fn global_broadcast(self, message: &impl Serialize) -> Handed {
        self.0.publish_whole(Selector::all(), message)
    }

    /// The channels document's event bus. Its one topic is `broadcast_to_channel`, whose messages name their channel.
    ///
    /// # Errors
    /// As [`Handle::publish_whole`]; and for another topic, or a message without a text `channel`.
    pub fn event_bus_publish(self, topic: &str, message: &impl Serialize) -> Handed {
        if topic != BROADCAST_TO_CHANNEL {
            return Err(HandleError::Topic(topic.to_owned()));
        }
        let message = serde_json::value::to_raw_value(message)?;
        let channel = crate::base::json_field(message.get(), "channel").and_then(crate::base::json_text);
        let channel = channel.ok_or_else(|| HandleError::Selector("message needs a channel".to_owned()))?;
        self.0.publish_whole(Selector::room(channel), &message)
    }

    /// To the members of a room.
    ///
    /// # Errors
    /// As [`Handle::publish_whole`].
    pub fn room_broadcast(self, room: &str, message: &impl Serialize) -> Handed {
        self.broadcast(room, message, None)
    }

    /// To the members of a channel.
    ///
    /// # Errors
    /// As [`Handle::publish_whole`].
    pub fn send_to_channel(self, channel: &str, message: &impl Serialize) -> Handed {
        self.broadcast(channel, message, None)
    }

    /// Registers the handler of a type of messages: [`Handle::on`].
    pub fn register_custom_handler<R: Outcome>(
        self,
        event: &str,
        handler: impl Fn(CustomRequest) -> R + Send + Sync + 'static,
    ) {
        self.0.on(event, handler);
    }

    /// Makes a connection a member of a channel: [`Handle::join`].
    ///
    /// # Errors
    /// If the channel's name is invalid.
    pub fn subscribe_to_channel(self, connection: ConnectionId, channel: &str) -> Joined {
        Ok(self.0.join(connection, &RoomName::new(channel)?))
    }

    /// Ends a connection's membership of a channel: [`Handle::leave`].
    ///
    /// # Errors
    /// If the channel's name is invalid.
    pub fn unsubscribe_from_channel(self, connection: ConnectionId, channel: &str) -> Left {
        Ok(self.0.leave(connection, &RoomName::new(channel)?))
    }

    /// [`Calls::subscribe_to_channel`] under its other name.
    ///
    /// # Errors
    /// If the channel's name is invalid.
    pub fn join_channel(self, connection: ConnectionId, channel: &str) -> Joined {
        self.subscribe_to_channel(connection, channel)
    }

    /// [`Calls::unsubscribe_from_channel`] under its other name.
    ///
    /// # Errors
    /// If the channel's name is invalid.
    pub fn leave_channel(self, connection: ConnectionId, channel: &str) -> Left {
        self.unsubscribe_from_channel(connection, channel)
    }

    /// All connections that are members of a channel. Of very many, [`Handle::connections`] gives a page at a time.
    ///
    /// # Errors
    /// If the server ends first.
    pub async fn get_connections_by_channel(self, channel: &str) -> Result<Vec<ConnectionInfo>, Ended> {
        self.all(&Which { room: Some(channel.to_owned()), ..Which::default() }).await
    }

    /// All connections of a user, in one tenant or, without one, in all.
    ///
    /// # Errors
    /// If the server ends first.
    pub async fn get_connections_by_user(
        self,
        user: &str,
        tenant: Option<&str>,
    ) -> Result<Vec<ConnectionInfo>, Ended> {
        let (user, tenant) = (Some(user.to_owned()), tenant.map(str::to_owned));
        self.all(&Which { user, tenant, ..Which::default() }).await
    }

    async fn all(self, which: &Which) -> Result<Vec<ConnectionInfo>, Ended> {
        let (mut all, mut next) = (Vec::new(), Some(MembersCursor::START));
        while let Some(cursor) = next {
            let (page, rest) = self.0.connections(which, cursor, CONNECTIONS_LIMIT_MAX as usize).await?;
            all.extend(page);
            next = rest;
        }
        Ok(all)
    }

    /// Connections of this node: [`Handle::active_connections`].
    pub fn get_active_connections(self) -> u64 {
        self.0.active_connections()
    }

    /// Closes the connections without a message for `idle`: [`Handle::cleanup`].
    ///
    /// # Errors
    /// If the server ends first.
    pub async fn cleanup_inactive_connections(self, idle: Duration) -> Result<u64, Ended> {
        self.0.cleanup(idle).await
    }

    /// Connections by tenant and by room: [`Handle::connection_stats`].
    pub fn get_connection_stats(self) -> ConnectionStats {
        self.0.connection_stats()
    }
}
