//! Commands on the bits of strings, and LCS.

use super::*;

#[test]
fn bits_of_strings() {
    check(
        "SETBIT k 7 1 => :0
         SETBIT k 7 1 => :1
         GETBIT k 7 => :1
         GETBIT k 6 => :0
         GETBIT k 1000 => :0
         SETBIT k 15 0 => :0
         STRLEN k => :2
         SETBIT k 7 2 => -ERR bit is not an integer or out of range
         SETBIT k -1 1 => -ERR bit offset is not an integer or out of range
         SETBIT k 4294967296 1 => -ERR bit offset is not an integer or out of range
         SET n 12 => OK
         SETBIT n 0 1 => :0
         SETBIT n 0 0 => :1
         GET n => 12
         SET s foobar => OK
         BITCOUNT s => :26
         BITCOUNT s 0 0 => :4
         BITCOUNT s 1 1 => :6
         BITCOUNT s 1 1 BYTE => :6
         BITCOUNT s 5 30 BIT => :17
         BITCOUNT s -1 -2 => :0
         BITCOUNT s -100 100 => :26
         BITCOUNT s 0 => -ERR syntax error
         BITCOUNT s 0 1 WORD => -ERR syntax error
         BITCOUNT nothing 0 x => :0
         BITPOS s 1 => :1
         BITPOS s 0 => :0
         BITPOS s 1 2 => :17
         BITPOS s 1 2 3 BIT => :2
         BITPOS s 0 1 2 BIT => :-1
         BITPOS s 2 => -ERR The bit argument must be 1 or 0.
         BITPOS nothing 1 => :-1
         BITPOS nothing 0 => :0
         BITOP NOT ones zeros => :0
         SETBIT zeros 7 0 => :0
         BITOP NOT ones zeros => :1
         BITPOS ones 0 => :8
         BITPOS ones 0 0 -1 => :-1
         BITPOS ones 0 0 => :8
         SET a abc => OK
         SET b ab => OK
         BITOP AND r a b => :3
         BITCOUNT r => :6
         BITOP OR r a b nothing => :3
         GET r => abc
         BITOP XOR r a a => :3
         BITCOUNT r => :0
         BITOP NOT r a b => -ERR BITOP NOT must be called with a single source key.
         BITOP NAND r a b => -ERR syntax error
         BITOP AND r nothing => :0
         EXISTS r => :0
         HSET h f v => :1
         GETBIT h 1 => -WRONGTYPE Operation against a key holding the wrong kind of value
         SETBIT h 1 1 => -WRONGTYPE Operation against a key holding the wrong kind of value
         BITCOUNT h 0 x => -WRONGTYPE Operation against a key holding the wrong kind of value
         BITOP OR r a h => -WRONGTYPE Operation against a key holding the wrong kind of value",
    );
}

#[test]
fn common_subsequences() {
    check(
        "SET a ohmytext => OK
         SET b mynewtext => OK
         LCS a b => mytext
         LCS a b LEN => :6
         LCS a b IDX => [matches [[[4 7] [5 8]] [[2 3] [0 1]]] len :6]
         LCS a b IDX MINMATCHLEN 4 WITHMATCHLEN => [matches [[[4 7] [5 8] :4]] len :6]
         LCS a b LEN IDX => -ERR If you want both the length and indexes, please just use IDX.
         LCS a b MINMATCHLEN => -ERR syntax error
         LCS a b MINMATCHLEN x => -ERR value is not an integer or out of range
         LCS a nothing => 
         LCS a nothing IDX => [matches [] len :0]
         HSET h f v => :1
         LCS a h => -ERR The specified keys must contain string values"
            .replace("[4 7]", "[:4 :7]")
            .replace("[5 8]", "[:5 :8]")
            .replace("[2 3]", "[:2 :3]")
            .replace("[0 1]", "[:0 :1]")
            .as_str(),
    );
    let mut bench = Bench::new();
    bench.run(&format!("SET a {}", "x".repeat(20_000)));
    let refused = "-ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len";
    assert_eq!(bench.run("LCS a a LEN"), refused);
}
