//! Secrets of a gateway: what signs tokens, what signs tickets.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::token;

/// Reads the file of `--token-secret-file`.
///
/// # Errors
/// When it cannot be read or is too short; the message names the file.
pub fn token_secret(file: &Path) -> io::Result<Vec<u8>> {
    let named = |kind, why: &dyn std::fmt::Display| {
        let file = file.display();
        let text = format!(
            "--token-secret-file {file}: {why} (make one with: head -c 32 /dev/urandom | base64 > {file})"
        );
        io::Error::new(kind, text)
    };
    let text = fs::read(file).map_err(|error| named(error.kind(), &error))?;
    let secret = token::secret(&text).map_err(|error| named(io::ErrorKind::InvalidData, &error))?;
    Ok(secret.to_vec())
}

/// The key of resume tickets: derived from the token secret, else kept in `state_dir`, so that tickets hold
/// over a restart.
///
/// # Errors
/// When the system has no randomness. A state that cannot be written is no error: tickets then last as long
/// as this process.
pub fn ticket_key(secret: Option<&[u8]>, state_dir: Option<PathBuf>, session: &str) -> io::Result<Vec<u8>> {
    if let Some(secret) = secret {
        return Ok(Sha256::new()
            .chain_update(b"deskgate ticket key\0")
            .chain_update(secret)
            .finalize()
            .to_vec());
    }
    let mut fresh = vec![0; 32];
    getrandom::fill(&mut fresh).map_err(|e| io::Error::other(e.to_string()))?;
    let Some(dir) = self::state_dir(state_dir) else { return Ok(fresh) };
    let name: String = session.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
    Ok(kept(&dir, &dir.join(format!("{name}.ticket-key")), &fresh).unwrap_or_else(|error| {
        tracing::info!(%error, dir = %dir.display(), code = "state-dir", "tickets will not outlast this process");
        fresh
    }))
}

/// What TURN credentials are made from.
pub fn turn_secret(ticket_key: &[u8]) -> Vec<u8> {
    Sha256::new().chain_update(b"deskgate turn secret\0").chain_update(ticket_key).finalize().to_vec()
}

fn kept(dir: &Path, file: &Path, fresh: &[u8]) -> io::Result<Vec<u8>> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    match fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file) {
        Ok(mut new) => new.write_all(fresh).map(|()| fresh.to_vec()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let key = fs::read(file)?;
            if key.len() == fresh.len() { Ok(key) } else { Err(io::Error::other("the key file is damaged")) }
        }
        Err(error) => Err(error),
    }
}

/// Where what must outlive a restart is kept: `given`, or the default.
pub fn state_dir(given: Option<PathBuf>) -> Option<PathBuf> {
    let var = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    given
        .or_else(|| Some(var("XDG_RUNTIME_DIR")?.join("deskgate")))
        .or_else(|| Some(var("HOME")?.join(".local/state/deskgate")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ticket_key_outlasts_the_process_and_differs_by_session() {
        let dir = tempfile::tempdir().unwrap();
        let state = Some(dir.path().join("state"));
        let key = |session| ticket_key(None, state.clone(), session).unwrap();
        assert_eq!(key("a"), key("a"));
        assert_ne!(key("a"), key("b"));
        assert_eq!(ticket_key(Some(b"s"), None, "a").unwrap(), ticket_key(Some(b"s"), state, "b").unwrap());
    }

    #[test]
    fn secrets_that_are_missing_empty_or_short_are_refused_with_the_file_name() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        let refused = |word: &str| {
            let error = token_secret(&file).unwrap_err().to_string();
            assert!(error.contains(&file.display().to_string()) && error.contains(word), "{error}");
            assert!(error.contains("/dev/urandom"), "what to do: {error}");
        };
        refused("No such file");
        fs::write(&file, " \n").unwrap();
        refused("is empty");
        fs::write(&file, "short\n").unwrap();
        refused("32");
    }
}
