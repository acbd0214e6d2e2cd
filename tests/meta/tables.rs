//! Tables of the guide that are made from the code. `FANWIRE_WRITE_GUIDE=1` writes them anew, otherwise they are compared.

use crate::blocks::read;
use crate::common::tests_path;
use fanwire::config::{HookEvent, described};
use fanwire::metrics::{HookMetrics, NodeMetrics, Scrape, as_text};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Holds the part of a chapter between `<!-- NAME -->` and `<!-- end of NAME -->` against what it is made from.
fn hold(chapter: &str, name: &str, made: &str) {
    let text = read(chapter);
    let (start, end) = (format!("<!-- {name} -->\n"), format!("<!-- end of {name} -->"));
    let (before, rest) = text.split_once(&start).expect("the part begins");
    let (shown, after) = rest.split_once(&end).expect("the part ends");
    if std::env::var_os("FANWIRE_WRITE_GUIDE").is_some() {
        let whole = format!("{before}{start}{made}{end}{after}");
        return std::fs::write(tests_path("..").join(chapter), whole).expect("the chapter can be written");
    }
    let differs = shown.lines().zip(made.lines()).find(|(shown, made)| shown != made);
    assert!(
        shown == made,
        "{chapter}: {name} are others now, write them anew with FANWIRE_WRITE_GUIDE=1 cargo test --test meta tables\n{differs:?}"
    );
}

/// Text for a cell: addresses are code, so that no link is made of them.
fn cell(text: &str) -> String {
    let word = |word: &str| match word.trim_end_matches([',', ';', '.', ')']) {
        bare if bare.contains(['*', '<', '[']) || bare.contains("://") => {
            word.replacen(bare, &format!("`{bare}`"), 1)
        }
        _ => word.to_owned(),
    };
    text.replace('|', "\\|").split(' ').map(word).collect::<Vec<_>>().join(" ")
}

#[test]
fn keys_of_the_configuration() {
    let mut made = String::new();
    let mut group = "";
    for key in described() {
        if key.group != group {
            group = key.group;
            made += &format!(
                "\n### {group}\n\n| key | default | allowed | reload | what it means |\n|---|---|---|---|---|\n"
            );
        }
        let reload = if key.reload { "yes" } else { "no" };
        let [default, allowed, help] = [&key.default, &key.allowed, key.help].map(cell);
        made += &format!("| `{}` | {default} | {allowed} | {reload} | {help} |\n", key.name);
    }
    hold("src/guide/configuration.md", "keys", &format!("{made}\n"));
}

/// Names of labels with their values, of all samples of a metric but for the shard and the bounds of a histogram.
fn labels(samples: &[&str]) -> String {
    let mut values: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for sample in samples {
        let inner = sample.split_once('{').and_then(|(_, rest)| rest.split_once('}'));
        let pairs = inner.map_or("", |(inner, _)| inner).split(',').filter_map(|pair| pair.split_once('='));
        for (name, value) in pairs.filter(|(name, _)| *name != "le") {
            values.entry(name).or_default().insert(value.trim_matches('"'));
        }
    }
    let told = values.into_iter().map(|(name, values)| match name {
        "shard" => "`shard`".to_owned(),
        _ => format!("`{name}`: {}", Vec::from_iter(values).join(", ")),
    });
    told.collect::<Vec<_>>().join("; ")
}

#[test]
fn metrics_of_a_node() {
    let mut node = NodeMetrics::new(1, &fanwire::shard::LABELS);
    node.hook = Some(Arc::new(HookMetrics::new(&HookEvent::LABELS)));
    node.program.set(Arc::new(HookMetrics::new(&HookEvent::LABELS))).expect("it is not set");
    let mut page = String::new();
    node.encode(&Scrape::default(), &mut page);
    let page = as_text(&page);
    let mut made = "\n| metric | type | labels | what it tells |\n|---|---|---|---|\n".to_owned();
    let mut families: Vec<_> = page.split("# HELP ").skip(1).collect();
    families.sort_unstable();
    for family in families {
        let mut lines = family.lines();
        let (name, help) = lines.next().and_then(|line| line.split_once(' ')).expect("a help");
        let kind = lines.next().and_then(|line| line.rsplit_once(' ')).expect("a type").1;
        let samples: Vec<_> = lines.collect();
        let help = cell(help.trim_end_matches('.'));
        made += &format!("| `{name}` | {kind} | {} | {help} |\n", labels(&samples));
    }
    hold("src/guide/metrics.md", "metrics", &format!("{made}\n"));
}
