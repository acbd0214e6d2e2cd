//! What many members are sent in one submission to the kernel is what they are sent one by one.

use crate::common::losses::slow_client;
use crate::common::{Client, Server, eventually, find_program, left_out};

/// Well over the number from which on sends go together.
const MEMBERS: usize = 300;

/// The io_uring instances of a process.
fn rings(server: &Server) -> usize {
    let descriptors = std::fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap();
    let links = descriptors.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok());
    links.filter(|link| link.to_string_lossy().contains("io_uring")).count()
}

/// The numbers of the publications that a client gets, up to `last`.
fn numbers(client: &mut Client, last: u64) -> Vec<u64> {
    let mut numbers = Vec::new();
    while numbers.last() != Some(&last) {
        numbers.push(client.expect_json(|message| message["data"][0].as_u64().unwrap()));
    }
    numbers
}

/// A room of many: some of them are gone without a word, one reads late, all others get all, in order.
fn everybody_gets_all(server: &Server) {
    let mut members: Vec<Client> = (0..MEMBERS).map(|_| server.connect()).collect();
    let mut late = slow_client(server);
    late.subscribe("wide");
    members.iter_mut().for_each(|member| member.subscribe("wide"));
    let mut publisher = server.connect();
    publisher.subscribe("wide");
    let text = "x".repeat(16 * 1024);
    let mut publish = |numbers: std::ops::RangeInclusive<u64>| {
        for number in numbers {
            let message = serde_json::json!({"type": "publish", "room": "wide", "data": [number, text]});
            publisher.send_text(&message.to_string());
        }
    };
    publish(1..=5);
    for member in &mut members {
        assert_eq!(numbers(member, 5), [1, 2, 3, 4, 5]);
    }
    for gone in [250, 150, 50] {
        members.swap_remove(gone).reset();
    }
    publish(6..=40);
    for member in &mut members {
        assert_eq!(numbers(member, 40), (6..=40).collect::<Vec<_>>());
    }
    let expected = (MEMBERS - 3 + 2) as f64;
    eventually("those who are gone are known to be", || server.metric_sum("fanwire_connections") == expected);
    // Its socket took a part of what it was owed; the rest went on from there.
    assert_eq!(numbers(&mut late, 40), (1..=40).collect::<Vec<_>>());
}

const FLAGS: [&str; 3] = ["--shards=1", "--outbox-bytes-max=4MiB", "--write-wait=60s"];

#[test]
fn together() {
    let server = Server::start(&FLAGS);
    match rings(&server) {
        0 => left_out("sends in one submission", "a kernel that has io_uring and allows it"),
        count => assert_eq!(count, 1),
    }
    everybody_gets_all(&server);
}

#[test]
fn one_by_one() {
    let mut flags = FLAGS.to_vec();
    flags.push("--io-uring=false");
    let server = Server::start(&flags);
    assert_eq!(rings(&server), 0);
    everybody_gets_all(&server);
}

/// Has the kernel refuse a system call (seccomp(2)) to the program that is run in its place.
const FORBID: &str = r#"
import ctypes, os, struct, sys
class Filter(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_char_p)]
# Load the number of the call; if it is the one, answer with EPERM, else let it be.
steps = [(0x20, 0, 0, 0), (0x15, 0, 1, int(sys.argv[1])), (0x06, 0, 0, 0x00050001), (0x06, 0, 0, 0x7FFF0000)]
code = b"".join(struct.pack("HBBI", *step) for step in steps)
prctl = ctypes.CDLL(None, use_errno=True).prctl
NO_NEW_PRIVILEGES, SECCOMP, BY_FILTER = 38, 22, 2
assert prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0) == 0
assert prctl(SECCOMP, BY_FILTER, ctypes.byref(Filter(len(steps), code))) == 0
os.execv(sys.argv[2], sys.argv[2:])
"#;

const IO_URING_SETUP: u32 = 425;
const IO_URING_ENTER: u32 = 426;

#[test]
fn where_the_kernel_forbids_it_all_go_one_by_one() {
    if find_program("python3").is_none() {
        return left_out("io_uring forbidden", "python3");
    }
    for call in [IO_URING_SETUP, IO_URING_ENTER] {
        let setup = format!("exec python3 -c '{FORBID}' {call} \"$0\" \"$@\"");
        let server = Server::start_after(&setup, &FLAGS);
        let had_one = rings(&server) == 1;
        assert!(call == IO_URING_ENTER || !had_one);
        everybody_gets_all(&server);
        assert_eq!(rings(&server), 0);
        let output = server.output();
        assert_eq!(output.matches("io_uring fails").count(), usize::from(had_one), "{call}: {output}");
    }
}
