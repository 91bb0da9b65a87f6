"""Every hyperparameter, declared once: the wire, the command line, the docs and the core all read this.

A bound, a default and a sentence each. What depends on the task or the dataset is checked in `service.plan`.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from service.schedules import ScheduleField
from service.tasks import EngineName, LossName, StartName

FROZEN_VALUES = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)
"""How every value that crosses a border is configured: immutable, no unknown fields, no coercion, finite."""

MOST_EPOCHS = 10_000_000

OptimizerName = Literal["sgd", "adam", "adamw", "rmsprop", "adagrad", "lbfgs"]
ScaleName = Literal["none", "center", "standard"]
ActivationName = Literal["relu", "tanh", "sigmoid"]


def _kind(value: Any) -> str:
    """Tell a union's branch by its JSON type, so that a fault is reported for the branch that was meant.

    The names of branches are in brackets, for no field is called so, and locations mix the two.
    """
    return "<word>" if isinstance(value, str) else "<value>"


def _start_form(value: Any) -> str:
    """Tell what a start is given as; models of ours come back in when hyperparameters are copied."""
    if value is None or isinstance(value, str) or _is_list(value):
        return "<null>" if value is None else "<word>" if isinstance(value, str) else "<list>"
    fields = value if isinstance(value, dict) else type(value).model_fields if isinstance(value, BaseModel) else ()
    return "<layers>" if "parameters" in fields else "<model>" if "model" in fields else "<values>"


def _depth(value: Any) -> str:
    """Tell a number from a list of numbers from a list of rows."""
    if not _is_list(value):
        return "<number>"
    return "<nested>" if value and _is_list(value[0]) else "<flat>"


def _is_list(value: Any) -> bool:
    """Tell whether a value is a list, which a long one of a request's body is in another form."""
    return isinstance(value, Sequence) and not isinstance(value, str)


class LayerValues(BaseModel):
    """Explicit parameters of one layer, in the shapes in which parameters are reported."""

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


class StartLayers(BaseModel):
    """Explicit parameters of a perceptron, as they are reported."""

    model_config = FROZEN_VALUES

    parameters: list[LayerValues] = Field(min_length=1, description="Weight and bias of each layer, the first first.")


class StartModel(BaseModel):
    """A trained model to go on from."""

    model_config = FROZEN_VALUES

    model: Annotated[str, Field(min_length=1, max_length=200)] = Field(
        description="`NAME`, `NAME@latest` or `NAME@3`; it must have the same task, features and layers.",
        examples=["exam-scores@1"],
    )


class Stop(BaseModel):
    """When to stop before the last epoch."""

    model_config = FROZEN_VALUES

    target_loss: float | None = Field(
        default=None, ge=0, description="Stop at the first epoch whose train_loss is at or below this.", examples=[1e-5]
    )
    patience: int | None = Field(
        default=None,
        ge=1,
        le=MOST_EPOCHS,
        description="Stop after so many epochs without an improvement of the validation loss, or of the train loss "
        "when no samples are held out for validation.",
        examples=[20],
    )
    min_delta: float = Field(
        default=0.0, ge=0, le=1e38, description="With patience: how much less than the best a loss must be to count."
    )
    max_seconds: float | None = Field(
        default=None, gt=0, le=1e9, description="Stop after so many seconds of training.", examples=[60]
    )
    restore_best: bool = Field(
        default=True, description="With patience: give the parameters of the best epoch instead of the last one's."
    )


class Hyperparameters(BaseModel):
    """How to train: what the user chooses, as opposed to the parameters, which training learns."""

    model_config = FROZEN_VALUES

    learning_rate: Annotated[
        Annotated[Literal["auto"], Tag("<word>")] | Annotated[float, Field(gt=0, le=1e38), Tag("<value>")],
        Discriminator(_kind),
    ] = Field(
        default="auto",
        description="Size of a step along the gradient. `auto` takes it from the curvature of the loss on the data; "
        "for optimizers other than sgd it is torch's default. For a perceptron with a random start a check "
        "measures the curvature at another start, drawn alike, so that the job's rate may differ a little.",
        examples=[0.01],
    )
    epochs: int = Field(
        default=1000, ge=1, le=MOST_EPOCHS, description="Passes over the data; with the full batch, updates."
    )
    batch_size: int | None = Field(
        default=None, ge=1, description="Samples per step; null is the full batch, one step an epoch."
    )
    shuffle: bool = Field(default=True, description="Draw the batches in a new order every epoch, from the seed.")
    optimizer: OptimizerName = Field(
        default="sgd",
        description="How a gradient becomes a step, as in torch.optim with its defaults: `sgd`, `adam`, `adamw` (with "
        "its weight decay of 0.01), `rmsprop`, `adagrad`, or `lbfgs` (with its line search; an epoch is one of its "
        "iterations).",
    )
    momentum: float = Field(
        default=0.0, ge=0, lt=1, description="For sgd: share of the last step's velocity that is kept."
    )
    nesterov: bool = Field(default=False, description="For sgd with momentum: look ahead along the velocity.")
    dampening: float = Field(
        default=0.0, ge=0, lt=1, description="For sgd with momentum: share of the gradient kept out of the velocity."
    )
    schedule: ScheduleField = Field(
        default="constant",
        description="How the learning rate changes from epoch to epoch: `constant`, `step`, `exponential`, `cosine`, "
        "`one_cycle`, `inverse_scaling` or `plateau`, or an object with `kind` and its fields.",
        examples=["constant", {"kind": "step", "step_size": 100, "gamma": 0.5}],
    )
    loss: LossName | None = Field(
        default=None,
        description="What is minimised; null takes the task's own: `mse` (mean squared error), `half_mse` (half of "
        "it, so that the gradient leaves out the 2), `mae` (mean absolute error) or `huber` (its bend at 1) for "
        "regression, `binary_cross_entropy` for logistic, `cross_entropy` for several classes, both in nats.",
    )
    l2: float = Field(
        default=0.0,
        ge=0,
        le=1e6,
        description="Penalty on the weights, never on the bias: l2 / 2 times the sum of their squares is added to what "
        "is minimised (scikit-learn's LogisticRegression has l2 = 1 / (C · n_samples)). `train_loss` is without it, "
        "`objective` with it.",
    )
    l1: float = Field(
        default=0.0,
        ge=0,
        le=1e6,
        description="Penalty on the weights, never on the bias: l1 times the sum of their absolute values.",
    )
    start: Annotated[
        Annotated[StartName, Tag("<word>")]
        | Annotated[LayerValues, Tag("<values>")]
        | Annotated[StartLayers, Tag("<layers>")]
        | Annotated[list[LayerValues], Field(min_length=1), Tag("<list>")]
        | Annotated[StartModel, Tag("<model>")]
        | Annotated[None, Tag("<null>")],
        Discriminator(_start_form),
    ] = Field(
        default=None,
        description="Parameters before the first step: `zeros`, `torch` (as torch.nn.Linear draws them after "
        "torch.manual_seed(seed)), `uniform` on [-1, 1) from the seed, explicit values in original units (for "
        'perceptrons a list of layers, bare or as `{"parameters": [...]}`), or `{"model": "name@version"}` to go on '
        "from a trained model. Null is `zeros`, and `torch` for perceptrons.",
        examples=["zeros", {"weight": [0.0, 0.0, 0.0], "bias": 0.0}, [{"weight": [0.5], "bias": 0.1}]],
    )
    frozen: list[Annotated[str, Field(pattern=r"^(\d{1,3}\.)?(weight|bias)$")]] = Field(
        default=[],
        max_length=100,
        description="Names of parameters that stay as they start; their gradient reads 0. `weight`, `bias`; for one "
        "layer of a perceptron `0.weight`, the first layer being 0. What is frozen stays in the units of the descent: "
        "with centred features or targets the bias in original units moves with the weight.",
        examples=[["bias"]],
    )
    fit_intercept: bool = Field(
        default=True,
        description="Whether there is a bias; without, it is 0 and stays so, in original units too: then scaling only "
        "divides.",
    )
    scale: ScaleName = Field(
        default="none",
        description="What the features are brought to before training: `center` (mean 0), `standard` (mean 0, standard "
        "deviation 1), learned on the training samples; without an intercept the mean stays, so that there is no "
        "`center`, and `standard` only divides. Parameters are reported in original units too.",
    )
    scale_targets: ScaleName = Field(
        default="none",
        description="The same for the targets of a regression; losses are then in units of the scaled targets, "
        "metrics and predictions in original ones.",
    )
    validation_fraction: float = Field(
        default=0.0, ge=0, lt=1, description="Share of the samples held out to measure the validation loss on."
    )
    test_fraction: float = Field(
        default=0.0, ge=0, lt=1, description="Share of the samples held out for the test metrics alone."
    )
    stratify: bool = Field(default=True, description="For classification: hold out the same share of every class.")
    class_weight: Literal["balanced"] | None = Field(
        default=None,
        description="For classification: `balanced` weighs samples by n_samples / (n_classes · samples of their "
        "class); null weighs all alike.",
    )
    stop: Stop = Field(
        default=Stop(),
        description="When to stop before the last epoch: `target_loss`, `patience` with `min_delta`, `max_seconds`; "
        "`restore_best` gives the best epoch's parameters.",
        examples=[{"patience": 20}],
    )
    clip_gradient_norm: float | None = Field(
        default=None, gt=0, le=1e38, description="Shorten each step's gradient to this Euclidean norm when longer."
    )
    hidden_layers: list[Annotated[int, Field(ge=1, le=10_000)]] | None = Field(
        default=None,
        min_length=1,
        max_length=20,
        description="For perceptrons: the units of each hidden layer; null is [32].",
        examples=[[32]],
    )
    activation: ActivationName = Field(
        default="relu", description="For perceptrons: what follows each hidden layer: `relu`, `tanh` or `sigmoid`."
    )
    dropout: float = Field(
        default=0.0, ge=0, lt=1, description="For perceptrons: share of each hidden layer's units left out of a step."
    )
    record_every: Annotated[
        Annotated[Literal["auto"], Tag("<word>")] | Annotated[int, Field(ge=1, le=MOST_EPOCHS), Tag("<value>")],
        Discriminator(_kind),
    ] = Field(
        default="auto",
        description="Record every so many epochs. `auto` is every epoch while that is cheap, thinned evenly "
        "beyond; the first and the last epoch are always recorded.",
    )
    record_parameters: Annotated[
        Annotated[Literal["auto"], Tag("<word>")] | Annotated[bool, Tag("<value>")], Discriminator(_kind)
    ] = Field(
        default="auto",
        description="Whether to record parameters and gradient with each loss. `auto` does, thinned evenly where they "
        "are many, unless fewer than a hundred epochs could be kept so.",
    )
    engine: Literal["auto", EngineName] = Field(
        default="auto",
        description="How epochs are had: `exact` evaluates the closed form of the trajectory (quadratic loss, full "
        "batch, sgd, constant learning rate), `analytic` iterates with gradients derived by hand, `autograd` with "
        "torch's modules and optimizers. `auto` takes the first of these that can train what is asked for.",
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
