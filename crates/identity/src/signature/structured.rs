//! Structured fields of HTTP (RFC 9651), as far as signatures use them: dictionaries of items and inner lists.
//!
//! Stricter than the RFC where leniency would let two readers see different things: a key that comes twice is an error,
//! base64 has one spelling. Numbers with a fraction, dates and display strings have no use here and are errors too.

use std::fmt::{self, Write as _};

use super::encoding;
use crate::limits::{SIGNATURE_COMPONENTS_MAX, SIGNATURE_MEMBERS_MAX};

/// Most digits of an integer (RFC 9651, 3.3.1).
const INTEGER_DIGITS_MAX: usize = 15;

/// A value without parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Bare {
    /// Of at most 15 digits.
    Integer(i64),
    /// A quoted text, printable ASCII.
    Text(String),
    /// A bare word.
    Token(String),
    /// Base64 between colons.
    Bytes(Vec<u8>),
    /// `?0` or `?1`.
    Boolean(bool),
}

/// What follows a value after semicolons, in its order; each key once.
pub(super) type Parameters = Vec<(String, Bare)>;

/// A value with parameters.
pub(super) type Item = (Bare, Parameters);

/// What a key of a dictionary stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Member {
    /// One value.
    Item(Item),
    /// Values in parentheses.
    List(Vec<Item>, Parameters),
}

/// Why a text is no dictionary. It says where and never what: the text may hold anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    at: usize,
    what: &'static str,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at character {}", self.what, self.at + 1)
    }
}

/// Reads a dictionary.
pub(super) fn dictionary(text: &str) -> Result<Vec<(String, Member)>, Problem> {
    let mut reader = Reader { text: text.trim_matches(' ').as_bytes(), at: 0 };
    let mut members = Vec::new();
    while reader.peek().is_some() {
        let key = reader.key()?;
        if members.iter().any(|(known, _)| *known == key) {
            return Err(reader.problem("a key that was there before"));
        }
        if members.len() == SIGNATURE_MEMBERS_MAX {
            return Err(reader.problem("too many members"));
        }
        members.push((key, reader.member()?));
        reader.skip(b" \t");
        if reader.peek().is_none() {
            break;
        }
        reader.expect(b',', "something else than a comma")?;
        reader.skip(b" \t");
        if reader.peek().is_none() {
            return Err(reader.problem("nothing after a comma"));
        }
    }
    Ok(members)
}

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn take(&mut self, wanted: u8) -> bool {
        let taken = self.peek() == Some(wanted);
        self.at += usize::from(taken);
        taken
    }

    fn expect(&mut self, wanted: u8, otherwise: &'static str) -> Result<(), Problem> {
        if self.take(wanted) { Ok(()) } else { Err(self.problem(otherwise)) }
    }

    fn skip(&mut self, bytes: &[u8]) {
        self.take_while(|byte| bytes.contains(&byte));
    }

    fn take_while(&mut self, fits: impl Fn(u8) -> bool) -> &str {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let length = rest.iter().position(|byte| !fits(*byte)).unwrap_or(rest.len());
        self.at += length;
        // What is taken is ASCII: `fits` says so everywhere.
        std::str::from_utf8(&rest[..length]).unwrap_or_default()
    }

    fn problem(&self, what: &'static str) -> Problem {
        Problem { at: self.at, what }
    }

    fn key(&mut self) -> Result<String, Problem> {
        if !self.peek().is_some_and(|byte| byte.is_ascii_lowercase() || byte == b'*') {
            return Err(self.problem("no key"));
        }
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-.*".contains(&byte);
        Ok(self.take_while(fits).to_owned())
    }

    fn member(&mut self) -> Result<Member, Problem> {
        if !self.take(b'=') {
            return Ok(Member::Item((Bare::Boolean(true), self.parameters()?)));
        }
        if !self.take(b'(') {
            return self.item().map(Member::Item);
        }
        let mut items = Vec::new();
        loop {
            self.skip(b" ");
            if self.take(b')') {
                return Ok(Member::List(items, self.parameters()?));
            }
            if items.len() == SIGNATURE_COMPONENTS_MAX {
                return Err(self.problem("too many values in a list"));
            }
            items.push(self.item()?);
            if !matches!(self.peek(), Some(b' ' | b')')) {
                return Err(self.problem("no space and no end of a list"));
            }
        }
    }

    fn item(&mut self) -> Result<Item, Problem> {
        Ok((self.bare()?, self.parameters()?))
    }

    fn parameters(&mut self) -> Result<Parameters, Problem> {
        let mut parameters = Parameters::new();
        while self.take(b';') {
            self.skip(b" ");
            let key = self.key()?;
            if parameters.iter().any(|(known, _)| *known == key) {
                return Err(self.problem("a parameter that was there before"));
            }
            if parameters.len() == SIGNATURE_MEMBERS_MAX {
                return Err(self.problem("too many parameters"));
            }
            let value = if self.take(b'=') { self.bare()? } else { Bare::Boolean(true) };
            parameters.push((key, value));
        }
        Ok(parameters)
    }

    fn bare(&mut self) -> Result<Bare, Problem> {
        match self.peek() {
            Some(b'"') => self.quoted(),
            Some(b':') => self.bytes(),
            Some(b'?') => self.boolean(),
            Some(b'-' | b'0'..=b'9') => self.integer(),
            Some(byte) if byte.is_ascii_alphabetic() || byte == b'*' => {
                let fits = |byte: u8| is_token(byte) || b":/".contains(&byte);
                Ok(Bare::Token(self.take_while(fits).to_owned()))
            }
            _ => Err(self.problem("no value of a known kind")),
        }
    }

    fn quoted(&mut self) -> Result<Bare, Problem> {
        self.at += 1;
        let mut value = String::new();
        loop {
            let byte = self.peek().ok_or_else(|| self.problem("no closing quotation mark"))?;
            self.at += 1;
            match byte {
                b'"' => return Ok(Bare::Text(value)),
                b'\\' => match self.peek() {
                    Some(escaped @ (b'"' | b'\\')) => {
                        self.at += 1;
                        value.push(char::from(escaped));
                    }
                    _ => return Err(self.problem("an unknown escape")),
                },
                b' '..=b'~' => value.push(char::from(byte)),
                _ => return Err(self.problem("a character that is not printable ASCII")),
            }
        }
    }

    fn bytes(&mut self) -> Result<Bare, Problem> {
        self.at += 1;
        let text = self.take_while(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte)).to_owned();
        self.expect(b':', "no end of a byte sequence")?;
        encoding::decode(&text).map(Bare::Bytes).ok_or_else(|| self.problem("no base64 before the colon"))
    }

    fn boolean(&mut self) -> Result<Bare, Problem> {
        self.at += 1;
        let value = match self.peek() {
            Some(b'0') => false,
            Some(b'1') => true,
            _ => return Err(self.problem("neither ?0 nor ?1")),
        };
        self.at += 1;
        Ok(Bare::Boolean(value))
    }

    fn integer(&mut self) -> Result<Bare, Problem> {
        let negative = self.take(b'-');
        let digits = self.take_while(|byte| byte.is_ascii_digit());
        let value = (digits.len() <= INTEGER_DIGITS_MAX).then(|| digits.parse::<i64>().ok()).flatten();
        match value {
            Some(_) if self.peek() == Some(b'.') => Err(self.problem("a number with a fraction")),
            Some(value) => Ok(Bare::Integer(if negative { -value } else { value })),
            None => Err(self.problem("no number of 1 to 15 digits")),
        }
    }
}

/// Whether a byte may stand in a token of HTTP, and so in the name of a header.
pub(super) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Appends an inner list of texts without parameters, in the one way that RFC 9651 writes it.
pub(super) fn write_list<'a>(
    out: &mut String,
    texts: impl Iterator<Item = &'a str>,
    parameters: &Parameters,
) {
    out.push('(');
    for (index, text) in texts.enumerate() {
        if index > 0 {
            out.push(' ');
        }
        write_text(out, text);
    }
    out.push(')');
    write_parameters(out, parameters);
}

fn write_parameters(out: &mut String, parameters: &Parameters) {
    for (key, value) in parameters {
        out.push(';');
        out.push_str(key);
        if *value != Bare::Boolean(true) {
            out.push('=');
            write_bare(out, value);
        }
    }
}

/// Appends a value in the one way that RFC 9651 writes it.
pub(super) fn write_bare(out: &mut String, bare: &Bare) {
    match bare {
        Bare::Integer(value) => {
            write!(out, "{value}").expect("a string takes everything");
        }
        Bare::Text(text) => write_text(out, text),
        Bare::Token(token) => out.push_str(token),
        Bare::Bytes(bytes) => {
            out.push(':');
            out.push_str(&encoding::encode(bytes));
            out.push(':');
        }
        Bare::Boolean(value) => out.push_str(if *value { "?1" } else { "?0" }),
    }
}

fn write_text(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        if matches!(character, '"' | '\\') {
            out.push('\\');
        }
        out.push(character);
    }
    out.push('"');
}

#[cfg(test)]
#[path = "structured_tests.rs"]
mod tests;
