//! Rust source, read just far enough to ask where code ends and text begins.
//!
//! Each line is kept in three forms of equal meaning for line numbers: as written, without comments, and without
//! comments and the insides of strings. A full parser would be a large dependency for rules as coarse as these.

use std::ops::Range;

/// One source file.
#[derive(Debug)]
pub struct Source {
    /// Where it is, from the top of the repository, with `/`.
    pub path: String,
    /// As written.
    pub text: Vec<String>,
    /// Comments replaced by blanks.
    pub uncommented: Vec<String>,
    /// Comments and the insides of strings and characters replaced by blanks.
    pub code: Vec<String>,
    /// Lines of items under `#[cfg(test)]`, from 0.
    tests: Vec<Range<usize>>,
}

/// A function, and the lines that it takes, from 0.
#[derive(Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// From the line with `fn` to the one with the closing brace.
    pub lines: Range<usize>,
}

impl Source {
    /// Reads `text` as the file `path`.
    pub fn new(path: &str, text: &str) -> Self {
        let (uncommented, code) = blank(text);
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
        let mut source = Self {
            path: path.to_owned(),
            text: lines(text),
            uncommented: lines(&uncommented),
            code: lines(&code),
            tests: Vec::new(),
        };
        source.tests = source.test_items();
        source
    }

    /// Whether the line is test code: in a folder of tests, or in an item under `#[cfg(test)]`.
    pub fn is_test(&self, line: usize) -> bool {
        self.path.contains("/tests/")
            || self.path.ends_with("/tests.rs")
            || self.tests.iter().any(|range| range.contains(&line))
    }

    /// Every function with a body.
    pub fn functions(&self) -> Vec<Function> {
        let mut functions = Vec::new();
        for (line, code) in self.code.iter().enumerate() {
            let Some(name) = function_name(code) else { continue };
            if let Some(end) = self.end_of_item(line) {
                functions.push(Function { name: name.to_owned(), lines: line..end + 1 });
            }
        }
        functions
    }

    fn test_items(&self) -> Vec<Range<usize>> {
        let starts = self.code.iter().enumerate().filter(|(_, code)| {
            let code = code.trim_start();
            code.starts_with("#[cfg(test)]") || code.starts_with("#[cfg(all(test")
        });
        starts.map(|(line, _)| line..self.end_of_item(line).unwrap_or(line) + 1).collect()
    }

    /// The line where the item that starts on `line` closes its braces; `None` if a semicolon ends it before any brace.
    fn end_of_item(&self, line: usize) -> Option<usize> {
        let (mut braces, mut brackets) = (0_i32, 0_i32);
        for (number, code) in self.code.iter().enumerate().skip(line) {
            for character in code.chars() {
                match character {
                    '{' => braces += 1,
                    '}' => braces -= 1,
                    '(' | '[' => brackets += 1,
                    ')' | ']' => brackets -= 1,
                    ';' if braces == 0 && brackets == 0 => return None,
                    _ => {}
                }
                if character == '}' && braces == 0 {
                    return Some(number);
                }
            }
        }
        None
    }
}

/// The name after `fn`, if this line declares a function.
fn function_name(code: &str) -> Option<&str> {
    let trimmed = code.trim_start();
    let before = trimmed.split("fn ").next()?;
    // Only qualifiers may stand before `fn`: this leaves out the types of function pointers.
    let qualifies = |word: &str| matches!(word, "const" | "async" | "unsafe") || word.starts_with("pub");
    if !before.split_whitespace().all(qualifies) {
        return None;
    }
    let rest = trimmed[before.len()..].strip_prefix("fn ")?;
    let name = rest.split(|character: char| !character.is_alphanumeric() && character != '_').next()?;
    (!name.is_empty()).then_some(name)
}

/// What the scanner is inside of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Inside {
    Code,
    LineComment,
    /// Nested this deep.
    BlockComment(u32),
    Text,
    /// Closed by a quote and this many `#`.
    RawText(usize),
}

/// The text without comments, and without comments and the insides of strings.
fn blank(text: &str) -> (String, String) {
    let characters: Vec<char> = text.chars().collect();
    let (mut uncommented, mut code) = (String::with_capacity(text.len()), String::with_capacity(text.len()));
    let mut inside = Inside::Code;
    let mut position = 0;
    while position < characters.len() {
        let before = inside;
        let (next, length) = step(&characters, position, inside);
        inside = next;
        for &character in &characters[position..position + length] {
            let in_comment = is_comment(before) || is_comment(inside);
            let in_text = is_text(before) && is_text(inside);
            let blank = if character == '\n' { '\n' } else { ' ' };
            uncommented.push(if in_comment { blank } else { character });
            let is_literal = before == inside && length > 1 && before == Inside::Code && character != '\n';
            code.push(if in_comment || in_text || is_literal { blank } else { character });
        }
        position += length;
    }
    (uncommented, code)
}

fn is_comment(inside: Inside) -> bool {
    matches!(inside, Inside::LineComment | Inside::BlockComment(_))
}

fn is_text(inside: Inside) -> bool {
    matches!(inside, Inside::Text | Inside::RawText(_))
}

/// What the scanner is inside of after the characters at `position`, and how many of them belong together.
fn step(characters: &[char], position: usize, inside: Inside) -> (Inside, usize) {
    let at = |offset: usize| characters.get(position + offset).copied().unwrap_or('\0');
    let two = (at(0), at(1));
    match inside {
        Inside::LineComment if two.0 == '\n' => (Inside::Code, 1),
        Inside::BlockComment(1) if two == ('*', '/') => (Inside::Code, 2),
        Inside::BlockComment(depth) if two == ('*', '/') => (Inside::BlockComment(depth - 1), 2),
        Inside::BlockComment(depth) if two == ('/', '*') => (Inside::BlockComment(depth + 1), 2),
        Inside::Text if two.0 == '\\' && two.1 != '\0' => (Inside::Text, 2),
        Inside::Text if two.0 == '"' => (Inside::Code, 1),
        Inside::RawText(hashes) if two.0 == '"' && (1..=hashes).all(|offset| at(offset) == '#') => {
            (Inside::Code, 1 + hashes)
        }
        Inside::Code if two == ('/', '/') => (Inside::LineComment, 2),
        Inside::Code if two == ('/', '*') => (Inside::BlockComment(1), 2),
        Inside::Code if two.0 == '"' => (Inside::Text, 1),
        Inside::Code if two.0 == '\'' => (Inside::Code, character_literal(&at)),
        Inside::Code if two.0 == 'r' && !continues_a_word(characters, position) => {
            let hashes = (1..).take_while(|&offset| at(offset) == '#').count();
            if at(1 + hashes) == '"' { (Inside::RawText(hashes), 2 + hashes) } else { (Inside::Code, 1) }
        }
        same => (same, 1),
    }
}

/// Length of the character literal that starts here; 1 for the quote of a lifetime.
fn character_literal(at: &impl Fn(usize) -> char) -> usize {
    if at(1) == '\\' {
        // The escaped character may itself be a quote, so the search starts behind it.
        return (3..12).find(|&offset| at(offset) == '\'').map_or(1, |offset| offset + 1);
    }
    if at(2) == '\'' { 3 } else { 1 }
}

/// Whether the `r` here ends or continues a name rather than opening a raw string (`br"` counts as opening).
fn continues_a_word(characters: &[char], position: usize) -> bool {
    let is_word = |character: char| character.is_alphanumeric() || character == '_';
    let previous = |back: usize| position.checked_sub(back).map_or(' ', |index| characters[index]);
    let opens_bytes = matches!(previous(1), 'b' | 'c') && !is_word(previous(2));
    is_word(previous(1)) && !opens_bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_strings_are_blanked() {
        let check = |text: &str, uncommented: &str, code: &str| {
            let source = Source::new("a.rs", text);
            assert_eq!((source.uncommented[0].trim_end(), source.code[0].trim_end()), (uncommented, code));
        };
        check("a(); // b", "a();", "a();");
        check("a(/* /* b */ */ c)", "a(              c)", "a(              c)");
        check("a(\"b // c\")", "a(\"b // c\")", "a(\"      \")");
        check("a(\"b\\\"c\") d", "a(\"b\\\"c\") d", "a(\"    \") d");
        check("a(r#\"b\"c\"#) d", "a(r#\"b\"c\"#) d", "a(r#\"   \"#) d");
        check("a('\"') b", "a('\"') b", "a(   ) b");
        check("a('\\'') b", "a('\\'') b", "a(    ) b");
        check("a::<'b>(c) // d", "a::<'b>(c)", "a::<'b>(c)");
        check("for r in x", "for r in x", "for r in x");
        check("a(br\"{\") b", "a(br\"{\") b", "a(br\" \") b");
    }

    #[test]
    fn functions_are_found_with_their_lines() {
        let text = "pub(crate) async fn one(a: [u8; 3]) -> u8 {\n    if a { \"}\" }\n}\ntrait T {\n    fn two();\n    fn \
                    three() {}\n}\nstruct S { work: fn() -> u8 }\n";
        let source = Source::new("a.rs", text);
        let functions = source.functions();
        let found: Vec<_> = functions.iter().map(|f| (f.name.as_str(), f.lines.clone())).collect();
        assert_eq!(found, [("one", 0..3), ("three", 5..6)]);
    }

    #[test]
    fn items_under_cfg_test_are_tests() {
        let source =
            Source::new("a.rs", "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\nfn c() {}\n");
        let tests: Vec<_> = (0..6).filter(|&line| source.is_test(line)).collect();
        assert_eq!(tests, [1, 2, 3, 4]);
        assert!(Source::new("a/tests/b.rs", "fn a() {}").is_test(0));
    }
}
