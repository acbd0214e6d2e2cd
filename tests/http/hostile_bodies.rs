//! HTTP bodies that are wrong, endless, or could be read in two ways; and answers that nobody reads.

use crate::common::{BODY, CHUNKED, PATIENCE, Response, Siege, exchange, head, post, rss_kib, to_the_end};
use std::io::{Read, Write};
use std::net::TcpStream;

const BAD: &str = "handshake_failures bad_request";

#[test]
fn bodies_that_could_be_read_in_two_ways_are_not_read_at_all() {
    let mut siege = Siege::start(&["--http-body-bytes-max=4096", "--http-request-timeout=1s"]);
    let mut listener = siege.server().connect();
    listener.subscribe("a");
    let cases = [
        ("two lengths", post("Content-Length: 21\r\nContent-Length: 22\r\n", BODY), 400, BAD),
        ("a list of lengths", post("Content-Length: 21, 21\r\n", BODY), 400, BAD),
        ("a negative length", post("Content-Length: -1\r\n", BODY), 400, BAD),
        ("a length with a plus", post("Content-Length: +21\r\n", BODY), 400, BAD),
        ("a length in hex", post("Content-Length: 0x15\r\n", BODY), 400, BAD),
        ("a length over 64 bits", post(&format!("Content-Length: {}\r\n", "9".repeat(40)), BODY), 400, BAD),
        ("no known coding", post("Transfer-Encoding: xchunked\r\n", CHUNKED), 400, BAD),
        ("chunked, then not", post("Transfer-Encoding: chunked, identity\r\n", CHUNKED), 400, BAD),
        ("gzip", post("Transfer-Encoding: gzip, chunked\r\n", CHUNKED), 501, "http_errors 501"),
        (
            "chunked in HTTP/1.0",
            post("Transfer-Encoding: chunked\r\n", CHUNKED).replacen("/1.1", "/1.0", 1),
            400,
            BAD,
        ),
        ("a bad chunk", post("Transfer-Encoding: chunked\r\n", "zz\r\n"), 400, "http_errors 400"),
        (
            "a chunk over 64 bits",
            post("Transfer-Encoding: chunked\r\n", &("f".repeat(17) + "\r\nx")),
            400,
            "http_errors 400",
        ),
        (
            "an endless chunk extension",
            post("Transfer-Encoding: chunked\r\n", &format!("15;{}", "x".repeat(100_000))),
            400,
            "http_errors 400",
        ),
        (
            "chunks over the bound",
            post("Transfer-Encoding: chunked\r\n", &format!("400\r\n{}\r\n", " ".repeat(1024)).repeat(5)),
            413,
            "http_errors 413",
        ),
        ("a length over the bound", post("Content-Length: 4097\r\n", ""), 413, "http_errors 413"),
        (
            "a length over the bound, to go on",
            post("Content-Length: 99999999\r\nExpect: 100-continue\r\n", ""),
            413,
            "http_errors 413",
        ),
        ("a body that does not come", post("Content-Length: 21\r\n", "{"), 408, "http_errors 408"),
        ("a chunk that does not come", post("Transfer-Encoding: chunked\r\n", "15"), 408, "http_errors 408"),
    ];
    for (what, bytes, status, counter) in &cases {
        let answer = siege.counts(what, &[(*counter, 1)], |server| exchange(server.addr(), bytes.as_bytes()));
        assert_eq!(answer.status, *status, "{what}: {answer:?}");
    }
    siege.counts("a body that is cut off", &[("http_errors 400", 1)], |server| {
        let mut stream = TcpStream::connect(server.addr()).unwrap();
        stream.write_all(post("Content-Length: 21\r\n", "{").as_bytes()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        assert_eq!(Response::parse(&answer).status, 400);
    });
    // Nothing of all that was published.
    listener.expect_nothing(crate::common::SILENCE);
    siege.nothing_more_is_counted();
}

#[test]
fn a_length_beside_chunks_smuggles_nothing() {
    let mut siege = Siege::start(&[]);
    let smuggled = head("GET /v1/stats HTTP/1.1", "");
    for lines in [
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
    ] {
        siege.counts(lines, &[], |server| {
            // RFC 9112 section 6.1: by the chunks alone, and then the connection ends.
            let answers = to_the_end(server, (post(lines, CHUNKED) + &smuggled).as_bytes());
            assert!(answers.ends_with("{\"delivered\":0}"), "{answers}");
            assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{answers}");
        });
    }
    siege.counts("the same length twice", &[], |server| {
        let twice = "Content-Length: 21\r\nContent-Length: 21\r\nConnection: close\r\n";
        assert_eq!(exchange(server.addr(), post(twice, BODY).as_bytes()).status, 200);
    });
}

#[test]
fn who_asks_without_reading_the_answers_is_cut_off() {
    let mut siege = Siege::start(&["--write-wait=1s", "--tcp-send-buffer=65536"]);
    let before = rss_kib(siege.server());
    siege.counts("pipelined and never read", &[("handshake_failures unread", 1)], |server| {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(8192).unwrap();
        socket.connect(&server.addr().into()).unwrap();
        let mut stream = TcpStream::from(socket);
        // Until the server reads no more, and then until it ends the connection.
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        let requests = head("GET /metrics HTTP/1.1", "").repeat(100);
        let ended = loop {
            if let Err(error) = stream.write_all(requests.as_bytes()) {
                break error.kind();
            }
        };
        assert!(
            matches!(ended, std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe),
            "{ended}"
        );
    });
    let grown = rss_kib(siege.server()).saturating_sub(before);
    assert!(grown < 8 * 1024, "{grown} KiB");
    siege.nothing_more_is_counted();
}
