//! The part of JSON Schema that the description uses. What is not understood is an error, so that nothing passes unseen.

use regex::Regex;
use serde_json::Value;

/// Checks `value` against `schema`, whose references lead into `document`.
pub(super) fn check(document: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    let schema = resolve(document, schema);
    for (word, rule) in schema.as_object().ok_or("a schema is an object")? {
        let holds = match word.as_str() {
            "description" | "default" | "contentEncoding" => true,
            // What it looks like is said by a pattern beside it.
            "format" => rule == "date-time" && schema.get("pattern").is_some(),
            "not" => check(document, rule, value).is_err(),
            "type" => has_type(rule, value),
            "enum" => rule.as_array().is_some_and(|known| known.contains(value)),
            "anyOf" => {
                rule.as_array().is_some_and(|any| any.iter().any(|one| check(document, one, value).is_ok()))
            }
            "pattern" => {
                let pattern = Regex::new(rule.as_str().unwrap_or_default()).expect("a pattern");
                value.as_str().is_some_and(|text| pattern.is_match(text))
            }
            "minLength" => {
                value.as_str().is_some_and(|text| Some(text.chars().count() as u64) >= rule.as_u64())
            }
            "maxLength" => {
                value.as_str().is_some_and(|text| Some(text.chars().count() as u64) <= rule.as_u64())
            }
            "minimum" => value.as_i64().is_some_and(|number| Some(number) >= rule.as_i64()),
            "maximum" => value.as_i64().is_some_and(|number| Some(number) <= rule.as_i64()),
            "minItems" => value.as_array().is_some_and(|items| Some(items.len() as u64) >= rule.as_u64()),
            "maxItems" => value.as_array().is_some_and(|items| Some(items.len() as u64) <= rule.as_u64()),
            "items" => {
                let items = value.as_array().ok_or("no list")?;
                items.iter().try_for_each(|item| check(document, rule, item))?;
                true
            }
            "required" => {
                let names = rule.as_array().ok_or("names are a list")?;
                names.iter().all(|name| value.get(name.as_str().unwrap_or_default()).is_some())
            }
            "properties" => {
                for (name, inner) in value.as_object().ok_or("no object")? {
                    let Some(rule) = rule.get(name) else { continue };
                    check(document, rule, inner).map_err(|error| format!("{name}: {error}"))?;
                }
                true
            }
            "additionalProperties" if rule == &Value::Bool(false) => {
                let known = schema["properties"].as_object().ok_or("nothing is known")?;
                value.as_object().is_some_and(|object| object.keys().all(|name| known.contains_key(name)))
            }
            other => return Err(format!("the schema has {other}, which this test does not understand")),
        };
        if !holds {
            return Err(format!("{word} {rule} does not hold for {value}"));
        }
    }
    Ok(())
}

/// Follows a reference.
pub(super) fn resolve<'a>(document: &'a Value, node: &'a Value) -> &'a Value {
    match node.get("$ref").and_then(Value::as_str) {
        Some(reference) => {
            let pointer = reference.strip_prefix('#').expect("references stay within the document");
            document.pointer(pointer).unwrap_or_else(|| panic!("{reference} leads nowhere"))
        }
        None => node,
    }
}

fn has_type(rule: &Value, value: &Value) -> bool {
    if let Some(any) = rule.as_array() {
        return any.iter().any(|one| has_type(one, value));
    }
    match rule.as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("boolean") => value.is_boolean(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("null") => value.is_null(),
        _ => false,
    }
}

#[test]
fn schemas_hold_or_say_why_not() {
    let document = serde_json::json!({});
    let ok = |schema: Value, value: Value| check(&document, &schema, &value).is_ok();
    let pattern = serde_json::json!({ "pattern": "^[0-9]+(?:ms|s)$" });
    assert!(ok(pattern.clone(), "15ms".into()) && ok(pattern.clone(), "7s".into()));
    assert!(
        !ok(pattern.clone(), "7".into()) && !ok(pattern.clone(), "s".into()) && !ok(pattern, "7sx".into())
    );
    let closed = serde_json::json!({ "type": "object", "additionalProperties": false, "properties": { "a": { "type": "integer" } } });
    assert!(ok(closed.clone(), serde_json::json!({ "a": 1 })));
    assert!(
        !ok(closed.clone(), serde_json::json!({ "a": "1" })) && !ok(closed, serde_json::json!({ "b": 1 }))
    );
    assert!(!ok(serde_json::json!({ "format": "uuid" }), "x".into()), "what is not understood does not hold");
}
