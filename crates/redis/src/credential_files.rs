//! Credentials that stand in files, as mounted secrets do.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bowline_rt::task::{self, JoinHandle};
use bowline_rt::time::sleep;
use tokio::sync::watch;
use zeroize::Zeroizing;

use crate::credentials::{CredentialProvider, Login, LoginFuture, Secret};
use crate::limits::{CREDENTIAL_FILE_BYTES_MAX, CREDENTIAL_FILES_INTERVAL};

/// A password, and perhaps a user, in files that may change. They are read for each new connection, at
/// [`CredentialFiles::refresh`], and, once there was a connection, every [`CREDENTIAL_FILES_INTERVAL`]: when what they hold has
/// changed, living connections learn of it. White space at both ends of a file is not part of it. While a file cannot be read,
/// or is empty, what it held before stays in use, and the log says so once.
///
/// Write a file beside the old one and rename it, so that nobody reads half of it.
#[derive(Debug)]
pub struct CredentialFiles {
    files: Arc<Files>,
    poll: OnceLock<JoinHandle<()>>,
}

#[derive(Debug)]
struct Files {
    user: User,
    password: PathBuf,
    held: Mutex<Held>,
    /// Held from before the files are read until what they held is taken: what was read earlier never follows what was read
    /// later.
    turn: Mutex<()>,
    /// Counts the changes.
    version: watch::Sender<u64>,
}

/// Where the user comes from.
#[derive(Debug)]
enum User {
    /// Always the same; `None` for `default`.
    Fixed(Option<String>),
    File(PathBuf),
}

/// What the files held when all could be read.
#[derive(Debug)]
struct Held {
    login: Login,
    /// Whether they could be read when they were looked at last.
    is_readable: bool,
}

impl Drop for CredentialFiles {
    fn drop(&mut self) {
        self.poll.get().into_iter().for_each(JoinHandle::abort);
    }
}

impl CredentialFiles {
    /// Reads the password of `user` for the first time; without a name the user is `default`. It waits for the disk.
    ///
    /// # Errors
    /// One that names the file: it cannot be read, is empty, too long, or not UTF-8.
    pub fn open(user: Option<String>, password: PathBuf) -> io::Result<Self> {
        Self::read(User::Fixed(user), password)
    }

    /// The same with the user's name in a file too.
    ///
    /// # Errors
    /// As [`CredentialFiles::open`].
    pub fn open_both(user: PathBuf, password: PathBuf) -> io::Result<Self> {
        Self::read(User::File(user), password)
    }

    fn read(user: User, password: PathBuf) -> io::Result<Self> {
        let login = read_login(&user, &password)?;
        let held = Mutex::new(Held { login, is_readable: true });
        let files = Files { user, password, held, turn: Mutex::new(()), version: watch::Sender::new(0) };
        Ok(Self { files: Arc::new(files), poll: OnceLock::new() })
    }

    /// Reads the files now, and waits for the disk and for a read of them that is under way. Returns whether they hold something
    /// else than before: then new connections use it, and living ones log in anew.
    ///
    /// # Errors
    /// One that names the file. What was held before stays in use.
    pub fn refresh(&self) -> io::Result<bool> {
        self.files.renew(|| self.files.read()).map_err(|kept| kept.error)
    }
}

impl CredentialProvider for CredentialFiles {
    fn login(&self) -> LoginFuture<'_> {
        Box::pin(async {
            self.poll.get_or_init(|| task::spawn("store-credentials", poll(self.files.clone())));
            self.files.look().await;
            Ok(self.files.lock().login.clone())
        })
    }

    fn version(&self) -> Option<watch::Receiver<u64>> {
        Some(self.files.version.subscribe())
    }
}

/// Looks at the files for ever. The content is compared and not the time of the last change, which a mounted secret may keep.
async fn poll(files: Arc<Files>) {
    loop {
        sleep(CREDENTIAL_FILES_INTERVAL).await;
        files.look().await;
    }
}

/// Why the old login stays in use.
struct Kept {
    error: io::Error,
    /// The files could be read before.
    is_news: bool,
}

impl Files {
    /// Reads the files, and tells of what has changed since they were read last.
    async fn look(self: &Arc<Self>) {
        let files = self.clone();
        match task::blocking(move || files.renew(|| files.read())).await {
            Ok(true) => tracing::info!("the credentials for the store have changed: connections log in anew"),
            Err(Kept { error, is_news: true }) => {
                tracing::warn!(%error, "cannot read the credentials for the store: the old ones stay in use");
            }
            Ok(false) | Err(_) => {}
        }
    }

    fn read(&self) -> io::Result<Login> {
        read_login(&self.user, &self.password)
    }

    /// Takes what `read` finds, one after the other. Whether it is something new.
    fn renew(&self, read: impl FnOnce() -> io::Result<Login>) -> Result<bool, Kept> {
        // It guards the order only, which a panic leaves as it is.
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.take(read())
    }

    /// Whether it is something new.
    fn take(&self, found: io::Result<Login>) -> Result<bool, Kept> {
        let mut held = self.lock();
        match found {
            Ok(login) => {
                held.is_readable = true;
                let is_new = login != held.login;
                if is_new {
                    held.login = login;
                    self.version.send_modify(|version| *version += 1);
                }
                Ok(is_new)
            }
            Err(error) => Err(Kept { error, is_news: std::mem::take(&mut held.is_readable) }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        // Nothing panics while it is held; even so each state of it would be a good one.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read_login(user: &User, password: &Path) -> io::Result<Login> {
    let user = match user {
        User::Fixed(user) => user.clone(),
        User::File(path) => Some(read(path)?.reveal().to_owned()),
    };
    Ok(Login { user, password: read(password)? })
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
    match text.trim() {
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
        let refused = CredentialFiles::open_both(user.clone(), password.clone()).unwrap_err();
        assert!(refused.to_string().contains("user"), "{refused}");

        std::fs::write(&user, "u\n").unwrap();
        std::fs::write(&password, "\tp 1\r\n").unwrap();
        let files = CredentialFiles::open_both(user, password.clone()).unwrap();
        assert_eq!(files.login().await.unwrap(), Login::user("u", "p 1"));
        let mut version = files.version().unwrap();
        assert_eq!(*version.borrow_and_update(), 0);
        assert!(!format!("{files:?}").contains("p 1"));

        std::fs::write(&password, "p2").unwrap();
        version.changed().await.unwrap();
        assert_eq!(files.login().await.unwrap(), Login::user("u", "p2"));
    }

    /// Outside a runtime too.
    #[test]
    fn a_refresh_tells_whether_they_have_changed_and_keeps_what_it_cannot_replace() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        std::fs::write(&path, "p1").unwrap();
        let files = CredentialFiles::open(Some("gw".to_owned()), path.clone()).unwrap();
        let version = files.version().unwrap();
        let held = || files.files.lock().login.clone();
        assert!(!files.refresh().unwrap());
        std::fs::write(&path, "p2\n").unwrap();
        assert!(files.refresh().unwrap() && version.has_changed().unwrap());
        assert_eq!(held(), Login::user("gw", "p2"));

        std::fs::write(&path, " \n").unwrap();
        let error = files.refresh().unwrap_err().to_string();
        assert!(error.contains("password: it is empty"), "{error}");
        std::fs::remove_file(&path).unwrap();
        assert!(files.refresh().unwrap_err().to_string().contains("password: "));
        assert_eq!((held(), *version.borrow()), (Login::user("gw", "p2"), 1));
    }

    #[test]
    fn what_was_read_earlier_never_follows_what_was_read_later() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        std::fs::write(&path, "p1").unwrap();
        let files = CredentialFiles::open(None, path).unwrap().files.clone();
        let (begun, has_begun) = std::sync::mpsc::channel();
        let slow = |files: &Files| {
            files.renew(|| {
                begun.send(()).unwrap();
                assert!(files.turn.try_lock().is_err(), "nobody else reads meanwhile");
                Ok(Login::password("p2"))
            })
        };
        std::thread::scope(|scope| {
            scope.spawn(|| assert!(slow(&files).is_ok_and(|is_new| is_new)));
            has_begun.recv().unwrap();
            assert!(files.renew(|| Ok(Login::password("p3"))).is_ok_and(|is_new| is_new));
        });
        assert_eq!((&files.lock().login, *files.version.borrow()), (&Login::password("p3"), 2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_cannot_be_read_leaves_new_connections_the_old_password() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        std::fs::write(&path, "p1").unwrap();
        let files = CredentialFiles::open(None, path.clone()).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(files.login().await.unwrap(), Login::password("p1"));
        assert!(!files.files.lock().is_readable, "and the log has said so");
        std::fs::write(&path, "p2").unwrap();
        assert_eq!(files.login().await.unwrap(), Login::password("p2"));
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
