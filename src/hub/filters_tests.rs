use super::*;
use std::sync::Barrier;
use std::thread;

fn taken(filters: &Filters, raw: &str) -> FilterId {
    filters.take(raw).unwrap().unwrap()
}

fn look(filters: &Filters, id: FilterId, data: &str) -> (bool, bool) {
    let verdict = filters.verdict(id, filters.hash(data), Some(data)).unwrap();
    (verdict.passes, verdict.is_new)
}

#[test]
fn equal_filters_are_one_until_the_last_user_goes() {
    let filters = Filters::new(2);
    let id = taken(&filters, r#"{"a":1,"b":"x"}"#);
    assert_eq!(taken(&filters, r#"{"b":"\u0078","a":1.0}"#), id);
    let other = taken(&filters, r#"{"a":1}"#);
    assert!(other != id && filters.len() == 2);
    filters.give(id);
    assert_eq!((look(&filters, id, r#"{"a":1,"b":"x"}"#), filters.len()), ((true, true), 2));
    filters.give(id);
    assert_eq!(filters.len(), 1);
    let next = taken(&filters, r#"{"a":1,"b":"x"}"#);
    assert!(next != id && next != other, "what others remember of a filter is never said of another one");
    filters.give(next);
    filters.give(other);
    assert!(filters.is_empty());
    let state = filters.lock();
    let memory = (state.verdicts.capacity(), state.by_fields.capacity(), state.read.capacity());
    assert_eq!(memory, (0, 0, 0), "nobody has a filter");
    drop(state);
    assert!(taken(&filters, r#"{"a":1}"#) != other);
}

#[test]
fn a_pair_is_evaluated_once_though_shards_look_at_it_at_once() {
    const SHARDS: usize = 4;
    let filters = Filters::new(SHARDS);
    let ids: Vec<_> = (0..10).map(|n| taken(&filters, &format!(r#"{{"n":{n}}}"#))).collect();
    let data: Vec<_> =
        (0..200).map(|n| format!(r#"{{"n":{},"at":{n},"long":"{}"}}"#, n % 10, "z".repeat(2000))).collect();
    let barrier = Barrier::new(SHARDS);
    let look_at_all = || {
        let mut evaluations = 0;
        for (n, data) in data.iter().enumerate() {
            barrier.wait();
            for (at, id) in ids.iter().enumerate() {
                let (passes, is_new) = look(&filters, *id, data);
                assert_eq!(passes, n % 10 == at);
                evaluations += usize::from(is_new);
            }
        }
        evaluations
    };
    let evaluations: usize = thread::scope(|scope| {
        let shards: Vec<_> = (0..SHARDS).map(|_| scope.spawn(look_at_all)).collect();
        shards.into_iter().map(|shard| shard.join().unwrap()).sum()
    });
    assert_eq!(evaluations, ids.len() * data.len());
}

#[test]
fn data_is_needed_once_for_all_filters() {
    let filters = Filters::new(2);
    let (a, b) = (taken(&filters, r#"{"a":1}"#), taken(&filters, r#"{"b":1}"#));
    let data = [r#"{"a":1}"#, r#"{"b":1}"#, r#"{"a":1,"b":1}"#];
    let hashes = data.map(|data| filters.hash(data));
    assert_eq!(filters.verdict(a, hashes[0], None), None);
    for (hash, data) in hashes.iter().zip(data).take(2) {
        filters.verdict(a, *hash, Some(data)).unwrap();
    }
    // Both are kept in a form in which any filter can be evaluated, and the one used last stays for longer.
    let verdict = |passes, is_new| Some(Verdict { passes, is_new });
    assert_eq!(filters.verdict(b, hashes[0], None), verdict(false, true));
    filters.verdict(a, hashes[2], Some(data[2])).unwrap();
    assert_eq!(filters.verdict(b, hashes[1], None), None);
    let c = taken(&filters, r#"{"a":1,"c":1}"#);
    assert_eq!(filters.verdict(c, hashes[0], None), verdict(false, true));
    assert_eq!(
        filters.verdict(a, hashes[1], None),
        verdict(false, false),
        "what was said is remembered apart"
    );
    assert_eq!(filters.lock().read.len(), 2);
}

#[test]
fn what_is_remembered_is_bounded_and_the_newest_half_of_it_stays() {
    let filters = Filters::new(1);
    let id = taken(&filters, r#"{"n":1}"#);
    let hashes: Vec<_> = (0..3 * VERDICTS_MAX)
        .map(|n| {
            let data = format!(r#"{{"at":{n}}}"#);
            assert_eq!(look(&filters, id, &data), (false, true));
            let state = filters.lock();
            assert!(state.verdicts.len() + state.verdicts_before.len() <= VERDICTS_MAX);
            drop(state);
            filters.hash(&data)
        })
        .collect();
    for hash in &hashes[hashes.len() - VERDICTS_MAX / 2..] {
        assert_eq!(filters.verdict(id, *hash, None), Some(Verdict { passes: false, is_new: false }));
    }
    assert_eq!(filters.verdict(id, hashes[0], None), None);
}
