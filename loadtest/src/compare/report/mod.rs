//! What a comparison writes: a table for people, JSON for programs, a page with plots.

mod html;
mod json;
mod plot;
mod scale;
mod table;

use std::fs;
use std::io::Write as _;
use std::path::Path;

use anyhow::Result;

use super::result::Comparison;

/// Prints the table and writes the files that are asked for.
///
/// # Errors
/// When a file or the table cannot be written.
pub fn write(comparison: &Comparison, json: Option<&Path>, html: Option<&Path>) -> Result<()> {
    if let Some(path) = json {
        super::write_file(path, &json::render(comparison))?;
    }
    if let Some(path) = html {
        super::write_file(path, &html::render(comparison))?;
    }
    std::io::stdout().lock().write_all(table::render(comparison).as_bytes())?;
    Ok(())
}

/// What there is to say of the machine.
pub fn machine(cores: &[usize]) -> Vec<(&'static str, String)> {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let model = model.map_or("unknown", |(_, model)| model.trim());
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let list: Vec<String> = cores.iter().map(usize::to_string).collect();
    vec![
        ("processor", model.to_owned()),
        ("cores", format!("{}, the server's first: {}", cores.len(), list.join(", "))),
        ("kernel", kernel.trim().to_owned()),
    ]
}
