//! Credentials that stand in files, as mounted secrets do.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bowline_rt::task::{self, JoinHandle};
use bowline_rt::time::sleep;
use tokio::sync::watch;
use zeroize::Zeroizing;

use crate::credentials::{CredentialError, CredentialProvider, Login, LoginFuture, Secret};
use crate::limits::{CREDENTIAL_FILE_BYTES_MAX, CREDENTIAL_FILES_INTERVAL};

/// A password, and perhaps a user, in files that may change. They are read for each new connection, and again every
/// [`CREDENTIAL_FILES_INTERVAL`]: when what they hold has changed, living connections learn of it. White space at the end of a
/// file is not part of it.
///
/// Write a file beside the old one and rename it, so that nobody reads half of it.
#[derive(Debug)]
pub struct CredentialFiles {
    paths: Arc<Paths>,
    version: watch::Receiver<u64>,
    poll: JoinHandle<()>,
}

#[derive(Debug)]
struct Paths {
    user: Option<PathBuf>,
    password: PathBuf,
}

impl Drop for CredentialFiles {
    fn drop(&mut self) {
        self.poll.abort();
    }
}

impl CredentialFiles {
    /// Reads the files for the first time and begins to look at them. Without a file for the user it is `default`.
    ///
    /// # Errors
    /// [`CredentialError`], which names the file: it cannot be read, is empty, too long, or not UTF-8.
    ///
    /// # Panics
    /// Outside a runtime.
    pub async fn open(user: Option<PathBuf>, password: PathBuf) -> Result<Self, CredentialError> {
        let paths = Arc::new(Paths { user, password });
        let login = paths.read().await?;
        let (sender, version) = watch::channel(0);
        let poll = task::spawn("store-credentials", poll(paths.clone(), login, sender));
        Ok(Self { paths, version, poll })
    }
}

impl CredentialProvider for CredentialFiles {
    fn login(&self) -> LoginFuture<'_> {
        Box::pin(self.paths.read())
    }

    fn version(&self) -> Option<watch::Receiver<u64>> {
        Some(self.version.clone())
    }
}

/// Looks at the files for ever. The content is compared and not the time of the last change, which a mounted secret may keep.
async fn poll(paths: Arc<Paths>, mut known: Login, version: watch::Sender<u64>) {
    let mut is_readable = true;
    loop {
        sleep(CREDENTIAL_FILES_INTERVAL).await;
        match paths.read().await {
            Ok(login) => {
                is_readable = true;
                if login != known {
                    known = login;
                    version.send_modify(|version| *version += 1);
                }
            }
            // Living connections go on with what they have; new ones say so in their error.
            Err(error) if is_readable => {
                is_readable = false;
                tracing::warn!(%error, "cannot look at the store's credentials");
            }
            Err(_) => {}
        }
    }
}

impl Paths {
    async fn read(self: &Arc<Self>) -> Result<Login, CredentialError> {
        let paths = self.clone();
        task::blocking(move || {
            let user = paths.user.as_deref().map(read).transpose()?;
            let user = user.map(|user| user.reveal().to_owned());
            Ok(Login { user, password: read(&paths.password)? })
        })
        .await
        .map_err(|error: io::Error| CredentialError::new(error))
    }
}

fn read(path: &Path) -> io::Result<Secret> {
    let name = |kind, problem: &dyn std::fmt::Display| {
        io::Error::new(kind, format!("{}: {problem}", path.display()))
    };
    let invalid = |problem: &str| name(io::ErrorKind::InvalidData, &problem);
    // As large as it may become, so that no copy is left behind where it grew.
    let mut text = Zeroizing::new(String::with_capacity(CREDENTIAL_FILE_BYTES_MAX + 1));
    let file = File::open(path).map_err(|error| name(error.kind(), &error))?;
    let mut limited = file.take(CREDENTIAL_FILE_BYTES_MAX as u64 + 1);
    limited.read_to_string(&mut text).map_err(|error| name(error.kind(), &error))?;
    if text.len() > CREDENTIAL_FILE_BYTES_MAX {
        return Err(invalid("it is longer than a user or password may be"));
    }
    match text.trim_end() {
        "" => Err(invalid("it is empty")),
        text => Ok(Secret::new(text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn files_are_read_again_and_their_changes_told() {
        let folder = tempfile::tempdir().unwrap();
        let [user, password] = ["user", "password"].map(|name| folder.path().join(name));
        let refused = CredentialFiles::open(Some(user.clone()), password.clone()).await.unwrap_err();
        assert!(refused.to_string().contains("user"), "{refused}");

        std::fs::write(&user, "u\n").unwrap();
        std::fs::write(&password, "p 1\r\n").unwrap();
        let files = CredentialFiles::open(Some(user), password.clone()).await.unwrap();
        assert_eq!(files.login().await.unwrap(), Login::user("u", "p 1"));
        let mut version = files.version().unwrap();
        assert_eq!(*version.borrow_and_update(), 0);
        assert!(!format!("{files:?}").contains("p 1"));

        std::fs::write(&password, "p2").unwrap();
        version.changed().await.unwrap();
        assert_eq!(files.login().await.unwrap(), Login::user("u", "p2"));
    }

    #[test]
    fn a_file_that_cannot_be_credentials_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        for content in ["", "\n", &"x".repeat(CREDENTIAL_FILE_BYTES_MAX + 1)] {
            std::fs::write(&path, content).unwrap();
            let error = read(&path).unwrap_err().to_string();
            assert!(error.contains("secret: it is"), "{error}");
        }
        std::fs::write(&path, [0xff]).unwrap();
        assert!(read(&path).is_err());
    }
}
