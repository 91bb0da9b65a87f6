"""Datasets, kept once each under their content hash."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.dataset import Dataset
from service.errors import NotFound
from service.store.columns import now
from service.store.tables import DatasetRow


def keep(session: Session, dataset: Dataset) -> str:
    """Keep a dataset, unless it is here already; give its id."""
    identifier = f"ds_{dataset.sha256[:32]}"
    if session.get(DatasetRow, identifier) is None:
        session.add(
            DatasetRow(
                id=identifier,
                sha256=dataset.sha256,
                n_samples=dataset.n_samples,
                n_features=dataset.n_features,
                content=dataset.content,
                created_at=now(),
            )
        )
        session.flush()
    return identifier


def load(session: Session, dataset_id: str) -> Dataset:
    """Read a dataset.

    Raises:
        NotFound: when there is none of this id.
    """
    content = session.scalar(select(DatasetRow.content).where(DatasetRow.id == dataset_id))
    if content is None:
        raise NotFound(f"there is no dataset {dataset_id!r}")
    return Dataset.from_content(content)
