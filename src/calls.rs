//! The server-side calls of the documents of `channels`, `topics` and `tenants`, under the names that they have there.
//!
//! Each is a selector and a message that is delivered as it is given, so each can be made over HTTP as well, by a
//! `POST /v1/publish` with `message` and the fields of the table.
//!
//! | document | call there | here | over HTTP, beside `"message"` |
//! |---|---|---|---|
//! | topics | `broadcast(channel, message, exclude?)` | [`Calls::broadcast`] | `"room"`, `"except":[id]` |
//! | channels, tenants | `broadcastToChannel(channel, message, exclude?)`, `sendToChannel` | [`Calls::broadcast_to_channel`] | `"room"`, `"except":[id]` |
//! | channels | `broadcastToFiltered({organizationId, userId}, message)` | [`Calls::broadcast_to_filtered`] | `"tenant"`, `"user"`; or `/v1/broadcast` with `organizationId`, `userId`, `type`, `data` |
//! | channels | `eventBus.publish("broadcast_to_channel", {channel, type, data})` | [`Calls::event_bus_publish`] | `"room"`; or `/v1/broadcast` with `channel`, `type`, `data` |
//! | tenants | `broadcastToTenant(tenantId, message, exclude?)` | [`Calls::broadcast_to_tenant`] | `"tenant"`, `"except":[id]` |
//! | topics | `sendToUser(userId, message)` | [`Calls::send_to_user`] with no tenant | `"user"` |
//! | tenants | `sendToUser(userId, tenantId, message)` | [`Calls::send_to_user`] | `"user"`, `"tenant"` |
//! | topics, tenants | `sendToConnection(connectionId, message)` | [`Calls::send_to_connection`] | `"connection"` |
//! | tenants | `notifyUser(tenantId, userId, notification)` | [`Calls::notify_user`] | `"user"`, `"tenant"`, `"event":"notification"`, `"data"` in place of `"message"` |
//! | tenants | `globalBroadcast(message)` | [`Calls::global_broadcast`] | `"all":true` |

use crate::handle::{Handle, HandleError};
use crate::io::Answer;
use crate::model::{ConnectionId, Selector};
use serde::Serialize;

/// Type of the message that [`Calls::notify_user`] sends.
const NOTIFICATION: &str = "notification";

/// The topic of the event bus.
const BROADCAST_TO_CHANNEL: &str = "broadcast_to_channel";

/// What a call comes to: the number of connections of this node that the message is handed to.
type Handed = Result<Answer<u32>, HandleError>;

/// The calls, see the table above; all fail as [`Handle::publish_whole`] does. Made by [`Handle::calls`].
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
}
