"""Selection: which columns of a stored dataset are features and targets, and how they are to be read."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Discriminator, Field, StringConstraints, Tag

from service.encoding import DatePart, Kind, UnseenPolicy
from service.hyperparameters import FROZEN_VALUES

ColumnName = Annotated[str, StringConstraints(min_length=1, max_length=200)]
MissingPolicy = Literal["refuse", "mean", "median", "most_frequent", "indicator"]
"""What becomes of a missing value. Statistics are those of the training samples."""


def _target_shape(value: Any) -> str:
    """Tell a union's branch by its JSON type, so that a fault is reported for the branch that was meant.

    The names of branches are in brackets, for locations mix them with the names of fields.
    """
    return "<list>" if isinstance(value, list) else "<word>"


ColumnNames = Annotated[
    Annotated[ColumnName, Tag("<word>")] | Annotated[list[ColumnName], Field(min_length=1), Tag("<list>")],
    Discriminator(_target_shape),
]
"""One column, or a list of them."""


def _policy_shape(value: Any) -> str:
    return "<columns>" if isinstance(value, dict) else "<word>"


class Reading(BaseModel):
    """How the columns of a dataset are read."""

    model_config = FROZEN_VALUES

    types: dict[ColumnName, Kind] = Field(
        default={}, description="Columns to take as another type than the dataset says.", examples=[{"zip": "category"}]
    )
    missing: Annotated[
        Annotated[MissingPolicy, Tag("<word>")] | Annotated[dict[ColumnName, MissingPolicy], Tag("<columns>")],
        Discriminator(_policy_shape),
    ] = Field(
        default="refuse",
        description="What becomes of missing values, of all features or by column: `refuse`; `mean` or `median` of the "
        "training samples, for numbers and dates; `most_frequent` of them, the least when there are several; "
        "`indicator`, which takes the mean of numbers and dates, false, and no category, and adds a feature "
        "`column is missing`. A sample whose target is missing is always refused.",
        examples=["mean", {"rooms": "median", "kind": "indicator"}],
    )
    unseen: UnseenPolicy = Field(
        default="refuse",
        description="What becomes of a category at a prediction that the dataset does not have: `refuse`, or `ignore`, "
        "which takes it as none of the known ones. Known are the categories of all samples, also of those held out.",
    )
    dates: dict[ColumnName, Annotated[list[DatePart], Field(min_length=1)]] = Field(
        default={},
        description="The parts that a date becomes features by, in UTC where it has a time zone; without parts it is "
        "not usable.",
        examples=[{"sold": ["year", "month"]}],
    )
    sample_weight: ColumnName | None = Field(
        default=None, description="A column of numbers, at least 0, that says how much each sample counts."
    )
    split: ColumnName | None = Field(
        default=None,
        description="A column with the values `train`, `validation` and `test`, in these words, that says what each "
        "sample is for.",
    )

    def missing_policy(self, column: str) -> MissingPolicy:
        """Tell what becomes of a missing value of a feature."""
        return self.missing if isinstance(self.missing, str) else self.missing.get(column, "refuse")


class Selection(Reading):
    """Which columns of a dataset to train on, and how to read them."""

    target: ColumnNames = Field(
        description="The column to predict; a list of them for several targets of a regression.", examples=["price"]
    )
    features: Annotated[list[ColumnName], Field(min_length=1)] | None = Field(
        default=None, description="The columns to predict from; all usable ones but the target when left out."
    )

    @property
    def targets(self) -> list[str]:
        """The targets as a list."""
        return [self.target] if isinstance(self.target, str) else self.target
