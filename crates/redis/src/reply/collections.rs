//! Values that consist of values.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::{BuildHasher, Hash};

use bowline_resp::Frame;

use super::{ConversionError, FromReply, elements};

impl<T: FromReply> FromReply for Vec<T> {
    fn from_reply(frame: Frame) -> Result<Self, ConversionError> {
        T::several_from_reply(frame)
    }
}

impl<T: FromReply, const N: usize> FromReply for [T; N] {
    fn from_reply(frame: Frame) -> Result<Self, ConversionError> {
        let elements = Vec::<T>::from_reply(frame)?;
        elements
            .try_into()
            .map_err(|elements: Vec<T>| ConversionError::Length { expected: N, found: elements.len() })
    }
}

impl<T: FromReply + Ord> FromReply for BTreeSet<T> {
    fn from_reply(frame: Frame) -> Result<Self, ConversionError> {
        Vec::from_reply(frame).map(Self::from_iter)
    }
}

impl<T: FromReply + Eq + Hash, S: BuildHasher + Default> FromReply for HashSet<T, S> {
    fn from_reply(frame: Frame) -> Result<Self, ConversionError> {
        Vec::from_reply(frame).map(Self::from_iter)
    }
}

/// Of a key that comes twice the last value counts.
impl<K: FromReply + Ord, V: FromReply> FromReply for BTreeMap<K, V> {
    fn from_reply(frame: Frame) -> Result<Self, ConversionError> {
        Vec::from_reply(frame).map(Self::from_iter)
    }
}

/// Of a key that comes twice the last value counts.
impl<K: FromReply + Eq + Hash, V: FromReply, S: BuildHasher + Default> FromReply for HashMap<K, V, S> {
    fn from_reply(frame: Frame) -> Result<Self, ConversionError> {
        Vec::from_reply(frame).map(Self::from_iter)
    }
}

impl<A: FromReply, B: FromReply> FromReply for (A, B) {
    fn from_reply(frame: Frame) -> Result<Self, ConversionError> {
        let [first, second] = exactly(frame)?;
        Ok((A::from_reply(first)?, B::from_reply(second)?))
    }

    /// Pairs come as a map, as an array of arrays of two, or one behind the other. An array whose first element is an array is
    /// of the second kind.
    fn several_from_reply(frame: Frame) -> Result<Vec<Self>, ConversionError> {
        let pair = |(first, second)| Ok((A::from_reply(first)?, B::from_reply(second)?));
        let elements = match frame {
            Frame::Map(pairs) => return pairs.into_iter().map(pair).collect(),
            frame => elements(frame, "pairs")?,
        };
        if let Some(Frame::Array(_)) = elements.first() {
            return elements.into_iter().map(Self::from_reply).collect();
        }
        let found = elements.len();
        if !found.is_multiple_of(2) {
            return Err(ConversionError::Odd { found });
        }
        let mut elements = elements.into_iter();
        std::iter::from_fn(|| elements.next().zip(elements.next())).map(pair).collect()
    }
}

/// The elements of an aggregate that has `N` of them.
fn exactly<const N: usize>(frame: Frame) -> Result<[Frame; N], ConversionError> {
    let elements = elements(frame, "an array")?;
    elements
        .try_into()
        .map_err(|elements: Vec<Frame>| ConversionError::Length { expected: N, found: elements.len() })
}

macro_rules! tuples {
    ($($types:ident $names:ident),*) => {
        impl<$($types: FromReply),*> FromReply for ($($types,)*) {
            fn from_reply(frame: Frame) -> Result<Self, ConversionError> {
                let [$($names),*] = exactly(frame)?;
                Ok(($($types::from_reply($names)?,)*))
            }
        }
    };
}

tuples!(A a);
tuples!(A a, B b, C c);
tuples!(A a, B b, C c, D d);
tuples!(A a, B b, C c, D d, E e);
tuples!(A a, B b, C c, D d, E e, F f);
tuples!(A a, B b, C c, D d, E e, F f, G g);
tuples!(A a, B b, C c, D d, E e, F f, G g, H h);
