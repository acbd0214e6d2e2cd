//! The command line of `compare`.

use std::path::PathBuf;

use clap::Args;

/// Options of `compare`.
#[derive(Clone, Debug, Args)]
pub struct Compare {
    /// Scenarios, such as wide16,calm; all when not given (see --list).
    #[arg(long, value_delimiter = ',')]
    pub only: Vec<String>,
    /// Servers, such as ours,floor,bun; all that are installed when not given.
    #[arg(long, value_delimiter = ',')]
    pub servers: Vec<String>,
    /// Rounds; each measures every server once. 2 with --quick.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: Option<u32>,
    /// Small and short, to try whether all works: such figures say little.
    #[arg(long)]
    pub quick: bool,
    /// Measured seconds instead of those of each scenario.
    #[arg(long)]
    pub duration: Option<f64>,
    /// Seconds of load before measuring; 1, and 0.2 with --quick.
    #[arg(long)]
    pub warmup: Option<f64>,
    /// Largest number of idle connections.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..1 << 24))]
    pub connections: Option<u64>,
    /// Cores to use, those for the server first; all when not given, from the last on.
    #[arg(long, value_delimiter = ',')]
    pub cores: Vec<usize>,
    /// Only these numbers of cores for the server, such as 1; those of each scenario when not given.
    #[arg(long, value_delimiter = ',')]
    pub server_cores: Vec<usize>,
    /// Bytes of the bare servers' frames; those of the first other server when not given.
    #[arg(long)]
    pub frame_bytes: Option<u64>,
    /// Server whose figures are 1 in the table's column of ratios.
    #[arg(long, default_value = "floor")]
    pub relative_to: String,
    /// More than this part of its cores taken by others spoils a run.
    #[arg(long, default_value_t = 0.05)]
    pub spoilt_share: f64,
    /// Spoilt runs that are repeated, for each scenario and server.
    #[arg(long, default_value_t = 5)]
    pub repeats: u32,
    /// Write all figures to this file.
    #[arg(long)]
    pub json: Option<PathBuf>,
    /// Write a page with tables and plots to this file.
    #[arg(long)]
    pub html: Option<PathBuf>,
    /// The server of this workspace; the `fanwire` beside this program when not given.
    #[arg(long)]
    pub fanwire: Option<PathBuf>,
    /// Directory of peers.json and what its `install` made; loadtest/peers when not given.
    #[arg(long)]
    pub peers: Option<PathBuf>,
    /// Name the scenarios and servers, and what is missing, and end.
    #[arg(long)]
    pub list: bool,
}
