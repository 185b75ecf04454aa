//! What a file of keys may say, and that its errors name the line and no secret.

use super::super::{Keys, SigningKey};
use super::*;

/// 32 bytes, of no key that anybody has.
const SECRET: &str = "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2U=";
/// The public key of RFC 9421, B.1.4.
const PUBLIC: &str = "JrQLj5P/89iXES9+vFgrIy29clF9CC/oPPsw3c5D0bs=";

fn hmac(lines: &str) -> String {
    format!("[[key]]\nid = \"a\"\nalgorithm = \"hmac-sha256\"\nnamespace = \"n\"\n{lines}\n")
}

fn ed25519(lines: &str) -> String {
    format!("[[key]]\nid = \"b\"\nalgorithm = \"ed25519\"\nnamespace = \"n\"\n{lines}\n")
}

fn secret_line() -> String {
    format!("secret = \"{SECRET}\"")
}

fn check_refused(text: &str, expected: &str) {
    let error = Keys::from_toml("keys.toml", text).unwrap_err();
    let (shown, debugged) = (error.to_string(), format!("{error:?}"));
    assert!(shown.contains(expected), "{shown}");
    assert!(!debugged.contains("c2Vj") && !debugged.contains("JrQL"), "a key shows: {debugged}");
}

#[test]
fn keys_come_in_several_forms() {
    let pem = format!("-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA{PUBLIC}\n-----END PUBLIC KEY-----");
    for public_key in [
        format!("public_key = \"{PUBLIC}\""),
        format!("public_key = \"MCowBQYDK2VwAyEA{PUBLIC}\""),
        format!("public_key = \"\"\"\n{pem}\n\"\"\"\ndescription = \"of the RFC\""),
    ] {
        let keys = Keys::from_toml("keys.toml", &(hmac(&secret_line()) + &ed25519(&public_key))).unwrap();
        assert_eq!(keys.len(), 2);
        assert!(!format!("{keys:?}").contains("c2Vj"));
    }
    assert!(Keys::from_toml("keys.toml", "").unwrap().is_empty());
}

#[test]
fn a_wrong_file_is_refused_with_the_line() {
    let good = hmac(&secret_line());
    check_refused("[[key]\n", "keys.toml, line 1: ");
    check_refused(&hmac(&format!("secert = \"{SECRET}\"")), "line 5: unknown field `secert`");
    check_refused(&hmac(""), "line 1: a key of hmac-sha256 has secret");
    check_refused(&hmac(&format!("public_key = \"{PUBLIC}\"")), "line 1: a key of hmac-sha256 has secret");
    check_refused(&ed25519(&secret_line()), "line 1: a key of ed25519 has public_key");
    check_refused(&hmac("secret = \"c2VjcmV0\""), "line 5: a secret has 32 to 1024 bytes, and this one 6");
    check_refused(&hmac(&format!("secret = \"{}\"", &SECRET[1..])), "line 5: a secret is base64");
    check_refused(&hmac(&format!("secret = [\"{SECRET}\"]")), "line 5: a value is of the wrong kind");
    check_refused(&hmac(&format!("secret = {SECRET}")), "line 5: ");
    check_refused(&hmac(&format!("secret = \"{SECRET}")), "line 5: ");
    check_refused(
        &hmac(&format!("description = 1\n{}", secret_line())),
        "line 5: a value is of the wrong kind",
    );
    check_refused(&ed25519("public_key = \"AAAA\""), "line 5: a public key of ed25519 is 32 bytes");
    check_refused(&ed25519("public_key = \"?\""), "line 5: a public key of ed25519 is 32 bytes");
    let private = "public_key = \"\"\"-----BEGIN PRIVATE KEY-----\nc2Vj\n-----END PRIVATE KEY-----\"\"\"";
    check_refused(&ed25519(private), "line 5: public_key is a private key; consider it leaked");
    check_refused(&good.replace("hmac-sha256", SECRET), "line 3: an algorithm is \"hmac-sha256\" or");
    check_refused(&good.replace("\"a\"", &format!("\"{SECRET}\"")), "line 2: the id of a key is 1 to 64");
    check_refused(&good.replace("\"n\"", "\"{n}\""), "line 4: a namespace is 1 to 64");
    check_refused(&good.replace("namespace = \"n\"", ""), "line 1: missing field `namespace`");
    check_refused(&(good.clone() + &good), "line 7: an earlier key has the same id");
    for date in ["1", "\"tomorrow\"", "2026-01-01", "2026-01-01T00:00:00", "1969-01-01T00:00:00Z"] {
        let lines = format!("{}\nnot_before = {date}", secret_line());
        check_refused(&hmac(&lines), "line 6: a date is such as 2026-12-31T23:59:59Z");
    }
    let never = "not_before = 2026-01-02T00:00:00Z\nnot_after = 2026-01-02T00:00:00Z";
    check_refused(&hmac(&format!("{}\n{never}", secret_line())), "line 7: not_after is before not_before");
}

#[test]
fn the_documented_file_is_right() {
    let document = include_str!("../../../../docs/security.md");
    let (_, file) = document.split_once("# signing-keys.toml\n").unwrap();
    let (file, _) = file.split_once("```").unwrap();
    assert_eq!(Keys::from_toml("security.md", file).unwrap().len(), 1);
}

#[test]
fn a_file_has_its_bounds() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.toml");
    assert!(matches!(Keys::from_file(&file), Err(KeysError::Read { .. })));
    std::fs::write(&file, "#".repeat(1024 * 1024 + 1)).unwrap();
    assert!(matches!(Keys::from_file(&file), Err(KeysError::TooLarge { .. })));
    let keys: String =
        (0..=SIGNING_KEYS_MAX).map(|_| "[[key]]\nid='a'\nalgorithm=''\nnamespace=''\n").collect();
    assert!(matches!(Keys::from_toml("k", &keys), Err(KeysError::TooMany { .. })));
}

#[test]
fn a_reload_replaces_the_keys_unless_the_file_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.toml");
    std::fs::write(&file, hmac(&secret_line())).unwrap();
    let keys = Keys::from_file(&file).unwrap();
    let shared = keys.clone();
    std::fs::write(&file, "[[key]]").unwrap();
    assert!(keys.reload().is_err());
    std::fs::write(&file, "# none\n").unwrap();
    assert!(matches!(keys.reload(), Err(KeysError::Emptied { .. })));
    assert_eq!(shared.len(), 1);
    std::fs::write(&file, hmac(&secret_line()) + &ed25519(&format!("public_key = \"{PUBLIC}\""))).unwrap();
    keys.reload().unwrap();
    assert_eq!(shared.len(), 2);
}

#[test]
fn a_key_does_not_move_to_another_namespace() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.toml");
    let secret = secret_line();
    std::fs::write(&file, hmac(&secret)).unwrap();
    let keys = Keys::from_file(&file).unwrap();
    let namespace = || keys.key(&"a".parse().unwrap()).unwrap().namespace.to_string();
    let before = namespace();
    let elsewhere = hmac(&secret).replace("namespace = \"n\"", "namespace = \"elsewhere\"");
    std::fs::write(&file, &elsewhere).unwrap();
    let error = keys.reload().unwrap_err();
    assert!(matches!(&error, KeysError::Moved { .. }), "{error}");
    assert!(error.to_string().contains("the key a has another namespace than before"), "{error}");
    assert_eq!(namespace(), before);
    // Under another id it is another key.
    std::fs::write(&file, elsewhere.replace("id = \"a\"", "id = \"b\"")).unwrap();
    keys.reload().unwrap();
    assert!(keys.key(&"a".parse().unwrap()).is_none());
}

#[test]
fn a_wrong_signing_key_is_refused_with_the_line() {
    let check = |text: &str, expected: &str| {
        let error = SigningKey::parse("a.key", text).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert!(!format!("{error:?}").contains("c2Vj"), "a key shows: {error:?}");
    };
    let head = |algorithm: &str| format!("id = \"a\"\nalgorithm = \"{algorithm}\"\n");
    check("", "a.key, line 1: missing field `id`");
    check(&head("rsa"), "line 2: an algorithm is");
    check(&head("ed25519"), "line 1: a key of ed25519 has private_key");
    check(&head("hmac-sha256"), "line 1: a key of hmac-sha256 has secret");
    check(&(head("ed25519") + "private_key = \"c2VjcmV0\""), "line 3: a private key of ed25519 is 32 bytes");
    check(&(head("ed25519") + "private_key = \"-----BEGIN X-----\""), "line 3: a private key of ed25519");
    check(&(head("hmac-sha256") + "secret = \"c2VjcmV0\""), "line 3: a secret has 32 to 1024 bytes");
    // What is meant for the server is said to be so.
    check(&hmac(&secret_line()), "line 1: these are the keys of a server");
}

proptest::proptest! {
    #[test]
    fn no_file_is_too_odd_and_no_secret_shows(
        text in "(\\[\\[key\\]\\]|id|algorithm|namespace|secret|public_key|not_after|=|\"|\n| |hmac-sha256|c2VjcmV0[0-9a-z]{0,8}|1979-01-01T00:00:00Z|é){0,16}"
    ) {
        let keys = Keys::from_toml("test", &text).map(drop).err();
        let signing = SigningKey::parse("test", &text).map(drop).err();
        for error in [keys, signing].into_iter().flatten() {
            assert!(!error.to_string().contains("c2VjcmV0"), "{error}");
        }
    }
}
