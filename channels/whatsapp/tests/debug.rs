mod peer;
struct L;
impl log::Log for L {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool { true }
    fn log(&self, r: &log::Record<'_>) { eprintln!("{} {} {}", r.level(), r.target(), r.args()); }
    fn flush(&self) {}
}
#[test]
fn debug() {
    log::set_logger(&L).unwrap();
    log::set_max_level(log::LevelFilter::Debug);
    nanoclaw_conformance::run(peer::WhatsApp::start).unwrap();
}
