//! gRPC over a unix socket: one request, one answer.

use std::path::Path;

use prost::Message;
use tonic::{
    Code, Request, Status,
    client::Grpc as Client,
    codegen::http::uri::PathAndQuery,
    metadata::MetadataValue,
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;

use super::api::ApiError;

/// Most of an answer that is read, bytes. A container's specification may be in it.
const ANSWER_BYTES: usize = 4 * 1024 * 1024;

/// A client for one socket. It connects when it is first used, and again when it has to.
#[derive(Clone, Debug)]
pub(super) struct Grpc(Channel);

impl Grpc {
    /// Must be called within a tokio runtime.
    pub(super) fn at(path: &Path) -> Result<Self, ApiError> {
        let address = path
            .to_str()
            .map(|path| format!("unix://{path}"))
            .ok_or_else(|| ApiError::Failed("its name is not UTF-8".to_owned()))?;
        let endpoint =
            Endpoint::from_shared(address).map_err(|error| ApiError::Failed(error.to_string()))?;
        Ok(Self(endpoint.connect_lazy()))
    }

    /// `namespace`: containerd's own, which its services want to know.
    pub(super) async fn call<Q, A>(
        &self,
        method: &'static str,
        namespace: Option<&str>,
        question: Q,
    ) -> Result<A, ApiError>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let mut client = Client::new(self.0.clone()).max_decoding_message_size(ANSWER_BYTES);
        client
            .ready()
            .await
            .map_err(|error| ApiError::Failed(in_full(&error)))?;
        let mut request = Request::new(question);
        if let Some(namespace) = namespace {
            let value = MetadataValue::try_from(namespace)
                .map_err(|error| ApiError::Failed(error.to_string()))?;
            request.metadata_mut().insert("containerd-namespace", value);
        }
        let path = PathAndQuery::from_static(method);
        let answer = client
            .unary(request, path, ProstCodec::<Q, A>::default())
            .await
            .map_err(|status| failed(&status))?;
        Ok(answer.into_inner())
    }
}

fn failed(status: &Status) -> ApiError {
    let not_there = |error: &std::io::Error| error.kind() == std::io::ErrorKind::NotFound;
    match status.code() {
        Code::NotFound => ApiError::NotKnown,
        Code::Unimplemented => ApiError::NotServed,
        // CRI-O before 1.26 says so in words alone.
        Code::Unknown if status.message().contains("could not find") => ApiError::NotKnown,
        _ if causes(status).any(|error| {
            error
                .downcast_ref::<std::io::Error>()
                .is_some_and(not_there)
        }) =>
        {
            ApiError::Gone
        }
        code => ApiError::Failed(format!("{}: {}", code.description(), in_full(status))),
    }
}

fn causes<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| error.source())
}

/// The last cause is what went wrong; what stands above it is wrapping.
fn in_full(error: &(dyn std::error::Error + 'static)) -> String {
    causes(error)
        .last()
        .map_or_else(String::new, ToString::to_string)
}
