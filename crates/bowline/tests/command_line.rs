//! The program itself: exit statuses, and what is printed where.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};

/// Runs the program in `folder`, without what the environment of the test may set.
fn run(folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bowline"));
    command.current_dir(folder).env_clear().args(arguments).envs(variables.iter().copied());
    command.output().expect("the program starts")
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

/// Runs it and checks the exit status and a part of what it says.
fn check(folder: &Path, arguments: &[&str], variables: &[(&str, &str)], status: i32, part: &str) {
    let output = run(folder, arguments, variables);
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(status), "{arguments:?}\n{stdout}\n{stderr}");
    let said = if status == 0 { &stdout } else { &stderr };
    assert!(said.contains(part), "{arguments:?} does not say {part:?}:\n{stdout}\n{stderr}");
}

#[test]
fn success_is_zero_and_goes_to_standard_output() {
    let folder = folder();
    check(folder.path(), &["version"], &[], 0, "bowline 0.");
    check(folder.path(), &["--help"], &[], 0, "Exit status: 0 success, 1 failure, 2 wrong usage");
    check(folder.path(), &["completions", "bash"], &[], 0, "_bowline");
    for role in ["server", "agent", "store"] {
        let text = run(folder.path(), &["config", "print-default", role], &[]).stdout;
        std::fs::write(folder.path().join("default.toml"), text).expect("written");
        // A store's default in an environment without a host name would do too; a name makes all three plain.
        check(
            folder.path(),
            &["config", "check", "--role", role, "default.toml"],
            &[],
            0,
            "a valid configuration",
        );
    }
}

/// Without a terminal a line of help has 100 columns.
#[test]
fn help_is_not_ragged() {
    let folder = folder();
    for command in [
        &["dev"][..],
        &["server"],
        &["agent"],
        &["store"],
        &["forward"],
        &["status"],
        &["sign"],
        &["sign-key"],
        &["sign-key", "new"],
        &["token", "new"],
        &["ca", "issue"],
    ] {
        let output = run(folder.path(), &[command, &["--help"]].concat(), &[]);
        let text = String::from_utf8(output.stdout).expect("a text");
        // A longer line of the source is wrapped, and what follows it stands alone.
        let examples = text.split_once("Examples:\n").map_or("", |(_, examples)| examples);
        let is_rest =
            |line: &&str| (1..40).contains(&line.len()) && !line.starts_with(' ') && !line.ends_with('.');
        assert_eq!(examples.lines().find(is_rest), None, "{command:?}\n{examples}");
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    }
}

#[test]
fn the_certificate_for_the_store_has_flags_and_variables() {
    let folder = folder();
    let server = ["server", "--store", "rediss://127.0.0.1:1", "--store-ca", "ca.crt"];
    let with = |more: &[&'static str]| [&server[..], more].concat();
    let alone = "--store-certificate: store.certificate";
    check(folder.path(), &with(&["--store-certificate", "c.crt"]), &[], 2, alone);
    let variable = [("BOWLINE_STORE_CERTIFICATE", "c.crt")];
    check(folder.path(), &with(&[]), &variable, 2, "BOWLINE_STORE_CERTIFICATE: store.certificate");
    check(folder.path(), &with(&["--store-key", "c.key"]), &[], 2, "store.key");
    // Both are read where the authority is.
    check(folder.path(), &with(&["--store-key", "c.key"]), &variable, 2, "ca.crt");
}

#[test]
fn wrong_usage_is_two_and_says_where() {
    let folder = folder();
    let write = |text: &str| std::fs::write(folder.path().join("gw.toml"), text).expect("written");
    let server = ["server", "--config", "gw.toml"];
    check(folder.path(), &[], &[], 2, "Usage: bowline");
    check(folder.path(), &["server", "--http-listen", "80"], &[], 2, "write IP:PORT");
    check(folder.path(), &server, &[], 2, "cannot read gw.toml");
    write("[http]\nlisten = '127.0.0.1:0'\nconect = true\n");
    check(
        folder.path(),
        &server,
        &[],
        2,
        "gw.toml:3: unknown key `conect` in [http]; did you mean `connect`?",
    );
    write("[http]\nlisten = '0.0.0.0:0'\nconnect = false\n");
    check(
        folder.path(),
        &server,
        &[],
        2,
        "gw.toml:2: http.listen: 0.0.0.0:0 is reachable from other machines",
    );
    check(folder.path(), &["config", "check", "gw.toml"], &[], 2, "bowline ca init");
    let config_check = ["config", "check", "gw.toml"];
    write("[log]\nlevel = 'no=such=level'\n");
    check(folder.path(), &server, &[], 2, "gw.toml:2: log.level: `no=such=level` is not a log filter");
    check(folder.path(), &config_check, &[], 2, "gw.toml:2: log.level: `no=such=level` is not a log filter");
    let flag = ["status", "--log-level", "loud"];
    check(folder.path(), &flag, &[], 2, "log.level: `loud` is not a log filter: `loud` is not a level");
    write("[http]\nresponse_timeout = '0s'\n");
    check(folder.path(), &config_check, &[], 2, "gw.toml:2: http.response_timeout: 0s is out of range");
    let variables = [("BOWLINE_TOKEN", TOKEN)];
    let remote = ["forward", "db", "--stdio", "--gateway", "http://gw.example.com"];
    check(folder.path(), &remote, &variables, 2, "a token is not sent to another machine without TLS");
    check(folder.path(), &["status", "--gateway", "nonsense"], &[], 2, "--gateway nonsense");
}

/// A token that nobody has.
const TOKEN: &str = "bwl_0000000000000000000000000000000000000000000000000000000000000000";

#[test]
fn flags_win_over_variables_and_variables_over_the_file() {
    let folder = folder();
    std::fs::write(folder.path().join("gw.toml"), "[admin]\nlisten = '0.0.0.0:1'\n").expect("written");
    let server = ["server", "--config", "gw.toml"];
    let variable = [("BOWLINE_ADMIN_LISTEN", "0.0.0.0:2")];
    check(folder.path(), &server, &[], 2, "gw.toml:2: admin.listen: 0.0.0.0:1");
    check(folder.path(), &server, &variable, 2, "BOWLINE_ADMIN_LISTEN: admin.listen: 0.0.0.0:2");
    let flag = ["server", "--config", "gw.toml", "--admin-listen", "0.0.0.0:3"];
    check(folder.path(), &flag, &variable, 2, "--admin-listen: admin.listen: 0.0.0.0:3");
}

#[test]
fn failure_is_one_and_says_what_to_do() {
    let folder = folder();
    let taken = taken();
    let address = taken.local_addr().expect("bound").to_string();
    let part = format!("cannot listen on {address} (http): address in use");
    check(folder.path(), &["server", "--name", "g", "--http-listen", &address], &[], 1, &part);
    let part = format!("cannot listen on {address} (store): address in use");
    check(folder.path(), &["store", "--listen", &address], &[], 1, &part);
    drop(taken);
    let url = format!("http://{address}");
    answers_that_are_no_status(folder.path());
    check(folder.path(), &["status", "--gateway", &url], &[], 1, "is a gateway running");
    check(
        folder.path(),
        &["forward", "db", "--stdio", "--gateway", &url],
        &[],
        1,
        "cannot connect to the gateway",
    );
}

/// What is asked for a status may be anything that speaks HTTP.
fn answers_that_are_no_status(folder: &Path) {
    let other = taken();
    let url = format!("http://{}", other.local_addr().expect("bound"));
    let web = [("table", "Welcome to nginx"), ("json", "{\"status\": \"ok\"}")];
    for (output, body) in web {
        std::thread::scope(|threads| {
            threads.spawn(|| answer(&other, body));
            let arguments = ["status", "--gateway", &url, "--output", output];
            let output = run(folder, &arguments, &[]);
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.code() == Some(1) && output.stdout.is_empty(), "{output:?}");
            assert!(said.contains("is not the admin address of a gateway") && said.contains(body), "{said}");
        });
    }
}

/// Answers one request.
fn answer(listener: &TcpListener, body: &str) {
    use std::io::{Read as _, Write as _};

    let (mut stream, _) = listener.accept().expect("a client");
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut bytes = [0; 512];
        let count = stream.read(&mut bytes).expect("a request");
        request.extend_from_slice(&bytes[..count]);
    }
    let length = body.len();
    write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}").expect("written");
}

#[expect(clippy::disallowed_methods, reason = "a port that the program under test must not get")]
fn taken() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").expect("a free port")
}

#[test]
fn secrets_of_the_environment_are_not_shown() {
    let folder = folder();
    let variables = [("BOWLINE_TOKEN", "hunter2"), ("BOWLINE_STORE", "redis://:hunter2@127.0.0.1:1")];
    for arguments in [&["agent", "--name", "a"][..], &["server", "--help"], &["forward", "db", "--stdio"]] {
        let output = run(folder.path(), arguments, &variables);
        let said = [output.stdout, output.stderr].concat();
        assert!(!String::from_utf8_lossy(&said).contains("hunter2"), "{arguments:?}");
    }
}

/// A child that is killed if the test fails.
struct Running(std::process::Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already if the test went well.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Running {
    fn signal(&self, signal: rustix::process::Signal) {
        let id = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(id, signal).expect("it runs");
    }
}

/// The process goes on when whoever read its log is gone, and stops as it should.
#[test]
fn a_log_that_nobody_reads_harms_nothing() {
    use std::io::BufRead as _;

    let ports = ["--http-listen", "--admin-listen", "--agents-listen", "--peers-listen"];
    let mut command = Command::new(env!("CARGO_BIN_EXE_bowline"));
    command.env_clear().args(["server", "--name", "g"]).stderr(std::process::Stdio::piped());
    command.args(ports.iter().flat_map(|port| [*port, "127.0.0.1:0"]));
    let mut server = Running(command.spawn().expect("the program starts"));
    let mut log = std::io::BufReader::new(server.0.stderr.take().expect("piped")).lines();
    assert!(log.any(|line| line.expect("text").contains("in step with the store")));
    drop(log);
    server.signal(rustix::process::Signal::TERM);
    let status = server.0.wait().expect("it ends");
    assert!(status.success(), "{status}");
}

/// What follows `mark` in the next line that has it, up to a space.
fn after(lines: &mut impl Iterator<Item = String>, mark: &str) -> String {
    let line = lines.find(|line| line.contains(mark)).unwrap_or_else(|| panic!("no line with {mark:?}"));
    let (_, rest) = line.split_once(mark).expect("found above");
    rest.split(' ').next().expect("a split has a first part").to_owned()
}

#[test]
fn dev_prints_a_line_that_works_and_stops_when_its_terminal_is_gone() {
    use std::io::BufRead as _;

    let folder = folder();
    let names = ["--http-port", "--admin-port", "--agents-port", "--peers-port", "--sessions-port"];
    let ports: Vec<&str> =
        ["dev"].into_iter().chain(names.into_iter().flat_map(|name| [name, "0"])).collect();
    let mut command = Command::new(env!("CARGO_BIN_EXE_bowline"));
    command.env_clear().args(ports).args(["--log-level", "error"]).stdout(std::process::Stdio::piped());
    let mut dev = Running(command.spawn().expect("the program starts"));
    let output = std::io::BufReader::new(dev.0.stdout.take().expect("piped"));
    let mut lines = output.lines().map_while(Result::ok);

    let admin = after(&mut lines, "admin     ");
    let http = after(&mut lines, "curl -H 'Host: demo.svc.bowline' http://");
    let greeting = greet(http.trim_end_matches('/'));
    assert!(greeting.contains("Hello from behind the agent dev-agent"), "{greeting}");

    // What signs is there while dev runs.
    let key = after(&mut lines, "bowline sign --key ");
    let sign = ["sign", "--key", &key, "--output", "headers", "http://127.0.0.1/v1/user-sessions/42"];
    check(folder.path(), &sign, &[], 0, "keyid=\"dev\"");

    let url = admin.trim_end_matches("/v1/status");
    check(folder.path(), &["status", "--gateway", url], &[], 0, "demo  dev-agent  dev");
    check(
        folder.path(),
        &["status", "--gateway", url, "--output", "json"],
        &[],
        0,
        "\"name\": \"dev-agent\"",
    );
    watch_ends_with_its_reader(url);
    let gateway = format!("http://{}", http.trim_end_matches('/'));
    a_service_that_ends_ends_the_forward(&gateway);
    for signal in [rustix::process::Signal::HUP, rustix::process::Signal::TERM] {
        a_stream_that_is_cut_is_no_success(&gateway, signal);
    }
    check(folder.path(), &["forward", "none", "--stdio", "--gateway", &gateway], &[], 1, "service_unknown");

    watch_goes_on_without_a_gateway(url, &dev);
    let status = dev.0.wait().expect("it ends");
    assert!(status.success(), "{status}");
    assert_eq!(lines.last().as_deref(), Some("stopped"));
}

/// `bowline forward demo --stdio` and its standard input, into which a request was written.
fn forward(gateway: &str, path: &str) -> (Running, std::process::ChildStdin) {
    use std::io::Write as _;

    let mut command = Command::new(env!("CARGO_BIN_EXE_bowline"));
    command.env_clear().args(["forward", "demo", "--stdio", "--gateway", gateway]);
    command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut forward =
        Running(command.stderr(std::process::Stdio::null()).spawn().expect("the program starts"));
    let mut input = forward.0.stdin.take().expect("piped");
    write!(input, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").expect("written");
    (forward, input)
}

/// Its reader sees the end, and then it ends itself, though its input stays open.
fn a_service_that_ends_ends_the_forward(gateway: &str) {
    use std::io::Read as _;

    let (mut forward, input) = forward(gateway, "/");
    let mut answer = String::new();
    forward.0.stdout.take().expect("piped").read_to_string(&mut answer).expect("an answer");
    assert!(answer.contains("Hello from behind the agent dev-agent"), "{answer}");
    let status = forward.0.wait().expect("it ends");
    assert!(status.success(), "{status}");
    drop(input);
}

fn a_stream_that_is_cut_is_no_success(gateway: &str, signal: rustix::process::Signal) {
    use std::io::BufRead as _;

    let (mut forward, input) = forward(gateway, "/stream");
    let mut answer = std::io::BufReader::new(forward.0.stdout.take().expect("piped")).lines();
    assert!(answer.next().expect("a line").expect("text").contains("200"));
    forward.signal(signal);
    assert_eq!(forward.0.wait().expect("it ends").code(), Some(1));
    drop(input);
}

/// SIGHUP ends `dev`, and `status --watch` says that the gateway is gone and looks again.
fn watch_goes_on_without_a_gateway(admin: &str, dev: &Running) {
    use std::io::BufRead as _;

    let mut command = Command::new(env!("CARGO_BIN_EXE_bowline"));
    command.env_clear().args(["status", "--watch", "--gateway", admin]).stdout(std::process::Stdio::piped());
    let mut watch = Running(command.spawn().expect("the program starts"));
    let output = std::io::BufReader::new(watch.0.stdout.take().expect("piped"));
    let mut lines = output.lines().map_while(Result::ok);
    assert!(lines.any(|line| line == "GATEWAYS"));
    dev.signal(rustix::process::Signal::HUP);
    for _ in 0..2 {
        assert!(lines.any(|line| line.starts_with("no status; is a gateway running")), "it goes on");
    }
}

/// `bowline status --watch | head` ends.
fn watch_ends_with_its_reader(admin: &str) {
    use std::io::BufRead as _;

    let mut command = Command::new(env!("CARGO_BIN_EXE_bowline"));
    command.env_clear().args(["status", "--watch", "--gateway", admin]).stdout(std::process::Stdio::piped());
    let mut watch = Running(command.spawn().expect("the program starts"));
    let mut reader = std::io::BufReader::new(watch.0.stdout.take().expect("piped"));
    reader.read_line(&mut String::new()).expect("a line");
    drop(reader);
    let status = watch.0.wait().expect("it ends");
    assert!(status.success(), "{status}");
}

/// GETs `/` of the demo service.
#[expect(clippy::disallowed_methods, reason = "a client outside of the program under test")]
fn greet(address: &str) -> String {
    use std::io::{Read as _, Write as _};

    let mut stream = std::net::TcpStream::connect(address).expect("the entry listens");
    stream.set_read_timeout(Some(std::time::Duration::from_secs(20))).expect("a time-out");
    let request = "GET / HTTP/1.1\r\nhost: demo.svc.bowline\r\nconnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}
