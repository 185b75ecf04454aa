//! The credential of a client that asks for CONNECT.

use bowline_model::Reason;
use http::header::{HeaderMap, PROXY_AUTHORIZATION};

use super::ConnectPolicy;
use super::reply::Failure;

/// Lets a client in, or says why not. The name is that of the token, for the log.
pub(super) fn check(policy: &ConnectPolicy, headers: &HeaderMap) -> Result<Option<String>, Failure> {
    let refused = |detail: &str| Failure {
        reason: Reason::Unauthorized,
        detail: detail.to_owned(),
        is_proxy_credential: true,
    };
    let tokens = match policy {
        ConnectPolicy::Refuse => {
            return Err(Failure::new(Reason::BadRequest, "this entry does not serve CONNECT"));
        }
        ConnectPolicy::Open => return Ok(None),
        ConnectPolicy::Tokens(tokens) => tokens,
    };
    let Some(field) = headers.get(PROXY_AUTHORIZATION) else {
        return Err(refused("send it as Proxy-Authorization: Bearer <token>"));
    };
    let presented = field.to_str().ok().and_then(token_of);
    let presented = presented.ok_or_else(|| refused("the credential is neither Bearer nor Basic"))?;
    match tokens.client(&presented) {
        Some(name) => Ok(Some(name)),
        None => Err(refused("the token is not known here")),
    }
}

/// The token in a credential: all of `Bearer`, the password of `Basic` (RFC 7617).
fn token_of(credential: &str) -> Option<String> {
    let (scheme, rest) = credential.trim().split_once(' ')?;
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(rest.to_owned());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = String::from_utf8(decode_base64(rest)?).ok()?;
    pair.split_once(':').map(|(_, password)| password.to_owned())
}

/// RFC 4648, 4. Padding may be missing; anything else that is wrong is refused.
fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=');
    if text.len() - digits.len() > 2 || digits.len() % 4 == 1 {
        return None;
    }
    let mut bytes = Vec::with_capacity(digits.len() * 3 / 4);
    let (mut bits, mut count) = (0_u32, 0);
    for digit in digits.bytes() {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6 | u32::from(value)) & 0x3fff;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count & 0xff) as u8);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bowline_identity::token::{Holder, Token, TokenTable};

    #[test]
    fn base64_is_decoded_or_refused() {
        let check =
            |text: &str, expected: Option<&[u8]>| assert_eq!(decode_base64(text).as_deref(), expected);
        check("", Some(b""));
        check("Zg==", Some(b"f"));
        check("Zm8=", Some(b"fo"));
        check("Zm8", Some(b"fo"));
        check("Zm9vYmFy", Some(b"foobar"));
        check("+/+/", Some(&[0xfb, 0xff, 0xbf]));
        check("Z", None);
        check("Zg===", None);
        check("Z g=", None);
    }

    #[test]
    fn a_token_lets_in_as_bearer_or_as_password() {
        let token: Token = format!("bwl_{}", "0".repeat(64)).parse().unwrap();
        let entry = token.table_entry(&Holder::client("ops").unwrap());
        let policy = ConnectPolicy::Tokens(TokenTable::from_toml("test", &entry).unwrap());
        let check = |credential: Option<String>, expected: Result<&str, u16>| {
            let mut headers = HeaderMap::new();
            if let Some(credential) = credential {
                headers.insert(PROXY_AUTHORIZATION, credential.parse().unwrap());
            }
            let got = check(&policy, &headers);
            let got = got.map(|name| name.unwrap()).map_err(|failure| {
                let request_id = bowline_model::RequestId::parse("r").unwrap();
                assert!(!failure.detail.contains("bwl_"));
                failure.response(&request_id).status().as_u16()
            });
            assert_eq!(got.as_deref().map_err(|status| *status), expected);
        };
        check(Some(format!("Bearer {}", token.reveal())), Ok("ops"));
        check(Some(format!("bearer  {}", token.reveal())), Ok("ops"));
        // "x:" and the token, in base64.
        let zeros = "MDAw".repeat(21);
        check(Some(format!("Basic eDpid2xf{zeros}MA==")), Ok("ops"));
        check(Some(format!("Basic eDpid2xf{zeros}")), Err(407));
        check(Some("Digest abc".into()), Err(407));
        check(Some("Bearer bwl_1".into()), Err(407));
        check(None, Err(407));
    }

    proptest::proptest! {
        #[test]
        fn base64_of_anything_reads_back(bytes: Vec<u8>) {
            const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
            let mut text = String::new();
            for group in bytes.chunks(3) {
                let bits = (0..3).fold(0, |bits, index| bits << 8 | group.get(index).map_or(0, |byte| u32::from(*byte)));
                for digit in 0..=group.len() {
                    text.push(char::from(DIGITS[(bits >> (18 - 6 * digit) & 63) as usize]));
                }
            }
            assert_eq!(decode_base64(&text), Some(bytes));
        }

        #[test]
        fn no_credential_is_too_odd(text: String) {
            let _ = token_of(&text);
            let _ = token_of(&format!("Basic {text}"));
        }
    }
}
