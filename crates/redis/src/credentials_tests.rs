//! Providers of credentials: asked, bounded in time, and never shown.

use super::*;

struct Slow;

impl CredentialProvider for Slow {
    fn login(&self) -> LoginFuture<'_> {
        Box::pin(std::future::pending())
    }
}

struct Broken;

impl CredentialProvider for Broken {
    fn login(&self) -> LoginFuture<'_> {
        Box::pin(async { Err(CredentialError::new("the vault is sealed")) })
    }
}

#[tokio::test(start_paused = true)]
async fn a_provider_is_asked_and_not_waited_for_without_end() {
    let ask = async |credentials: Credentials| credentials.ask().await.map_err(|error| error.to_string());
    assert_eq!(
        ask(Credentials::Provider(Arc::new(Slow))).await.unwrap_err(),
        format!("no credentials for the store: no answer within {CREDENTIALS_TIMEOUT:?}")
    );
    assert_eq!(
        ask(Credentials::Provider(Arc::new(Broken))).await.unwrap_err(),
        "no credentials for the store: the vault is sealed"
    );
    let Ok(Credentials::Fixed(login)) = ask(Credentials::Fixed(Login::user("u", "p"))).await else {
        panic!("fixed credentials stay");
    };
    assert_eq!(login, Login::user("u", "p"));
    assert!(matches!(ask(Credentials::None).await, Ok(Credentials::None)));
}

#[test]
fn no_secret_is_shown() {
    let fixed = Credentials::Fixed(Login::user("u", "hunter2"));
    assert_eq!(format!("{fixed:?}"), "Fixed(Login { user: Some(\"u\"), password: Secret(hidden) })");
    assert_eq!(format!("{:?}", Credentials::Provider(Arc::new(Broken))), "Provider");
}
