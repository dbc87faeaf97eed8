//! The command line.

use std::path::PathBuf;

/// Values stay text here: a flag, a variable and a line of the file are judged by the same code
/// and fail with the same words.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Parser)]
#[command(
    name = "engramd",
    version,
    about = "A durable associative memory daemon on a Unix socket",
    after_help = "Every key of the configuration file can also be given as --set key=value or as \
                  an environment variable ENGRAMD_KEY. The command line wins over the \
                  environment, the environment over the file, the file over the defaults. \
                  --print-config shows every key with its value and where it came from."
)]
pub struct Args {
    /// Directory of the store; made when it does not exist
    #[arg(long, value_name = "DIR")]
    pub data: Option<String>,

    /// Path of the Unix socket to listen on, unless systemd passes one
    #[arg(long, value_name = "PATH")]
    pub socket: Option<String>,

    /// Shards of a store that is made now; an existing store keeps its own number
    #[arg(long, value_name = "N")]
    pub shards: Option<String>,

    /// Configuration file instead of /etc/engramd/engramd.toml
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Set any other key; may be repeated, the last one of a key counts
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,

    /// Start although acknowledged writes cannot be read; what is lost is logged one by one
    #[arg(long)]
    pub accept_loss: bool,

    /// Do not apply this write, which verifies and cannot be applied; may be repeated
    #[arg(long = "skip-sequence", value_name = "SHARD:SEQUENCE")]
    pub skip_sequences: Vec<String>,

    /// Check the configuration, say what is wrong with it, and exit
    #[arg(long)]
    pub check_config: bool,

    /// Print the effective configuration with the source of each value, and exit
    #[arg(long)]
    pub print_config: bool,
}
