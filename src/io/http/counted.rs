//! Bodies of requests while they are read, counted with the unfinished messages of clients.

use crate::hub::SharedBytes;
use bytes::Bytes;
use hyper::body::{Body, Frame};
use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

type BoxError = Box<dyn Error + Send + Sync>;

/// A body that takes its bytes out of the node's bound as they come, and gives them back when it has been read.
pub(super) struct Counted<'n, B> {
    body: B,
    inputs: &'n SharedBytes,
    bytes_max: usize,
    held: usize,
}

/// The node's bound on what is unfinished would be passed.
#[derive(Debug, thiserror::Error)]
#[error("the server holds too many unfinished messages")]
pub(super) struct InputsFull;

impl<'n, B> Counted<'n, B> {
    /// Counts what comes of `body`, as long as all that is counted stays within `bytes_max`.
    pub fn new(body: B, inputs: &'n SharedBytes, bytes_max: usize) -> Self {
        Self { body, inputs, bytes_max, held: 0 }
    }
}

impl<B: Body<Data = Bytes, Error = BoxError> + Unpin> Body for Counted<'_, B> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            if !self.inputs.take(data.len(), self.bytes_max) {
                return Poll::Ready(Some(Err(InputsFull.into())));
            }
            self.held += data.len();
        }
        Poll::Ready(frame)
    }
}

impl<B> Drop for Counted<'_, B> {
    fn drop(&mut self) {
        self.inputs.give(self.held);
    }
}
