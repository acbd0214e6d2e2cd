//! Build script: writes the pages of `/docs` from the chapters of the guide, packed, into `OUT_DIR`.
//!
//! The work is done here and not by the server, so that the binary holds a few packed pages and no Markdown.

fn main() {
    println!("cargo::rerun-if-changed=src/guide");
    println!("cargo::rerun-if-changed=tuning.md");
    #[cfg(feature = "docs")]
    docs::write();
}

#[cfg(feature = "docs")]
mod docs {
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use pulldown_cmark::{CowStr, Event, HeadingLevel, Options, Parser, Tag, TagEnd, html};
    use serde_json::json;
    use std::fmt::Write as _;
    use std::io::Write as _;
    use std::path::{Path, PathBuf};

    /// Chapters that are not in the folder of the guide: name and file.
    const OUTSIDE: [(&str, &str); 1] = [("tuning", "tuning.md")];

    /// A chapter, read.
    struct Chapter {
        name: String,
        title: String,
        events: Vec<Event<'static>>,
    }

    /// Where the text of a section is found by a search.
    struct Section {
        title: String,
        anchor: String,
        text: String,
    }

    /// Writes each page, packed, and the list of them as Rust.
    pub fn write() {
        let root = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo tells it"));
        let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo tells it"));
        let (mut list, mut count) = (String::new(), 0);
        let mut put = |name: &str, content_type: &str, text: &str| {
            let file = out.join(format!("{name}.gz"));
            std::fs::write(&file, packed(text)).expect("OUT_DIR can be written");
            writeln!(
                list,
                "Page {{ name: {name:?}, content_type: {content_type:?}, packed: include_bytes!({file:?}), unpacked: OnceLock::new() }},"
            )
            .expect("a String takes all");
            count += 1;
        };
        let groups = chapters(&root);
        let all = || groups.iter().flatten();
        for chapter in all() {
            put(&chapter.name, "text/html; charset=utf-8", &chapter_page(chapter));
        }
        put("", "text/html; charset=utf-8", &index_page(&groups));
        let index: Vec<_> = all().flat_map(searched).collect();
        put("search.json", "application/json", &json!(index).to_string());
        for (name, content_type) in
            [("style.css", "text/css; charset=utf-8"), ("search.js", "text/javascript; charset=utf-8")]
        {
            put(name, content_type, &read(&root.join("src/guide/web").join(name)));
        }
        let list = format!("static PAGES: [Page; {count}] = [\n{list}];\n");
        std::fs::write(out.join("pages.rs"), list).expect("OUT_DIR can be written");
    }

    fn read(file: &Path) -> String {
        std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
    }

    fn packed(text: &str) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(text.as_bytes()).expect("memory takes all");
        encoder.finish().expect("memory takes all")
    }

    /// The chapters in the order and the groups, a line each, of the list in `src/guide/mod.rs`.
    fn chapters(root: &Path) -> Vec<Vec<Chapter>> {
        let module = read(&root.join("src/guide/mod.rs"));
        let (_, list) = module.rsplit_once("chapters! {").expect("the module lists the chapters");
        let (list, _) = list.split_once('}').expect("the list has an end");
        let in_folder = |name: &str| chapter(name, &root.join(format!("src/guide/{name}.md")));
        let lines = list.lines().filter(|line| !line.trim().is_empty());
        let mut groups: Vec<Vec<_>> =
            lines.map(|line| line.split_whitespace().map(in_folder).collect()).collect();
        let outside = OUTSIDE.iter().map(|(name, file)| chapter(name, &root.join(file)));
        groups.extend([outside.collect()]);
        groups
    }

    fn chapter(name: &str, file: &Path) -> Chapter {
        let text = read(file);
        let mut events: Vec<_> = Parser::new_ext(&text, Options::ENABLE_TABLES).filter_map(kept).collect();
        name_headings(&mut events);
        let title = heading_text(&events).unwrap_or_else(|| panic!("{name} has no title"));
        Chapter { name: name.to_owned(), title, events }
    }

    /// An event as a page has it: without HTML of its own, and with links that lead to pages. What leads to a file of the
    /// repository is text, because that is not at hand here.
    fn kept(event: Event<'_>) -> Option<Event<'static>> {
        Some(match event {
            Event::Html(_) | Event::InlineHtml(_) => return None,
            Event::Start(Tag::Link { link_type, dest_url, title, id }) => {
                let dest_url = CowStr::from(destination(&dest_url));
                Event::Start(Tag::Link {
                    link_type,
                    dest_url,
                    title: title.into_static(),
                    id: id.into_static(),
                })
            }
            other => other.into_static(),
        })
    }

    /// Where a link leads; empty where there is no page.
    fn destination(link: &str) -> String {
        let (file, anchor) =
            link.split_once('#').map_or((link, String::new()), |(file, at)| (file, format!("#{at}")));
        if link.contains("://") || file.is_empty() {
            return link.to_owned();
        }
        let outside = OUTSIDE.iter().find(|(_, path)| file.trim_start_matches("../") == *path);
        let chapter = file.strip_suffix(".md").filter(|name| !name.contains('/'));
        outside.map(|(name, _)| *name).or(chapter).map_or_else(String::new, |name| format!("{name}{anchor}"))
    }

    /// The text of the first heading.
    fn heading_text(events: &[Event<'_>]) -> Option<String> {
        let start = events.iter().position(|event| matches!(event, Event::Start(Tag::Heading { .. })))?;
        let inside =
            events[start..].iter().take_while(|event| !matches!(event, Event::End(TagEnd::Heading(_))));
        Some(inside.map(text_of).collect())
    }

    fn text_of<'e>(event: &'e Event<'_>) -> &'e str {
        match event {
            Event::Text(text) | Event::Code(text) => text,
            Event::SoftBreak | Event::HardBreak => " ",
            _ => "",
        }
    }

    /// Gives each heading an anchor made of its words.
    fn name_headings(events: &mut [Event<'static>]) {
        for at in 0..events.len() {
            let Some(text) =
                matches!(events[at], Event::Start(Tag::Heading { .. })).then(|| heading_text(&events[at..]))
            else {
                continue;
            };
            let words = text.unwrap_or_default().to_lowercase();
            let words = words.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
            let anchor = words.collect::<Vec<_>>().join("-");
            if let Event::Start(Tag::Heading { id, .. }) = &mut events[at] {
                *id = Some(anchor.into());
            }
        }
    }

    /// The sections of a chapter, as the search reads them.
    fn searched(chapter: &Chapter) -> Vec<serde_json::Value> {
        let mut sections: Vec<Section> = Vec::new();
        let mut in_heading = false;
        for event in &chapter.events {
            match event {
                Event::Start(Tag::Heading { id, level, .. }) => {
                    in_heading = true;
                    let anchor =
                        id.as_deref().filter(|_| *level != HeadingLevel::H1).unwrap_or_default().to_owned();
                    sections.push(Section { title: String::new(), anchor, text: String::new() });
                }
                Event::End(TagEnd::Heading(_)) => in_heading = false,
                _ => {}
            }
            let Some(section) = sections.last_mut() else { continue };
            let place = if in_heading { &mut section.title } else { &mut section.text };
            place.push_str(text_of(event));
            if matches!(
                event,
                Event::End(TagEnd::Paragraph | TagEnd::TableCell | TagEnd::Item | TagEnd::CodeBlock)
            ) {
                place.push(' ');
            }
        }
        let found = |section: Section| json!({"page": chapter.name, "chapter": chapter.title, "title": section.title, "anchor": section.anchor, "text": section.text});
        sections.into_iter().map(found).collect()
    }

    /// Text as HTML shows it.
    fn escaped(text: &str) -> String {
        text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
    }

    fn chapter_page(chapter: &Chapter) -> String {
        // A link without a destination becomes plain text.
        let mut open = Vec::new();
        let events = chapter.events.iter().filter(|event| match event {
            Event::Start(Tag::Link { dest_url, .. }) => {
                open.push(!dest_url.is_empty());
                !dest_url.is_empty()
            }
            Event::End(TagEnd::Link) => open.pop().unwrap_or(true),
            _ => true,
        });
        let mut body = String::new();
        html::push_html(&mut body, events.cloned());
        // Wide tables scroll by themselves, by the keyboard as well.
        let body = body
            .replace("<table>", "<div class=\"wide\" tabindex=\"0\"><table>")
            .replace("</table>", "</table></div>");
        page(&chapter.title, "../docs", "", &format!("<main>\n{body}</main>"))
    }

    fn index_page(groups: &[Vec<Chapter>]) -> String {
        let mut body = String::from(
            "<main>\n<h1>The guide</h1>\n<section id=\"results\" aria-live=\"polite\"></section>\n<nav aria-label=\"Chapters\">\n",
        );
        for group in groups {
            body.push_str("<ul>\n");
            for chapter in group {
                let title = escaped(&chapter.title);
                writeln!(body, "<li><a href=\"docs/{}\">{title}</a></li>", chapter.name)
                    .expect("a String takes all");
            }
            body.push_str("</ul>\n");
        }
        let version = std::env::var("CARGO_PKG_VERSION").unwrap_or_default();
        write!(body, "</nav>\n<p>Fanwire {version}</p>\n</main>\n<script src=\"docs/search.js\"></script>")
            .expect("a String takes all");
        page("The guide", "docs", "docs/", &body)
    }

    /// A page, whose links are relative, so that they hold with each prefix of paths.
    fn page(title: &str, index: &str, assets: &str, body: &str) -> String {
        let title = escaped(title);
        format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title} · Fanwire</title>\n\
             <link rel=\"stylesheet\" href=\"{assets}style.css\">\n</head>\n<body>\n<header>\n\
             <a href=\"{index}\">Fanwire</a>\n<form role=\"search\" action=\"{index}\">\n\
             <input type=\"search\" name=\"q\" id=\"q\" aria-label=\"Search the guide\" placeholder=\"Search the guide\">\n\
             </form>\n</header>\n{body}\n</body>\n</html>\n"
        )
    }
}
