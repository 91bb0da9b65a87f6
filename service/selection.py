"""Selection: which columns of a stored dataset are features and targets, and how they are to be read."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field, StringConstraints

from service.encoding import DatePart, Kind, UnseenPolicy
from service.hyperparameters import FROZEN_VALUES

ColumnName = Annotated[str, StringConstraints(min_length=1, max_length=200)]
MissingPolicy = Literal["refuse", "mean", "median", "most_frequent", "indicator"]
"""What becomes of a missing value. Statistics are those of the training samples."""


class Selection(BaseModel):
    """Which columns of a dataset to train on, and how to read them."""

    model_config = FROZEN_VALUES

    target: ColumnName | Annotated[list[ColumnName], Field(min_length=1)] = Field(
        description="The column to predict; a list of them for several targets of a regression.", examples=["price"]
    )
    features: Annotated[list[ColumnName], Field(min_length=1)] | None = Field(
        default=None, description="The columns to predict from; all usable ones but the target when left out."
    )
    types: dict[ColumnName, Kind] = Field(
        default={}, description="Columns to take as another type than the dataset says.", examples=[{"zip": "category"}]
    )
    missing: MissingPolicy | dict[ColumnName, MissingPolicy] = Field(
        default="refuse",
        description="What becomes of missing values, of all features or by column: `refuse`; `mean` or `median` of the "
        "training samples for numbers; `most_frequent` of them; `indicator`, which takes the mean of numbers and no "
        "category, and adds a feature that says so. A sample whose target is missing is always refused.",
    )
    unseen: UnseenPolicy = Field(
        default="refuse",
        description="What becomes of a category at a prediction that the training did not know: `refuse`, or `ignore`, "
        "which takes it as none of the known ones.",
    )
    dates: dict[ColumnName, Annotated[list[DatePart], Field(min_length=1)]] = Field(
        default={},
        description="The parts that a date becomes features by; a date without them is not usable.",
        examples=[{"sold": ["year", "month"]}],
    )
    sample_weight: ColumnName | None = Field(
        default=None, description="A column of numbers, at least 0, that says how much each sample counts."
    )
    split: ColumnName | None = Field(
        default=None,
        description="A column with the values `train`, `validation` and `test` that says what each sample is for.",
    )

    @property
    def targets(self) -> list[str]:
        """The targets as a list."""
        return [self.target] if isinstance(self.target, str) else self.target

    def missing_policy(self, column: str) -> MissingPolicy:
        """Tell what becomes of a missing value of a feature."""
        return self.missing if isinstance(self.missing, str) else self.missing.get(column, "refuse")
