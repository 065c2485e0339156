//! A container that plugins were asked about and that does not exist yet.

use std::sync::Arc;

use nri_core::model::{Container, PodSandbox};
use nri_core::oci::{Applied, ApplyError, ApplyOptions, Warning, apply, apply_typed};
use nri_core::{Creation, Ctx, RuntimeApi};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::noted;
use crate::{ContainerRecord, CriError, OciSpec};

/// A container that plugins were asked about and that does not exist yet.
///
/// What they ask for is applied to what the runtime has: a spec, or a record. A runtime without OCI
/// specs looks at the [adjustment](Creation::adjustment) itself. Dropping the token without
/// [`commit`](CreateToken::commit) tells the plugins that the container never came to be.
#[must_use = "dropping the token tells the plugins that the container never came to be"]
pub struct CreateToken {
    api: Arc<dyn RuntimeApi>,
    container: String,
    creation: Creation,
    options: ApplyOptions,
    warnings: Vec<Warning>,
}

impl CreateToken {
    pub(crate) fn new(
        api: Arc<dyn RuntimeApi>,
        container: String,
        creation: Creation,
        options: ApplyOptions,
    ) -> Self {
        Self {
            api,
            container,
            creation,
            options,
            warnings: Vec::new(),
        }
    }

    /// What plugins asked for, and who asked for what.
    pub fn creation(&self) -> &Creation {
        &self.creation
    }

    /// What was applied but may not have the effect that was asked for.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// Applies what plugins ask for to the container's OCI spec.
    ///
    /// # Errors
    /// It cannot be applied; the spec is as it was. Drop the token then.
    pub fn apply(&mut self, spec: &mut OciSpec) -> Result<(), CriError> {
        if let Some(applied) = self.applied(spec)? {
            *spec = applied.spec;
            self.warnings.extend(applied.warnings);
        }
        Ok(())
    }

    /// Applies what plugins ask for to the container's OCI spec that has a type; what the type has
    /// no place for is among the [`warnings`](CreateToken::warnings). See [`apply_typed`].
    ///
    /// # Errors
    /// It cannot be applied, or the type refuses it; the spec is as it was. Drop the token then.
    pub fn apply_typed<T: Serialize + DeserializeOwned>(
        &mut self,
        spec: &mut T,
    ) -> Result<(), CriError> {
        if let Some(adjustment) = self.creation.adjustment() {
            let owners = (self.creation.owners(), &self.container);
            let applied = apply_typed(spec, adjustment, &self.options, owners);
            let warnings = applied.map_err(|source| self.failed(source))?;
            self.warnings.extend(warnings);
        }
        Ok(())
    }

    /// Applies what plugins ask for to the spec of a record. Annotations of its configuration that
    /// they remove are not shown to plugins any more.
    ///
    /// # Errors
    /// As [`apply`](CreateToken::apply).
    pub fn apply_to_record(&mut self, container: &mut ContainerRecord) -> Result<(), CriError> {
        let Some(applied) = self.applied(&container.spec)? else {
            return Ok(());
        };
        let annotations = &applied.spec["annotations"];
        let asked = self.creation.adjustment().into_iter();
        container.removed_annotations = asked
            .flat_map(|adjustment| adjustment.annotations.keys())
            .filter_map(|key| key.strip_prefix('-'))
            .filter(|key| annotations.get(key).is_none())
            .map(str::to_owned)
            .collect();
        container.spec = Arc::new(applied.spec);
        self.warnings.extend(applied.warnings);
        Ok(())
    }

    fn applied(&self, spec: &OciSpec) -> Result<Option<Applied>, CriError> {
        let Some(adjustment) = self.creation.adjustment() else {
            return Ok(None);
        };
        let owners = (self.creation.owners(), &self.container);
        let applied = apply(spec, adjustment, &self.options, owners);
        applied.map(Some).map_err(|source| self.failed(source))
    }

    fn failed(&self, source: ApplyError) -> CriError {
        CriError::Apply {
            container: self.container.clone(),
            source,
        }
    }

    /// Says that the container exists; `container` shows it as it is now. What goes wrong with
    /// telling plugins is logged: the container is there.
    pub async fn commit(self, cx: &Ctx, pod: &dyn PodSandbox, container: &dyn Container) {
        // First and without waiting, so that dropping this future does not undo what is there.
        self.creation.commit();
        let told = self.api.post_create_container(cx, pod, container).await;
        noted("PostCreateContainer", self.container, told);
    }
}
