//! What a command takes and does, as data. COMMAND answers from it, and the server decides by it.

use bytes::Bytes;

use crate::error::CommandError;
use crate::limits::SUBCOMMAND_ECHO_BYTES_MAX;
use crate::number::parse_integer;

/// Properties of a command, a set of bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags(u32);

macro_rules! flags {
    ($($(#[$doc:meta])* $name:ident = $bit:literal, $text:literal;)*) => {
        impl Flags {
            $($(#[$doc])* pub const $name: Self = Self(1 << $bit);)*

            /// The names of the properties, as COMMAND writes them.
            pub fn names(self) -> impl Iterator<Item = &'static str> {
                [$((Self::$name, $text)),*].into_iter().filter(move |&(flag, _)| self.has(flag)).map(|(_, name)| name)
            }
        }
    };
}

flags! {
    /// May change data.
    WRITE = 0, "write";
    /// Reads data.
    READONLY = 1, "readonly";
    /// Refused when memory is full.
    DENYOOM = 2, "denyoom";
    /// For administrators.
    ADMIN = 3, "admin";
    /// Not allowed in scripts.
    NOSCRIPT = 4, "noscript";
    /// Allowed while the data is being loaded.
    LOADING = 5, "loading";
    /// Allowed on a replica without a primary.
    STALE = 6, "stale";
    /// Not shown by MONITOR.
    SKIP_MONITOR = 7, "skip_monitor";
    /// Takes constant or logarithmic time.
    FAST = 8, "fast";
    /// Allowed before AUTH.
    NO_AUTH = 9, "no_auth";
    /// May be replicated although it does not write.
    MAY_REPLICATE = 10, "may_replicate";
    /// May be sent without keys.
    NO_MANDATORY_KEYS = 11, "no_mandatory_keys";
    /// Not allowed inside MULTI.
    NO_MULTI = 12, "no_multi";
    /// The positions of the keys depend on the arguments.
    MOVABLE_KEYS = 13, "movablekeys";
    /// Allowed while a script runs too long.
    ALLOW_BUSY = 14, "allow_busy";
}

impl Flags {
    /// No property.
    pub const NONE: Self = Self(0);

    /// Both sets together.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of `other` are in this set.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// Where the keys stand among the arguments; the name of the command is number 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keys {
    /// There are none.
    None,
    /// Every `step`-th argument from `first` to `last`; a negative `last` counts from the end.
    Range {
        /// Position of the first key.
        first: i32,
        /// Position of the last key.
        last: i32,
        /// Distance between keys.
        step: i32,
    },
    /// The argument at `count` says how many keys follow it.
    Counted {
        /// Position of the number of keys.
        count: usize,
    },
}

impl Keys {
    /// The first argument is the only key.
    pub const ONE: Self = Self::Range { first: 1, last: 1, step: 1 };
    /// Every argument is a key.
    pub const ALL: Self = Self::Range { first: 1, last: -1, step: 1 };
    /// The first two arguments are keys.
    pub const TWO: Self = Self::Range { first: 1, last: 2, step: 1 };
    /// Keys and values in turn.
    pub const PAIRS: Self = Self::Range { first: 1, last: -1, step: 2 };
}

/// What a command works on; documentation sorts by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Group {
    String,
    Bitmap,
    Hash,
    Generic,
    Connection,
    Server,
    Scripting,
    Transactions,
}

impl Group {
    /// The name, as COMMAND DOCS writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Bitmap => "bitmap",
            Self::Hash => "hash",
            Self::Generic => "generic",
            Self::Connection => "connection",
            Self::Server => "server",
            Self::Scripting => "scripting",
            Self::Transactions => "transactions",
        }
    }

    /// The access category that goes with the group.
    #[must_use]
    pub const fn category(self) -> Option<&'static str> {
        match self {
            Self::String => Some("@string"),
            Self::Bitmap => Some("@bitmap"),
            Self::Hash => Some("@hash"),
            Self::Generic => Some("@keyspace"),
            Self::Connection => Some("@connection"),
            Self::Server => None,
            Self::Scripting => Some("@scripting"),
            Self::Transactions => Some("@transaction"),
        }
    }
}

/// A subcommand: its name in lower case, and how many arguments it takes, counted as [`Spec::arity`].
pub type Subcommand = (&'static str, i32);

/// Whether so many arguments fit an arity.
const fn fits(arity: i32, arguments: usize) -> bool {
    let wanted = arity.unsigned_abs() as usize;
    if arity < 0 { arguments >= wanted } else { arguments == wanted }
}

/// What a command takes and does.
#[derive(Debug, Clone, Copy)]
pub struct Spec {
    /// The name in lower case.
    pub name: &'static str,
    /// Number of arguments with the name; negative: at least so many.
    pub arity: i32,
    /// Its properties.
    pub flags: Flags,
    /// Where its keys stand.
    pub keys: Keys,
    /// Its subcommands; none if the first argument is not one.
    pub subcommands: &'static [Subcommand],
    /// What it works on.
    pub group: Group,
    /// First version of Redis that had it.
    pub since: &'static str,
    /// What it does, in a few words.
    pub summary: &'static str,
}

impl Spec {
    /// A command that is not described yet.
    #[must_use]
    pub const fn new(name: &'static str, arity: i32, flags: Flags, keys: Keys) -> Self {
        Self {
            name,
            arity,
            flags,
            keys,
            subcommands: &[],
            group: Group::Generic,
            since: "1.0.0",
            summary: "",
        }
    }

    /// With its subcommands.
    #[must_use]
    pub const fn with(self, subcommands: &'static [Subcommand]) -> Self {
        Self { subcommands, ..self }
    }

    /// With its description.
    #[must_use]
    pub const fn about(self, group: Group, since: &'static str, summary: &'static str) -> Self {
        Self { group, since, summary, ..self }
    }

    /// Judges the number of arguments, and which subcommand they name. Without arguments a command that may stand alone
    /// (COMMAND) does.
    ///
    /// # Errors
    /// [`CommandError::Arity`] and [`CommandError::UnknownSubcommand`].
    pub fn check(&self, arguments: &[Bytes]) -> Result<(), CommandError> {
        if !fits(self.arity, arguments.len()) {
            return Err(CommandError::Arity(self.name.into()));
        }
        let (false, Some(given)) = (self.subcommands.is_empty(), arguments.get(1)) else { return Ok(()) };
        let found = self.subcommands.iter().find(|(name, _)| given.eq_ignore_ascii_case(name.as_bytes()));
        match found {
            None => Err(unknown_subcommand(self.name, given)),
            Some(&(_, arity)) if fits(arity, arguments.len()) => Ok(()),
            Some((name, _)) => Err(CommandError::Arity(format!("{}|{name}", self.name).into())),
        }
    }

    /// The positions of the keys among these arguments; `None` if they cannot be right.
    #[must_use]
    pub fn key_positions(&self, arguments: &[Bytes]) -> Option<Vec<usize>> {
        match self.keys {
            Keys::None => Some(Vec::new()),
            Keys::Range { first, last, step } => {
                let length = i32::try_from(arguments.len()).ok()?;
                let last = if last < 0 { length + last } else { last };
                let positions = (first..=last).step_by(usize::try_from(step).ok()?);
                positions.map(|position| usize::try_from(position).ok()).collect()
            }
            Keys::Counted { count } => {
                let keys = usize::try_from(parse_integer(arguments.get(count)?)?).ok()?;
                let first = count + 1;
                (keys <= arguments.len() - first).then(|| (first..first + keys).collect())
            }
        }
    }
}

/// The error for a subcommand that is not there.
#[must_use]
pub fn unknown_subcommand(container: &str, name: &[u8]) -> CommandError {
    let name = String::from_utf8_lossy(&name[..name.len().min(SUBCOMMAND_ECHO_BYTES_MAX)]).into_owned();
    CommandError::UnknownSubcommand { container: container.to_ascii_uppercase(), name }
}
