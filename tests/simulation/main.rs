//! Whole nodes in one thread: the real shards, hub, limits, outboxes and dialect, a network of byte pipes, clients
//! that do anything, a clock that jumps, and an oracle that knows what each client must have heard. All of it
//! follows from one seed, so that what once fails can be looked at again and again.
//!
//! - `FANWIRE_SIMULATION_SEED=7` runs that seed alone.
//! - `FANWIRE_SIMULATION_SEEDS=100000` runs that many.
//! - `FANWIRE_SIMULATION_SECONDS=3600` runs seeds that were never run, for that long.

mod accounts;
mod acts;
mod bucket;
mod client;
mod cluster;
mod deflate;
mod frames;
mod hearing;
mod listening;
mod mail;
mod members;
mod model;
#[cfg(all(feature = "mutations", debug_assertions))]
mod mutations;
mod oracle;
mod order;
mod ordered;
mod peer;
mod pipe;
mod plan;
mod presence;
mod random;
mod rules;
mod runner;
#[path = "../sixth/mod.rs"]
mod sixth;
mod sleep;
mod speech;
mod stream;
mod tally;
mod told;
mod trace;
mod turn;
mod walks;
mod world;
mod wrapped;

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
