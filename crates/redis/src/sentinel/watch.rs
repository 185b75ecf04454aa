//! Listens to one sentinel after the other for word of a failover, and looks again every few seconds whatever is said.
//!
//! A message carries no news here: it is the reason to look again, as the passing of time is. Who has sent it is asked first then.
//! In time every sentinel is asked in its turn: the one that is listened to may be cut off from the others.

use std::sync::Arc;
use std::time::Instant;

use bowline_rt::time::{now, sleep, timeout};

use super::Shared;
use super::answer::{AskError, is_switch_of};
use super::conversation::Conversation;
use crate::limits::{SENTINEL_LOOK_INTERVAL, SENTINEL_LOOK_PAUSE, SENTINEL_PAUSE_MAX};
use crate::reconnect::Pause;

/// The task. It ends by being aborted.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut pause = Pause::new(SENTINEL_PAUSE_MAX);
    let mut looked_at = None;
    loop {
        let sentinel = shared.lock().roster.order().first().cloned();
        if let Some(sentinel) = sentinel {
            let error = listen(&shared, &sentinel, &mut pause, &mut looked_at).await;
            tracing::debug!(sentinel, %error, "cannot listen to a sentinel any more");
            shared.lock().roster.misled(&sentinel);
        }
        // That nobody can be listened to must not keep it from looking.
        if looked_at.is_none_or(|at| now().saturating_duration_since(at) >= SENTINEL_LOOK_INTERVAL) {
            look(&shared, None, &mut looked_at).await;
        }
        sleep(pause.next()).await;
    }
}

/// Listens until something is wrong.
async fn listen(
    shared: &Shared,
    sentinel: &str,
    pause: &mut Pause,
    looked_at: &mut Option<Instant>,
) -> AskError {
    let mut conversation = match Conversation::open(&*shared.dial, sentinel, &shared.credentials).await {
        Ok(conversation) => conversation,
        Err(error) => return error,
    };
    if let Err(error) = conversation.subscribe().await {
        return error;
    }
    pause.reset();
    // What happened before the subscription is not told any more.
    let mut word = Word::OfSwitch;
    let mut turn: usize = 0;
    loop {
        turn = turn.wrapping_add(1);
        let first = match word {
            Word::OfSwitch => Some(sentinel.to_owned()),
            Word::None => shared.in_turn(turn),
        };
        look(shared, first.as_deref(), looked_at).await;
        word = match wait(shared, &mut conversation).await {
            Ok(word) => word,
            Err(error) => return error,
        };
    }
}

/// What a sentinel had to say.
enum Word {
    OfSwitch,
    None,
}

/// Waits for a reason to look again.
async fn wait(shared: &Shared, conversation: &mut Conversation) -> Result<Word, AskError> {
    // Whatever the sentinel sends, it does not make anybody look more often than this.
    sleep(SENTINEL_LOOK_PAUSE).await;
    let word = async {
        let switched = async {
            while !is_switch_of(&shared.service, &conversation.next().await?) {}
            Ok(Word::OfSwitch)
        };
        tokio::select! {
            biased;
            word = switched => word,
            () = shared.replicas_wished_for() => Ok(Word::None),
        }
    };
    match timeout(SENTINEL_LOOK_INTERVAL, word).await {
        Ok(word) => word,
        Err(_) => conversation.show_life().await.map(|()| Word::None),
    }
}

async fn look(shared: &Shared, first: Option<&str>, looked_at: &mut Option<Instant>) {
    *looked_at = Some(now());
    if let Err(error) = shared.search(first).await {
        tracing::debug!(service = shared.service, %error, "cannot look for the primary");
    }
}
