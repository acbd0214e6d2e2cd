use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

#[test]
fn an_entry_costs_eight_bytes_more_than_its_value() {
    assert!(size_of::<Entry<[u64; 9]>>() <= 9 * 8 + 8);
    assert!(size_of::<Entry<u32>>() <= 4 + 8);
}

#[test]
fn a_stale_key_finds_nothing() {
    let mut slab = Slab::new(10);
    let old = slab.insert('a').unwrap();
    assert_eq!(slab.remove(old), Some('a'));
    let new = slab.insert('b').unwrap();
    assert_eq!(old.slot, new.slot);
    assert_eq!(slab.get(old), None);
    assert_eq!(slab.get_mut(old), None);
    assert_eq!(slab.remove(old), None);
    assert_eq!((slab.get(new), slab.at(new.slot), slab.key(new.slot)), (Some(&'b'), Some(&'b'), Some(new)));
}

#[test]
fn the_slot_vacated_last_is_taken_first() {
    let mut slab = Slab::new(10);
    let keys: Vec<Key> = (0..4).map(|value| slab.insert(value).unwrap()).collect();
    slab.remove(keys[2]);
    slab.remove(keys[0]);
    let slots: Vec<u32> = (0..3).map(|value| slab.insert(value).unwrap().slot).collect();
    assert_eq!(slots, [0, 2, 4]);
}

#[test]
fn a_full_slab_hands_the_value_back() {
    let mut slab = Slab::new(1025);
    let keys: Vec<Key> = (0..1025).map(|value| slab.insert(value).unwrap()).collect();
    assert_eq!((slab.next_key(), slab.insert(7), slab.capacity()), (None, Err(7), 1025));
    slab.remove(keys[3]);
    assert_eq!(slab.insert(8).map(|key| key.slot), Ok(3));
    assert_eq!(Slab::new(0).insert(1), Err(1));
}

#[test]
fn generations_wrap_and_skip_nothing() {
    let mut slab = Slab::new(4);
    slab.first_generations.push(u32::MAX - 1);
    let generations: Vec<u32> = (0..4)
        .map(|value| {
            let key = slab.insert(value).unwrap();
            slab.remove(key);
            key.generation
        })
        .collect();
    assert_eq!(generations, [u32::MAX - 1, u32::MAX, 0, 1]);
}

#[test]
fn empty_chunks_at_the_end_are_given_back_and_their_keys_stay_stale() {
    let mut slab = Slab::new(u32::MAX);
    for first in [0, u32::MAX - 1] {
        slab.first_generations = vec![first; 5];
        let keys: Vec<Key> = (0..5 * CHUNK_LEN).map(|value| slab.insert(value).unwrap()).collect();
        let (low, high) = keys.split_at(CHUNK_LEN + 1);
        // One slot of the last chunk is busier than the rest.
        let mut busy = *high.last().unwrap();
        for _ in 0..3 {
            slab.remove(busy);
            busy = slab.insert(0).unwrap();
        }
        high.iter().chain([&busy]).for_each(|key| assert!(slab.remove(*key).is_some() || *key != busy));
        assert_eq!(slab.chunks.len(), 3, "two in use and one in reserve");
        let again: Vec<Key> = high.iter().map(|_| slab.insert(1).unwrap()).collect();
        assert!(high.iter().chain([&busy]).all(|key| slab.get(*key).is_none()));
        low.iter().chain(&again).for_each(|key| assert!(slab.remove(*key).is_some()));
        assert_eq!((slab.len(), slab.chunks.len()), (0, 1));
        slab.chunks.clear();
        slab.roomy.clear();
    }
}

#[test]
fn a_key_survives_its_token() {
    for (slot, generation) in [(0, 0), (77, 3), (u32::MAX - 1, u32::MAX)] {
        let key = Key { slot, generation };
        assert_eq!(Key::from_token(key.to_token()), key);
        assert_ne!(key.to_token(), usize::MAX);
    }
}

#[derive(Debug, Clone)]
enum Step {
    Insert(usize),
    /// Removes a run of the entries that live, beginning at a fraction of them.
    Remove(f64, usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1..1500usize).prop_map(Step::Insert),
        (0.0..1.0, 1..2500usize).prop_map(|(from, count)| Step::Remove(from, count)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn agrees_with_a_map(steps in prop::collection::vec(step(), 1..16), capacity_max in 1000..6000u32) {
        let mut slab = Slab::new(capacity_max);
        let mut model: BTreeMap<(u32, u32), u64> = BTreeMap::new();
        let mut stale: Vec<Key> = Vec::new();
        let mut serial = 0;
        for step in steps {
            match step {
                Step::Insert(count) => for _ in 0..count {
                    serial += 1;
                    let promised = slab.next_key();
                    let given = slab.insert(serial);
                    prop_assert_eq!(given.ok(), promised);
                    prop_assert_eq!(promised.is_none(), model.len() == capacity_max as usize);
                    if let Some(key) = promised {
                        prop_assert!(model.insert((key.slot, key.generation), serial).is_none());
                    }
                },
                Step::Remove(from, count) => {
                    let from = (from * model.len() as f64) as usize;
                    let gone: Vec<(u32, u32)> = model.keys().skip(from).take(count).copied().collect();
                    for (slot, generation) in gone {
                        let key = Key { slot, generation };
                        prop_assert_eq!(slab.remove(key), model.remove(&(slot, generation)));
                        stale.push(key);
                    }
                }
            }
            prop_assert!(stale.iter().all(|key| slab.get(*key).is_none()));
            let found = |&(slot, generation): &(u32, u32)| slab.get(Key { slot, generation });
            prop_assert!(model.iter().all(|(key, value)| found(key) == Some(value)));
            prop_assert!(slab.iter().map(|(key, value)| ((key.slot, key.generation), *value))
                .eq(model.iter().map(|(key, value)| (*key, *value))));
            let highest = model.keys().next_back().map_or(0, |key| key.0 as usize / CHUNK_LEN + 1);
            prop_assert!(slab.chunks.len() <= highest + 1);
            prop_assert_eq!(slab.len(), model.len());
        }
    }
}
