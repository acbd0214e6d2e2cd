//! What the command line must know of a type of setting.

use super::Kind;

impl Kind {
    /// Whether it is a truth value, whose flag needs none.
    pub const fn is_truth(self) -> bool {
        matches!(self, Self::Bool(_))
    }

    /// Whether it is a list that fills a page.
    pub const fn is_long(self) -> bool {
        matches!(self, Self::Rules(_) | Self::Access(_) | Self::Endpoints(_))
    }

    /// What its value is called in the help.
    pub const fn value_name(self) -> &'static str {
        match self {
            Self::Bool(_) | Self::BoolOrAuto(_) => "BOOL",
            Self::Port(_) => "PORT",
            Self::Count { .. } | Self::Shards(_) => "NUMBER",
            Self::Size { .. } | Self::Size32 { .. } | Self::Ignored { .. } => "SIZE",
            Self::Time { .. } | Self::TimeOrOff { .. } => "TIME",
            Self::Address(_) => "ADDRESS",
            Self::Path(_) | Self::Prefix(_) => "PATH",
            Self::Mode(_) => "MODE",
            Self::Group(_) => "GROUP",
            Self::HookUrl(_) | Self::Url(_) => "URL",
            Self::Secret(_) => "SECRET",
            Self::Secrets(_) => "SECRETS",
            Self::Rules(_) | Self::Access(_) => "RULES",
            Self::Networks(_)
            | Self::Listen(_)
            | Self::Hosts(_)
            | Self::Names(_)
            | Self::Origins(_)
            | Self::Headers(_)
            | Self::HookEvents(_)
            | Self::Words { .. }
            | Self::Algorithms(_)
            | Self::Endpoints(_)
            | Self::Texts(_) => "LIST",
            Self::OnFailure(_)
            | Self::AccessDefault(_)
            | Self::Level(_)
            | Self::Format(_)
            | Self::Affinity(_)
            | Self::Pin(_)
            | Self::Preset(_) => "NAME",
        }
    }

    /// Whether its value is never shown.
    pub const fn is_secret(self) -> bool {
        matches!(self, Self::Secrets(_) | Self::Secret(_))
    }
}
