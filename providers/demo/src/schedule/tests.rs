//! What is understood, and what is not.

use super::*;

#[test]
fn wishes_become_schedules() {
    for (text, cron, what, own) in [
        ("every day at 9 say Good morning", "0 9 * * *", "Good morning", false),
        ("Every day at 9:30 pm say hi", "30 21 * * *", "hi", false),
        ("every day at 12am say hi", "0 0 * * *", "hi", false),
        ("every minute say tick", "* * * * *", "tick", false),
        ("every hour in its own session say ding", "0 * * * *", "ding", true),
        ("every 15 minutes say look", "*/15 * * * *", "look", false),
        ("every weekday at 8 say up", "0 8 * * 1-5", "up", false),
        ("every Monday at 10 say week say", "0 10 * * 1", "week say", false),
    ] {
        let wanted = Wish { cron: cron.into(), what: what.into(), own };
        assert_eq!(wish(text), Some(wanted), "{text}");
    }
    for text in [
        "every day",
        "every day at 25 say x",
        "every so often say x",
        "say x every day",
        "every day at é say x",
    ] {
        assert_eq!(wish(text), None, "{text}");
    }
}

#[test]
fn orders_name_a_task_by_its_number() {
    assert_eq!(order("pause task 2"), Some(Order { tool: "pause_task", number: 2 }));
    assert_eq!(order("cancel task one"), None);
    assert_eq!(order("paint task 1"), None);
    assert_eq!(
        listed("- t-1 [pending] → a\n- t-2 [paused] → b"),
        [("t-1", "[pending] → a"), ("t-2", "[paused] → b")]
    );
    assert!(listed("No tasks found.").is_empty());
}
