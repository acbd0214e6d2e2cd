use super::*;
use proptest::prelude::*;
use serde_json::Value;

fn have(wanted: &str, data: &str) -> bool {
    let hasher = FieldHasher::default();
    hasher.read(data).have(&hasher.wanted(wanted).unwrap())
}

#[test]
fn what_is_no_filter_is_refused_at_its_first_such_field() {
    let hasher = FieldHasher::default();
    let many = |count: usize| {
        let fields: Vec<String> = (0..count).map(|field| format!("\"{field}\":{field}")).collect();
        format!("{{{}}}", fields.join(","))
    };
    assert_eq!(hasher.wanted(&many(FIELDS_MAX)).unwrap().len(), FIELDS_MAX);
    for wrong in [
        many(FIELDS_MAX + 1),
        // Of one name, but written seventeen times.
        format!("{{{}}}", ["\"a\":1"; FIELDS_MAX + 1].join(",")),
        r#"{"a":{}}"#.to_owned(),
        r#"{"a":[]}"#.to_owned(),
        // What follows is not even looked at.
        r#"{"a":[1],"b"#.to_owned(),
        r#"{"a":"\ud800"}"#.to_owned(),
        r#"{"a":1e999}"#.to_owned(),
        "[]".to_owned(),
        "1".to_owned(),
        "{\"a\":1".to_owned(),
        "{\"a\":1} x".to_owned(),
        String::new(),
    ] {
        assert_eq!(hasher.wanted(&wrong), Err(NoFilter), "{wrong}");
    }
    assert!(hasher.wanted("{}").unwrap().is_empty());
}

#[test]
fn of_several_fields_of_one_name_the_last_counts() {
    assert!(have(r#"{"a":1,"a":2}"#, r#"{"a":2}"#));
    assert!(have(r#"{"a":2}"#, r#"{"a":1,"b":0,"a":2}"#));
    for data in [r#"{"a":2,"a":1}"#, r#"{"a":2,"a":{}}"#, r#"{"a":2,"\u0061":[2]}"#, r#"{"a":2,"a":1e999}"#] {
        assert!(!have(r#"{"a":2}"#, data), "{data}");
    }
}

#[test]
fn of_very_many_fields_the_first_are_read() {
    let of = |count: usize| {
        let fields: Vec<String> = (0..count).map(|field| format!("\"{field:x}\":1")).collect();
        format!("{{{}}}", fields.join(","))
    };
    let hasher = FieldHasher::default();
    assert_eq!(hasher.read(&of(FIELDS_READ_MAX)).len(), FIELDS_READ_MAX);
    let many = hasher.read(&of(56_000));
    assert_eq!(many.len(), FIELDS_READ_MAX);
    assert!(many.have(&hasher.wanted(r#"{"7fff":1}"#).unwrap()));
    assert!(!many.have(&hasher.wanted(r#"{"8000":1}"#).unwrap()));
}

#[test]
fn what_cannot_be_read_hides_no_other_field() {
    for data in [r#"{"x":1e999,"a":1}"#, r#"{"x":"\ud800","a":1}"#, r#"{"a":1,"x":[[{"a":2}]]}"#] {
        assert!(have(r#"{"a":1}"#, data), "{data}");
    }
    for data in ["", "[1]", "{}", "null", r#"{"x\ud800":0,"b":1}"#] {
        assert!(!have(r#"{"a":1}"#, data), "{data}");
    }
}

#[test]
fn kinds_of_values_are_never_equal() {
    let values =
        ["0", "1", "\"0\"", "\"1\"", "\"\"", "true", "false", "null", "0.5", "-1", "18446744073709551616.5"];
    for (at, wanted) in values.iter().enumerate() {
        for (other, has) in values.iter().enumerate() {
            let (wanted, data) = (format!("{{\"a\":{wanted}}}"), format!("{{\"a\":{has}}}"));
            assert_eq!(have(&wanted, &data), at == other, "{wanted} {data}");
        }
    }
    for (wanted, has) in
        [("12", "1.2e1"), ("-0", "0"), ("7", "7.0"), ("123456789012345678901", "123456789012345678901")]
    {
        assert!(have(&format!("{{\"a\":{wanted}}}"), &format!("{{\"a\":{has}}}")), "{wanted} {has}");
    }
}

#[test]
fn many_small_fields_cost_their_hashes() {
    let fields: Vec<String> = (0..30_000).map(|field| format!("\"{field:x}\":1")).collect();
    let data = format!("{{{}}}", fields.join(","));
    let read = FieldHasher::default().read(&data);
    assert_eq!((read.len(), read.charge()), (30_000, 30_000 * 8 + SET_BYTES));
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-3..3_i64).prop_map(Value::from),
        (-3..3_i64).prop_map(|number| Value::from(number as f64 / 2.0)),
        "[ab\"\\\\é]{0,2}".prop_map(Value::from),
        Just(serde_json::json!([1])),
    ]
}

fn object(most: usize) -> impl Strategy<Value = serde_json::Map<String, Value>> {
    prop::collection::hash_map("[ab\"é]{0,2}", scalar(), 0..most).prop_map(|map| map.into_iter().collect())
}

proptest! {
    #[test]
    fn agrees_with_a_tree(wanted in object(3), data in object(8)) {
        let nested = |value: &Value| value.is_array();
        let hasher = FieldHasher::default();
        let found = hasher.wanted(&Value::Object(wanted.clone()).to_string());
        prop_assert_eq!(found.is_err(), wanted.values().any(nested));
        let Ok(found) = found else { return Ok(()) };
        let same = |a: &Value, b: &Value| a == b || (a.is_number() && a.as_f64() == b.as_f64());
        let passes = wanted.iter().all(|(name, value)| data.get(name).is_some_and(|has| same(has, value)));
        prop_assert_eq!(hasher.read(&Value::Object(data).to_string()).have(&found), passes);
    }

    #[test]
    fn no_text_makes_it_panic(raw in "[{}\\[\\]\",:a1\\\\ é]{0,20}") {
        let hasher = FieldHasher::default();
        let _ = hasher.wanted(&raw);
        hasher.read(&raw);
    }
}
