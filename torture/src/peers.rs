//! Real peers: Debian's redis-server and nginx, with their files in the folder of the test.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use bowline_rt::net;

use crate::http;
use crate::limits::ANSWER_MAX;
use crate::process::Process;
use crate::program::bowline;
use crate::wait::wait_until;
use crate::zone::StoreKind;

/// What nginx serves at `/`.
pub const PAGE: &str = "<p>a page from behind the agent</p>\n";

/// Starts redis-server on `address`, without persistence, and waits until it answers.
///
/// # Errors
/// It is not installed.
///
/// # Panics
/// If it does not become ready.
pub async fn redis(directory: &Path, address: SocketAddr) -> Result<Process> {
    redis_with(directory, address, &[]).await
}

/// As [`redis`], with more arguments.
///
/// # Errors
/// It is not installed.
///
/// # Panics
/// If it does not become ready.
pub async fn redis_with(directory: &Path, address: SocketAddr, arguments: &[&str]) -> Result<Process> {
    redis_called(directory, "redis", address, arguments).await
}

/// As [`redis_with`], with a name for its log.
///
/// # Errors
/// It is not installed.
///
/// # Panics
/// If it does not become ready.
pub async fn redis_called(
    directory: &Path,
    name: &str,
    address: SocketAddr,
    arguments: &[&str],
) -> Result<Process> {
    let port = address.port().to_string();
    let mut command = Command::new(find("redis-server")?);
    command.current_dir(directory).args([
        "--bind",
        "127.0.0.1",
        "--port",
        &port,
        "--save",
        "",
        "--appendonly",
        "no",
    ]);
    command.args(arguments);
    start_redis(directory, name, address, &mut command).await
}

/// Starts a sentinel on `address`, as its file says, and waits until it answers.
///
/// # Errors
/// It is not installed.
///
/// # Panics
/// If it does not become ready.
pub async fn sentinel(directory: &Path, name: &str, address: SocketAddr, file: &Path) -> Result<Process> {
    let mut command = Command::new(find("redis-server")?);
    command.current_dir(directory).arg(file).arg("--sentinel");
    start_redis(directory, name, address, &mut command).await
}

async fn start_redis(
    directory: &Path,
    name: &str,
    address: SocketAddr,
    command: &mut Command,
) -> Result<Process> {
    let process = Process::start(directory, name, command)?;
    wait_until("redis listens", || async { net::connect(address, ANSWER_MAX).await.is_ok() }).await;
    Ok(process)
}

/// Starts a store on `address`, and waits until it answers.
///
/// # Errors
/// It cannot be started.
///
/// # Panics
/// If it does not become ready.
pub async fn store(folder: &Path, kind: StoreKind, address: SocketAddr) -> Result<Process> {
    match kind {
        StoreKind::Redis => redis(folder, address).await,
        StoreKind::Bowline => {
            let mut command = Command::new(bowline());
            command.args(["store", "--listen", &address.to_string()]);
            let process = Process::start(folder, "store", &mut command)?;
            wait_until("the store listens", || async { net::connect(address, ANSWER_MAX).await.is_ok() })
                .await;
            Ok(process)
        }
    }
}

/// Starts nginx on `address` with one small page, and waits until it answers.
///
/// # Errors
/// It is not installed, or its files cannot be written.
///
/// # Panics
/// If it does not become ready.
pub async fn nginx(directory: &Path, address: SocketAddr) -> Result<Process> {
    let root = directory.join("nginx");
    fs::create_dir_all(root.join("html")).context("cannot create a folder for nginx")?;
    // nginx started by root serves as another user, who must reach the page.
    for folder in [directory, &root, &root.join("html")] {
        open_to_all(folder)?;
    }
    fs::write(root.join("html/index.html"), PAGE).context("cannot write a page")?;
    let root_text = root.display();
    let configuration = format!(
        "daemon off; master_process off; pid {root_text}/pid; error_log stderr warn;\n\
         events {{ worker_connections 512; }}\n\
         http {{ access_log off; root {root_text}/html; client_max_body_size 0; keepalive_requests 100000;\n\
           client_body_temp_path {root_text}/body; proxy_temp_path {root_text}/proxy; \
           fastcgi_temp_path {root_text}/fastcgi; uwsgi_temp_path {root_text}/uwsgi; scgi_temp_path {root_text}/scgi;\n\
           server {{ listen {address}; }} }}\n"
    );
    let path = root.join("nginx.conf");
    fs::write(&path, configuration).context("cannot write nginx.conf")?;
    let mut command = Command::new(find("nginx")?);
    command.arg("-c").arg(&path).arg("-p").arg(&root);
    let process = Process::start(directory, "nginx", &mut command)?;
    http::wait_for_ok(address, "localhost", "/").await;
    Ok(process)
}

fn open_to_all(folder: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).context("cannot open a folder to nginx")
}

/// Servers lie in sbin on Debian, which is not on everybody's search path.
fn find(program: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from));
    let mut candidates = folders.map(|folder| folder.join(program));
    candidates
        .find(|path| path.is_file())
        .with_context(|| format!("{program} is not installed; cargo xtask torture installs it"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::SOON;
    use crate::load::Load;
    use crate::ports::free_address;

    #[tokio::test]
    async fn nginx_serves_the_load_generator() -> Result<()> {
        let directory = tempfile::tempdir()?;
        let address = free_address();
        let mut nginx = nginx(directory.path(), address).await?;
        let load = Load::start(address, "localhost", 2);
        assert_eq!(http::get(address, "localhost", "/").await?.text(), PAGE);
        assert_eq!(http::get(address, "localhost", "/none").await?.status, 404);
        let report = load.finish().await;
        report.demand_no_failure()?;
        nginx.terminate(SOON).await?;
        Ok(())
    }
}
