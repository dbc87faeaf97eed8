//! The token that requests over TCP have to bring.
//!
//! On the Unix socket the kernel says who connects. On a loopback port every process of the machine
//! may connect, and every page in a browser, so there a secret is asked for. It stands in a file
//! that nobody else can read; who can read it speaks for the daemon's user, but for what only that
//! user himself may do.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use axum::http::{HeaderMap, header};
use subtle::ConstantTimeEq;
use thiserror::Error;

use super::bounds::{TOKEN_BYTES_MAX, TOKEN_BYTES_MIN};

/// Why there is no token.
#[derive(Debug, Error)]
pub enum TokenError {
    #[error("the token file {path} cannot be read: {error}; make it, or take edge_listen away")]
    Unreadable { path: PathBuf, error: std::io::Error },
    #[error(
        "the token file {path} has the permissions {mode:04o}, so others can read or change it; \
         chmod 600 {path}"
    )]
    Open { path: PathBuf, mode: u32 },
    #[error("the token file {path} belongs to user {owner}; chown it to root or user {daemon}")]
    Foreign { path: PathBuf, owner: u32, daemon: u32 },
    #[error(
        "the token file {path} must have one line of {TOKEN_BYTES_MIN} to {TOKEN_BYTES_MAX} \
         letters, digits or signs, got {got} bytes; for example: openssl rand -hex 32 > {path}"
    )]
    NoToken { path: PathBuf, got: usize },
}

/// See the top of the file.
pub struct Token(Vec<u8>);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

impl Token {
    pub fn read(path: &Path) -> Result<Self, TokenError> {
        let unreadable = |error| TokenError::Unreadable { path: path.into(), error };
        let file = File::open(path).map_err(unreadable)?;
        let facts = file.metadata().map_err(unreadable)?;
        let mode = facts.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(TokenError::Open { path: path.into(), mode });
        }
        let daemon = rustix::process::geteuid().as_raw();
        let owner = facts.uid();
        if owner != 0 && owner != daemon {
            return Err(TokenError::Foreign { path: path.into(), owner, daemon });
        }
        let mut text = Vec::new();
        // One byte more than allowed shows that it is too long; so does one more than its line end.
        let most = TOKEN_BYTES_MAX as u64 + 3;
        file.take(most).read_to_end(&mut text).map_err(unreadable)?;
        let token = text.trim_ascii();
        let is_bounded = (TOKEN_BYTES_MIN..=TOKEN_BYTES_MAX).contains(&token.len());
        if !is_bounded || !token.iter().all(u8::is_ascii_graphic) {
            return Err(TokenError::NoToken { path: path.into(), got: token.len() });
        }
        Ok(Self(token.to_vec()))
    }

    /// Whether a request has brought it. How long that takes says nothing about the token but its
    /// length.
    pub fn is_brought(&self, headers: &HeaderMap) -> bool {
        let Some(value) = headers.get(header::AUTHORIZATION) else { return false };
        let (scheme, token) = value.as_bytes().split_at(value.len().min("bearer ".len()));
        scheme.eq_ignore_ascii_case(b"bearer ") && token.ct_eq(&self.0).into()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn written(text: &str, mode: u32) -> Result<Token, TokenError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        Token::read(&path)
    }

    fn brought(token: &Token, value: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, value.parse().unwrap());
        token.is_brought(&headers)
    }

    #[test]
    fn a_token_is_one_line_that_only_its_owner_can_read() {
        let longest = "x".repeat(TOKEN_BYTES_MAX);
        for text in ["0123456789abcdef", "0123456789abcdef\n", &longest, &format!("{longest}\r\n")]
        {
            assert!(written(text, 0o600).is_ok(), "{text:?}");
        }
        assert!(written("0123456789abcdef", 0o400).is_ok());
        for text in
            ["", "0123456789abcde", "0123456789 abcdef", "0123456789abcdef\nx", "é0123456789abcdef"]
        {
            assert!(matches!(written(text, 0o600), Err(TokenError::NoToken { .. })), "{text:?}");
        }
        let too_long = written(&format!("{longest}x"), 0o600);
        assert!(matches!(too_long, Err(TokenError::NoToken { .. })));
        for mode in [0o640, 0o604, 0o620, 0o601] {
            let read = written("0123456789abcdef", mode);
            assert!(matches!(read, Err(TokenError::Open { .. })), "{mode:o}");
        }
        let missing = Token::read(Path::new("/nonexistent/token"));
        assert!(matches!(missing, Err(TokenError::Unreadable { .. })));
    }

    #[test]
    fn only_the_whole_token_is_the_token() {
        let token = written("0123456789abcdef", 0o600).unwrap();
        assert!(brought(&token, "Bearer 0123456789abcdef"));
        assert!(brought(&token, "bearer 0123456789abcdef"));
        for value in [
            "Bearer 0123456789abcdeF",
            "Bearer 0123456789abcde",
            "Bearer 0123456789abcdeff",
            "Bearer ",
            "Bearer",
            "Basic 0123456789abcdef",
            "0123456789abcdef",
            "",
        ] {
            assert!(!brought(&token, value), "{value:?}");
        }
        assert!(!token.is_brought(&HeaderMap::new()));
    }
}
