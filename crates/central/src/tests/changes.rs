//! Changes of an agent's box: in effect as a whole or not at all, and back as it was.

use super::*;
use serde_json::json;

fn parts(apt: &[&str], key: Option<&str>) -> BoxParts {
    let tools = key.map(|key| AgentTools { key: key.into(), provided: "{}".into() });
    BoxParts { apt: json!(apt), npm: json!([]), mcp_servers: json!({}), tools }
}

#[test]
fn a_change_goes_in_and_comes_back() {
    let c = home();
    let a: AgentId = id("ag-a");
    let mut config = c.config(&a).unwrap().unwrap();
    config.model = Some("m".into());
    c.put_config(&a, &config, at(0)).unwrap();
    let first = c.begin_build(&a, Some(&id("s")), "one", at(1)).unwrap();
    let second = c.begin_build(&a, None, "two", at(1)).unwrap();
    assert_eq!(c.box_parts(&a).unwrap(), parts(&[], None));
    c.apply_build(first, &a, &parts(&["jq"], Some("k1")), at(2)).unwrap();
    // Once more, after a kill: what was before the first time is what to go back to.
    c.apply_build(first, &a, &parts(&["jq"], Some("k1")), at(2)).unwrap();
    assert_eq!(c.box_parts(&a).unwrap(), parts(&["jq"], Some("k1")));
    let build = c.build(first).unwrap().unwrap();
    assert_eq!((build.session, build.change.as_str()), (Some(id("s")), "one"));
    assert_eq!(build.before, Some(parts(&[], None)));
    c.end_build(second).unwrap();
    let third = c.begin_build(&a, None, "three", at(1)).unwrap();
    c.end_build(third).unwrap();
    let later = c.begin_build(&a, None, "four", at(9)).unwrap();
    assert!(first < second && second <= third && third < later, "{first} {second} {third} {later}");
    c.end_build(later).unwrap();
    let second = c.begin_build(&a, None, "two", at(1)).unwrap();
    let build = c.build(first).unwrap().unwrap();
    c.revert_build(&build, at(3)).unwrap();
    assert_eq!(c.box_parts(&a).unwrap(), parts(&[], None));
    assert_eq!(c.config(&a).unwrap().unwrap(), config, "nothing else was touched");
    c.end_build(first).unwrap();
    assert_eq!(c.builds().unwrap().iter().map(|b| b.id).collect::<Vec<_>>(), [second]);
    // What was never in effect has nothing to go back to.
    let waiting = c.build(second).unwrap().unwrap();
    c.revert_build(&waiting, at(4)).unwrap();
    assert_eq!(c.box_parts(&a).unwrap(), parts(&[], None));
    sql(
        &c,
        "DELETE FROM container_configs; DELETE FROM sessions; DELETE FROM agent_groups WHERE id = 'ag-a'",
    );
    assert!(c.builds().unwrap().is_empty(), "an agent that is gone leaves nothing");
}

#[test]
fn limits_are_the_agents_own_and_have_a_least() {
    let c = home();
    let a: AgentId = id("ag-a");
    assert_eq!(c.agent_limits(&a).unwrap(), AgentLimits::default());
    let limits = AgentLimits { memory_mib: Some(256), pids: None, cpu_millis: Some(500) };
    c.put_agent_limits(&a, limits).unwrap();
    assert_eq!(c.agent_limits(&a).unwrap(), limits);
    assert_eq!(c.agent_limits(&id("ag-b")).unwrap(), AgentLimits::default());
    for bad in [
        AgentLimits { memory_mib: Some(1), ..limits },
        AgentLimits { pids: Some(0), ..limits },
        AgentLimits { cpu_millis: Some(1), ..limits },
    ] {
        assert!(refusal(c.put_agent_limits(&a, bad)).contains("too little"));
    }
    assert_eq!(c.agent_limits(&a).unwrap(), limits);
}
