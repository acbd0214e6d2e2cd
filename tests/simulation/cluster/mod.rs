//! Two and three nodes joined by a broker: whole nodes as in the other worlds, whose clients may lag no longer than
//! their tick, and between the nodes a toy broker which delays, doubles and loses. The oracle knows the promises across
//! nodes: no loop, nothing twice, the order of each publisher, one order in a room that remembers, and that what is lost
//! is told.

mod broker;
mod oracle;
mod world;

use super::runner::{outcome_of, words};
use world::World;

/// Seeds run where nothing else is asked for.
const SEEDS: u64 = 2000;

/// Lines of the trace that are shown of a run that fails.
const LINES_SHOWN: usize = 60;

/// Runs one seed: what happened, or what failed.
pub fn run(seed: u64) -> Result<String, String> {
    let mut world = World::new(seed);
    let outcome = outcome_of(|| world.run());
    let trace = world.trace;
    let Err((panic, place)) = outcome else { return Ok(trace) };
    let what = words(&*panic);
    let lines: Vec<_> = trace.lines().collect();
    let tail = lines[lines.len().saturating_sub(LINES_SHOWN)..].join("\n");
    Err(format!(
        "{tail}\nseed {seed}: {what}\n  at {place}\nagain: FANWIRE_SIMULATION_SEED={seed} cargo test --test simulation nodes_keep"
    ))
}

#[test]
fn nodes_keep_their_promises() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let (first, count) = match number("FANWIRE_SIMULATION_SEED") {
        Some(seed) => (seed, 1),
        None => (0, number("FANWIRE_SIMULATION_SEEDS").unwrap_or(SEEDS)),
    };
    for seed in first..first + count {
        if let Err(failure) = run(seed) {
            panic!("{failure}");
        }
    }
}

#[test]
fn nodes_do_the_same_again_for_the_same_seed() {
    for seed in 0..10 {
        let [first, second] = [run(seed), run(seed)];
        assert!(first.as_ref().is_ok_and(|trace| trace.lines().count() > 10), "hardly anything happens");
        assert_eq!(first, second, "seed {seed}");
    }
}
