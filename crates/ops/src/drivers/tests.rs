//! The choice between drivers that work, do not answer, or lack their image.

use super::*;
use nanoclaw_driver::{BoxSpec, DriverError, Exit, Probe, Running, Signal};
use std::path::PathBuf;

struct Fake(&'static str);

#[async_trait]
impl Driver for Fake {
    fn name(&self) -> &'static str {
        self.0
    }
    async fn probe(&self) -> Result<Probe, DriverError> {
        match self.0 {
            "down" => Err(DriverError::Unavailable("no engine answers".into())),
            "weak" => Ok(Probe { version: "weak 1".into(), missing: vec!["memory limit".into()] }),
            name => Ok(Probe { version: format!("{name} 1"), missing: Vec::new() }),
        }
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

struct NoImage;

#[async_trait]
impl Images for NoImage {
    async fn exists(&self, _: &str) -> Result<bool, String> {
        Ok(false)
    }
    async fn build(&self, _: &std::path::Path, _: &str, _: Say<'_>) -> Result<(), String> {
        Ok(())
    }
    async fn base(&self, _: Say<'_>) -> Result<(), String> {
        Ok(())
    }
}

macro_rules! option {
    ($name:literal, $images:expr) => {
        DriverOption {
            def: DriverDef { name: $name, make: |_| Ok(Arc::new(Fake($name))) },
            images: $images,
        }
    };
}

async fn check(options: &[DriverOption], wish: Option<&str>) -> Result<(String, String), Error> {
    let context = DriverContext {
        state: PathBuf::from("/nowhere"),
        image: "agent:1".into(),
        ..Default::default()
    };
    choose(options, wish, &context).await.map(|c| (c.driver.name().to_owned(), c.why))
}

#[tokio::test]
async fn the_first_that_works_is_taken_and_the_others_are_explained() {
    let options =
        [option!("down", None), option!("imageless", Some(&NoImage)), option!("weak", None)];
    let (name, why) = check(&options, None).await.unwrap();
    assert_eq!(name, "weak");
    assert_eq!(
        why,
        "it works here (weak 1; without memory limit); not down: no engine answers; \
         not imageless: its image agent:1 is missing (nanoclaw image build)"
    );
}

#[tokio::test]
async fn a_named_driver_is_never_replaced() {
    let options = [option!("down", None), option!("good", None)];
    assert_eq!(check(&options, Some("good")).await.unwrap().0, "good");
    let error = check(&options, Some("down")).await.unwrap_err();
    assert!(error.what.contains("no engine answers"), "{error}");
    let error = check(&options, Some("other")).await.unwrap_err();
    assert!(error.what.contains("there are: down, good"), "{error}");
}

#[tokio::test]
async fn the_choice_is_remembered() {
    let dir = tempfile::tempdir().unwrap();
    let now = nanoclaw_contract::time::Timestamp::UNIX_EPOCH;
    let central = Central::open(&dir.path().join("v2.db"), now).unwrap();
    let context = DriverContext {
        state: PathBuf::from("/nowhere"),
        image: "agent:1".into(),
        ..Default::default()
    };
    let options = [option!("good", None), option!("weak", None)];
    assert_eq!(remembered(&central).unwrap(), None);
    let setup = async |asked, configured| {
        let chosen = settle(&options, asked, configured, &central, &context).await.unwrap();
        assert_eq!(remembered(&central).unwrap().unwrap().0, chosen.driver.name());
        chosen.driver.name()
    };
    assert_eq!(setup(None, None).await, "good");
    assert_eq!(setup(Some("weak"), None).await, "weak");
    assert_eq!(setup(None, None).await, "weak", "a wish lasts");
    assert_eq!(setup(None, Some("good")).await, "good", "the configuration goes first");
    assert_eq!(setup(None, None).await, "weak");
    let host = async |configured| {
        for_host(&options, configured, &central, &context).await.unwrap().driver.name()
    };
    assert_eq!(host(None).await, "weak");
    assert_eq!(host(Some("good")).await, "good");
    assert_eq!(setup(Some("auto"), None).await, "good", "auto ends it");
    assert_eq!(setup(None, None).await, "good");
}
