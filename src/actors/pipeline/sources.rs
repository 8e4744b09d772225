//! Opening the sources where the last commit left them.

use futures_util::future::try_join_all;

use super::Setup;
use super::ended::{RunError, other_source, unreadable};
use crate::actors::ingestor::Sources;
use crate::actors::ports::{Opened, Resume, Source};
use crate::actors::status::Status;
use crate::domain::commit::{Restored, SourceIdentity, SourcePosition};
use crate::domain::condition::Condition;
use crate::domain::time::BEGINNING;

/// Opens every source where the last commit left it, side by side. Each checks that it is the
/// log that the state was made from (I7).
pub(super) async fn continue_from(
    setup: &Setup,
    sources: &Sources,
    restored: Option<&Restored>,
) -> Result<Vec<SourcePosition>, RunError> {
    let known = restored.map(|restored| restored.positions.as_slice()).unwrap_or_default();
    let mut names = Vec::new();
    for source in sources {
        names.push(source.lock().await.name().to_owned());
    }
    let mine = |known: &SourcePosition| names.contains(&known.source.name);
    // A source that is read no more is no reason to stop, unless none is left.
    if let Some(other) = known.first().filter(|_| !known.iter().any(mine)) {
        let wanted = SourceIdentity { name: names.swap_remove(0), ..Default::default() };
        return Err(other_source(&other.source, &wanted, other.position));
    }
    setup.flow.name_sources(names.iter().cloned());
    let open = sources.iter().zip(names).map(|(source, name)| async move {
        let known = known.iter().find(|known| known.source.name == name);
        open(&mut **source.lock().await, name, known, &setup.status).await
    });
    let positions = try_join_all(open).await?;
    Ok(positions)
}

async fn open(
    source: &mut dyn Source,
    name: String,
    known: Option<&SourcePosition>,
    status: &Status,
) -> Result<SourcePosition, RunError> {
    status.stands_for(Condition::Opening, &name, Some(Condition::Opening.says().into()));
    let resume = known.map_or_else(Resume::default, |known| Resume {
        incarnation: Some(known.source.incarnation.clone()),
        position: known.position,
        cursor: known.cursor.clone(),
        fingerprint: known.fingerprint,
    });
    let Opened { incarnation, warnings } = source.open(resume).await.map_err(unreadable)?;
    status.stands_for(Condition::Opening, &name, None);
    warnings.iter().for_each(|warning| tracing::warn!(source = name, "{warning}"));
    let at_risk = (!warnings.is_empty()).then(|| warnings.join("; "));
    status.stands_for(Condition::SourceAtRisk, &name, at_risk);
    let beginning = || SourcePosition {
        source: SourceIdentity { name, incarnation },
        watermark: BEGINNING,
        ..SourcePosition::default()
    };
    Ok(known.cloned().unwrap_or_else(beginning))
}
