//! Calls whose answer is converted to the caller's type.
//!
//! They are [`Client::call`] and its siblings with a conversion behind them: what holds of those (deadlines, outcomes,
//! cancellation) holds of these. A failed conversion touches nothing but its own call.

use crate::batch::{Batch, Transaction};
use crate::client::Client;
use crate::command::Command;
use crate::dedicated::Dedicated;
use crate::reply::{FromReply, QueryError, convert};
use crate::script::Script;

impl Client {
    /// As [`Client::call`], with the answer converted.
    ///
    /// # Errors
    /// [`QueryError`]: the call's, or that the answer is something else than a `T`.
    pub async fn query<T: FromReply>(&self, command: Command) -> Result<T, QueryError> {
        Ok(T::from_reply(self.call(command).await?)?)
    }

    /// As [`Client::call_cached`], with the answer converted, from the cache or not.
    ///
    /// # Errors
    /// As [`Client::query`].
    pub async fn query_cached<T: FromReply>(&self, command: Command) -> Result<T, QueryError> {
        Ok(T::from_reply(self.call_cached(command).await?)?)
    }

    /// As [`Client::eval`], with the answer converted.
    ///
    /// # Errors
    /// As [`Client::query`].
    pub async fn query_eval<T: FromReply>(
        &self,
        script: &Script,
        keys: &[&[u8]],
        arguments: &[&[u8]],
    ) -> Result<T, QueryError> {
        Ok(T::from_reply(self.eval(script, keys, arguments).await?)?)
    }

    /// As [`Client::batch`], with the answers converted as by [`convert`].
    ///
    /// # Errors
    /// As [`Client::query`]; the first command's error that stands where `T` has no `Result` fails the whole.
    pub async fn query_batch<T: FromReply>(&self, batch: Batch) -> Result<T, QueryError> {
        convert(self.batch(batch).await?)
    }

    /// As [`Client::transaction`], with the answers converted as by [`convert`].
    ///
    /// # Errors
    /// As [`Client::query_batch`].
    pub async fn query_transaction<T: FromReply>(&self, transaction: Transaction) -> Result<T, QueryError> {
        convert(self.transaction(transaction).await?)
    }
}

impl Dedicated {
    /// As [`Dedicated::call`], with the answer converted. A failed conversion leaves the connection as good as it was.
    ///
    /// # Errors
    /// [`QueryError`]: the call's, or that the answer is something else than a `T`.
    pub async fn query<T: FromReply>(&mut self, command: Command) -> Result<T, QueryError> {
        Ok(T::from_reply(self.call(command).await?)?)
    }

    /// As [`Dedicated::batch`], with the answers converted as by [`convert`].
    ///
    /// # Errors
    /// As [`Client::query_batch`].
    pub async fn query_batch<T: FromReply>(&mut self, batch: Batch) -> Result<T, QueryError> {
        convert(self.batch(batch).await?)
    }

    /// As [`Dedicated::transaction`], with the answers converted as by [`convert`]. `None` says that a watched key was changed,
    /// and nothing was run.
    ///
    /// # Errors
    /// As [`Client::query_batch`].
    pub async fn query_transaction<T: FromReply>(
        &mut self,
        transaction: Transaction,
    ) -> Result<Option<T>, QueryError> {
        self.transaction(transaction).await?.map(convert).transpose()
    }
}
