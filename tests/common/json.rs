use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

/// JSON that keeps the order of keys: the documents show one, and answers hold it.
#[derive(Debug, Clone, PartialEq)]
pub enum Json {
    Plain(serde_json::Value),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    /// # Panics
    /// When `text` is no JSON.
    pub fn parse(text: &str) -> Self {
        serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
    }

    /// Where this differs from a template, or `None` where it does not.
    ///
    /// In the template `"*"` stands for any string or number, `"*ms"` for Unix milliseconds near now, `"*iso"` for the same
    /// as ISO 8601 has it, `"*uuid"` for a UUID. All else must be the same, in the same order of keys.
    pub fn differs(&self, template: &Self) -> Option<String> {
        match (self, template) {
            (Self::Plain(value), Self::Plain(serde_json::Value::String(wildcard)))
                if wildcard.starts_with('*') =>
            {
                (!fits(value, wildcard)).then(|| format!("{value} is no {wildcard}"))
            }
            (Self::Array(values), Self::Array(templates)) if values.len() == templates.len() => {
                values.iter().zip(templates).find_map(|(value, template)| value.differs(template))
            }
            (Self::Object(fields), Self::Object(templates)) => {
                let keys = |fields: &[(String, Self)]| fields.iter().map(|f| f.0.clone()).collect::<Vec<_>>();
                if keys(fields) != keys(templates) {
                    return Some(format!("keys {:?} instead of {:?}", keys(fields), keys(templates)));
                }
                let pairs = fields.iter().zip(templates);
                pairs.into_iter().find_map(|((key, value), (_, template))| {
                    value.differs(template).map(|difference| format!("{key}: {difference}"))
                })
            }
            _ => (self != template).then(|| format!("{self:?} instead of {template:?}")),
        }
    }

    /// Whether this is as the template says.
    pub fn matches(&self, template: &Self) -> bool {
        self.differs(template).is_none()
    }
}

fn fits(value: &serde_json::Value, wildcard: &str) -> bool {
    match wildcard {
        "*ms" => value.as_u64().is_some_and(is_near_now),
        "*iso" => value.as_str().and_then(unix_ms).is_some_and(is_near_now),
        "*uuid" => value.as_str().is_some_and(|text| {
            let dashes = [8, 13, 18, 23];
            text.len() == 36
                && text
                    .char_indices()
                    .all(|(at, c)| if dashes.contains(&at) { c == '-' } else { c.is_ascii_hexdigit() })
        }),
        _ => value.is_string() || value.is_number(),
    }
}

fn is_near_now(unix_ms: u64) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as u64;
    unix_ms.abs_diff(now) < 120_000
}

/// Reads `2024-01-15T10:30:00.000Z`; nothing else.
fn unix_ms(text: &str) -> Option<u64> {
    let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    let number = |at: std::ops::Range<usize>| text.get(at)?.parse::<u64>().ok();
    if shape != "0000-00-00T00:00:00.000Z" {
        return None;
    }
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let leaps = |year: u64| year / 4 - year / 100 + year / 400;
    let is_leap = leaps(year) > leaps(year - 1);
    let before = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334].get(month as usize - 1)?;
    let days = (year - 1970) * 365 + leaps(year - 1) - leaps(1969) + before;
    let days = days + u64::from(is_leap && month > 2) + day - 1;
    let seconds = ((days * 24 + number(11..13)?) * 60 + number(14..16)?) * 60 + number(17..19)?;
    Some(seconds * 1000 + number(20..23)?)
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = map.next_entry()? {
            fields.push(field);
        }
        Ok(Json::Object(fields))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Json, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = sequence.next_element()? {
            values.push(value);
        }
        Ok(Json::Array(values))
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Plain(serde_json::Value::Null))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Plain(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Plain(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Plain(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
        Ok(Json::Plain(value.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(Json::Plain(value.into()))
    }
}
