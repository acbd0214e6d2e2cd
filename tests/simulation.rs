//! Whole nodes in one thread: the real shards, hub, limits, outboxes and dialect, a network of byte pipes, clients
//! that do anything, a clock that jumps, and an oracle that knows what each client must have heard. All of it
//! follows from one seed, so that what once fails can be looked at again and again.
//!
//! - `FANWIRE_SIMULATION_SEED=7` runs that seed alone.
//! - `FANWIRE_SIMULATION_SEEDS=100000` runs that many.
//! - `FANWIRE_SIMULATION_SECONDS=3600` runs seeds that were never run, for that long.

#[path = "simulation/accounts.rs"]
mod accounts;
#[path = "simulation/acts.rs"]
mod acts;
#[path = "simulation/bucket.rs"]
mod bucket;
#[path = "simulation/client.rs"]
mod client;
#[path = "simulation/deflate.rs"]
mod deflate;
#[path = "simulation/frames.rs"]
mod frames;
#[path = "simulation/hearing.rs"]
mod hearing;
#[path = "simulation/listening.rs"]
mod listening;
#[path = "simulation/mail.rs"]
mod mail;
#[path = "simulation/members.rs"]
mod members;
#[path = "simulation/model.rs"]
mod model;
#[cfg(all(feature = "mutations", debug_assertions))]
#[path = "simulation/mutations.rs"]
mod mutations;
#[path = "simulation/oracle.rs"]
mod oracle;
#[path = "simulation/order.rs"]
mod order;
#[path = "simulation/ordered.rs"]
mod ordered;
#[path = "simulation/peer.rs"]
mod peer;
#[path = "simulation/pipe.rs"]
mod pipe;
#[path = "simulation/plan.rs"]
mod plan;
#[path = "simulation/presence.rs"]
mod presence;
#[path = "simulation/random.rs"]
mod random;
#[path = "simulation/rules.rs"]
mod rules;
#[path = "simulation/runner.rs"]
mod runner;
#[path = "simulation/sleep.rs"]
mod sleep;
#[path = "simulation/speech.rs"]
mod speech;
#[path = "simulation/stream.rs"]
mod stream;
#[path = "simulation/tally.rs"]
mod tally;
#[path = "simulation/trace.rs"]
mod trace;
#[path = "simulation/turn.rs"]
mod turn;
#[path = "simulation/walks.rs"]
mod walks;
#[path = "simulation/world.rs"]
mod world;

#[test]
fn every_seed_holds() {
    runner::run_as_asked();
}

#[test]
fn the_same_seed_twice_is_the_same_run() {
    for seed in 0..10 {
        let [first, second] = [runner::run(seed), runner::run(seed)];
        let [first, second] =
            [first, second].map(|outcome| outcome.unwrap_or_else(|failure| panic!("{failure}")));
        assert!(first.0 > 50, "hardly anything happens");
        assert_eq!(first, second, "seed {seed}");
    }
    assert_ne!(runner::run(1), runner::run(2));
}
