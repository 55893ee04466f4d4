//! Secrets over REST: they come in and are never read back.

use super::{Answered, Call, Facade, No, Reply, done, ok};
use crate::spec::{Spec, shown};
use nanoclaw_secrets::{Kind, Rotation, SecretInfo, Value};
use serde::Deserialize;

#[derive(Deserialize)]
struct New {
    #[serde(flatten)]
    spec: Spec,
    value: String,
}

#[derive(Deserialize)]
struct Given {
    value: Option<String>,
}

impl Facade {
    pub(super) fn secret_call(&self, call: &Call<'_>) -> Answered {
        match (call.method, &call.path.as_slice()[1..]) {
            ("GET", []) => ok(self.usable()?.iter().map(shown).collect()),
            ("POST", []) => {
                let New { spec, value } = call.json()?;
                let mut new = spec.with(Value::new(value))?;
                let taken = |name: &str| self.store.info(name).is_ok();
                let first = new.name.clone();
                let mut n = 2;
                while taken(&new.name) && n < 100 {
                    new.name = format!("{first}-{n}");
                    n += 1;
                }
                let info = self.store.add(new)?;
                self.grant_new(&info)?;
                Ok(Reply::Json(201, shown(&info)))
            }
            ("PATCH", [id]) => self.change(call, self.secret(id)?),
            ("DELETE", [id]) => {
                self.store.remove(&self.secret(id)?.name)?;
                done()
            }
            _ => Err(No(404, "there is no such call here".into())),
        }
    }

    pub(super) fn secret(&self, id: &str) -> Result<SecretInfo, No> {
        let mut all = self.usable()?.into_iter();
        all.find(|info| info.id.as_str() == id).ok_or_else(|| No::missing("Secret"))
    }

    fn change(&self, call: &Call<'_>, mut info: SecretInfo) -> Answered {
        let fields: serde_json::Map<String, serde_json::Value> = call.json()?;
        let moves = ["hostPattern", "pathPattern", "injectionConfig"];
        if moves.iter().any(|field| fields.contains_key(*field)) {
            if info.kind.is_dynamic() || !matches!(info.bindings.len(), 1 | 2) {
                return Err(No::bad("where this secret goes is set with `nanoclaw vault`"));
            }
            // What is not named stays.
            let mut now = shown(&info);
            for field in moves {
                if let Some(new) = fields.get(field) {
                    now[field] = new.clone();
                }
            }
            let spec: Spec =
                serde_json::from_value(now).map_err(|e| No::bad(format!("no place: {e}")))?;
            let sample = if info.is_oauth { "sk-ant-oat01-" } else { "" };
            let (kind, bindings) = spec.bindings(sample)?;
            if (kind == Kind::Query) != (info.kind == Kind::Query) {
                return Err(No::bad("a header cannot become a parameter; add the secret again"));
            }
            info = self.store.bind(&info.name, bindings)?;
        }
        if let Given { value: Some(value) } = call.json()? {
            let value = Value::new(value);
            info = self.store.rotate(&info.name, Rotation { value, expires: info.expires })?;
        }
        ok(shown(&info))
    }
}
