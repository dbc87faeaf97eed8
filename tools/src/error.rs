//! What can go wrong in a command, each as one sentence that names the remedy.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

#[derive(Debug, Error)]
pub(crate) enum ToolError {
    /// The daemon answered with an error line.
    #[error("{message} ({code})")]
    Refused { code: String, message: String },
    /// The command line asks for something that makes no sense.
    #[error("{0}")]
    Usage(String),
    /// A line of an input file is not an episode.
    #[error("{path}, line {line}: {reason}")]
    Line { path: PathBuf, line: u64, reason: String },
    /// A local file cannot be read or written.
    #[error("{}: {}", path.display(), plain(source))]
    File { path: PathBuf, source: io::Error },
    /// A local file is not what its name promises.
    #[error("{}: {reason}", path.display())]
    Format { path: PathBuf, reason: String },
    /// Standard output was closed or is full.
    #[error("cannot write the output: {}", plain(.0))]
    Output(io::Error),
    /// No daemon listens on the socket.
    #[error("cannot connect to {}: {reason}; {}", socket.display(), connect_remedy(*denied))]
    Connect { socket: PathBuf, reason: String, denied: bool },
    /// The connection ended before the reply came.
    #[error(
        "lost the connection to {}: {reason}; see the daemon's log (journalctl -u engramd) and run \
         the command again",
        socket.display()
    )]
    Lost { socket: PathBuf, reason: String },
    /// The daemon answered with something this client does not understand.
    #[error(
        "unexpected reply to {command}: {reason}; do engram and engramd have the same version?"
    )]
    Reply { command: &'static str, reason: String },
    /// An acknowledged episode is not there or not what was stored.
    #[error("{0}")]
    Verification(String),
}

/// An error's text without the operating system's number behind it.
pub(crate) fn plain(error: &dyn std::error::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

fn connect_remedy(denied: bool) -> &'static str {
    if denied {
        "run as a user that may write to the socket (systemd: the group of engramd.socket)"
    } else {
        "start engramd (systemctl start engramd, or engramd --data DIR --socket PATH), or name its \
         socket with --socket or ENGRAM_SOCKET"
    }
}

impl ToolError {
    pub(crate) fn file(path: &Path, source: io::Error) -> Self {
        Self::File { path: path.to_owned(), source }
    }

    pub(crate) fn format(path: &Path, reason: impl Into<String>) -> Self {
        Self::Format { path: path.to_owned(), reason: reason.into() }
    }

    pub(crate) fn usage(reason: impl Into<String>) -> Self {
        Self::Usage(reason.into())
    }

    /// The daemon answered nil: the id is not known.
    pub(crate) fn no_episode(id: &str, space: &str) -> Self {
        let message = format!("no episode '{id}' in memory space '{space}'");
        Self::Refused { code: "NOEPISODE".into(), message }
    }

    /// The code the process ends with.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Refused { .. } | Self::Reply { .. } | Self::Verification(_) => 1,
            Self::Usage(_)
            | Self::Line { .. }
            | Self::File { .. }
            | Self::Format { .. }
            | Self::Output(_) => 2,
            Self::Connect { .. } | Self::Lost { .. } => 3,
        }
    }

    /// Whether the reader of our output went away (`engram export … | head`), which is no error.
    pub(crate) fn is_closed_output(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    /// Whether a new connection may cure it.
    pub(crate) fn is_disconnect(&self) -> bool {
        matches!(self, Self::Connect { .. } | Self::Lost { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_error_has_its_exit_code() {
        let refused = ToolError::Refused { code: "DIM".into(), message: "no".into() };
        let lost = ToolError::Lost { socket: "/s".into(), reason: "reset".into() };
        assert_eq!(refused.exit_code(), 1);
        assert_eq!(ToolError::usage("k is 0").exit_code(), 2);
        assert_eq!(lost.exit_code(), 3);
    }

    #[test]
    fn a_failed_connection_names_the_socket_and_the_remedy() {
        let error = ToolError::Connect {
            socket: "/run/engramd/engramd.sock".into(),
            reason: "No such file or directory".into(),
            denied: false,
        };
        let sentence = error.to_string();
        assert!(sentence.contains("/run/engramd/engramd.sock"), "{sentence}");
        assert!(sentence.contains("systemctl start engramd"), "{sentence}");
    }
}
