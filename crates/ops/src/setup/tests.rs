//! Setup on nothing, again, with a credential later, and on an install that lost something.

use super::*;
use async_trait::async_trait;
use nanoclaw_driver::{BoxSpec, Driver, DriverDef, DriverError, Exit, Probe, Running, Signal};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

struct Works;

#[async_trait]
impl Driver for Works {
    fn name(&self) -> &'static str {
        "works"
    }
    async fn probe(&self) -> Result<Probe, DriverError> {
        Ok(Probe { version: "works 1".into(), missing: Vec::new() })
    }
    async fn start(&self, _: &BoxSpec) -> Result<(), DriverError> {
        Ok(())
    }
    async fn signal(&self, name: &str, _: Signal) -> Result<(), DriverError> {
        Err(DriverError::Gone(name.into()))
    }
    async fn wait(&self, name: &str) -> Result<Exit, DriverError> {
        Err(DriverError::Gone(name.into()))
    }
    async fn list(&self, _: &str) -> Result<Vec<Running>, DriverError> {
        Ok(Vec::new())
    }
}

type Saved = Option<(String, String, Option<String>)>;

#[derive(Default)]
struct Store(Mutex<Saved>);

impl Credentials for Store {
    fn status(&self) -> Result<Option<String>, String> {
        Ok(self.0.lock().unwrap().as_ref().map(|(variable, ..)| variable.clone()))
    }
    fn save(&self, variable: &str, value: &str, base: Option<&str>) -> Result<(), String> {
        *self.0.lock().unwrap() = Some((variable.into(), value.into(), base.map(str::to_owned)));
        Ok(())
    }
}

struct World {
    dir: tempfile::TempDir,
    store: Store,
}

const NEEDS: Needs = Needs {
    variables: &["THE_KEY", "THE_TOKEN"],
    base_url: "THE_URL",
    ask: "key: ",
    guess: |_| "THE_KEY",
};

impl World {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), store: Store::default() }
    }

    fn config(&self) -> Config {
        let none = BTreeMap::<String, String>::new();
        Config::parse(&none, self.dir.path(), Path::new("/bin/nanoclaw")).unwrap()
    }

    async fn setup(&self, env: &[(&str, &str)], wish: Wish) -> Result<Outcome, Error> {
        let env: BTreeMap<String, String> =
            env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let drivers = [DriverOption {
            def: DriverDef { name: "works", make: |_| Ok(Arc::new(Works)) },
            images: None,
        }];
        let providers = [
            ProviderOption { name: "real", needs: Some(NEEDS), tool: None },
            ProviderOption { name: "toy", needs: None, tool: None },
        ];
        let chat = FirstChat { channel: "tty", platform_id: "local", owner: "tty:local" };
        let choices =
            Choices { drivers: &drivers, providers: &providers, chat, credentials: &self.store };
        run(&self.config(), &env, &choices, &wish, &|_| ()).await
    }

    fn rows(&self) -> (usize, usize, usize, usize) {
        let central = self.config().open_central().unwrap();
        (
            central.agents().unwrap().len(),
            central.chats().unwrap().len(),
            central.wirings().unwrap().len(),
            central.owners().unwrap().len(),
        )
    }
}

fn unattended() -> Wish {
    Wish { unattended: true, ..Wish::default() }
}

#[tokio::test]
async fn twice_is_once() {
    let world = World::new();
    let first = world.setup(&[], unattended()).await.unwrap();
    let expected = Outcome {
        agent: "Nano".into(),
        provider: "toy".into(),
        is_connected: false,
        driver: "works".into(),
        restart: false,
    };
    assert_eq!(first, expected);
    assert_eq!(world.rows(), (1, 1, 1, 1));
    assert_eq!(world.setup(&[], unattended()).await.unwrap(), expected);
    assert_eq!(world.rows(), (1, 1, 1, 1));
}

#[tokio::test]
async fn a_credential_later_connects_the_same_agent_and_stays() {
    let world = World::new();
    world.setup(&[], unattended()).await.unwrap();
    let env = [("THE_TOKEN", "s3cret"), ("THE_URL", "http://127.0.0.1:9")];
    let connected = world.setup(&env, unattended()).await.unwrap();
    assert_eq!((connected.provider.as_str(), connected.restart), ("real", true));
    let saved = world.store.0.lock().unwrap().clone().unwrap();
    assert_eq!(saved, ("THE_TOKEN".into(), "s3cret".into(), Some("http://127.0.0.1:9".into())));
    assert_eq!(world.rows(), (1, 1, 1, 1));
    let again = world.setup(&[], unattended()).await.unwrap();
    assert_eq!((again.provider.as_str(), again.restart), ("real", false));
    let back = Wish { provider: Some("toy".into()), ..unattended() };
    assert_eq!(world.setup(&[], back).await.unwrap().provider, "toy");
}

#[tokio::test]
async fn a_stored_credential_serves_a_new_agent() {
    let world = World::new();
    world.store.save("THE_KEY", "x", None).unwrap();
    assert_eq!(world.setup(&[], unattended()).await.unwrap().provider, "real");
}

#[tokio::test]
async fn a_wish_that_cannot_be_met_is_refused_with_the_next_step() {
    let world = World::new();
    let real = Wish { provider: Some("real".into()), ..unattended() };
    let error = world.setup(&[], real).await.unwrap_err();
    assert!(error.next.unwrap().contains("THE_KEY or THE_TOKEN"));
    let other = Wish { provider: Some("other".into()), ..unattended() };
    assert!(world.setup(&[], other).await.unwrap_err().what.contains("there are: real, toy"));
    let driver = Wish { driver: Some("other".into()), ..unattended() };
    assert!(world.setup(&[], driver).await.unwrap_err().what.contains("there are: works"));
}

#[tokio::test]
async fn what_was_lost_is_made_again() {
    let world = World::new();
    world.setup(&[], unattended()).await.unwrap();
    let central = world.config().open_central().unwrap();
    let wiring = central.wirings().unwrap().remove(0).unwrap();
    central.remove_wiring(&wiring.id).unwrap();
    let owner = central.owners().unwrap().remove(0);
    central.revoke_role(&owner, nanoclaw_central::Role::Owner, None).unwrap();
    drop(central);
    world.setup(&[], unattended()).await.unwrap();
    assert_eq!(world.rows(), (1, 1, 1, 1));
}

#[test]
fn any_name_gives_a_folder() {
    for (name, folder) in [
        ("Nano", "nano"),
        ("Dr. Émile  Zola!", "dr-mile-zola"),
        ("../../etc", "etc"),
        ("Global", "agent"),
        ("日本", "agent"),
        ("", "agent"),
    ] {
        assert_eq!(first::folder(name), folder);
    }
    assert!(nanoclaw_central::is_folder_name(&first::folder(&"x".repeat(500))));
}
