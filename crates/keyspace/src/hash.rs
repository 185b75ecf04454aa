//! The hash type: a short list in insertion order, or a table once it is large.
//!
//! What OBJECT ENCODING answers follows Redis' settings, not how the fields are kept here.

use crate::limits::{
    HASH_LIST_BYTES_MAX, HASH_LIST_FIELDS_MAX, HASH_LISTPACK_BYTES_DEFAULT, HASH_LISTPACK_FIELDS_DEFAULT,
};
use crate::random::Random;
use crate::table::{Item, KeyHasher, Table};

/// Rough cost of a field besides its bytes: two boxes, two allocations.
const FIELD_OVERHEAD_BYTES: usize = 64;

/// One field with its value.
#[derive(Debug, Clone)]
pub struct Field {
    name: Box<[u8]>,
    value: Box<[u8]>,
}

impl Field {
    /// The name.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// The value.
    #[must_use]
    pub fn value(&self) -> &[u8] {
        &self.value
    }

    /// Memory of the field, about.
    pub(crate) fn bytes(&self) -> usize {
        FIELD_OVERHEAD_BYTES + self.name.len() + self.value.len()
    }
}

impl Item for Field {
    fn key(&self) -> &[u8] {
        &self.name
    }
}

#[derive(Debug)]
enum Fields {
    List(Vec<Field>),
    Table(Table<Field>),
}

/// Up to where Redis would keep a hash as a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HashLimits {
    /// Number of fields.
    pub fields: usize,
    /// Bytes of a field or a value.
    pub bytes: usize,
}

impl Default for HashLimits {
    fn default() -> Self {
        Self { fields: HASH_LISTPACK_FIELDS_DEFAULT, bytes: HASH_LISTPACK_BYTES_DEFAULT }
    }
}

/// A hash. A stored one has at least one field.
#[derive(Debug)]
pub struct Hash {
    fields: Fields,
    bytes: usize,
    /// It has passed the limits at some time: Redis never goes back.
    outgrown: bool,
}

impl Default for Hash {
    fn default() -> Self {
        Self { fields: Fields::List(Vec::new()), bytes: 0, outgrown: false }
    }
}

impl Hash {
    /// Number of fields.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.fields {
            Fields::List(list) => list.len(),
            Fields::Table(table) => table.len(),
        }
    }

    /// Whether no field is left, so that the key must go.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Memory of all fields, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// What OBJECT ENCODING calls this.
    #[must_use]
    pub fn encoding(&self) -> &'static str {
        if self.outgrown { "hashtable" } else { "listpack" }
    }

    /// The value of a field.
    #[must_use]
    pub fn find(&self, name: &[u8]) -> Option<&[u8]> {
        match &self.fields {
            Fields::List(list) => list.iter().find(|field| *field.name == *name).map(Field::value),
            Fields::Table(table) => table.find(table.hash(name), name).map(Field::value),
        }
    }

    /// Sets a field; true if it is new.
    pub fn insert(&mut self, name: &[u8], value: &[u8], hasher: &KeyHasher, limits: HashLimits) -> bool {
        let longest = name.len().max(value.len());
        let is_new = self.put(name, value, longest, hasher);
        self.outgrown |= longest > limits.bytes || self.len() > limits.fields;
        is_new
    }

    fn put(&mut self, name: &[u8], value: &[u8], longest: usize, hasher: &KeyHasher) -> bool {
        if longest > HASH_LIST_BYTES_MAX {
            self.become_table(hasher);
        }
        let existing = match &mut self.fields {
            Fields::List(list) => list.iter_mut().find(|field| *field.name == *name),
            Fields::Table(table) => table.find_mut(table.hash(name), name),
        };
        if let Some(field) = existing {
            self.bytes = self.bytes - field.value.len() + value.len();
            if field.value.len() == value.len() {
                field.value.copy_from_slice(value);
            } else {
                field.value = value.into();
            }
            return false;
        }
        let field = Field { name: name.into(), value: value.into() };
        self.bytes += field.bytes();
        match &mut self.fields {
            Fields::List(list) => list.push(field),
            Fields::Table(table) => table.insert(table.hash(name), field),
        }
        if self.len() > HASH_LIST_FIELDS_MAX {
            self.become_table(hasher);
        }
        true
    }

    /// Removes a field; false if there was none.
    pub fn remove(&mut self, name: &[u8]) -> bool {
        let removed = match &mut self.fields {
            Fields::List(list) => {
                list.iter().position(|field| *field.name == *name).map(|index| list.remove(index))
            }
            Fields::Table(table) => table.remove(table.hash(name), name),
        };
        if let Some(field) = &removed {
            self.bytes -= field.bytes();
        }
        removed.is_some()
    }

    /// All fields; the oldest first while there are few.
    pub fn iter(&self) -> impl Iterator<Item = &Field> {
        let (list, table) = match &self.fields {
            Fields::List(list) => (Some(list.iter()), None),
            Fields::Table(table) => (None, Some(table.iter())),
        };
        list.into_iter().flatten().chain(table.into_iter().flatten())
    }

    /// As [`Table::scan`]; few fields come all at once.
    pub fn scan(&self, cursor: u64, count: u64, mut visit: impl FnMut(&Field)) -> u64 {
        match &self.fields {
            Fields::List(list) => {
                list.iter().for_each(visit);
                0
            }
            Fields::Table(table) => table.scan(cursor, count, &mut visit),
        }
    }

    /// A field drawn at random.
    pub fn random(&self, random: &mut Random) -> Option<&Field> {
        match &self.fields {
            Fields::List(list) if list.is_empty() => None,
            Fields::List(list) => list.get(random.index(list.len())),
            Fields::Table(table) => table.random(|bound| random.below(bound)),
        }
    }

    /// A copy with the same fields.
    #[must_use]
    pub fn duplicate(&self, hasher: &KeyHasher) -> Self {
        let fields = match &self.fields {
            Fields::List(list) => Fields::List(list.clone()),
            Fields::Table(table) => {
                let mut copy = Table::new(hasher.clone());
                table.iter().for_each(|field| copy.insert(copy.hash(&field.name), field.clone()));
                Fields::Table(copy)
            }
        };
        Self { fields, bytes: self.bytes, outgrown: self.outgrown }
    }

    /// The table of a large hash, so that it can be freed bit by bit.
    pub(crate) fn into_table(self) -> Option<Table<Field>> {
        match self.fields {
            Fields::List(_) => None,
            Fields::Table(table) => Some(table),
        }
    }

    fn become_table(&mut self, hasher: &KeyHasher) {
        if let Fields::List(list) = &mut self.fields {
            let mut table = Table::new(hasher.clone());
            for field in list.drain(..) {
                table.insert(table.hash(&field.name), field);
            }
            self.fields = Fields::Table(table);
        }
    }
}
