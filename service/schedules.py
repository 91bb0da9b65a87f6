"""Schedules, as they are asked for: how the learning rate changes from epoch to epoch.

Field names and meanings are those of torch.optim.lr_scheduler where it has the schedule; an epoch is its step.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

ScheduleName = Literal["constant", "step", "exponential", "cosine", "one_cycle", "inverse_scaling", "plateau"]

_FROZEN = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class ConstantSchedule(BaseModel):
    """The same learning rate at every epoch."""

    model_config = _FROZEN
    kind: Literal["constant"] = Field(default="constant", description="The learning rate stays as it is.")


class StepSchedule(BaseModel):
    """Multiply by `gamma` every `step_size` epochs (torch's StepLR)."""

    model_config = _FROZEN
    kind: Literal["step"] = Field(default="step", description="The learning rate falls in steps.")
    step_size: int = Field(default=100, ge=1, le=10_000_000, description="Epochs from one step to the next.")
    gamma: float = Field(default=0.1, gt=0, le=1, description="What the learning rate is multiplied by at each.")


class ExponentialSchedule(BaseModel):
    """Multiply by `gamma` every epoch (torch's ExponentialLR)."""

    model_config = _FROZEN
    kind: Literal["exponential"] = Field(default="exponential", description="The learning rate decays every epoch.")
    gamma: float = Field(default=0.99, gt=0, le=1, description="What it is multiplied by every epoch.")


class CosineSchedule(BaseModel):
    """Half a cosine from the learning rate to `eta_min` at the last epoch (torch's CosineAnnealingLR)."""

    model_config = _FROZEN
    kind: Literal["cosine"] = Field(default="cosine", description="The learning rate falls along half a cosine.")
    eta_min: float = Field(
        default=0.0, ge=0, le=1e38, description="The learning rate at the last epoch; not above the first one."
    )


class OneCycleSchedule(BaseModel):
    """Up to the learning rate and down again, both along half a cosine (torch's OneCycleLR, without its momentum)."""

    model_config = _FROZEN
    kind: Literal["one_cycle"] = Field(default="one_cycle", description="The learning rate rises, then falls.")
    pct_start: float = Field(default=0.3, gt=0, lt=1, description="Share of the epochs in which it rises.")
    div_factor: float = Field(
        default=25.0, ge=1, le=1e12, description="It starts at the learning rate divided by this."
    )
    final_div_factor: float = Field(
        default=1e4, ge=1, le=1e12, description="It ends at the start's value divided by this."
    )


class InverseScalingSchedule(BaseModel):
    """learning_rate / (epoch + 1) ** power_t (scikit-learn's `invscaling`, with epochs for its steps)."""

    model_config = _FROZEN
    kind: Literal["inverse_scaling"] = Field(
        default="inverse_scaling", description="The learning rate falls as a power of the epoch."
    )
    power_t: float = Field(default=0.5, gt=0, le=10, description="The power.")


class PlateauSchedule(BaseModel):
    """Multiply by `factor` when the loss has not improved for `patience` epochs (torch's ReduceLROnPlateau).

    The loss is the validation loss where there is one, else the train loss; to count, an improvement must be more
    than the share `threshold` of the best.
    """

    model_config = _FROZEN
    kind: Literal["plateau"] = Field(default="plateau", description="The learning rate falls when the loss stays.")
    factor: float = Field(default=0.1, gt=0, lt=1, description="What it is multiplied by.")
    patience: int = Field(default=10, ge=0, le=10_000_000, description="Epochs without improvement that are allowed.")
    threshold: float = Field(default=1e-4, ge=0, lt=1, description="Share of the best loss that counts as better.")
    cooldown: int = Field(default=0, ge=0, le=10_000_000, description="Epochs after a fall that are not counted.")
    min_learning_rate: float = Field(default=0.0, ge=0, le=1e38, description="It never falls below this.")


Schedule = (
    ConstantSchedule
    | StepSchedule
    | ExponentialSchedule
    | CosineSchedule
    | OneCycleSchedule
    | InverseScalingSchedule
    | PlateauSchedule
)

_BY_NAME: dict[str, Schedule] = {
    kind.model_fields["kind"].default: kind()
    for kind in (
        ConstantSchedule,
        StepSchedule,
        ExponentialSchedule,
        CosineSchedule,
        OneCycleSchedule,
        InverseScalingSchedule,
        PlateauSchedule,
    )
}


def _form(value: Any) -> str:
    """Tell the union's branch: a word, or an object by its kind; names of branches are in brackets, as no field is."""
    if isinstance(value, str):
        return "<word>"
    return f"<{value.get('kind')}>" if isinstance(value, dict) else f"<{getattr(value, 'kind', None)}>"


ScheduleField = Annotated[
    Annotated[ScheduleName, Tag("<word>")]
    | Annotated[ConstantSchedule, Tag("<constant>")]
    | Annotated[StepSchedule, Tag("<step>")]
    | Annotated[ExponentialSchedule, Tag("<exponential>")]
    | Annotated[CosineSchedule, Tag("<cosine>")]
    | Annotated[OneCycleSchedule, Tag("<one_cycle>")]
    | Annotated[InverseScalingSchedule, Tag("<inverse_scaling>")]
    | Annotated[PlateauSchedule, Tag("<plateau>")],
    Discriminator(
        _form,
        custom_error_type="unknown_schedule",
        custom_error_message="a schedule is a word or an object whose kind is one of " + ", ".join(_BY_NAME),
    ),
]
"""What a request may say: the name of a schedule, which takes its defaults, or an object with `kind` and its fields."""


def schedule_of(given: ScheduleName | Schedule) -> Schedule:
    """Give the schedule that is meant: a name stands for the schedule with its defaults."""
    return _BY_NAME[given] if isinstance(given, str) else given


def floor_of(schedule: Schedule) -> tuple[str, float]:
    """Give the field in which a schedule has its smallest learning rate, and that rate; an empty name for none."""
    match schedule:
        case CosineSchedule():
            return "eta_min", schedule.eta_min
        case PlateauSchedule():
            return "min_learning_rate", schedule.min_learning_rate
    return "", 0.0
