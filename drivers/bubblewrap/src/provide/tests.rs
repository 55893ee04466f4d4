use super::place;
use std::os::unix::fs::symlink;

#[test]
fn a_link_in_place_of_the_packages_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let (work, done) = (root.path().join("work"), root.path().join("tools"));
    std::fs::create_dir(&work).unwrap();
    symlink("/etc", work.join("tools")).unwrap();
    assert!(place(&work, &done).is_err());
    assert!(done.symlink_metadata().is_err(), "what the link names would be mounted");
    std::fs::remove_file(work.join("tools")).unwrap();
    place(&work, &done).unwrap();
    assert!(done.is_dir());
}
