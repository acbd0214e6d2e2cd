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
    /// In the template `"*"` stands for any string or number, `"*ms"` for Unix milliseconds near now, `"*uuid"` for a
    /// UUID. All else must be the same, in the same order of keys.
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
        "*ms" => value.as_u64().is_some_and(|ms| {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as u64;
            ms.abs_diff(now) < 120_000
        }),
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
