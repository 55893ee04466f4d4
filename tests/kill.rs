//! Whatever is killed, at whatever moment: nothing is lost, nothing is doubled, order is kept.
//!
//! [`points`] kills host and runner exactly at every durable point, [`approvals`] the host along a
//! stranger's request, [`team`] between agents, [`builds`] while a box is changed, [`previews`] the host around an answer that grows, [`random`] kills everything at random while many
//! sessions talk, [`tasks`] around the runs of a series, [`tools`] kills the runner around the effects of its
//! tools, [`vault`] kills the vault. All of them ask the same [`oracle`].

mod approvals;
mod builds;
mod oracle;
mod points;
mod previews;
mod random;
mod removal;
mod tasks;
mod team;
mod tools;
mod vault;
mod victims;
