//! CRI's image service.

use std::collections::BTreeMap;

use tonic::{Request, Response, Status};

use super::answer::whole;
use crate::cri::{self, image_service_server::ImageService};
use crate::daemon::Daemon;
use crate::error::{Error, Result};
use crate::images::Credentials;
use crate::usage::usage;
use crate::views;

pub(super) struct Images(pub(super) Daemon);

type Answer<T> = std::result::Result<Response<T>, Status>;

fn name(image: Option<cri::ImageSpec>) -> Result<String> {
    let name = image.unwrap_or_default().image;
    match name.is_empty() {
        true => Err(Error::invalid("the request names no image")),
        false => Ok(name),
    }
}

#[tonic::async_trait]
impl ImageService for Images {
    async fn list_images(
        &self,
        request: Request<cri::ListImagesRequest>,
    ) -> Answer<cri::ListImagesResponse> {
        let images = &self.0.engine.images;
        let filter = request.into_inner().filter.and_then(|filter| filter.image);
        let filter = filter
            .map(|image| image.image)
            .filter(|name| !name.is_empty());
        let images = match filter {
            Some(name) => images.find(&name).into_iter().collect(),
            None => images.all(),
        };
        let images = images.iter().map(views::image).collect();
        Ok(Response::new(cri::ListImagesResponse { images }))
    }

    async fn image_status(
        &self,
        request: Request<cri::ImageStatusRequest>,
    ) -> Answer<cri::ImageStatusResponse> {
        let cri::ImageStatusRequest { image, verbose } = request.into_inner();
        let image = self.0.engine.images.find(&name(image)?);
        let mut info = BTreeMap::new();
        if let Some(image) = image.as_ref().filter(|_| verbose) {
            let text = serde_json::to_string(&image.config).unwrap_or_default();
            info.insert("config".to_owned(), text);
        }
        let image = image.as_ref().map(views::image);
        Ok(Response::new(cri::ImageStatusResponse { image, info }))
    }

    async fn pull_image(
        &self,
        request: Request<cri::PullImageRequest>,
    ) -> Answer<cri::PullImageResponse> {
        let cri::PullImageRequest { image, auth, .. } = request.into_inner();
        let name = name(image)?;
        let credentials = credentials(auth)?;
        let engine = self.0.engine.clone();
        whole(async move {
            let image = engine.images.pull(&name, credentials).await?;
            Ok(cri::PullImageResponse {
                image_ref: image.id,
            })
        })
        .await
    }

    async fn remove_image(
        &self,
        request: Request<cri::RemoveImageRequest>,
    ) -> Answer<cri::RemoveImageResponse> {
        let name = name(request.into_inner().image)?;
        let engine = self.0.engine.clone();
        whole(async move {
            engine.images.remove(&name)?;
            engine.collect_layers().await;
            Ok(cri::RemoveImageResponse {})
        })
        .await
    }

    async fn image_fs_info(
        &self,
        _: Request<cri::ImageFsInfoRequest>,
    ) -> Answer<cri::ImageFsInfoResponse> {
        let engine = self.0.engine.clone();
        let images = engine.images.root().to_owned();
        let containers = engine.config.root.join("containers");
        whole(async move {
            let used = tokio::task::spawn_blocking(move || (usage(&images), usage(&containers)));
            let (images, containers) = used
                .await
                .map_err(|error| Error::internal(error.to_string()))?;
            Ok(cri::ImageFsInfoResponse {
                image_filesystems: vec![images],
                container_filesystems: vec![containers],
            })
        })
        .await
    }
}

fn credentials(auth: Option<cri::AuthConfig>) -> Result<Option<Credentials>> {
    use base64::Engine as _;
    let Some(auth) = auth else {
        return Ok(None);
    };
    if !auth.identity_token.is_empty() || !auth.registry_token.is_empty() {
        return Err(Error::unimplemented(
            "tokens for registries are not supported: use a user and a password",
        ));
    }
    if !auth.username.is_empty() {
        return Ok(Some(Credentials {
            user: auth.username,
            password: auth.password,
        }));
    }
    if auth.auth.is_empty() {
        return Ok(None);
    }
    let decoded =
        base64::engine::general_purpose::STANDARD.decode(auth.auth.trim_end_matches('\0'));
    let text = decoded.ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let text = text.as_deref().map(|text| text.trim_matches('\0'));
    let pair = text.and_then(|text| text.split_once(':'));
    let (user, password) = pair.ok_or_else(|| {
        Error::invalid("auth.auth is not a user and a password, joined by ':', in base64")
    })?;
    Ok(Some(Credentials {
        user: user.to_owned(),
        password: password.to_owned(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_come_in_two_forms() {
        let auth = |auth: cri::AuthConfig| {
            credentials(Some(auth))
                .map(|found| found.map(|it| format!("{} {}", it.user, it.password)))
        };
        let pair = cri::AuthConfig {
            username: "me".into(),
            password: "pw".into(),
            ..Default::default()
        };
        assert_eq!(auth(pair).unwrap().unwrap(), "me pw");
        let joined = cri::AuthConfig {
            auth: "bWU6cHc=".into(),
            ..Default::default()
        };
        assert_eq!(auth(joined).unwrap().unwrap(), "me pw");
        assert_eq!(auth(cri::AuthConfig::default()).unwrap(), None);
        assert!(
            auth(cri::AuthConfig {
                auth: "x".into(),
                ..Default::default()
            })
            .is_err()
        );
    }
}
