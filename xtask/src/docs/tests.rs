//! A schema becomes a page.

use super::render;

#[test]
fn a_schema_becomes_a_page() {
    let sql = "-- a.db: the one file.\n\n-- Things.\n-- Many.\nCREATE TABLE IF NOT EXISTS things (\n  id TEXT PRIMARY KEY, -- a|b\n  n  INTEGER\n);\n-- Fast.\nCREATE INDEX IF NOT EXISTS i ON things(n);\n";
    let mut out = String::new();
    render(sql, &mut out).unwrap();
    assert_eq!(
        out,
        "\n## `a.db`\n\nThe one file.\n\n### `things`\n\nThings. Many.\n\n\
         | column | type | meaning |\n|---|---|---|\n\
         | `id` | TEXT PRIMARY KEY | a\\|b |\n| `n` | INTEGER |  |\n\
         \nIndex: `CREATE INDEX IF NOT EXISTS i ON things(n)` — Fast.\n"
    );
}
