//! The seccomp filters, compiled to what `bwrap` reads.
//!
//! Two of them, because a compiled filter has one answer: "no such call" for calls that do not exist
//! here, and "not permitted" for [`seccomp::denied`].

use nanoclaw_driver::seccomp::{self, Denied, Is};
use seccompiler::{BpfProgram, TargetArch, sock_filter};
use serde_json::{Value, json};
use std::io::{Error, Result};

/// Both filters as bytes.
pub(crate) fn compile() -> Result<[Vec<u8>; 2]> {
    Ok([bytes(&absent()?), bytes(&build(1, seccomp::denied().iter().map(rule).collect())?)])
}

/// `clone3`, every call that is newer than the list, and the calls of the x32 ABI (bit 30 set), which
/// would walk past every number in the list.
fn absent() -> Result<BpfProgram> {
    const ENOSYS: u16 = 38;
    const JUMP_IF_GREATER: u16 = 0x25;
    const LOAD_NUMBER: u16 = 0x20;
    const RETURN: u16 = 0x06;
    let step = |code, jt, k| sock_filter { code, jt, jf: 0, k };
    let mut program = vec![
        step(LOAD_NUMBER, 0, 0),
        sock_filter { code: JUMP_IF_GREATER, jt: 0, jf: 1, k: seccomp::REVIEWED_MAX },
        step(RETURN, 0, 0x0005_0000 | u32::from(ENOSYS)),
    ];
    program.extend(build(ENOSYS, vec![json!({ "syscall": seccomp::ABSENT })])?);
    Ok(program)
}

fn build(errno: u16, rules: Vec<Value>) -> Result<BpfProgram> {
    let filter = json!({ "box": {
        "mismatch_action": "allow", "match_action": { "errno": errno }, "filter": rules } });
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(Error::other)?;
    let programs = seccompiler::compile_from_json(filter.to_string().as_bytes(), arch);
    programs.map_err(Error::other)?.remove("box").ok_or_else(|| Error::other("no filter"))
}

fn rule(denied: &Denied) -> Value {
    let condition = |(index, is): &(u8, Is)| {
        let (op, val) = match *is {
            Is::Equal(v) => (json!("eq"), v),
            Is::Other(v) => (json!("ne"), v),
            Is::Above(v) => (json!("gt"), v),
            Is::Bits(v) => (json!({ "masked_eq": v }), v),
        };
        json!({ "index": index, "type": "dword", "op": op, "val": val })
    };
    let conditions: Vec<_> = denied.when.iter().map(condition).collect();
    match conditions.is_empty() {
        true => json!({ "syscall": denied.call }),
        false => json!({ "syscall": denied.call, "args": conditions }),
    }
}

fn bytes(program: &BpfProgram) -> Vec<u8> {
    let step = |s: &sock_filter| {
        let [a, b] = s.code.to_ne_bytes();
        let [e, f, g, h] = s.k.to_ne_bytes();
        [a, b, s.jt, s.jf, e, f, g, h]
    };
    program.iter().flat_map(step).collect()
}
