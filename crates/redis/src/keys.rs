//! Which arguments of a command are keys, and which commands only read: what it takes to find the node of a cluster that a
//! command belongs to.
//!
//! The table knows every command of Redis 7.2, the fields with expiry of 7.4 and 8.0, and nothing of modules; a test holds
//! it against `COMMAND GETKEYS` of a real server. What it does not know is not guessed: a command that went to the wrong
//! node would be redirected, but one without keys would silently run on a part of the data.

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::limits::NAME_BYTES_MAX;

/// Where the keys of a command stand. Positions count from its name, which is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keys {
    /// There are none, and every node gives as good an answer as any other.
    Anywhere,
    /// There are none, and the answer or the effect is that of one node.
    OfNode,
    /// From `first` on, each `step` arguments, without the last `spare` ones.
    From { first: usize, step: usize, spare: usize },
    /// This many from the first argument on.
    Few(usize),
    /// Their number stands at `at`, the keys behind it.
    Counted { at: usize },
    /// One at 1, and further ones whose number stands at 2.
    StoreCounted,
    /// The first half of what is behind `STREAMS`; at `from` is the first place where that word may stand.
    Streams { from: usize },
    /// One at 1, and one behind each of `words` from `from` on; the others have this many arguments of their own, which may be
    /// any text.
    Keywords { from: usize, words: &'static [&'static str], others: &'static [(&'static str, usize)] },
    /// One at 3, or if that is empty all behind `KEYS`.
    Migrate,
    /// One at 2 for these subcommands.
    Subcommands(&'static [&'static str]),
}

/// Why it cannot be told which arguments are keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unclear {
    /// The command is not in the table.
    Unknown,
    /// The number of keys that the command states is no number, or is larger than that of its arguments.
    Count,
}

/// What is known about the keys of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    pub keys: Keys,
    /// Whether the command only reads the keys: a replica can run it.
    pub reads: bool,
}

/// Finds what is known about the keys of the command `name`, in any case.
pub fn look_up(name: &[u8]) -> Option<Row> {
    static ROWS: LazyLock<HashMap<&'static [u8], Row>> = LazyLock::new(|| {
        let rows = TABLE.iter().flat_map(|&(reads, keys, names)| {
            names.split_ascii_whitespace().map(move |name| (name.as_bytes(), Row { keys, reads }))
        });
        rows.collect()
    });
    let mut upper = [0; NAME_BYTES_MAX];
    let upper = upper.get_mut(..name.len())?;
    upper.copy_from_slice(name);
    upper.make_ascii_uppercase();
    ROWS.get(&*upper).copied()
}

impl Keys {
    /// Calls `visit` with each key of a command of `count` arguments, the name included.
    pub fn visit<'a>(
        self,
        arguments: &(impl Iterator<Item = &'a [u8]> + Clone),
        count: usize,
        mut visit: impl FnMut(&'a [u8]),
    ) -> Result<(), Unclear> {
        let from = |first: usize| arguments.clone().skip(first);
        match self {
            Self::Anywhere | Self::OfNode => {}
            Self::From { first, step, spare } => {
                from(first).take(count.saturating_sub(first + spare)).step_by(step).for_each(visit);
            }
            Self::Few(few) => from(1).take(few).for_each(visit),
            Self::Counted { at } => from(at + 1).take(stated(from(at), count, at)?).for_each(visit),
            Self::StoreCounted => {
                let sources = from(3).take(stated(from(2), count, 2)?);
                from(1).take(1).chain(sources).for_each(visit);
            }
            Self::Streams { from: first } => {
                let before = from(first).take_while(|argument| !is_word(argument, "STREAMS")).count();
                let streams = first + before + 1;
                from(streams).take(count.saturating_sub(streams) / 2).for_each(visit);
            }
            Self::Keywords { from: first, words, others } => {
                from(1).take(1).for_each(&mut visit);
                let mut rest = from(first);
                while skip_to(&mut rest, words, others) {
                    rest.next().into_iter().for_each(&mut visit);
                }
            }
            Self::Migrate => match from(3).next() {
                Some([]) => {
                    let mut rest = from(6);
                    skip_to(&mut rest, &["KEYS"], &[("AUTH", 1), ("AUTH2", 2)]);
                    rest.for_each(visit);
                }
                single => single.into_iter().for_each(visit),
            },
            Self::Subcommands(words) => {
                let is_keyed = from(1).take(1).any(|word| words.iter().any(|known| is_word(word, known)));
                from(2).take(usize::from(is_keyed)).for_each(visit);
            }
        }
        Ok(())
    }
}

/// Goes on until behind one of `words`, past the arguments of `others`; whether there was one.
fn skip_to<'a>(rest: &mut impl Iterator<Item = &'a [u8]>, words: &[&str], others: &[(&str, usize)]) -> bool {
    while let Some(word) = rest.next() {
        if words.iter().any(|known| is_word(word, known)) {
            return true;
        }
        if let Some(&(_, arguments)) = others.iter().find(|(known, _)| is_word(word, known)) {
            rest.by_ref().take(arguments).for_each(drop);
        }
    }
    false
}

/// The number of keys that a command states at position `at`.
fn stated<'a>(mut from: impl Iterator<Item = &'a [u8]>, count: usize, at: usize) -> Result<usize, Unclear> {
    let text = from.next().and_then(|text| std::str::from_utf8(text).ok()).ok_or(Unclear::Count)?;
    let keys: usize = text.parse().map_err(|_| Unclear::Count)?;
    if keys <= count.saturating_sub(at + 1) { Ok(keys) } else { Err(Unclear::Count) }
}

fn is_word(argument: &[u8], word: &str) -> bool {
    argument.eq_ignore_ascii_case(word.as_bytes())
}

const FIRST: Keys = Keys::Few(1);
const ALL: Keys = Keys::From { first: 1, step: 1, spare: 0 };
const PAIRS: Keys = Keys::From { first: 1, step: 2, spare: 0 };
const STORES: &[&str] = &["STORE", "STOREDIST"];
const ALL_BUT_LAST: Keys = Keys::From { first: 1, step: 1, spare: 1 };

/// Whether they only read, where the keys are, and the commands.
const TABLE: &[(bool, Keys, &str)] = &[
    (
        true,
        FIRST,
        "GET GETRANGE SUBSTR STRLEN GETBIT BITCOUNT BITPOS BITFIELD_RO DUMP TYPE TTL PTTL EXPIRETIME PEXPIRETIME \
         HGET HMGET HGETALL HKEYS HVALS HLEN HEXISTS HSTRLEN HSCAN HRANDFIELD HTTL HPTTL HEXPIRETIME HPEXPIRETIME \
         LINDEX LLEN LRANGE LPOS SCARD SISMEMBER SMISMEMBER SMEMBERS SRANDMEMBER SSCAN ZCARD ZCOUNT ZLEXCOUNT \
         ZMSCORE ZRANDMEMBER ZRANGE ZRANGEBYLEX ZRANGEBYSCORE ZRANK ZREVRANGE ZREVRANGEBYLEX ZREVRANGEBYSCORE \
         ZREVRANK ZSCAN ZSCORE GEODIST GEOHASH GEOPOS GEOSEARCH GEORADIUS_RO GEORADIUSBYMEMBER_RO SORT_RO XLEN \
         XPENDING XRANGE XREVRANGE",
    ),
    (
        false,
        FIRST,
        "SET SETEX PSETEX SETNX GETSET GETDEL GETEX APPEND SETRANGE SETBIT BITFIELD INCR INCRBY INCRBYFLOAT DECR DECRBY \
         EXPIRE PEXPIRE EXPIREAT PEXPIREAT PERSIST RESTORE RESTORE-ASKING MOVE HSET HMSET HSETNX HDEL HINCRBY \
         HINCRBYFLOAT HEXPIRE HPEXPIRE HEXPIREAT HPEXPIREAT HPERSIST HGETDEL HGETEX HSETEX LPUSH LPUSHX RPUSH RPUSHX \
         LPOP RPOP LSET LREM LTRIM LINSERT SADD SREM SPOP ZADD ZINCRBY ZREM ZREMRANGEBYLEX ZREMRANGEBYRANK \
         ZREMRANGEBYSCORE ZPOPMIN ZPOPMAX GEOADD PFADD XADD XDEL XTRIM XACK XCLAIM XAUTOCLAIM XSETID SPUBLISH",
    ),
    (true, ALL, "MGET EXISTS TOUCH SINTER SUNION SDIFF PFCOUNT"),
    (false, ALL, "DEL UNLINK WATCH SINTERSTORE SUNIONSTORE SDIFFSTORE PFMERGE SSUBSCRIBE SUNSUBSCRIBE"),
    (false, PAIRS, "MSET MSETNX"),
    (false, ALL_BUT_LAST, "BLPOP BRPOP BZPOPMIN BZPOPMAX"),
    (true, Keys::Few(2), "LCS"),
    (
        false,
        Keys::Few(2),
        "COPY RENAME RENAMENX SMOVE LMOVE BLMOVE RPOPLPUSH BRPOPLPUSH ZRANGESTORE GEOSEARCHSTORE",
    ),
    (false, Keys::From { first: 2, step: 1, spare: 0 }, "BITOP PFDEBUG"),
    (true, Keys::Counted { at: 1 }, "SINTERCARD ZDIFF ZINTER ZINTERCARD ZUNION"),
    (false, Keys::Counted { at: 1 }, "LMPOP ZMPOP"),
    (true, Keys::Counted { at: 2 }, "EVAL_RO EVALSHA_RO FCALL_RO"),
    (false, Keys::Counted { at: 2 }, "EVAL EVALSHA FCALL BLMPOP BZMPOP"),
    (false, Keys::StoreCounted, "ZDIFFSTORE ZINTERSTORE ZUNIONSTORE"),
    (true, Keys::Streams { from: 1 }, "XREAD"),
    // Behind GROUP, the group and the consumer, which may have any name.
    (false, Keys::Streams { from: 4 }, "XREADGROUP"),
    (
        false,
        Keys::Keywords { from: 2, words: &["STORE"], others: &[("BY", 1), ("GET", 1), ("LIMIT", 2)] },
        "SORT",
    ),
    (false, Keys::Keywords { from: 6, words: STORES, others: &[("COUNT", 1)] }, "GEORADIUS"),
    (false, Keys::Keywords { from: 5, words: STORES, others: &[("COUNT", 1)] }, "GEORADIUSBYMEMBER"),
    (false, Keys::Migrate, "MIGRATE"),
    (true, Keys::Subcommands(&["ENCODING", "FREQ", "IDLETIME", "REFCOUNT"]), "OBJECT"),
    (true, Keys::Subcommands(&["USAGE"]), "MEMORY"),
    (true, Keys::Subcommands(&["STREAM", "GROUPS", "CONSUMERS"]), "XINFO"),
    (false, Keys::Subcommands(&["CREATE", "CREATECONSUMER", "DELCONSUMER", "DESTROY", "SETID"]), "XGROUP"),
    (
        false,
        Keys::Anywhere,
        "PING ECHO TIME PUBLISH COMMAND LOLWUT MULTI EXEC DISCARD UNWATCH SUBSCRIBE PSUBSCRIBE UNSUBSCRIBE PUNSUBSCRIBE",
    ),
    (
        false,
        Keys::OfNode,
        "ACL ASKING AUTH BGREWRITEAOF BGSAVE CLIENT CLUSTER CONFIG DBSIZE DEBUG FAILOVER FLUSHALL FLUSHDB FUNCTION HELLO \
         INFO KEYS LASTSAVE LATENCY MODULE MONITOR PFSELFTEST PSYNC PUBSUB QUIT RANDOMKEY READONLY READWRITE REPLCONF \
         REPLICAOF RESET ROLE SAVE SCAN SCRIPT SELECT SHUTDOWN SLAVEOF SLOWLOG SWAPDB SYNC WAIT WAITAOF",
    ),
];

#[cfg(test)]
#[path = "keys_tests.rs"]
mod tests;
