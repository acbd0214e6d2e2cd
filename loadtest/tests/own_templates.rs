//! The user's own templates against a server with another protocol, built on another WebSocket
//! implementation. It can also do wrong on purpose: the report must say so.

mod common;

use std::collections::HashMap;
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{assert_all_delivered, number, run};
use tungstenite::{Error, Message};

/// What the server does to the fifth message of a room.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    Drop,
    Double,
    /// Comes after the sixth.
    Swap,
}

#[derive(Default)]
struct Room {
    members: HashMap<usize, Sender<String>>,
    published: usize,
    held: Option<String>,
}

type Rooms = Arc<Mutex<HashMap<String, Room>>>;

/// Texts: `HELLO`, `JOIN room` (answered `JOINED room`), `PART room`, `SAY room payload`, which every
/// member gets as a JSON string. Accepts until the test ends.
fn start(fault: Fault) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}/any/path?x=1", listener.local_addr().unwrap());
    let rooms = Rooms::default();
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let (stream, rooms) = (stream.unwrap(), rooms.clone());
            std::thread::spawn(move || serve(stream, number, &rooms, fault));
        }
    });
    url
}

fn serve(stream: TcpStream, number: usize, rooms: &Rooms, fault: Fault) {
    stream.set_nodelay(true).unwrap();
    let Ok(mut socket) = tungstenite::accept(stream) else { return };
    socket.get_mut().set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    let (sender, receiver) = channel::<String>();
    let mut greeted = false;
    loop {
        match socket.read() {
            Ok(Message::Text(text)) if text.as_str() == "HELLO" => greeted = true,
            Ok(Message::Text(text)) if greeted => handle(text.as_str(), number, &sender, rooms, fault),
            Ok(_) => {}
            Err(Error::Io(error)) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => break,
        }
        if receiver.try_iter().any(|text| socket.send(text.into()).is_err()) {
            break;
        }
    }
    rooms.lock().unwrap().values_mut().for_each(|room| drop(room.members.remove(&number)));
}

fn handle(text: &str, number: usize, sender: &Sender<String>, rooms: &Rooms, fault: Fault) {
    let mut words = text.splitn(3, ' ');
    let (verb, name) = (words.next().unwrap(), words.next().unwrap());
    let mut rooms = rooms.lock().unwrap();
    let room = rooms.entry(name.to_owned()).or_default();
    match verb {
        "JOIN" => {
            room.members.insert(number, sender.clone());
            sender.send(format!("JOINED {name}")).unwrap();
        }
        "PART" => drop(room.members.remove(&number)),
        "SAY" => {
            let message = serde_json::to_string(words.next().unwrap()).unwrap();
            room.published += 1;
            let copies = match (fault, room.published) {
                (Fault::Drop, 5) => vec![],
                (Fault::Double, 5) => vec![message.clone(), message],
                (Fault::Swap, 5) => {
                    room.held = Some(message);
                    vec![]
                }
                _ => [Some(message), room.held.take()].into_iter().flatten().collect(),
            };
            for copy in copies {
                room.members.values().for_each(|member| drop(member.send(copy.clone())));
            }
        }
        _ => panic!("{text}"),
    }
}

const OWN: [&str; 14] = [
    "--join",
    "HELLO",
    "--join",
    "JOIN {room}",
    "--leave",
    "PART {room}",
    "--publish",
    "SAY {room} {payload}",
    "--joined-marker",
    "JOINED",
    "--left-marker",
    "",
    "--duration",
    "0.6",
];

const SMALL: [&str; 6] = ["--rooms", "2", "--members", "3", "--rate", "100"];

#[test]
fn own_templates_drive_another_protocol() {
    let url = start(Fault::None);
    let (report, status) = run("fanout", &url, &[&OWN[..], &SMALL].concat());
    assert_all_delivered(&report, status);
    let (report, status) = run("fanout", &url, &[&OWN[..], &["--members", "3", "--in-flight", "4"]].concat());
    assert_all_delivered(&report, status);
    let (report, status) = run("churn", &url, &[&OWN[..], &["--concurrency", "4", "--warmup", "0"]].concat());
    assert_eq!(status, 0, "{report}");
    assert!(number(&report, "cycles", "completed") > 4.0, "{report}");
}

#[test]
fn without_a_marker_the_run_waits_for_silence() {
    let url = start(Fault::None);
    let (report, status) = run("fanout", &url, &[&OWN[..], &SMALL, &["--joined-marker", ""]].concat());
    assert_all_delivered(&report, status);
}

#[test]
fn a_server_that_does_wrong_is_found_out() {
    for (fault, key, count) in [
        // Two rooms of three members each.
        (Fault::Drop, "lost", 6.0),
        (Fault::Double, "duplicates", 6.0),
        (Fault::Swap, "reordered", 6.0),
    ] {
        let url = start(fault);
        let (report, status) = run("fanout", &url, &[&OWN[..], &SMALL, &["--drain", "3"]].concat());
        assert_eq!(status, 1, "{report}");
        for other in ["lost", "duplicates", "reordered"] {
            let wanted = if other == key { count } else { 0.0 };
            assert_eq!(number(&report, "deliveries", other), wanted, "{key} {other}: {report}");
        }
    }
}
