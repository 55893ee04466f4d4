//! Both directions agree.

use super::*;
use proptest::prelude::*;

fn thread() -> impl Strategy<Value = Option<Thread>> {
    let n = || 1..u64::MAX;
    proptest::option::of(prop_oneof![
        n().prop_map(Thread::Issue),
        n().prop_map(Thread::Pull),
        (n(), n()).prop_map(|(pull, root)| Thread::Review { pull, root }),
    ])
}

proptest! {
    #[test]
    fn what_is_written_is_read(repo in "[a-z][a-z0-9-]{0,20}/[A-Za-z][A-Za-z0-9._-]{0,20}", thread in thread()) {
        let spot = Spot { repo, thread };
        prop_assert_eq!(Spot::parse(&spot.address().unwrap()), Ok(spot));
    }

    #[test]
    fn what_is_read_is_written(chat in "(github:)?[a-z./:0-9]{1,20}", thread in "(:|issue|rc|[0-9]){0,8}") {
        let thread = format!("{chat}:{thread}");
        let at = Address {
            channel_type: ChannelType::parse(NAME).unwrap(),
            platform_id: PlatformId::parse(chat).unwrap(),
            thread_id: Some(ThreadId::parse(thread).unwrap()),
        };
        if let Ok(spot) = Spot::parse(&at) {
            prop_assert_eq!(spot.address().unwrap(), at);
        }
    }

    #[test]
    fn names_of_posts_are_read_as_they_are_written(n in 1..u64::MAX) {
        for post in [Post::Opening(n), Post::Comment(n), Post::Review(n)] {
            prop_assert_eq!(Post::parse(&post.to_string()), Some(post));
        }
    }
}

#[test]
fn what_is_not_ours_is_refused() {
    for repo in [
        "github:a",
        "github:a/b/c",
        "github:../b",
        "github:a/..",
        "slack:a/b",
        "github:a/b?x",
        "github:/b",
    ] {
        assert_eq!(repo_of(repo), None, "{repo}");
    }
    for post in ["", "1", "c:", "c:0", "c:01", "c:+1", "x:1", "c:1/reactions"] {
        assert_eq!(Post::parse(post), None, "{post}");
    }
}
