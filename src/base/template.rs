/// Fills a template: each `{name}` is replaced by its value. `None` if a value is not known, or a brace not closed.
pub fn fill_template<'v>(
    template: &str,
    value: impl Fn(&str) -> Option<std::borrow::Cow<'v, str>>,
) -> Option<String> {
    let mut filled = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}')?;
        filled.push_str(before);
        filled.push_str(&value(name)?);
        rest = after;
    }
    filled.push_str(rest);
    Some(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_replaced_once() {
        let value = |name: &str| {
            Some(match name {
                "a" => "{b}".into(),
                "b" => "2".into(),
                _ => return None,
            })
        };
        for (template, filled) in [
            ("", Some("")),
            ("plain", Some("plain")),
            ("{a}:{b}", Some("{b}:2")),
            ("x{b}{b}y", Some("x22y")),
            ("{c}", None),
            ("{a", None),
        ] {
            assert_eq!(fill_template(template, value).as_deref(), filled, "{template}");
        }
    }
}
