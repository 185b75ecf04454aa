//! Scripts against a key space, without a server.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use bowline_keyspace::effects::framed;
use bowline_keyspace::{Keyspace, ReplyTree, ReplyValue, Settings};

use super::*;

struct Bench {
    scripts: Scripts,
    keyspace: Rc<RefCell<Keyspace>>,
    resp3: bool,
}

impl Bench {
    fn new() -> Self {
        let keyspace = Rc::new(RefCell::new(Keyspace::new(&Settings::default())));
        keyspace.borrow_mut().effects.record(true);
        let scripts = Scripts::new(keyspace.clone(), Rc::new(CommandTable::new())).expect("an interpreter");
        // The real bound takes seconds in a debug build.
        scripts.state.pattern_steps_max.set(100_000);
        Self { scripts, keyspace, resp3: false }
    }

    fn run_source(&self, source: Source<'_>, limit: Duration) -> String {
        let values = [Bytes::from_static(b"argument")];
        let keys = [Bytes::from_static(b"key")];
        let invocation = Invocation {
            source,
            keys: &keys,
            values: &values,
            database: 0,
            read_only: false,
            full: self.keyspace.borrow().is_full(),
            started: bowline_rt::time::now(),
            time_limit: limit,
        };
        let mut tree = ReplyTree::new(self.resp3);
        self.keyspace.borrow_mut().effects.begin();
        let outcome = self.scripts.run(&invocation, &mut tree);
        self.keyspace.borrow_mut().effects.end();
        match outcome {
            Ok(()) => show(&tree.finish().expect("one whole reply")),
            Err(error) => format!("-{error}"),
        }
    }

    fn run(&self, text: &str) -> String {
        self.run_source(Source::Text(text.as_bytes()), Duration::from_secs(60))
    }

    fn effects(&self) -> String {
        let units = self.keyspace.borrow_mut().effects.take();
        let words = |effect: bowline_keyspace::effects::Effect| {
            let words: Vec<_> =
                effect.arguments.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect();
            words.join(" ")
        };
        units
            .iter()
            .map(|unit| framed(unit).map(words).collect::<Vec<_>>().join(", "))
            .collect::<Vec<_>>()
            .join("; ")
    }
}

fn show(value: &ReplyValue) -> String {
    match value {
        ReplyValue::Simple(text) => format!("+{text}"),
        ReplyValue::Error(text) => format!("-{text}"),
        ReplyValue::Integer(number) => number.to_string(),
        ReplyValue::Bulk(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        ReplyValue::Array(items) => format!("[{}]", items.iter().map(show).collect::<Vec<_>>().join(" ")),
        ReplyValue::Null => "nil".to_owned(),
        other => format!("{other:?}"),
    }
}

fn check(text: &str, expected: &str) {
    assert_eq!(Bench::new().run(text), expected, "{text}");
}

#[test]
fn values_are_converted_by_redis_rules() {
    check("return 3.9", "3");
    check("return {1, 2, {3, 'x'}, nil, 4}", "[1 2 [3 x]]");
    check("return true", "1");
    check("return false", "nil");
    check("return {ok='FINE'}", "+FINE");
    check("return {err='MY problem'}", "-MY problem");
    check("return redis.error_reply('word')", "-ERR word");
    check("return {KEYS[1], ARGV[1], #KEYS}", "[key argument 1]");
    check("return redis.call('set', 'k', 1.5)", "+OK");
    check("return redis.call('get', 'nothing')", "nil");
    check("redis.setresp(3) return tostring(redis.call('get', 'nothing'))", "nil");
    check("return redis.sha1hex('')", "da39a3ee5e6b4b0d3255bfef95601890afd80709");
    check("local t = redis.call('time') return #t", "2");
}

#[test]
fn string_functions_work_as_in_lua() {
    check("return {string.find('hello world', 'o w')}", "[5 7]");
    check("return {string.find('', '')}", "[1 0]");
    check("return {string.find('abc', '', 10)}", "[4 3]");
    check("return {string.match('k = v', '(%w+)%s*=%s*(%w+)')}", "[k v]");
    check("return {string.gsub('hello', 'l', {l = 'L'})}", "[heLLo 2]");
    check("return {string.gsub('abc', '', '-')}", "[-a-b-c- 4]");
    check("return {('x'):gsub('x', '%%1')}", "[%1 1]");
    check("local r = '' for w in ('one two'):gmatch('%a+') do r = r .. w .. ';' end return r", "one;two;");
    check("return {pcall(string.find, 'a', '[')}", "[nil malformed pattern (missing ']')]");
}

#[test]
fn json_follows_the_rules_of_cjson() {
    check("return cjson.encode({1, 2.5, 'a/b', true, cjson.null})", r#"[1,2.5,"a\/b",true,null]"#);
    check("return cjson.encode({})", "{}");
    check("return cjson.encode({a = {1}})", r#"{"a":[1]}"#);
    check("return cjson.encode({[1] = 1, [3] = 3})", "[1,null,3]");
    check("return cjson.encode(1/3)", "0.33333333333333");
    check("return cjson.encode(12345678901234567)", "1.2345678901235e+16");
    check(r#"return cjson.encode('\n\1"\\')"#, r#""\n\u0001\"\\""#);
    check(
        r#"return cjson.decode('{"a": [1, {"b": null}], "c": "x\\u00e9\\ud83d\\ude00"}').c"#,
        "x\u{e9}\u{1f600}",
    );
    check(r#"return cjson.decode('[1, [2, "x"], true]')"#, "[1 [2 x] 1]");
    check("return tostring(cjson.decode('null') == cjson.null)", "true");
    for bad in ["", "[", "[1,]", "{1:2}", "tru", "\"", "1 2", "[[1]", "\"\\\\ud800\""] {
        let answer = Bench::new().run(&format!("return {{pcall(cjson.decode, '{bad}')}}"));
        assert!(answer.starts_with("[nil Expected "), "{bad}: {answer}");
    }
    check("return select('#', pcall(cjson.decode, ('['):rep(2000)))", "2");
    check("local t = {} for i = 1, 2000 do t = {t} end return (pcall(cjson.encode, t))", "nil");
    check("return (pcall(cjson.encode, {[1] = 1, [100] = 1}))", "nil");
}

#[test]
fn errors_are_caught_and_reported_as_redis_does() {
    check(
        "return redis.pcall('incr', 'a', 'b')",
        "-ERR Wrong number of args calling Redis command from script",
    );
    check("local ok, e = pcall(redis.call, 'nope') return e", "ERR Unknown Redis command called from script");
    check(
        "local ok, e = xpcall(function() error('z', 0) end, function(m) return m .. '!' end) return e",
        "z!",
    );
    let failed = Bench::new().run("local x = redis.call('multi')");
    assert!(failed.starts_with("-ERR This Redis command is not allowed from script script: "), "{failed}");
    let failed = Bench::new().run("\n\nlocal a = nosuch");
    assert!(
        failed.contains("user_script:3: Script attempted to access nonexistent global variable"),
        "{failed}"
    );
    assert!(failed.ends_with("on @user_script:3."), "{failed}");
    check(
        "return (",
        "-ERR Error compiling script (new function): user_script:1: unexpected symbol near '<eof>'",
    );
}

/// Whatever could reach out of the sandbox, or leave something behind in it, is gone.
#[test]
fn the_sandbox_holds() {
    for name in [
        "io", "os", "package", "require", "dofile", "loadfile", "module", "newproxy", "getfenv", "setfenv",
        "debug", "print", "cmsgpack",
    ] {
        let answer = Bench::new().run(&format!("return type({name})"));
        assert!(answer.starts_with("-ERR"), "{name}: {answer}");
    }
    check("return type(string.dump)", "nil");
    check("return tostring(loadstring('\\27Lua'))", "nil");
    let bench = Bench::new();
    for attempt in [
        "leak = 1",
        "_G.leak = 1",
        "rawset(string, 'leak', 1)",
        "string.leak = 1",
        "redis.call = nil",
        "setmetatable(string, {})",
        "setmetatable(_G, {})",
        "getmetatable(_G).__index = {}",
        "_G = {}",
        "getmetatable('').__index = {}",
        "loadstring('leak = 1')()",
    ] {
        let answer = bench.run(attempt);
        assert!(answer.starts_with("-ERR"), "{attempt}: {answer}");
        let after =
            bench.run("return {type(rawget(_G, 'leak')), type(string.leak), type(redis.call), ('x'):rep(2)}");
        assert_eq!(after, "[nil nil function xx]", "{attempt}");
    }
    // A script may write into its own environment by force; the next one does not see it.
    bench.run("rawset(_G, 'leak', 1)");
    assert_eq!(bench.run("return type(rawget(_G, 'leak'))"), "nil");
}

/// The outcomes of the field sheet's section 6: nothing hangs, nothing takes all memory.
#[test]
fn no_script_hangs_the_store() {
    let bench = Bench::new();
    for text in [
        "while true do end",
        "while true do pcall(function() while true do end end) end",
        "local f = coroutine.wrap(function() while true do end end) while true do f() end",
        "xpcall(function() error('x') end, function() while true do end end)",
        "local function f() return pcall(f) end while true do f() end",
        "while true do pcall(string.find, ('a'):rep(300), '.-.-.-.-b') end",
        "string.gsub(('a'):rep(1000), '.', function() while true do end end)",
        "local t = {} t = setmetatable(t, {__index = function() while true do end end}) return t.x",
    ] {
        let answer = bench.run_source(Source::Text(text.as_bytes()), Duration::from_millis(50));
        assert!(answer.contains("ran longer than 50 ms"), "{text}: {answer}");
        assert_eq!(bench.run("return 1"), "1", "after {text}");
    }
    for text in [
        "local t = {} while true do t[#t + 1] = {('x'):rep(100)} end",
        "return string.rep('x', 1e9)",
        "local s = 'x' while true do s = s .. s end",
        "return string.find(('a'):rep(300), '.-.-.-.-b')",
        "local function f() return f() + 1 end return f()",
    ] {
        let answer = bench.run(text);
        assert!(answer.starts_with("-ERR"), "{text}: {answer}");
        assert_eq!(bench.run("return 1"), "1", "after {text}");
    }
    assert_eq!(bench.run("return string.rep('', 2^31 - 1)"), "");
}

/// INV-REPL-EFFECT: what a script did is one unit, and a script that fails or is stopped keeps what it did.
#[test]
fn the_effects_of_a_script_are_one_unit() {
    let bench = Bench::new();
    bench.run("redis.call('set', 'a', 1, 'EX', 10) redis.call('incr', 'b') return redis.call('get', 'a')");
    let effects = bench.effects();
    assert!(effects.starts_with("MULTI, set a 1 PXAT ".replace("set", "SET").as_str()), "{effects}");
    assert!(effects.ends_with(", incr b, EXEC"), "{effects}");
    bench.run("redis.call('set', 'c', 1) error('late')");
    assert_eq!(bench.effects(), "set c 1");
    let text = b"redis.call('set', 'd', 1) while true do end";
    bench.run_source(Source::Text(text), Duration::from_millis(20));
    assert_eq!(bench.effects(), "set d 1");
    bench.run("redis.call('select', 3) redis.call('set', 'e', 1)");
    assert_eq!(bench.keyspace.borrow().sizes(3).0, 1);
    bench.run("return redis.call('get', 'a')");
    assert_eq!(bench.effects(), "set e 1");
}

#[test]
fn known_scripts_run_by_digest() {
    let bench = Bench::new();
    let limit = Duration::from_secs(1);
    let digest = bench.scripts.load(b"return 7").expect("it compiles");
    assert_eq!(bench.run_source(Source::Digest(digest.as_bytes()), limit), "7");
    assert_eq!(bench.run_source(Source::Digest(digest.to_uppercase().as_bytes()), limit), "7");
    for number in 0..600 {
        bench.run(&format!("return {number}"));
    }
    assert!(bench.scripts.exists(digest.as_bytes()), "a loaded script stays");
    assert!(!bench.scripts.exists(sha1(b"return 0").as_bytes()), "the oldest evaluated one goes");
    assert!(bench.scripts.count() <= 501);
    bench.scripts.flush();
    let answer = bench.run_source(Source::Digest(digest.as_bytes()), limit);
    assert_eq!(answer, "-NOSCRIPT No matching script. Please use EVAL.");
}

#[test]
fn a_script_that_promises_only_to_read_is_held_to_it() {
    let bench = Bench::new();
    let answer = bench.run("#!lua flags=no-writes\nreturn redis.call('set', 'a', 1)");
    assert!(answer.starts_with("-ERR Write commands are not allowed from read-only scripts."), "{answer}");
    assert_eq!(bench.run("#!lua\nreturn redis.call('set', 'a', 1)"), "+OK");
}

#[test]
fn work_in_c_does_not_outlive_the_deadline() {
    let limit = Duration::from_millis(100);
    for text in [
        "local t = {} for i = 1, 100000 do t[i] = i end while true do table.insert(t, 1, 0) table.remove(t, 1) end",
        "local t = {} for i = 1, 50000 do t[i] = (i * 7919) % 50021 end while true do table.sort(t) end",
        "local t = {} for i = 1, 50000 do t[i] = 'abcdefgh' end while true do local s = table.concat(t) end",
        "local a = {1} for i = 1, 40 do a = {a, a} end return cjson.encode(a)",
        "local s = 'return 1 ' .. string.rep(' ', 1000000) while true do loadstring(s) end",
        "local s = string.rep('x', 1000000) while true do redis.sha1hex(s) end",
    ] {
        let bench = Bench::new();
        let started = bowline_rt::time::now();
        let reply = bench.run_source(Source::Text(text.as_bytes()), limit);
        assert!(reply.starts_with("-ERR the script ran longer than 100 ms"), "{text}: {reply}");
        let took = bowline_rt::time::now() - started;
        assert!(took < Duration::from_secs(5), "{text}: {took:?}");
        assert_eq!(bench.run("return 1"), "1", "the next script is not affected");
    }
}

#[test]
fn tables_work_as_they_do_in_lua() {
    check("local t = {3, 1, 2} table.sort(t) return t", "[1 2 3]");
    check("local t = {3, 1, 2} table.sort(t, function(a, b) return a > b end) return t", "[3 2 1]");
    check("local t = {1, 2} table.insert(t, 3) table.insert(t, 1, 0) return t", "[0 1 2 3]");
    check("local t = {1, 2, 3} return {table.remove(t), table.remove(t, 1), #t}", "[3 1 1]");
    check("return table.concat({1, 2, 3}, ',', 2)", "2,3");
    for (text, problem) in [
        ("return table.insert(nil, 1)", "bad argument #1 to 'insert' (table expected, got nil)"),
        ("local t = {1, 'x'} table.sort(t)", "attempt to compare string with number"),
        ("return table.concat({{}})", "invalid value (table) at index 1 in table for 'concat'"),
    ] {
        let digest = sha1(text.as_bytes());
        check(text, &format!("-ERR {problem} script: {digest}, on @user_script:1."));
    }
}

/// The interpreter's binding can refer to 8,000 values at once; a reply and its scripts have more.
#[test]
fn a_reply_has_all_its_elements_whatever_their_number() {
    let mut bench = Bench::new();
    for number in 0..5_000 {
        bench.scripts.load(format!("return {number}").as_bytes()).expect("it compiles");
    }
    let elements = |bench: &Bench, text: &str| {
        let answer = bench.run(text);
        assert!(!answer.contains("ERR"), "{text}: {}", &answer[..answer.len().min(200)]);
        answer.split(' ').count()
    };
    for count in [7_000, 10_000, 1_000_000] {
        let text = format!("local t = {{}} for i = 1, {count} do t[i] = 'x' end return t");
        assert_eq!(elements(&bench, &text), count);
        let text = format!("local t = {{}} for i = 1, {count} do t[i] = {{}} end return t");
        assert_eq!(elements(&bench, &text), count);
    }
    let map = "redis.setresp(3) local t = {} for i = 1, 10000 do t['k' .. i] = 'v' .. i end return {map = t}";
    assert_eq!(elements(&bench, map), 20_000);
    let set = "redis.setresp(3) local t = {} for i = 1, 10000 do t['k' .. i] = true end return {set = t}";
    assert_eq!(elements(&bench, set), 10_000);
    bench.resp3 = true;
    assert!(bench.run(map).matches("Bulk").count() == 20_000);
    assert!(bench.run(set).matches("Bulk").count() == 10_000);
    assert_eq!(
        bench.run_source(Source::Digest(sha1(b"return 4999").as_bytes()), Duration::from_secs(1)),
        "4999"
    );
}

#[test]
fn a_command_of_a_script_takes_as_many_arguments_as_lua_can_pass() {
    let text = "local t = {} for i = 1, 7998 do t[i] = 'f' .. i end
        local added = redis.call('hset', KEYS[1], unpack(t))
        return {added, redis.call('hlen', KEYS[1]), redis.call('hget', KEYS[1], 'f7997')}";
    check(text, "[3999 3999 f7998]");
    check("local t = {} for i = 1, 100 do t[i] = 'f' end return redis.pcall('mget', unpack(t))[100]", "nil");
    let raised = Bench::new()
        .run("local t = {} for i = 1, 99 do t[i] = i end t[50] = {} return redis.call('mget', unpack(t))");
    assert!(
        raised.starts_with("-ERR Lua redis lib command arguments must be strings or integers"),
        "{raised}"
    );
}

#[test]
fn iterators_of_gmatch_cost_no_place_until_they_are_garbage() {
    let text = "local kept, seen, subject = {}, 0, ('ab '):rep(700000)
        for i = 1, 20000 do
            kept[i] = subject:gmatch('%a+')
            kept[i]()
            if kept[i]() == 'ab' then seen = seen + 1 end
        end
        return seen";
    let bench = Bench::new();
    bench.scripts.state.pattern_steps_max.set(PATTERN_STEPS_MAX);
    assert_eq!(bench.run(text), "20000");
    check(
        "local r = {} for k, v in ('a=1, b=2'):gmatch('(%w+)=(%w+)') do r[#r + 1] = k .. v end return r",
        "[a1 b2]",
    );
    check("local r = 0 for p in ('abc'):gmatch('()') do r = r + p end return r", "10");
    check("local r = 0 for _ in ('a^a'):gmatch('^a') do r = r + 1 end return r", "1");
    check("local f = ('a'):gmatch('b') return {select('#', f()), select('#', f())}", "[0 0]");
    let failed = Bench::new().run("\n\nfor _ in ('a'):gmatch('[') do end");
    assert!(failed.contains("malformed pattern (missing ']')"), "{failed}");
}

#[test]
fn a_table_with_a_false_end_does_not_hang_the_store() {
    for text in [
        "return table.insert({}, -2147483647, 0)",
        "return table.insert({1, 2}, 0, 0)",
        "return table.insert({}, 0/0, 0)",
    ] {
        let answer = Bench::new().run(text);
        assert!(answer.contains("position out of bounds"), "{text}: {answer}");
    }
    check("local t = {1} table.insert(t, 5, 'x') return t[5]", "x");
    check(
        "local t = {} for i = 1, 5000 do t[i] = i end table.insert(t, 2, 'x') return {t[1], t[2], t[3], t[5001], #t}",
        "[1 x 2 5000 5001]",
    );
    check(
        "local t = {} for i = 1, 5000 do t[i] = i end return {table.remove(t, 2), t[1], t[2], t[4999], #t}",
        "[2 1 3 5000 4999]",
    );
    check("local t = {} for i = 1, 5000 do t[i] = i end return {table.remove(t), #t}", "[5000 4999]");
    let holes = "local t = {} for i = 0, 30 do t[2 ^ i] = i end ";
    for rest in [
        "while true do table.insert(t, 1, 0) end",
        "while true do table.remove(t, 1) end",
        "while true do table.foreachi(t, type) end",
        "while true do pcall(table.sort, t, rawequal) end",
    ] {
        let bench = Bench::new();
        let started = bowline_rt::time::now();
        let text = format!("{holes}{rest}");
        let answer = bench.run_source(Source::Text(text.as_bytes()), Duration::from_millis(50));
        assert!(answer.contains("ran longer than 50 ms"), "{text}: {answer}");
        assert!(bowline_rt::time::now() - started < Duration::from_secs(5), "{text}");
    }
}

/// As in Redis: a script must not end half-way because it has filled the memory itself.
#[test]
fn only_the_first_write_of_a_script_is_refused_for_memory() {
    let bench = Bench::new();
    bench.keyspace.borrow_mut().set_memory_max_bytes(1_000);
    let text =
        "for i = 1, 100 do redis.call('set', 'k' .. i, ('x'):rep(100)) end return redis.call('dbsize')";
    assert_eq!(bench.run(text), "100");
    let refused = bench.run("redis.call('set', 'more', 1)");
    assert!(refused.starts_with("-OOM command not allowed when used memory > 'maxmemory'."), "{refused}");
    assert_eq!(bench.run("redis.call('del', 'k1') return redis.call('set', 'more', 1)"), "+OK");
    assert_eq!(bench.run("#!lua flags=allow-oom\nreturn redis.call('set', 'more', 1)"), "+OK");
    let refused = bench.run("#!lua\nreturn 1");
    assert!(refused.starts_with("-OOM allow-oom flag is not set on the script"), "{refused}");
}

#[test]
fn a_reply_that_is_too_large_for_a_script_is_an_error() {
    let bench = Bench::new();
    let text = "redis.call('set', 'large', ('x'):rep(30000000))
        return redis.call('mget', 'large', 'large', 'large', 'large', 'large')";
    let answer = bench.run(text);
    assert!(answer.starts_with("-ERR the reply of the command is too large for a script"), "{answer}");
}

#[test]
fn lines_of_scripts_keep_their_bytes_and_are_cut() {
    let bench = Bench::new();
    let bytes = |text: &str| {
        let mut output = crate::output::Output::new();
        let invocation = Invocation {
            source: Source::Text(text.as_bytes()),
            keys: &[],
            values: &[],
            database: 0,
            read_only: false,
            full: false,
            started: bowline_rt::time::now(),
            time_limit: Duration::from_secs(60),
        };
        if let Err(error) = bench.scripts.run(&invocation, &mut output) {
            error.write(&mut output);
        }
        output.buffer.to_vec()
    };
    assert_eq!(bytes("return {ok = '\\255\\1'}"), b"+\xff\x01\r\n");
    assert_eq!(bytes("return {err = 'E \\255'}"), b"-E \xff\r\n");
    assert_eq!(bytes("return {{err = 'E \\255'}}"), b"*1\r\n-E \xff\r\n");
    assert_eq!(bytes("return {big_number = '1\\255'}"), b"$2\r\n1\xff\r\n");
    assert_eq!(bytes("return {verbatim_string = {format = 'txt', string = '\\255'}}"), b"$1\r\n\xff\r\n");
    assert!(bytes("error('a\\nb', 0)").starts_with(b"-ERR a b script: "));
    assert!(bytes("error('\\255', 0)").starts_with(b"-ERR \xff script: "));
    for text in ["return {err = ('x'):rep(1e6)}", "return {ok = ('x'):rep(1e6)}", "error(('x'):rep(1e6))"] {
        let length = bytes(text).len();
        assert!((4_000..5_000).contains(&length), "{text}: {length}");
    }
    assert!(bytes(&format!("return = '{}'", "x".repeat(100_000))).len() < 5_000);
    assert!(bytes(&format!("#!lua flags={}\n", "x".repeat(100_000))).len() < 5_000);
    assert_eq!(bytes("return {err = 'E a\\nb'}"), b"-E a b\r\n");
}

#[test]
fn numbers_become_arguments_as_in_c() {
    for (number, text) in [
        ("1e17", "1e+17"),
        ("99999999999999984", "99999999999999984"),
        ("2^53", "9007199254740992"),
        ("-1e17", "-1e+17"),
        ("0.1", "0.10000000000000001"),
        ("-0.0", "-0"),
        ("1e300", "1.0000000000000001e+300"),
    ] {
        check(&format!("redis.call('set', 'n', {number}) return redis.call('get', 'n')"), text);
    }
}

#[test]
fn random_numbers_go_on_from_run_to_run_and_follow_a_seed() {
    let bench = Bench::new();
    let draw = "return {math.random(1000000), math.random(1000000)}";
    assert_ne!(bench.run(draw), bench.run(draw));
    let seeded = format!("math.randomseed(5) {draw}");
    let first = bench.run(&seeded);
    bench.run(draw);
    assert_eq!(bench.run(&seeded), first);
    check("local x = math.random(3, 5) return x >= 3 and x <= 5 and math.random() < 1", "1");
    for (text, problem) in [
        ("local x = math.random(0)", "user_script:1: bad argument #1 to 'random' (interval is empty)"),
        ("local x = math.random(5, 1)", "user_script:1: bad argument #2 to 'random' (interval is empty)"),
        ("local x = math.random(1, 2, 3)", "user_script:1: wrong number of arguments"),
    ] {
        let digest = sha1(text.as_bytes());
        check(text, &format!("-ERR {problem} script: {digest}, on @user_script:1."));
    }
}

#[test]
fn scripts_ask_about_commands_and_set_what_replicates() {
    check("return redis.call('command', 'count') > 50", "1");
    check("return redis.call('command', 'info', 'get')[1][1]", "get");
    check("return redis.acl_check_cmd('get', 'k')", "1");
    check("redis.set_repl(redis.REPL_NONE) redis.set_repl(redis.REPL_AOF) return 1", "1");
    for (text, problem) in [
        ("redis.acl_check_cmd()", "ERR Please specify at least one argument for this redis lib call"),
        ("redis.acl_check_cmd('nope')", "ERR Invalid command passed to redis.acl_check_cmd()"),
        ("redis.call('object', 'foo', 'k')", "ERR Unknown Redis command called from script"),
        ("redis.call('object', 'encoding')", "ERR Wrong number of args calling Redis command from script"),
        ("redis.call('config', 'get', 'x')", "ERR This Redis command is not allowed from script"),
    ] {
        let digest = sha1(text.as_bytes());
        check(text, &format!("-{problem} script: {digest}, on @user_script:1."));
    }
}

/// What compiling took is counted, not the text: code takes several times as much.
#[test]
fn kept_scripts_leave_memory_to_the_one_that_runs() {
    let bench = Bench::new();
    let body = "1,".repeat(1_000_000);
    for number in 0..20 {
        assert_eq!(bench.run(&format!("local t = {{{body}}} return {number}")), number.to_string());
        assert!(bench.scripts.memory() < 100 * 1024 * 1024, "{} bytes", bench.scripts.memory());
    }
    assert_eq!(bench.run("return #('x'):rep(15000000)"), "15000000");
    let mut refused = None;
    for number in 0..20 {
        refused = bench.scripts.load(format!("local t = {{{body}}} return {number}").as_bytes()).err();
        if refused.is_some() {
            break;
        }
    }
    let refused = refused.expect("there is a bound").to_string();
    assert_eq!(refused, "ERR too many scripts are loaded: use SCRIPT FLUSH");
    assert_eq!(bench.run("return #('x'):rep(15000000)"), "15000000");
}
