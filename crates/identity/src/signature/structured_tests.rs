//! What is a dictionary, what is none, and that what was read writes itself again.

use super::*;

/// Reads, and writes what was read.
fn again(text: &str) -> Result<String, String> {
    let members = dictionary(text).map_err(|problem| problem.to_string())?;
    let mut out = String::new();
    for (key, member) in members {
        if !out.is_empty() {
            out.push_str(", ");
        }
        out.push_str(&key);
        out.push('=');
        match member {
            Member::Item((bare, parameters)) => {
                write_bare(&mut out, &bare);
                write_parameters(&mut out, &parameters);
            }
            Member::List(items, parameters) if items.iter().all(is_plain) => {
                let texts = items.iter().map(|(bare, _)| match bare {
                    Bare::Text(text) => text.as_str(),
                    other => panic!("{other:?} is plain"),
                });
                write_list(&mut out, texts, &parameters);
            }
            Member::List(items, parameters) => {
                let items: Vec<String> = items.iter().map(written).collect();
                out.push_str(&format!("({})", items.join(" ")));
                write_parameters(&mut out, &parameters);
            }
        }
    }
    Ok(out)
}

fn is_plain((bare, parameters): &Item) -> bool {
    matches!(bare, Bare::Text(_)) && parameters.is_empty()
}

fn written((bare, parameters): &Item) -> String {
    let mut out = String::new();
    write_bare(&mut out, bare);
    write_parameters(&mut out, parameters);
    out
}

fn check(text: &str, expected: &str) {
    assert_eq!(again(text).as_deref(), Ok(expected), "{text}");
}

fn check_refused(text: &str, part: &str) {
    let problem = again(text).expect_err(text);
    assert!(problem.contains(part), "{text}: {problem}");
}

#[test]
fn dictionaries_are_read() {
    check("", "");
    check("  a=1  ", "a=1");
    check("a", "a=?1");
    check("a;x;y=?0", "a=?1;x;y=?0");
    check("a=-12,b=?0 ,\tc=tok*:/en", "a=-12, b=?0, c=tok*:/en");
    check("a=\"q\\\"\\\\ ;,\"", "a=\"q\\\"\\\\ ;,\"");
    check("*a-b.c_1=:AQI=:", "*a-b.c_1=:AQI=:");
    check("a=::", "a=::");
    check("a=( \"x\"  \"y\";k=1 );  created=1;flag", "a=(\"x\" \"y\";k=1);created=1;flag");
    check("a=()", "a=()");
    check("a=999999999999999", "a=999999999999999");
}

#[test]
fn what_is_no_dictionary_is_refused_with_the_place() {
    check_refused("a=", "no value of a known kind at character 3");
    check_refused("a=1,", "nothing after a comma at character 5");
    check_refused("a=1 b=2", "something else than a comma at character 5");
    check_refused("a=1,,b=2", "no key at character 5");
    check_refused("A=1", "no key at character 1");
    check_refused("a=1, a=2", "a key that was there before");
    check_refused("a;x;x", "a parameter that was there before");
    check_refused("a;", "no key at character 3");
    check_refused("a=1.5", "a number with a fraction");
    check_refused("a=1000000000000000", "no number of 1 to 15 digits");
    check_refused("a=-", "no number of 1 to 15 digits");
    check_refused("a=@1", "no value of a known kind");
    check_refused("a=%\"x\"", "no value of a known kind");
    check_refused("a=\"x", "no closing quotation mark");
    check_refused("a=\"\\x\"", "an unknown escape");
    check_refused("a=\"\t\"", "not printable ASCII");
    check_refused("a=\"é\"", "not printable ASCII");
    check_refused("a=:A:", "no base64");
    check_refused("a=:AR==:", "no base64");
    check_refused("a=:AQ:", "no base64");
    check_refused("a=:A Q=:", "no end of a byte sequence");
    check_refused("a=?2", "neither ?0 nor ?1");
    check_refused("a=(\"x\"", "no space and no end of a list");
    check_refused("a=(\"x\"\"y\")", "no space and no end of a list");
    check_refused("a=((1))", "no value of a known kind");
    check_refused("a=(", "no value of a known kind");
    check_refused(&format!("a=({})", "1 ".repeat(SIGNATURE_COMPONENTS_MAX + 1)), "too many values");
    check_refused(
        &format!("a{}", (0..99).map(|n| format!(";p{n}")).collect::<String>()),
        "too many parameters",
    );
    check_refused(&(0..99).map(|n| format!("k{n},")).collect::<String>(), "too many members");
}

proptest::proptest! {
    #[test]
    fn what_was_read_reads_the_same(text in "([a-z]|=|\\(|\\)|;|, |\"|\\\\|:|AQI=|\\?1|-?[0-9]{1,3}| |\t|é){0,24}") {
        if let Ok(once) = again(&text) {
            assert_eq!(again(&once), Ok(once));
        }
    }
}
