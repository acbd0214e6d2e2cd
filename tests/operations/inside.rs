//! A server inside the test's own program.

use crate::common::{Client, request};
use fanwire::Server;
use fanwire::config::Config;
use std::time::Duration;

/// Two shards on a free port, and no long wait at the end.
pub fn config() -> Config {
    let mut config = Config { host: [127, 0, 0, 1].into(), port: 0, shards: 2, ..Config::default() };
    config.times.drain_timeout = Duration::from_secs(1);
    config
}

pub fn connect(server: &Server) -> Client {
    Client::connect(server.local_addr().unwrap())
}

/// Stops a server as a program would, and checks that it ended.
pub fn stop(server: Server) {
    server.handle().shutdown();
    server.wait().expect("every shard ends well");
}

/// The value of a sample of the metrics.
pub fn metric(server: &Server, sample: &str) -> Option<f64> {
    let page = request(server.local_addr().unwrap(), "GET", "/metrics", &[], b"");
    page.body.lines().find_map(|line| line.strip_prefix(sample)?.trim().parse().ok())
}
