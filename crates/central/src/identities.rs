//! Which identities on several platforms are one person (`identities`). Roles and memberships follow the
//! person: whoever has them as one has them as all.

use crate::{Central, Error, Result, one};
use nanoclaw_contract::ids::{UserId, mint};
use nanoclaw_contract::time::Timestamp;
use rusqlite::{Connection, params};

/// Every identity of the person who is ?1, for `user_id IN (…)`.
macro_rules! same_person {
    () => {
        "(SELECT ?1 UNION SELECT b.user_id FROM identities a
            JOIN identities b ON b.person_id = a.person_id WHERE a.user_id = ?1)"
    };
}
pub(crate) use same_person;

fn person(conn: &Connection, user: &UserId) -> rusqlite::Result<Option<String>> {
    one(conn, "SELECT person_id FROM identities WHERE user_id = ?1", [user], |r| r.get(0))
}

impl Central {
    /// The person behind an identity: the same for all of theirs.
    pub fn person_of(&self, user: &UserId) -> Result<String> {
        let found = person(&self.lock(), user).map_err(|e| Error::of("read the person", e))?;
        Ok(found.unwrap_or_else(|| user.to_string()))
    }

    /// Every identity of the person, this one included.
    pub fn identities_of(&self, user: &UserId) -> Result<Vec<UserId>> {
        let sql = concat!("SELECT * FROM ", same_person!(), " ORDER BY 1");
        self.list("identities", sql, [user], |r| r.get(0))
    }

    /// Says that two identities, and all that are linked to either, are one person.
    pub fn link_users(&self, a: &UserId, b: &UserId, now: Timestamp) -> Result<()> {
        self.tx("link the identities", |tx| {
            for user in [a, b] {
                if one(tx, "SELECT 1 FROM users WHERE id = ?1", [user], |_| Ok(()))?.is_none() {
                    return Err(Error::Refused(format!("there is no user {user}")));
                }
            }
            // A name of its own: whoever leaves must not keep the name that the others stay under.
            let of_a = person(tx, a)?.unwrap_or_else(|| mint("person", now));
            if let Some(of_b) = person(tx, b)? {
                let sql = "UPDATE identities SET person_id = ?1 WHERE person_id = ?2";
                tx.execute(sql, params![of_a, of_b])?;
            }
            for user in [a, b] {
                let sql = "INSERT INTO identities (user_id, person_id) VALUES (?1, ?2)
                           ON CONFLICT (user_id) DO NOTHING";
                tx.execute(sql, params![user, of_a])?;
            }
            Ok(())
        })
    }

    /// Says that an identity is a person of its own; false if it is already.
    pub fn unlink_user(&self, user: &UserId) -> Result<bool> {
        let sql = "DELETE FROM identities WHERE user_id = ?1";
        Ok(self.run("unlink the identity", sql, [user])? > 0)
    }
}
