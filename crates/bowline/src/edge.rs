//! Where the world comes in: files, environment, the host's name, this process's memory.

use std::io::{self, Write as _};
use std::path::Path;

use bowline_node::config::value::Secret;
use bowline_node::limits::CONFIG_BYTES_MAX;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::exit::Failure;
use crate::limits::OPEN_FILES_MIN;

/// Reads a file that a command line or a configuration names, if it is not absurdly large.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    use io::Read as _;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(CONFIG_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads a text file.
pub fn read_text(path: &Path) -> Result<String, Failure> {
    let bytes =
        read(path).map_err(|error| Failure::Usage(format!("cannot read {}: {error}", path.display())))?;
    String::from_utf8(bytes).map_err(|_| Failure::Usage(format!("{} is not a text file", path.display())))
}

/// The secret in an environment variable, if it is set and not empty.
pub fn secret_variable(name: &str) -> Option<Secret> {
    let text = std::env::var_os(name)?.into_string().ok()?;
    let text = text.trim();
    (!text.is_empty()).then(|| Secret::new(text.to_owned()))
}

/// The name of this machine, or nothing.
pub fn host_name() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .or_else(|_| std::fs::read_to_string("/etc/hostname"))
        .unwrap_or_default();
    text.trim().to_owned()
}

/// Resident memory of this process, in bytes, where `/proc` has it.
pub fn resident_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// Whether this process was started to ignore SIGHUP, where `/proc` says so.
pub fn ignores_hang_up() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // The lowest bit is signal 1, which is SIGHUP.
    mask.is_some_and(|mask| mask & 1 == 1)
}

/// Raises the number of files that this process may open to the highest that it is allowed, and warns if that is low.
pub fn raise_open_files() {
    let before = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: before.maximum, maximum: before.maximum };
    let open_files = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => before.maximum,
        Err(error) => {
            tracing::debug!(%error, "cannot raise the limit of open files");
            before.current
        }
    };
    if let Some(open_files) = open_files.filter(|open_files| *open_files < OPEN_FILES_MIN) {
        tracing::warn!(
            open_files,
            "this process may open few files, and every connection takes one: raise it (ulimit -n, LimitNOFILE=)"
        );
    }
}

/// Writes `text` to standard output. A reader that is gone (`| head`) is no error.
pub fn print(text: &str) -> Result<(), Failure> {
    print_while_read(text).map(drop)
}

/// As [`print()`], and says whether there still is a reader.
pub fn print_while_read(text: &str) -> Result<bool, Failure> {
    let mut output = io::stdout().lock();
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(anyhow::Error::new(error).context("cannot write to standard output").into()),
    }
}

/// Writes a line to standard error. If that fails there is nowhere left to say so.
pub fn say(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Whether standard output is a terminal whose owner did not refuse colours (no-color.org).
pub fn stdout_is_terminal() -> bool {
    use io::IsTerminal as _;
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    io::stdout().is_terminal() && !refused
}
