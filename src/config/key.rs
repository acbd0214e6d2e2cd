//! One key of the configuration: its names, and how it is set, shown and taken over.

use super::kind::Kind;
use super::settings::Config;

/// Most bytes of a wrong value that an error shows.
const SHOWN_BYTES_MAX: usize = 100;

/// One key of the configuration.
#[derive(Clone, Copy)]
pub(super) struct Key {
    /// Its name in the file. The flag has dashes for underscores; the variable is `FANWIRE_` and the name in capitals.
    pub name: &'static str,
    pub kind: Kind,
    /// Its path below `websocket:` in the rooms document, with dots. The document's variable is `WEBSOCKET_` and this
    /// in capitals, with underscores for dots.
    pub document: Option<&'static str>,
    /// A further variable.
    pub variable: Option<&'static str>,
    /// Whether a reload can change it.
    pub reload: bool,
    pub help: &'static str,
}

impl Key {
    /// The flag, without its dashes.
    pub fn flag(&self) -> String {
        self.name.replace('_', "-")
    }

    /// The variables, the last of which wins.
    pub fn variables(&self) -> impl Iterator<Item = String> {
        let document =
            self.document.map(|path| format!("WEBSOCKET_{}", path.replace('.', "_").to_uppercase()));
        let own = format!("FANWIRE_{}", self.name.to_uppercase());
        document.into_iter().chain(self.variable.map(str::to_owned)).chain([own])
    }

    /// Sets it from text.
    ///
    /// # Errors
    /// Text that tells the value and what is allowed.
    pub fn set(&self, config: &mut Config, text: &str) -> Result<(), String> {
        self.kind.set(config, text.trim()).ok_or_else(|| {
            let name = self.name;
            let allowed = self.kind.allowed();
            if matches!(self.kind, Kind::Secrets(_) | Kind::Secret(_) | Kind::HookUrl(_) | Kind::Url(_)) {
                format!("{name}: the value is not allowed, allowed is {allowed}")
            } else if let Some(why) = self.kind.why_not(text) {
                // The value is a list that its owner knows: the number of the item says where to look.
                format!("{name}: {why}")
            } else {
                let shown = text.floor_char_boundary(SHOWN_BYTES_MAX);
                let dots = if shown < text.len() { "…" } else { "" };
                format!("{name}: {:?}{dots} is not allowed, allowed is {allowed}", &text[..shown])
            }
        })
    }

    /// Its value as text that [`Key::set`] takes.
    pub fn show(&self, config: &Config) -> String {
        // Places are written for setting; a copy gives the same for showing.
        self.kind.show(&mut config.clone())
    }

    /// Takes its value over from another configuration. Whether that changed anything.
    pub fn copy(&self, from: &Config, to: &mut Config) -> bool {
        let value = self.kind.show(&mut from.clone());
        if value == self.kind.show(&mut to.clone()) {
            return false;
        }
        self.kind.set(to, &value).is_some()
    }
}
