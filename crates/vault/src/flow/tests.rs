//! Bodies are cut at their limit and when nothing moves.

use super::*;

fn limits(bytes: u64) -> Limits {
    Limits { bytes, idle: Duration::from_secs(60), steady: true }
}

#[tokio::test]
async fn a_body_passes_up_to_its_limit_and_tells_that_it_was_whole() {
    let whole = Arc::new(AtomicBool::default());
    let flow = Flow::new(crate::full("hello".into()), limits(5), Arc::default());
    let got = flow.tells(Arc::clone(&whole)).into_body().collect().await.unwrap().to_bytes();
    assert_eq!(got, "hello");
    assert!(whole.load(Ordering::Acquire));
    let flow = Flow::new(crate::full("hello!".into()), limits(5), Arc::default());
    let error = flow.into_body().collect().await.unwrap_err();
    assert!(matches!(error.downcast_ref(), Some(Stopped::TooLong(5))));
}

/// One byte every ten seconds.
struct Drip(Pin<Box<Sleep>>);

impl hyper::body::Body for Drip {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.0.as_mut().poll(cx).map(|()| {
            self.0.as_mut().reset(Instant::now() + Duration::from_secs(10));
            Some(Ok(Frame::data(Bytes::from_static(b"x"))))
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_drips_is_as_good_as_silent() {
    let body = Drip(Box::pin(tokio::time::sleep(Duration::ZERO))).boxed_unsync();
    let flow = Flow::new(body, limits(1000), Arc::default());
    let error = flow.into_body().collect().await.unwrap_err();
    assert!(matches!(error.downcast_ref(), Some(Stopped::Idle(_))));
}

#[tokio::test]
async fn a_cut_ends_it() {
    let (cut, revoked) = oneshot::channel();
    cut.send(()).unwrap();
    let flow = Flow::new(crate::full("hello".into()), limits(5), Arc::default());
    let error = flow.cut_by(Some(revoked)).into_body().collect().await.unwrap_err();
    assert!(matches!(error.downcast_ref(), Some(Stopped::Revoked)));
}
