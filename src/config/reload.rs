use super::keys;
use super::settings::Config;

/// What a changed configuration means for a server that runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reload {
    /// Keys that changed and are in force now.
    pub changed: Vec<&'static str>,
    /// Keys that changed and need a restart.
    pub needs_restart: Vec<&'static str>,
    /// What of the new values does not fit to what only a restart changes. Then nothing is taken over.
    pub refused: Vec<String>,
}

impl Config {
    /// This configuration with what can change while running taken from `new`, and what that means. Where new values do
    /// not fit to kept ones it stays as it is.
    pub fn reloaded(&self, new: &Self) -> (Self, Reload) {
        let mut config = self.clone();
        let mut reload = Reload::default();
        for key in keys::all() {
            if key.reload {
                if key.copy(new, &mut config) {
                    reload.changed.push(key.name);
                }
            } else if key.show(self) != key.show(new) {
                reload.needs_restart.push(key.name);
            }
        }
        let refused = config.contradictions();
        if refused.is_empty() {
            return (config, reload);
        }
        (self.clone(), Reload { changed: Vec::new(), refused, ..reload })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_and_keys_change_and_ports_do_not() {
        let old = Config::default();
        let mut new = Config { port: 9, api_keys: vec!["secret".into()], ..Config::default() };
        new.limits.connections_max = 7;
        let (config, reload) = old.reloaded(&new);
        assert_eq!(reload.changed, ["api_keys", "connections_max"]);
        assert_eq!(reload.needs_restart, ["port"]);
        let expected = Config { port: old.port, ..new };
        assert_eq!(config, expected);
    }

    #[test]
    fn new_values_that_do_not_fit_to_kept_ones_change_nothing() {
        let mut old = Config::default();
        old.http.body_bytes_max = 900 * 1024;
        let mut new = old.clone();
        new.http.body_bytes_max = 32 * 1024;
        new.limits.message_bytes_max = 32 * 1024;
        new.limits.outbox_bytes_max = 64 * 1024;
        assert_eq!(new.contradictions(), [""; 0]);
        let (config, reload) = old.reloaded(&new);
        assert_eq!(config, old);
        assert_eq!((&reload.changed[..], &reload.needs_restart[..]), (&[][..], &["http_body_bytes_max"][..]));
        assert!(reload.refused.len() == 1 && reload.refused[0].contains("outbox_bytes_max"), "{reload:?}");
    }

    #[test]
    fn the_same_changes_nothing() {
        let (config, reload) = Config::default().reloaded(&Config::default());
        assert_eq!((config, reload), (Config::default(), Reload::default()));
    }
}
