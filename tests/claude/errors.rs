//! What people are told when the model does not answer: words, never the API's own.

use super::{BUBBLEWRAP, KEY, Kind, TOKEN, World, say};
use nanoclaw_contract::time::Timestamp;

/// Nothing of the API's answer, of the program or of the key.
fn is_plain(text: &str) {
    for raw in ["fake", "_error", "API Error", "{", "http", "401", "429", "529", "sk-ant"] {
        assert!(!text.contains(raw), "{raw:?} is in {text:?}");
    }
}

#[tokio::test]
async fn a_wrong_key_is_said_and_the_right_one_helps() -> anyhow::Result<()> {
    let world = World::new("wrongkey").await?;
    world.credential(Kind::ApiKey, "sk-ant-api03-not-the-real-one")?;
    let mut world = world.started().await?;
    let told = world.ask(&say("hello")).await?;
    assert!(told.contains("the key or login is missing, wrong or expired"), "{told}");
    is_plain(&told);
    world.credential(Kind::ApiKey, KEY)?;
    assert_eq!(world.ask(&say("better")).await?, "better");
    assert_eq!(world.texts().len(), 2, "{:?}", world.texts());
    world.rig.stop().await
}

#[tokio::test]
async fn no_credential_at_all_is_said() -> anyhow::Result<()> {
    let world = World::new("nokey").await?;
    nanoclaw_vault::Store::new(&world.rig.data()).remove()?;
    let mut world = world.started().await?;
    let told = world.ask(&say("hello")).await?;
    assert!(told.contains("the key or login is missing, wrong or expired"), "{told}");
    is_plain(&told);
    world.rig.stop().await
}

#[tokio::test]
async fn a_limit_is_said_with_its_end() -> anyhow::Result<()> {
    let mut world = World::with("limit", BUBBLEWRAP, Kind::Oauth, TOKEN).await?.started().await?;
    let ends = Timestamp::now().as_second() / 60 * 60 + 7200;
    let at = Timestamp::from_second(ends)?.strftime("%b %-d, %Y, %-I:%M %p").to_string();
    let headers = format!(
        "anthropic-ratelimit-unified-status=rejected anthropic-ratelimit-unified-reset={ends} \
         anthropic-ratelimit-unified-representative-claim=five_hour retry-after=7200"
    );
    let told = world.ask(&format!("!error 429 rate_limit_error {headers}")).await?;
    assert!(told.contains("usage limit is reached until") && told.contains(&at), "{told}");
    is_plain(&told);
    assert_eq!(world.ask(&say("better")).await?, "better");
    assert_eq!(world.texts().len(), 2, "{:?}", world.texts());
    world.rig.stop().await
}

#[tokio::test]
async fn an_overloaded_model_is_said() -> anyhow::Result<()> {
    let mut world = World::new("overload").await?.started().await?;
    let told = world.ask("!error 529 overloaded_error").await?;
    assert!(told.contains("has too much to do right now"), "{told}");
    is_plain(&told);
    assert_eq!(world.ask(&say("better")).await?, "better");
    assert_eq!(world.texts().len(), 2, "{:?}", world.texts());
    world.rig.stop().await
}
