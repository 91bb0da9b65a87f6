"""Every hyperparameter, declared once: the wire, the command line, the docs and the core all read this.

A bound, a default and a sentence each. What depends on the task or the dataset is checked in `service.plan`.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from service.tasks import LossName

FROZEN_VALUES = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)
"""How every value that crosses a border is configured: immutable, no unknown fields, no coercion, finite."""

ParameterName = Literal["weight", "bias"]


def _kind(value: Any) -> str:
    """Tell a union's branch by its JSON type, so that a fault is reported for the branch that was meant.

    The names of branches are in brackets, for no field is called so, and locations mix the two.
    """
    return "<word>" if isinstance(value, str) else "<value>"


def _depth(value: Any) -> str:
    """Tell a number from a list of numbers from a list of rows."""
    if not isinstance(value, list):
        return "<number>"
    return "<nested>" if value and isinstance(value[0], list) else "<flat>"


class StartValues(BaseModel):
    """Explicit parameters to start from, in the shapes in which parameters are reported."""

    model_config = FROZEN_VALUES

    weight: Annotated[
        Annotated[float, Tag("<number>")]
        | Annotated[list[float], Tag("<flat>")]
        | Annotated[list[list[float]], Tag("<nested>")],
        Discriminator(_depth),
    ] = Field(
        description="A flat list of n_features numbers for one output; (n_outputs, n_features) for several. "
        "A single number will do for one feature.",
        examples=[[0.0, 0.0, 0.0]],
    )
    bias: Annotated[
        Annotated[float, Tag("<number>")] | Annotated[list[float], Tag("<flat>")],
        Discriminator(_depth),
    ] = Field(default=0.0, description="A number for one output; a list of n_outputs numbers for several.")


class Stop(BaseModel):
    """When to stop before the last epoch."""

    model_config = FROZEN_VALUES

    target_loss: float | None = Field(
        default=None, ge=0, description="Stop at the first epoch whose train_loss is at or below this.", examples=[1e-5]
    )


class Hyperparameters(BaseModel):
    """How to train: what the user chooses, as opposed to the parameters, which training learns."""

    model_config = FROZEN_VALUES

    learning_rate: Annotated[
        Annotated[Literal["auto"], Tag("<word>")] | Annotated[float, Field(gt=0, le=1e38), Tag("<value>")],
        Discriminator(_kind),
    ] = Field(
        default="auto",
        description="Size of a step along the gradient. `auto` takes it from the curvature of the loss on the data.",
        examples=[0.01],
    )
    epochs: int = Field(
        default=1000, ge=1, le=10_000_000, description="Passes over the data; with the full batch, updates."
    )
    batch_size: int | None = Field(
        default=None, ge=1, description="Samples per step; null is the full batch, one step an epoch."
    )
    shuffle: bool = Field(default=True, description="Draw the batches in a new order every epoch, from the seed.")
    optimizer: Literal["sgd"] = Field(default="sgd", description="How a gradient becomes a step (torch.optim's SGD).")
    momentum: float = Field(
        default=0.0, ge=0, lt=1, description="Share of the last step's velocity that is kept, as in torch.optim.SGD."
    )
    loss: LossName | None = Field(
        default=None,
        description="What is minimised; null takes the task's own: `mse` (mean squared error) or `half_mse` (half of "
        "it, so that the gradient leaves out the 2) for regression, `binary_cross_entropy` (in nats) for logistic.",
    )
    l2: float = Field(
        default=0.0,
        ge=0,
        le=1e6,
        description="Penalty on the weights, never on the bias: l2 / 2 times the sum of their squares is added to what "
        "is minimised (scikit-learn's LogisticRegression has l2 = 1 / (C · n_samples)). `train_loss` is without it, "
        "`objective` with it.",
    )
    start: Annotated[
        Annotated[Literal["zeros", "torch", "uniform"], Tag("<word>")] | Annotated[StartValues, Tag("<value>")],
        Discriminator(_kind),
    ] = Field(
        default="zeros",
        description="Parameters before the first step: `zeros`, `torch` (as torch.nn.Linear draws them after "
        "torch.manual_seed(seed)), `uniform` on [-1, 1) from the seed, or explicit values.",
    )
    frozen: list[ParameterName] = Field(
        default=[], max_length=2, description="Names of parameters that stay as they start; their gradient reads 0."
    )
    stop: Stop = Field(default=Stop(), description="When to stop before the last epoch.")
    record_every: Annotated[
        Annotated[Literal["auto"], Tag("<word>")] | Annotated[int, Field(ge=1, le=10_000_000), Tag("<value>")],
        Discriminator(_kind),
    ] = Field(
        default="auto",
        description="Record every so many epochs. `auto` is every epoch while that is cheap, thinned evenly "
        "beyond; the first and the last epoch are always recorded.",
    )
    engine: Literal["auto", "exact", "analytic"] = Field(
        default="auto",
        description="How epochs are had: `analytic` iterates with gradients derived by hand; `exact` evaluates the "
        "closed form of the trajectory, for a quadratic loss and the full batch. `auto` is `analytic`.",
    )
    dtype: Literal["float32", "float64"] = Field(default="float32", description="Precision of the training.")
    device: str = Field(
        default="auto",
        pattern=r"^(auto|cpu|cuda|cuda:\d{1,3})$",
        description="Where to train: `auto` (a GPU when the worker has one), `cpu`, `cuda` or `cuda:N`.",
    )
    seed: int | None = Field(
        default=None, ge=0, le=2**53 - 1, description="Source of every random draw; drawn and reported when null."
    )
