use crate::metrics::Percentiles;
use crate::model::SlowConsumer;
use serde::Serialize;
use serde_json::value::RawValue;

/// Writes an answer's body.
pub fn to_json<T: Serialize>(answer: &T) -> String {
    // Fails only for maps whose keys are no strings and for a `Serialize` that gives up; the types here are neither.
    serde_json::to_string(answer).expect("answers are plain structs")
}

/// Answer of `/health`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Health {
    /// `healthy`.
    pub status: &'static str,
    /// Connections on this node.
    pub clients: u64,
    /// Rooms with a member on this node.
    pub rooms: u64,
}

impl Health {
    /// A living node.
    pub fn new(clients: u64, rooms: u64) -> Self {
        Self { status: "healthy", clients, rooms }
    }
}

/// Answer of `/ready`: status 200 where `ready`, else 503.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ready {
    /// Whether new connections are welcome.
    pub ready: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Ready {
    /// Ready.
    pub fn yes() -> Self {
        Self { ready: true, reason: None }
    }

    /// Not ready, and why.
    pub fn no(reason: impl Into<String>) -> Self {
        Self { ready: false, reason: Some(reason.into()) }
    }
}

/// Answer of `/v1/publish` and `/v1/broadcast`, and of each publication of a batch.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Delivered {
    /// Connections of this node that the publication was handed to.
    pub delivered: u64,
    /// Its place in the order of a room with history.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// Epoch of that history.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epoch: Option<String>,
}

/// Answer of `/v1/publish/batch`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct BatchDelivered {
    /// The sum of all: a connection counts once for each publication that it was handed.
    pub delivered: u64,
    /// Of each publication, in the order of the request.
    pub results: Vec<Delivered>,
}

/// One room of this node.
#[derive(Debug, Clone, Serialize)]
pub struct RoomInfo {
    /// Its name.
    pub room: String,
    /// Members on this node.
    pub members: u64,
    /// Messages published to it since it began.
    pub messages: u64,
    /// What a backend has said of it, if one has registered it and one room alone was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Box<RawValue>>,
    /// When it began, Unix time in milliseconds: with its first member, its first message that was kept, or its
    /// registration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_at: Option<u64>,
    /// When a connection last joined it or a message was last published to it, Unix time in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_activity: Option<u64>,
    /// Its history, where it has one and one room alone was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub history: Option<HistoryInfo>,
}

impl RoomInfo {
    /// A room with so many members, of which nothing else is known.
    pub fn new(room: String, members: u64) -> Self {
        Self {
            room,
            members,
            messages: 0,
            metadata: None,
            created_at: None,
            last_activity: None,
            history: None,
        }
    }
}

/// Answer of `/v1/rooms/{name}/stats`. The counts are as old as the room: it is forgotten with its last member, unless it
/// has a history to keep, and what is counted begins anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RoomStats {
    /// Its name.
    pub room: String,
    /// Members on this node.
    pub members: u64,
    /// Different users among them; `null` where it has more than [`super::ROOM_USERS_MAX`] members.
    pub users: Option<u64>,
    /// As in [`RoomInfo`].
    pub messages: u64,
    /// As in [`RoomInfo`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_at: Option<u64>,
    /// As in [`RoomInfo`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_activity: Option<u64>,
}

/// Answer to a room's registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct RoomPut {
    /// Whether it was not registered before.
    pub created: bool,
}

/// Answer to a room's removal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct RoomRemoved {
    /// Whether it was registered.
    pub registered: bool,
    /// How many members were put out.
    pub members: u64,
}

/// What a room remembers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HistoryInfo {
    /// Offsets of other epochs mean nothing here.
    pub epoch: String,
    /// Of the latest publication; 0 before the first.
    pub offset: u64,
    /// Publications kept.
    pub messages: u64,
    /// Bytes that they are charged.
    pub bytes: u64,
}

/// Answer of `/v1/rooms/{name}/messages`.
#[derive(Debug, Clone, Serialize)]
pub struct RoomMessages {
    /// The room.
    pub room: String,
    /// Offsets of other epochs mean nothing here.
    pub epoch: String,
    /// Of the latest publication, which need not be in the page; 0 before the first.
    pub offset: u64,
    /// The page, in order.
    pub messages: Vec<RoomMessage>,
}

/// One publication of a room with history.
#[derive(Debug, Clone, Serialize)]
pub struct RoomMessage {
    /// Its place in the room's order.
    pub offset: u64,
    /// Type name.
    pub event: String,
    /// As it was given, if it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Box<RawValue>>,
    /// The connection that published it, if it was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// When it was accepted, Unix time in milliseconds.
    pub timestamp: u64,
}

/// A page of rooms, in the order of their names.
#[derive(Debug, Clone, Serialize)]
pub struct RoomList {
    /// The page.
    pub rooms: Vec<RoomInfo>,
    /// To be given for the next page; `null` on the last one.
    pub cursor: Option<String>,
}

/// Who is in a room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RoomMembers {
    /// The room's name.
    pub room: String,
    /// Members on this node.
    pub client_count: u64,
    /// Ids of some of them, in no order.
    pub members: Vec<String>,
    /// To be given for the next page, see [`crate::model::MembersCursor`]; `null` on the last one.
    pub cursor: Option<String>,
}

/// State of the node. Counts of what happened are since its start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Connections.
    pub clients: u64,
    /// Rooms with a member, each counted once.
    pub rooms: u64,
    /// How long the node has run.
    pub uptime_ms: u64,
    /// Publications accepted.
    pub publications: u64,
    /// Frames handed to connections.
    pub deliveries: u64,
    /// Bytes waiting in the outboxes of all connections.
    pub backlog_bytes: u64,
    /// From the acceptance of a publication to the last write that carried it, once for each shard that
    /// accepted it or has members.
    pub publish_to_write: Percentiles,
    /// Turns of the shards' loops.
    pub turn: Percentiles,
    /// The shards, by index.
    pub shards: Vec<ShardStats>,
}

/// State of one shard. Counts of what happened are since the node's start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct ShardStats {
    /// Index.
    pub shard: u16,
    /// Connections.
    pub clients: u64,
    /// Rooms with a member on this shard.
    pub rooms: u64,
    /// Memberships: a connection in two rooms counts twice.
    pub members: u64,
    /// Publications accepted from this shard's connections.
    pub publications: u64,
    /// Frames handed to connections.
    pub deliveries: u64,
    /// Bytes waiting in the outboxes of its connections.
    pub backlog_bytes: u64,
    /// Bytes waiting in its mailbox.
    pub mailbox_bytes: u64,
    /// From the acceptance of a publication, on whichever shard, to this shard's last write that carried it.
    pub publish_to_write: Percentiles,
    /// Turns of its loop.
    pub turn: Percentiles,
}

/// Answer of `/v1/slow`: the largest backlog first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SlowList {
    /// The connections.
    pub slow: Vec<SlowConsumer>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_is_the_documents() {
        assert_eq!(to_json(&Health::new(0, 0)), r#"{"status":"healthy","clients":0,"rooms":0}"#);
    }

    #[test]
    fn readiness_says_why_not() {
        assert_eq!(to_json(&Ready::yes()), r#"{"ready":true}"#);
        assert_eq!(to_json(&Ready::no("draining")), r#"{"ready":false,"reason":"draining"}"#);
    }

    #[test]
    fn the_last_page_has_no_cursor() {
        let rooms = vec![RoomInfo::new("a\"b".into(), 2)];
        let list = RoomList { rooms, cursor: Some("a\"b".into()) };
        assert_eq!(to_json(&list), r#"{"rooms":[{"room":"a\"b","members":2,"messages":0}],"cursor":"a\"b"}"#);
        let last = RoomList { rooms: vec![], cursor: None };
        assert_eq!(to_json(&last), r#"{"rooms":[],"cursor":null}"#);
    }

    #[test]
    fn histories_are_told_where_there_are_some() {
        let delivered = Delivered { delivered: 3, ..Delivered::default() };
        assert_eq!(to_json(&delivered), r#"{"delivered":3}"#);
        let delivered = Delivered { offset: Some(7), epoch: Some("e".into()), ..delivered };
        assert_eq!(to_json(&delivered), r#"{"delivered":3,"offset":7,"epoch":"e"}"#);
        let history = HistoryInfo { epoch: "e".into(), offset: 7, messages: 2, bytes: 300 };
        let info = RoomInfo { history: Some(history), ..RoomInfo::new("r".into(), 0) };
        assert_eq!(
            to_json(&info),
            r#"{"room":"r","members":0,"messages":0,"history":{"epoch":"e","offset":7,"messages":2,"bytes":300}}"#
        );
        let message = |offset, data: Option<&str>, client_id: Option<&str>| RoomMessage {
            offset,
            event: "message".into(),
            data: data.map(|data| RawValue::from_string(data.to_owned()).unwrap()),
            client_id: client_id.map(str::to_owned),
            timestamp: 9,
        };
        let messages = vec![message(6, Some("[ 1.0 ]"), Some("c")), message(7, None, None)];
        let page = RoomMessages { room: "r".into(), epoch: "e".into(), offset: 7, messages };
        assert_eq!(
            to_json(&page),
            concat!(
                r#"{"room":"r","epoch":"e","offset":7,"messages":["#,
                r#"{"offset":6,"event":"message","data":[ 1.0 ],"client_id":"c","timestamp":9},"#,
                r#"{"offset":7,"event":"message","timestamp":9}]}"#
            )
        );
    }

    #[test]
    fn a_slow_consumer_is_told_in_full() {
        let slow = SlowConsumer {
            client_id: "c".into(),
            ip: Some("2001:db8::1".parse().unwrap()),
            dialect: "rooms",
            user: Some("u".into()),
            user_agent: None,
            rooms: vec!["chat".to_owned()],
            backlog_bytes: 4096,
            backlog_messages: 9,
            since_unix_ms: 1_000,
            age_ms: 250,
        };
        let local = SlowConsumer { ip: None, ..slow.clone() };
        let text = to_json(&SlowList { slow: vec![slow, local] });
        assert!(text.starts_with(concat!(
            r#"{"slow":[{"client_id":"c","ip":"2001:db8::1","dialect":"rooms","user":"u","rooms":["chat"],"backlog_bytes":4096,"#,
            r#""backlog_messages":9,"since_unix_ms":1000,"age_ms":250},{"client_id":"c","ip":null,"#
        )));
    }

    #[test]
    fn stats_hold_their_shards() {
        let stats = Stats { clients: 1, shards: vec![ShardStats::default()], ..Stats::default() };
        let value: serde_json::Value = serde_json::from_str(&to_json(&stats)).unwrap();
        assert_eq!(value["clients"], 1);
        assert_eq!(value["shards"][0]["mailbox_bytes"], 0);
    }
}
