use super::*;
use proptest::prelude::*;

fn policy(messages_max: u32, age_ms: u64, bytes_max: usize) -> RoomPolicy {
    let history = HistoryLimits { messages_max, age_max: Duration::from_millis(age_ms), bytes_max };
    RoomPolicy { history: Some(history), ..RoomPolicy::default() }
}

fn said(data: &str) -> Publication<'_> {
    Publication {
        event: "e",
        room: Some("r"),
        data: Some(data),
        whole: None,
        sender: None,
        unix_ms: 7,
        offset: None,
    }
}

fn history(messages_max: u32, age_ms: u64, bytes_max: usize) -> History {
    History::new(&policy(messages_max, age_ms, bytes_max), Epoch::new(5))
}

fn at(offset: u64) -> Position {
    Position { epoch: Epoch::new(5), offset }
}

fn offsets<'a>(items: impl Iterator<Item = (u64, &'a Arc<Stored>)>) -> Vec<u64> {
    items.map(|(offset, _)| offset).collect()
}

#[test]
fn what_is_kept_comes_back_as_it_was() {
    let mut history = history(2, 1000, 10_000);
    let id = ConnectionId::parse("5f64a9c2-8b1d-4e3f-a0b1-c2d3e4f50617").unwrap();
    let whole = r#"{"type":"né","data":[2],"more":1}"#;
    let senders = [None, Some(Sender { id, user: None }), Some(Sender { id, user: Some("ü1") })];
    let contents = [(Some("[1]"), None), (Some(""), None), (None, None), (Some("[2]"), Some(whole))];
    for (sender, (data, whole)) in
        senders.into_iter().flat_map(|sender| contents.map(|content| (sender, content)))
    {
        let given =
            Publication { event: "né", room: Some("r"), data, whole, sender, unix_ms: 9, offset: Some(3) };
        history.append(&given, 0);
        let (offset, stored) = history.last().unwrap();
        assert_eq!(offset, history.position().offset);
        assert_eq!(format!("{:?}", stored.publication("r", Some(3))), format!("{given:?}"));
    }
}

#[test]
fn the_count_bounds() {
    let mut history = history(3, 1000, 10_000);
    for number in 0..5 {
        assert_eq!(history.append(&said(&number.to_string()), 0), number + 1);
    }
    assert_eq!(offsets(history.since(at(2)).unwrap()), [3, 4, 5]);
    assert!(history.since(at(1)).is_none());
}

#[test]
fn the_age_bounds() {
    let mut history = history(10, 100, 10_000);
    for now_ms in [0, 60, 50, 120] {
        history.append(&said("1"), now_ms);
    }
    assert_eq!(offsets(history.since(at(1)).unwrap()), [2, 3, 4], "the first went when the last came");
    assert_eq!(history.due_ms(), Some(160));
    history.trim(159);
    assert_eq!(history.len(), 3);
    history.trim(160);
    assert_eq!((history.len(), history.due_ms()), (1, Some(220)), "time does not go back");
    history.trim(220);
    assert_eq!((history.len(), history.bytes(), history.due_ms()), (0, 0, None));
    assert_eq!(offsets(history.since(at(4)).unwrap()), [0; 0], "who saw all has missed nothing");
    assert!(history.since(at(3)).is_none());
}

#[test]
fn the_bytes_bound() {
    let mut history = history(10, 1000, 2 * ENTRY_BYTES + 200);
    for _ in 0..4 {
        history.append(&said(&"x".repeat(90)), 0);
        assert!(history.bytes() <= 2 * ENTRY_BYTES + 200);
    }
    assert_eq!(history.len(), 2);
    assert_eq!(history.append(&said(&"x".repeat(1000)), 0), 5);
    assert_eq!((history.len(), history.bytes()), (0, 0), "too large to keep, and so is what was before");
    assert_eq!(history.append(&said("1"), 0), 6);
    assert_eq!(offsets(history.since(at(5)).unwrap()), [6]);
    assert!(history.since(at(4)).is_none());
}

#[test]
fn positions_of_elsewhere_cannot_be_told_from() {
    let mut history = history(10, 1000, 10_000);
    history.append(&said("1"), 0);
    assert!(history.since(at(2)).is_none(), "the future");
    assert!(history.since(Position { epoch: Epoch::new(6), offset: 1 }).is_none());
    assert!(history.since(Position { epoch: Epoch::UNKNOWN, offset: 1 }).is_none());
    assert!(history.since(at(u64::MAX)).is_none());
    assert_eq!(offsets(history.since(at(0)).unwrap()), [1]);
}

#[test]
fn a_last_value_has_an_age_only_if_the_rule_says_so() {
    let policy = RoomPolicy { last_value: true, ..RoomPolicy::default() };
    let mut history = History::new(&policy, Epoch::new(5));
    history.append(&said("1"), 0);
    history.append(&said("2"), 0);
    history.trim(u64::MAX);
    let (offset, stored) = history.last().unwrap();
    assert_eq!((offset, stored.publication("r", None).data, history.len()), (2, Some("2"), 1));
    assert_eq!((history.age_max_ms(), history.due_ms()), (None, None));
    let policy = RoomPolicy { last_value_age_max: Some(Duration::from_secs(1)), ..policy };
    let mut history = History::new(&policy, Epoch::new(5));
    history.append(&said("1"), 0);
    assert_eq!((history.age_max_ms(), history.due_ms()), (Some(1000), Some(1000)));
    history.trim(1000);
    assert!(history.is_empty());
}

#[test]
fn pages_are_bounded_by_count_and_bytes() {
    let mut history = history(10, 1000, 10_000);
    for _ in 0..12 {
        history.append(&said("1"), 0);
    }
    let page = |after, limit, bytes| offsets(history.page(after, limit, bytes));
    assert_eq!(page(None, 3, 10_000), [10, 11, 12]);
    assert_eq!(page(Some(0), 3, 10_000), [3, 4, 5], "what is gone is gone");
    assert_eq!(page(Some(5), 3, 10_000), [6, 7, 8]);
    assert_eq!(page(Some(11), 3, 10_000), [12]);
    assert_eq!(page(Some(12), 3, 10_000), [0; 0]);
    assert_eq!(page(Some(u64::MAX), 3, 10_000), [0; 0]);
    assert_eq!(page(None, 5, 2 * (ENTRY_BYTES + 2)), [11, 12]);
    assert_eq!(page(Some(5), 5, 2 * (ENTRY_BYTES + 2)), [6, 7]);
    assert_eq!(page(Some(5), 5, 0), [6], "one at least, or a reader never gets on");
    assert_eq!(page(None, 5, 0), [12]);
}

#[test]
fn the_ring_shrinks_with_what_it_holds() {
    let mut history = history(10_000, 1000, 10_000_000);
    for now_ms in 0..5000 {
        history.append(&said("1"), now_ms / 10);
        assert!(history.entries.capacity() <= 2 * history.len() + SPARE_PLACES);
    }
    for now_ms in 1000..1600 {
        history.trim(now_ms);
        assert!(history.entries.capacity() <= 2 * history.len() + SPARE_PLACES, "{}", history.len());
    }
    assert!(history.is_empty());
}

/// What a history does, for the model.
#[derive(Debug, Clone)]
enum Step {
    Append(usize),
    Pass,
    Wait(u64),
    Clear,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0_usize..400).prop_map(Step::Append),
        1 => Just(Step::Pass),
        4 => (0_u64..60).prop_map(Step::Wait),
        1 => Just(Step::Clear),
    ]
}

proptest! {
    /// Against a plain list of everything, of which the longest tail that no bound forbids is kept.
    #[test]
    fn agrees_with_a_list(
        messages_max in 1_u32..8,
        bytes_max in 200_usize..2000,
        steps in prop::collection::vec(step(), 0..80),
    ) {
        const AGE_MS: u64 = 100;
        let mut history = history(messages_max, AGE_MS, bytes_max);
        // When each was published and its bytes; `None` for what must not be kept.
        let mut all: Vec<Option<(u64, usize)>> = Vec::new();
        let (mut now_ms, mut gone) = (0, 0);
        for step in steps {
            match step {
                Step::Append(len) => {
                    let data = "x".repeat(len);
                    let charge = Stored::charge_of(&said(&data));
                    all.push((charge <= bytes_max).then_some((now_ms, charge)));
                    prop_assert_eq!(history.append(&said(&data), now_ms), all.len() as u64);
                }
                Step::Pass => {
                    all.push(None);
                    prop_assert_eq!(history.pass(), all.len() as u64);
                }
                Step::Wait(ms) => now_ms += ms,
                Step::Clear => {
                    history.clear();
                    gone = all.len();
                }
            }
            history.trim(now_ms);
            let (mut first, mut bytes) = (all.len(), 0);
            while first > gone
                && all.len() - first < messages_max as usize
                && let Some((at_ms, charge)) = all[first - 1]
                && bytes + charge <= bytes_max
                && at_ms + AGE_MS > now_ms
            {
                first -= 1;
                bytes += charge;
            }
            // What a bound has dropped stays dropped, even where a later look would allow it again.
            gone = first;
            prop_assert_eq!((history.len(), history.bytes()), (all.len() - first, bytes));
            prop_assert_eq!(history.position(), at(all.len() as u64));
            prop_assert!(history.entries.capacity() <= 2 * history.len() + SPARE_PLACES);
            for seen in 0..=all.len() + 1 {
                let expected = (seen >= first && seen <= all.len())
                    .then(|| (seen as u64 + 1..=all.len() as u64).collect::<Vec<_>>());
                prop_assert_eq!(history.since(at(seen as u64)).map(offsets), expected);
            }
        }
    }
}

#[test]
fn fields_that_a_filter_has_asked_for_are_charged() {
    let filters = Filters::new(1);
    let wanted = |raw: &str| filters.wanted(filters.take(raw).unwrap().unwrap()).unwrap();
    let data: Vec<String> = (0..3).map(|n| format!("{{\"n\":{n},\"m\":true,\"deep\":[]}}")).collect();
    let mut history = history(10, 1000, 1000);
    for data in &data {
        history.append(&said(data), 0);
    }
    let before = history.bytes();
    let page: Vec<_> = history.page(None, 10, usize::MAX).map(|(at, stored)| (at, stored.clone())).collect();
    let one = wanted(r#"{"n":1}"#);
    let passes: Vec<_> = page.iter().map(|(_, stored)| stored.fields(&filters).0.have(&one)).collect();
    assert_eq!(passes, [false, true, false]);
    assert!(page.iter().all(|(_, stored)| !stored.fields(&filters).1), "read twice");
    let each = page[0].1.fields(&filters).0.charge();
    assert_eq!(each, 2 * 8 + 48);
    assert_eq!((history.count_fields(&page), history.bytes()), (3 * each, before + 3 * each));
    assert_eq!((history.count_fields(&page), history.bytes()), (0, before + 3 * each), "counted twice");
    // What is dropped gives back all of it.
    let long = format!("\"{}\"", "x".repeat(700));
    history.append(&said(&long), 0);
    assert!(history.bytes() <= 1000 && history.last().unwrap().0 == 4);
    assert_eq!(history.count_fields(&page), 0, "it is not kept any more");
    history.clear();
    assert_eq!(history.bytes(), 0);
    // One that has no place beside its fields goes.
    let fields: Vec<String> = (0..80).map(|field| format!("\"{field}\":1")).collect();
    let wide = format!("{{{}}}", fields.join(","));
    history.append(&said(&wide), 0);
    let page: Vec<_> = history.last().into_iter().map(|(at, stored)| (at, stored.clone())).collect();
    page[0].1.fields(&filters);
    history.count_fields(&page);
    assert_eq!((history.len(), history.bytes()), (0, 0));
}
