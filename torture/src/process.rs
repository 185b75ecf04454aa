//! Child processes: their logs go to files, signals reach them by process id, and none outlives its value.

use std::cell::RefCell;
use std::fs::{self, File};
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::FutureExt;

use crate::limits::LOG_LINES_MAX;
use crate::wait::wait_within;

/// What can be sent to a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Dies at once, without a word.
    Kill,
    /// Stands still.
    Stop,
    /// Goes on.
    Continue,
    /// Is asked to end.
    Terminate,
    /// Ctrl-C.
    Interrupt,
}

impl Signal {
    fn name(self) -> &'static str {
        match self {
            Self::Kill => "KILL",
            Self::Stop => "STOP",
            Self::Continue => "CONT",
            Self::Terminate => "TERM",
            Self::Interrupt => "INT",
        }
    }
}

/// A child process. Dropping it kills it; in a [`story`] that fails, the end of its log is printed.
#[derive(Debug)]
pub struct Process {
    name: String,
    log: PathBuf,
    child: Child,
}

impl Process {
    /// Starts `command`; its output goes to `<directory>/<name>.log`, behind that of a predecessor of the same name.
    ///
    /// # Errors
    /// The program cannot be started.
    pub fn start(directory: &Path, name: &str, command: &mut Command) -> Result<Self> {
        let log = directory.join(format!("{name}.log"));
        let file = File::options().create(true).append(true).open(&log).context("cannot create a log")?;
        let output = file.try_clone().context("cannot share a log")?;
        let child = command.stdin(Stdio::null()).stdout(output).stderr(file).spawn();
        let child = child.with_context(|| format!("cannot start {name}: {command:?}"))?;
        Ok(Self { name: name.to_owned(), log, child })
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// The process is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        // The shell's own `kill`: sending signals directly would need unsafe code.
        let script = format!("kill -{} {}", signal.name(), self.id());
        let status = Command::new("sh").args(["-c", &script]).status().context("cannot start sh")?;
        ensure!(status.success(), "cannot send {signal:?} to {}", self.name);
        Ok(())
    }

    /// SIGKILL, and waits until it is gone.
    ///
    /// # Errors
    /// The operating system's.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill().with_context(|| format!("cannot kill {}", self.name))?;
        self.child.wait().with_context(|| format!("cannot wait for {}", self.name))?;
        Ok(())
    }

    /// How it ended, if it did.
    ///
    /// # Panics
    /// If the operating system does not know its own child.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("it is our child")
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// If it goes on for longer than `limit`.
    pub async fn wait(&mut self, limit: Duration) -> ExitStatus {
        let what = format!("the end of {}", self.name);
        wait_within(limit, &what, || std::future::ready(self.exited())).await
    }

    /// SIGTERM, and waits for its end.
    ///
    /// # Errors
    /// It had already gone.
    ///
    /// # Panics
    /// If it goes on for longer than `limit`.
    pub async fn terminate(&mut self, limit: Duration) -> Result<ExitStatus> {
        self.signal(Signal::Terminate)?;
        Ok(self.wait(limit).await)
    }

    /// All that it has printed so far.
    #[must_use]
    pub fn log(&self) -> String {
        // A log may end within a character while it is being written.
        fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Memory that it has in RAM, in bytes.
    ///
    /// # Errors
    /// It is gone.
    pub fn resident_bytes(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).context("it is gone")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("it has no memory")?;
        let kib: u64 = line.trim().trim_end_matches(" kB").parse().context("not a number of KiB")?;
        Ok(kib * 1024)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Either may fail because it is gone already, which is what is wanted.
        drop(self.child.kill());
        drop(self.child.wait());
        tell(end_of_log(&self.name, &self.log()));
    }
}

/// Keeps a text for the end of this story, if it fails. Outside of a story nobody asks for it.
pub(crate) fn tell(text: String) {
    let _ = ENDED.try_with(|ended| ended.borrow_mut().push(text));
}

tokio::task_local! {
    /// The ends of the logs of the processes that this story has ended.
    static ENDED: RefCell<Vec<String>>;
}

/// Runs a test, and prints the ends of all logs if it fails.
///
/// # Panics
/// If the test fails: with its error, or as it panicked.
pub async fn story(test: impl Future<Output = Result<()>>) {
    let told = ENDED.scope(RefCell::default(), async {
        let result = AssertUnwindSafe(test).catch_unwind().await;
        (result, ENDED.with(RefCell::take))
    });
    let (result, logs) = told.await;
    if !matches!(result, Ok(Ok(()))) {
        print(&logs);
    }
    match result {
        Ok(Ok(())) => {}
        Ok(Err(error)) => panic!("{error:#}"),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

#[expect(clippy::print_stderr, reason = "what the person who reads a failed test needs")]
fn print(logs: &[String]) {
    logs.iter().for_each(|log| eprintln!("{log}"));
}

fn end_of_log(name: &str, log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    let last = &lines[lines.len().saturating_sub(LOG_LINES_MAX)..];
    format!("---- end of the log of {name} ({} lines) ----\n{}", lines.len(), last.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::SOON;

    #[tokio::test]
    async fn a_story_that_fails_says_why() {
        let failing = story(async { anyhow::bail!("on purpose") });
        let panic = AssertUnwindSafe(failing).catch_unwind().await.expect_err("it fails");
        assert_eq!(panic.downcast_ref::<String>().map(String::as_str), Some("on purpose"));
        story(async { Ok(()) }).await;
    }

    #[tokio::test]
    async fn a_process_logs_stops_goes_on_and_dies_with_its_value() -> Result<()> {
        let directory = tempfile::tempdir()?;
        let script = "trap 'echo asked; exit 3' TERM; echo ready; while :; do sleep 0.01; done";
        let mut process = Process::start(directory.path(), "sh", Command::new("sh").args(["-c", script]))?;
        crate::wait::wait_until("its first line", || std::future::ready(process.log().contains("ready")))
            .await;
        assert!(process.resident_bytes()? > 0);
        process.signal(Signal::Stop)?;
        process.signal(Signal::Terminate)?;
        assert_eq!(process.exited(), None, "it stands still");
        process.signal(Signal::Continue)?;
        assert_eq!(process.wait(SOON).await.code(), Some(3));
        assert!(process.log().ends_with("asked\n"));

        let other = Process::start(directory.path(), "sleep", Command::new("sleep").arg("100"))?;
        let id = other.id();
        drop(other);
        assert!(!Path::new(&format!("/proc/{id}")).exists());
        Ok(())
    }
}
