//! What is printed is signed, and curl reads it as it was meant.

use bowline_identity::signature::{Algorithm, Keys};
use clap::Parser as _;

use super::*;
use crate::cli::{Cli, Command};

struct Setup {
    folder: tempfile::TempDir,
    keys: Keys,
}

impl Setup {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let key = SigningKey::generate("a-1".parse().expect("an id"), Algorithm::Ed25519);
        std::fs::write(folder.path().join("a.key"), &*key.to_toml()).expect("written");
        let entry = key.table_entry(&"a".parse().expect("a namespace"));
        Self { folder, keys: Keys::from_toml("keys.toml", &entry).expect("keys") }
    }

    fn sign(&self, arguments: &[&str]) -> Result<String, String> {
        let key = self.folder.path().join("a.key").display().to_string();
        let line = ["bowline", "sign", "--key", &key].into_iter().chain(arguments.iter().copied());
        match Cli::try_parse_from(line).map_err(|error| error.to_string())?.command {
            Command::Sign(flags) => run(&flags).map_err(|failure| failure.to_string()),
            other => panic!("{other:?}"),
        }
    }

    fn check_refused(&self, arguments: &[&str], part: &str) {
        let failure = self.sign(arguments).expect_err("refused");
        assert!(failure.contains(part), "{failure}");
    }

    /// Verifies what `--output json` says, as a server would.
    fn verify(&self, json: &str, authority: &str, body: &[u8]) {
        let printed: serde_json::Value = serde_json::from_str(json).expect("JSON");
        let mut headers = HeaderMap::new();
        for (name, value) in printed["headers"].as_object().expect("headers") {
            let name: HeaderName = name.parse().expect("a name");
            headers.insert(name, HeaderValue::from_str(value.as_str().expect("text")).expect("a value"));
        }
        let uri: Uri = printed["url"].as_str().expect("text").parse().expect("a URL");
        let parts = RequestParts {
            method: printed["method"].as_str().expect("text"),
            authority,
            path: uri.path(),
            query: uri.query(),
            headers: &headers,
        };
        let verified = self.keys.verify(&parts, bowline_rt::time::unix_time()).expect("verified");
        verified.check_body(body).expect("the body");
        assert_eq!(verified.namespace.as_str(), "a");
    }
}

#[test]
fn what_is_printed_verifies() {
    let setup = Setup::new();
    let json = |arguments: &[&str]| setup.sign(&[arguments, &["--output", "json"]].concat()).expect("signed");
    setup.verify(&json(&["http://a:80/v1/x"]), "a", b"");
    setup.verify(&json(&["https://A:80/v1/x?ttl=1#top"]), "a:80", b"");
    setup.verify(&json(&["https://a", "--data", "b c"]), "a", b"b c");
    let headers = ["-H", "content-type: text/plain", "-H", "Bowline-Ttl:  5", "-H", "Host: other"];
    setup.verify(&json(&[&headers[..], &["-X", "PUT", "http://a/x"]].concat()), "other", b"");
    let file = setup.folder.path().join("body");
    std::fs::write(&file, [0, 255]).expect("written");
    let file = file.display().to_string();
    setup.verify(&json(&["--data-file", &file, "http://a/x"]), "a", &[0, 255]);
    let headers = setup.sign(&["http://a/", "--output", "headers", "--valid-for", "5m"]).expect("signed");
    assert!(headers.starts_with("signature-input: bowline=(\"@method\" \"@authority\" \"@path\");created="));
    assert_eq!(headers.lines().count(), 2);
}

#[test]
fn curl_is_told_all_of_it() {
    let setup = Setup::new();
    let check = |arguments: &[&str], parts: &[&str]| {
        let config = setup.sign(arguments).expect("signed");
        for part in parts {
            assert!(config.lines().any(|line| line.starts_with(part)), "{part} is not in\n{config}");
        }
    };
    check(&["http://a/b"], &["url = \"http://a/b\"", "request = \"GET\"", "header = \"signature: bowline=:"]);
    check(
        &["http://a/b"],
        &["header = \"signature-input: bowline=(\\\"@method\\\"", "path-as-is", "globoff"],
    );
    check(&["http://a/b", "-X", "HEAD"], &["head"]);
    let data = ["http://a/b", "--data", "@\"\\\n\t\r\u{b}é"];
    check(
        &data,
        &["request = \"POST\"", "data-raw = \"@\\\"\\\\\\n\\t\\r\\vé\"", "header = \"content-type:\""],
    );
    check(&[&data[..], &["-H", "content-type: a/b"]].concat(), &["header = \"content-type: a/b\""]);
    check(&["http://a/b", "-H", "accept:"], &["header = \"accept;\""]);
    let file = setup.folder.path().join("body");
    std::fs::write(&file, [0]).expect("written");
    let file = file.display().to_string();
    check(&["http://a/b", "--data-file", &file], &[&format!("data-binary = \"@{file}\"")]);
}

#[test]
fn what_cannot_be_signed_is_refused() {
    let setup = Setup::new();
    setup.check_refused(&["a/b"], "a URL begins with http:// or https://");
    setup.check_refused(&["ftp://a/b"], "a URL begins with http:// or https://");
    setup.check_refused(&["http://u:p@a/b"], "a URL with a user is not signed");
    setup.check_refused(&["http://a/b c"], "spaces and letters other than ASCII");
    setup.check_refused(&["http://a/", "-X", "put"], "-X put: a method has upper-case letters");
    setup.check_refused(&["http://a/", "-H", "a"], "-H 'a': write 'name: value'");
    setup.check_refused(&["http://a/", "-H", "signature: a"], "the header signature is there already");
    setup.check_refused(
        &["http://a/", "-H", "content-type: a", "-H", "content-type: b"],
        "comes more than once",
    );
    setup.check_refused(&["http://a/", "-H", "bowline-a: é"], "has characters other than ASCII");
    setup.check_refused(&["http://a/", "--data", "a\0"], "a body that is not text");
    setup.check_refused(&["http://a/", "--data", &"a".repeat(50_000)], "longer than 49152 bytes");
    setup.check_refused(&["http://a/", "--data-file", "no-such-file"], "cannot read no-such-file");
    setup.check_refused(&["http://a/", "--valid-for", "6m"], "a signature is valid for 1 s to 300 s");
    std::fs::write(setup.folder.path().join("a.key"), "id = 1").expect("written");
    setup.check_refused(&["http://a/"], "line 1: a value is of the wrong kind; `bowline sign-key new` makes");
    std::fs::remove_file(setup.folder.path().join("a.key")).expect("removed");
    setup.check_refused(
        &["http://a/"],
        "No such file or directory (os error 2); `bowline sign-key new` makes",
    );
}
