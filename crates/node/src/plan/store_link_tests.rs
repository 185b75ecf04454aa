//! Where the store is and as whom a gateway logs in, from configurations and files.

use bowline_redis::{CredentialProvider, Secret};

use super::{Edge, Login, Path, ServerConfig, store_files};
use crate::config::Loaded;
use crate::plan::ServerPlan;
use crate::plan::server::tests::{TLS, folder, plan};

#[test]
fn a_gateway_shows_its_own_certificate_to_the_store_unless_another_is_named() {
    let folder = folder();
    let check = |store: &str, tls: &str, expected: Option<&str>| {
        let text = format!("[store]\nurl = 'rediss://h'\nca = 'ca.crt'\n{store}{tls}");
        plan(folder.path(), &text).expect("a plan");
        let loaded = Loaded::<ServerConfig>::parse(&folder.path().join("gw.toml"), &text).expect("right");
        let ca = loaded.config.store.ca.as_deref().expect("named above");
        let files = store_files(&loaded.config, ca);
        assert_eq!(files.certificate, expected.map(|name| folder.path().join(name)), "{text}");
        assert_eq!(files.certificate.is_some(), files.key.is_some());
    };
    check("", "", None);
    check("", TLS, Some("g.crt"));
    std::fs::copy(folder.path().join("ca.crt"), folder.path().join("other.crt")).expect("copied");
    check("", &TLS.replace("ca.crt", "other.crt"), None);
    std::fs::copy(folder.path().join("g.crt"), folder.path().join("s.crt")).expect("copied");
    check("certificate = 's.crt'\nkey = 'g.key'\n", TLS, Some("s.crt"));
    check("certificate = 's.crt'\nkey = 'g.key'\n", "", Some("s.crt"));
}

#[test]
fn what_is_wrong_with_the_store_is_said_with_advice_that_fits() {
    let folder = folder();
    let check = |store: &str, parts: &[&str], is_not: &str| {
        let error = plan(folder.path(), &format!("[store]\n{store}\n")).expect_err("must not fit");
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
        assert!(!error.contains(is_not), "{error}");
    };
    let form = "write redis://[[USER]:PASSWORD@]HOST[:PORT][/DB], or rediss:// for TLS";
    check("url = 'http://h'", &["gw.toml:2: store.url", form], "store.ca");
    check("url = 'redis://:x'", &["gw.toml:2: store.url", form], "store.ca");
    check("url = 'rediss://h'", &["gw.toml:2: store.url", "store.ca"], "write");
    check("url = 'unix://run/s'", &["unix:///run/redis.sock"], "write");
    check("url = 'redis-sentinel://localhost'", &["mymaster"], "write");
    check("url = 'redis-sentinel://a,/my'", &["needs a host"], "write");
    check("url = 'redis-cluster://localhost/1'", &["database"], "write");
    check("url = 'redis://gw@localhost'", &["user:password@", "store.password_file", "USER@"], "write redis");
    check("url = 'redis://localhost?client_name=x'", &["bowline-NAME", "client_name"], "write");
    let file = "\npassword_file = 'password'";
    check(&format!("url = 'redis://:hunter2@localhost'{file}"), &["keep one"], "hunter2");
    check(&format!("url = 'redis://u@h'{file}"), &["gw.toml:2: store.url", "rediss://"], "p@ss");
    check(
        "url = 'redis://localhost'\npassword_file = 'none'",
        &["store.password_file", "none: No such"],
        "write",
    );
    check("url = 'redis://localhost'\npassword_file = 'empty.toml'", &["empty.toml: it is empty"], "write");
}

#[tokio::test]
async fn a_password_file_is_read_again_and_gives_the_password_of_the_user_in_the_url() {
    let folder = folder();
    let check = async |url: &str, user: Option<&str>| {
        let write = |text: &str| std::fs::write(folder.path().join("password"), text).expect("written");
        write("p@ss\n");
        let plan = plan(folder.path(), &format!("[store]\nurl = '{url}'\npassword_file = 'password'\n"));
        let plan = plan.expect("a plan");
        let link = plan.store.as_ref().expect("a store");
        assert!(!format!("{plan:?}").contains("p@ss"));
        // What both clients of the gateway ask before each connection.
        let files = link.password.as_ref().expect("a file");
        let login = async || files.login().await.expect("a login");
        let is = |password: &str| Login { user: user.map(str::to_owned), password: Secret::new(password) };
        assert_eq!(login().await, is("p@ss"), "{url}");
        assert!(format!("{:?}", link.config).contains("credentials: Provider"));

        let version = files.version().expect("it tells");
        write(" other \n");
        assert_eq!(plan.reload().run(), Vec::<String>::new());
        assert!(version.has_changed().expect("it lives"), "living connections are told");
        assert_eq!(login().await, is("other"), "{url}");

        write("\n");
        let problems = plan.reload().run().join("\n");
        assert!(problems.contains("store.password_file: ") && problems.contains("it is empty"), "{problems}");
        assert_eq!(login().await, is("other"), "the old one stays in use");
    };
    check("redis://[::1]:1", None).await;
    check("redis://gw@localhost", Some("gw")).await;
    check("unix://gw@/run/a@b.sock", Some("gw")).await;
    check("redis-sentinel://gw@localhost/my?sentinel_password=p", Some("gw")).await;
    check("valkey-cluster://g%77@localhost", Some("gw")).await;
}

#[test]
fn a_password_of_the_environment_stays_as_it_is() {
    let folder = folder();
    let text = "[store]\nurl = 'redis://gw@localhost'\n";
    let loaded = Loaded::<ServerConfig>::parse(&folder.path().join("gw.toml"), text).expect("right");
    let read = |path: &Path| std::fs::read(path);
    let secret = Some(crate::config::value::Secret::new("p@ss".to_owned()));
    let edge = Edge { read: &read, host_name: "box", secret };
    let plan = ServerPlan::new(&loaded.config, &edge).expect("a plan");
    let config = format!("{:?}", plan.store.as_ref().expect("a store").config);
    assert!(config.contains("Fixed(Login { user: Some(\"gw\")") && !config.contains("p@ss"), "{config}");
}
