//! One connection: one half reads requests, the other writes answers and messages, in one task.

use bytes::Bytes;
use fastwebsockets::{
    CloseCode, FragmentCollectorRead, Frame, OpCode, Payload, WebSocket, WebSocketRead, WebSocketWrite,
};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::io::{ReadHalf, WriteHalf, split};
use tokio::sync::broadcast::Receiver;
use tokio::sync::mpsc;
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;
use tokio_stream::{StreamExt as _, StreamMap};

use crate::rooms::Rooms;

/// Orders that may wait for the writing half; the reading half waits beyond.
const ORDERS: usize = 32;

type Stream = TokioIo<Upgraded>;

#[derive(Deserialize)]
struct Request<'a> {
    #[serde(rename = "type")]
    kind: Kind,
    room: String,
    /// Published as it is; JSON `null` when absent.
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Subscribe,
    Unsubscribe,
    Publish,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Response<'a> {
    Subscribed { room: &'a str },
    Unsubscribed { room: &'a str },
    Message { room: &'a str, data: &'a RawValue },
}

impl Response<'_> {
    fn encode(&self) -> Bytes {
        serde_json::to_vec(self).expect("strings and checked JSON can be written").into()
    }
}

/// What the reading half tells the writing half.
enum Order {
    Join(String, Receiver<Bytes>),
    Leave(String),
    Control(Frame<'static>),
}

/// Serves one connection to its end.
pub async fn serve(socket: WebSocket<Stream>, rooms: &Rooms) {
    let (reader, writer) = socket.split(split);
    let (orders, queue) = mpsc::channel(ORDERS);
    let mut joined = StreamMap::new();
    tokio::select! {
        () = read(reader, &orders, rooms) => {}
        () = write(writer, queue, &mut joined, rooms) => {}
    }
    let names: Vec<String> = joined.keys().cloned().collect();
    drop(joined);
    names.iter().for_each(|room| rooms.tidy(room));
}

/// Carries out requests until the client has gone. After its close frame it is the writing half that
/// ends the connection, by its answer.
async fn read(reader: WebSocketRead<ReadHalf<Stream>>, orders: &mpsc::Sender<Order>, rooms: &Rooms) {
    let mut reader = FragmentCollectorRead::new(reader);
    let mut control = |frame| orders.send(Order::Control(frame));
    while let Ok(frame) = reader.read_frame(&mut control).await {
        if !matches!(frame.opcode, OpCode::Text | OpCode::Binary) {
            continue;
        }
        let order = match serde_json::from_slice(&frame.payload) {
            Ok(Request { kind: Kind::Subscribe, room, .. }) => {
                // Joined here and not by the writing half, so that what this client publishes next
                // reaches itself.
                let messages = rooms.join(&room);
                Order::Join(room, messages)
            }
            Ok(Request { kind: Kind::Unsubscribe, room, .. }) => Order::Leave(room),
            Ok(Request { kind: Kind::Publish, room, data }) => {
                let data = data.unwrap_or(RawValue::NULL);
                rooms.publish(&room, Response::Message { room: &room, data }.encode());
                continue;
            }
            Err(_) => Order::Control(Frame::close(CloseCode::Invalid.into(), b"not a request")),
        };
        if orders.send(order).await.is_err() {
            return;
        }
    }
}

/// Writes answers and messages until the connection is closed, fails, or its member is too far behind.
async fn write(
    mut writer: WebSocketWrite<WriteHalf<Stream>>,
    mut orders: mpsc::Receiver<Order>,
    joined: &mut StreamMap<String, BroadcastStream<Bytes>>,
    rooms: &Rooms,
) {
    loop {
        let message = tokio::select! {
            Some(order) = orders.recv() => match order {
                Order::Join(room, messages) => {
                    let answer = Response::Subscribed { room: &room }.encode();
                    if !joined.contains_key(&room) {
                        joined.insert(room, BroadcastStream::new(messages));
                    }
                    answer
                }
                Order::Leave(room) => {
                    joined.remove(&room);
                    rooms.tidy(&room);
                    Response::Unsubscribed { room: &room }.encode()
                }
                Order::Control(frame) => {
                    let last = frame.opcode == OpCode::Close;
                    if writer.write_frame(frame).await.is_err() || last {
                        return;
                    }
                    continue;
                }
            },
            Some((_, message)) = joined.next() => match message {
                Ok(message) => message,
                Err(BroadcastStreamRecvError::Lagged(_)) => return,
            },
            else => return,
        };
        if writer.write_frame(Frame::text(Payload::Borrowed(&message))).await.is_err() {
            return;
        }
    }
}
