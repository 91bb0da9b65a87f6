"""Fields that are not known: what is said to have been meant is what there is, at this place and no other."""

from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, Discriminator, Tag

from service.api.fields import models_at, models_of
from tests.api.conftest import EXAMS, Json, LocalService, check_fault, line


class Leaf(BaseModel):
    size: int


class Word(BaseModel):
    kind: Literal["one", "two"]


class Tree(BaseModel):
    leaf: Leaf | None
    leaves: dict[str, list[Leaf]]
    word: Word | Leaf
    tagged: Annotated[
        Annotated[Leaf, Tag("<leaf>")] | Annotated[list[Leaf], Tag("<leaves>")] | Annotated[Word, Tag("<word>")],
        Discriminator(lambda _: "<leaf>"),
    ]


PLACES: list[tuple[list[str | int], list[type[BaseModel]]]] = [
    ([], [Tree]),
    (["leaf"], [Leaf]),
    (["leaves"], []),
    (["leaves", "north", 3], [Leaf]),
    (["word"], [Word, Leaf]),
    (["word", "two"], [Word]),
    (["word", "Leaf"], [Leaf]),
    (["tagged"], [Leaf, Word]),
    (["tagged", "<word>"], [Word]),
    (["tagged", "<leaves>", 0], [Leaf]),
    (["leaf", "size"], []),
    (["root"], []),
]


@pytest.mark.parametrize(("location", "expected"), PLACES, ids=str)
def test_a_place_is_found_as_pydantic_tells_it(location: list[str | int], expected: list[type[BaseModel]]) -> None:
    assert models_at(Tree, location) == expected
    assert models_at(Annotated[Tree | None, "with more"], location) == expected


def test_what_is_of_no_type_has_no_fields() -> None:
    assert models_of(None) == models_of(int) == models_at(None, ["a", 0]) == []


TRAIN = "model, task, dataset, hyperparameters, metadata, priority"


@pytest.mark.parametrize(
    ("path", "body", "pointer", "words"),
    [
        ("/train", line(name="a"), "#/name", f"name is not known: there are {TRAIN}"),
        ("/train", line(colums=[]), "#/colums", f"colums is not known: there are {TRAIN}"),
        ("/train", line(target="y"), "#/target", "target is not known: it belongs inside dataset"),
        ("/train", line(hyperparameters={"lr": 1}), "#/hyperparameters/lr", "did you mean learning_rate?"),
        ("/train", line(hyperparameters={"bs": 1}), "#/hyperparameters/bs", "did you mean batch_size?"),
        ("/train", line(hyperparameters={"patience": 1}), "#/hyperparameters/patience", "inside schedule or stop"),
        ("/train", line(hyperparameters={"alpha": 1}), "#/hyperparameters/alpha", "there are learning_rate, epochs, "),
        ("/train", line(dataset={**EXAMS, "names": []}), "#/dataset/names", "there are features, feature_names"),
        ("/train/check", line(hyperparameters={"stop": {"patince": 1}}), "#/hyperparameters/stop/patince", "patience?"),
        ("/predict", {"model": "line", "epochs": 1}, "#/epochs", "not known: there are model, features, records"),
        ("/models/line/evaluate", {"dataset": EXAMS, "wors": 1}, "#/wors", "did you mean worst?"),
        ("/models", {"name": "a", "parameters": {"weight": [1], "bia": 1}}, "#/parameters/bia", "did you mean bias?"),
    ],
    ids=str,
)
def test_what_is_said_to_have_been_meant_is_there(
    standing: LocalService, path: str, body: Json, pointer: str, words: str
) -> None:
    answer = standing.post(path, body)
    (fault,) = [one for one in answer.json()["errors"] if one["pointer"] == pointer]
    assert answer.status_code == 422
    assert words in fault["detail"]


def test_an_alias_has_no_name_in_its_body(standing: LocalService) -> None:
    answer = standing.http.put("/models/line/aliases/best", json={"version": 1, "name": "a"})
    check_fault(answer, "#/name", "name is not known: there are version")
