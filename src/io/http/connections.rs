//! Connections of all shards, for those who run the server.

use super::reply::{Reply, json};
use crate::api::{
    ApiError, BREAKDOWN_MAX, CONNECTIONS_LIMIT_DEFAULT, Closed, ConnectionList, ConnectionStats, Put, Route,
    Status, StatusCounts, Taken, TrackedConnection, TrackedList, UserInfo, UserList,
};
use crate::base;
use crate::io::shared::{Ended, NodeShared};
use crate::model::{Audience, CloseReason, ConnectionInfo, IDLE_TEXT, MembersCursor, Selector, Which};
use crate::shard::Request;
use std::time::Duration;

/// Answers a request about connections.
///
/// # Errors
/// What there is not, or a 503 if the server ends first.
pub(in crate::io) async fn answer(node: &NodeShared, route: Route) -> Result<Reply, ApiError> {
    let ended = |_: Ended| ApiError::unavailable("shutting down");
    let none = || ApiError::not_found("no such connection");
    let closed = |closed| json(&Closed { closed });
    Ok(match route {
        Route::Connections { which, cursor, limit } => {
            let (connections, cursor) =
                node.connections(&which, cursor, limit as usize).await.map_err(ended)?;
            json(&ConnectionList { connections, cursor: cursor.map(|cursor| cursor.to_string()) })
        }
        Route::DebugConnections { which, cursor, limit } => {
            let (connections, cursor) =
                node.connections(&which, cursor, limit as usize).await.map_err(ended)?;
            let connections = connections.into_iter().map(TrackedConnection::from).collect();
            json(&TrackedList { connections, cursor: cursor.map(|cursor| cursor.to_string()) })
        }
        Route::Connection { id } => {
            let asked = node.ask(node.shard_of(id), |reply| Request::Connection { of: id, reply });
            json(&asked.await.map_err(ended)?.ok_or_else(none)?)
        }
        Route::Disconnect { id, reason } => {
            let asked = node.ask(node.shard_of(id), |reply| Request::Disconnect { to: id, reason, reply });
            if !asked.await.map_err(ended)? {
                return Err(none());
            }
            closed(1)
        }
        Route::Join { id, room } => {
            let asked = node.ask(node.shard_of(id), |reply| Request::Join { to: id, room, reply });
            let joined = asked.await.map_err(ended)?.ok_or_else(none)?;
            let members = joined.map_err(|text| ApiError::new(409, "refused", text))?;
            json(&Put { members: members.into() })
        }
        Route::Leave { id, room } => {
            let asked = node.ask(node.shard_of(id), |reply| Request::Leave { to: id, room, reply });
            json(&Taken { was_member: asked.await.map_err(ended)?.ok_or_else(none)? })
        }
        Route::Users { tenant, cursor, limit } => {
            let (users, cursor) =
                node.users(tenant.as_deref(), cursor, limit as usize).await.map_err(ended)?;
            json(&UserList { users, cursor: cursor.map(|cursor| cursor.to_string()) })
        }
        Route::User { which, .. } | Route::DisconnectUser { which, .. }
            if which.tenant.is_none() && node.tokens.has_tenants() =>
        {
            return Err(ApiError::bad_request(Selector::AMBIGUOUS));
        }
        Route::User { which, user } => {
            let limit = CONNECTIONS_LIMIT_DEFAULT as usize;
            let (connections, _) =
                node.connections(&which, MembersCursor::START, limit).await.map_err(ended)?;
            json(&UserInfo { user, online: !connections.is_empty(), connections })
        }
        Route::DisconnectUser { which, reason } => {
            let asked = node.close_all(&which, CloseReason::Disconnected, reason.as_deref());
            closed(asked.await.map_err(ended)?)
        }
        Route::Cleanup { idle_s } => closed(node.cleanup(Duration::from_secs(idle_s)).await.map_err(ended)?),
        Route::ConnectionStats => json(&node.connection_stats(node.status_counts())),
        Route::Status => {
            json(&Status { stats: node.status_counts(), timestamp: iso8601(node.clock.now().unix_ms) })
        }
        _ => return Err(ApiError::not_found("no such path")),
    })
}

fn iso8601(unix_ms: u64) -> String {
    String::from_utf8_lossy(&base::iso8601(unix_ms)).into_owned()
}

impl NodeShared {
    /// About `limit` (at least 1) of the connections that fit, from `cursor` on, and where to go on if there may be
    /// more. The shards are asked one after the other, each for a few thousand at a time.
    ///
    /// # Errors
    /// If the server ends first.
    pub async fn connections(
        &self,
        which: &Which,
        cursor: MembersCursor,
        limit: usize,
    ) -> Result<(Vec<ConnectionInfo>, Option<MembersCursor>), Ended> {
        let mut found = Vec::new();
        let mut next = self.first(cursor);
        while let Some(cursor) = next.filter(|_| found.len() < limit) {
            let (which, limit) = (which.clone(), limit - found.len());
            let ask = |reply| Request::Connections { which, cursor, limit, reply };
            let (page, rest) = self.ask(usize::from(cursor.shard), ask).await?;
            found.extend(page);
            next = rest.or_else(|| self.after(cursor));
        }
        Ok((found, next))
    }

    /// Closes all connections that fit; how many.
    ///
    /// # Errors
    /// If the server ends first.
    pub async fn close_all(
        &self,
        which: &Which,
        reason: CloseReason,
        text: Option<&str>,
    ) -> Result<u64, Ended> {
        let mut closed = 0;
        let mut next = Some(MembersCursor::START);
        while let Some(cursor) = next {
            let (which, text) = (which.clone(), text.map(str::to_owned));
            let ask = |reply| Request::CloseAll { which, cursor, reason, text, reply };
            let (here, rest) = self.ask(usize::from(cursor.shard), ask).await?;
            closed += here;
            next = rest.or_else(|| self.after(cursor));
        }
        Ok(closed)
    }

    /// Closes the connections without a message for `idle`; how many.
    ///
    /// # Errors
    /// If the server ends first.
    pub async fn cleanup(&self, idle: Duration) -> Result<u64, Ended> {
        let idle_ms = u64::try_from(idle.as_millis()).unwrap_or(u64::MAX);
        let idle = Which { idle_ms: Some(idle_ms), ..Which::default() };
        self.close_all(&idle, CloseReason::Idle, Some(IDLE_TEXT)).await
    }

    /// The counts of the channels document's status page.
    pub fn status_counts(&self) -> StatusCounts {
        let rooms = self.hub.directory.list("", None, BREAKDOWN_MAX);
        StatusCounts {
            total_clients: u64::from(self.hub.admission.connections()),
            total_channels: u64::from(self.hub.directory.len()),
            channel_breakdown: rooms
                .into_iter()
                .map(|(name, room)| (name.to_string(), room.members().into()))
                .collect(),
        }
    }

    /// The counts of the AegisX platform document, with `counts` as taken just now: they cost a pass over all rooms.
    pub fn connection_stats(&self, counts: StatusCounts) -> ConnectionStats {
        let StatusCounts { total_clients: total, channel_breakdown: by_channel, .. } = counts;
        let tenants = self.hub.directory.audiences(Audience::Tenant, BREAKDOWN_MAX);
        let by_tenant = tenants.into_iter().map(|(tenant, count)| (tenant, count.into())).collect();
        ConnectionStats { total, by_tenant, by_channel }
    }

    /// Where a list goes on that says to go on at `cursor`; a client may have made it up.
    fn first(&self, cursor: MembersCursor) -> Option<MembersCursor> {
        (usize::from(cursor.shard) < self.mailboxes.len()).then_some(cursor)
    }

    /// The shard after the one of a cursor.
    fn after(&self, cursor: MembersCursor) -> Option<MembersCursor> {
        self.first(MembersCursor::shard(cursor.shard.checked_add(1)?))
    }
}
