"""A service in a client's hands: train, predict, and see what is there."""

from collections.abc import Mapping, Sequence
from typing import Any

from service.client.connection import Awaiting, Blocking
from service.client.exchange import ask, fetch, get, path_of, post, ready, submit
from service.client.jobs import AsyncJob, Job, JobOperation
from service.client.operation import Operation
from service.client.predictions import Prediction, predictions
from service.client.references import version_of, version_path
from service.client.steps import Conversation, Json, Send
from service.client.tables import dataset_of
from service.client.uploads import send, upload
from service.errors import UnreadableFile
from service.selection import Selection

EXPORTS = {
    "json": ("export", "application/json"),
    "safetensors": ("parameters", "application/vnd.safetensors"),
    "onnx": ("onnx", "application/vnd.onnx"),
}
"""Files that a version is exported as, by their endings: where they are found, and their media types."""


class _Service:
    """What can be done with a service.

    Everything raises ServiceUnreachable when nothing answers there, and ServiceRefused, with the problem that was
    answered, for an error. What fails in passing is asked for again, four times in all, when the service says.
    """

    @JobOperation
    def train(
        self,
        /,
        dataset: Any,
        targets: Any = None,
        *,
        task: str,
        target: str | list[str] | None = None,
        model: str | None = None,
        sample_weight: Any = None,
        metadata: Mapping[str, str] | None = None,
        priority: int = 0,
        wait_seconds: int | None = None,
        **how: Any,
    ) -> Conversation[Json]:
        """Train a model, and give the job.

        Args:
            dataset: features of shape (n_samples, n_features) as an array or a frame (pandas, polars, pyarrow …); or
                a frame of features and targets; or the id of a dataset that is kept, or a dataset as POST /train takes
                it, such as `{"synthetic": …}`.
            targets: numbers or labels of shape (n_samples,), or numbers of shape (n_samples, n_targets).
            task: `linear_regression`, `logistic_regression`, `softmax_regression`, `mlp_regressor` or `mlp_classifier`.
            target: in place of `targets`, the column that they are in, or the columns.
            model: the name to publish under; one is made up when left out.
            sample_weight: how much each sample counts, or the column that says so.
            metadata: pairs of strings that are kept with the job and the version.
            priority: jobs of a higher one are taken up first.
            wait_seconds: to wait here for the job's end, 60 at most; when left out it is queued, see `Job.wait`.
            how: hyperparameters (`learning_rate`, `epochs` …), and how columns are read (`missing`, `dates` …).

        Raises:
            UnsendableData: when the data is no table.
        """
        selection = {name: how.pop(name) for name in list(how) if name in Selection.model_fields}
        file, given = dataset_of(dataset, targets, target, sample_weight=sample_weight, selection=selection)
        if file is not None:
            given = {"id": (yield from send(file, {}))["id"], **given}
        request = {"task": task, "dataset": given, "hyperparameters": how, "priority": priority}
        request |= {"model": model} if model is not None else {}
        request |= {"metadata": dict(metadata)} if metadata else {}
        return (yield from submit("/train", request, wait_seconds))

    @JobOperation
    def submit(self, request: Json) -> Conversation[Json]:
        """Send a body of `POST /train`, and give the job."""
        return submit("/train", request)

    @Operation
    def check(self, request: Json) -> Conversation[Json]:
        """Send a body of `POST /train/check`, and tell what would be trained."""
        return post("/train/check", request)

    @Operation
    def predict(self, model: str, samples: Any, *, explain: bool = False) -> Conversation[Prediction]:
        """Predict for samples.

        Args:
            model: `NAME`, `NAME@2`, `NAME@ALIAS`, or `Job.model`.
            samples: of shape (n_samples, n_features), in the order of the model's features; or a frame with them.
            explain: whether to tell what each feature contributes.

        Raises:
            UnsendableData: when the samples are no table.
        """
        return predictions(model, samples, explain)

    @Operation
    def predict_one(
        self, model: str, features: Sequence[tuple[str, str]], *, explain: bool = False
    ) -> Conversation[Json]:
        """Send `GET /predict` for one sample, given as pairs of name and value."""
        asked = [("explain", "true")] if explain else []
        return ask(Send("GET", "/predict", params=[("model", model), *asked, *features]))

    @Operation
    def upload(
        self, data: Any, /, *, name: str | None = None, progress: bool = True, **reading: Any
    ) -> Conversation[Json]:
        """Keep a frame or a file as a dataset, unless it is there; give it: its columns, and what is known of them.

        Args:
            data: a frame (pandas, polars, pyarrow …); or the path of a file whose name tells its format: `.csv`,
                `.jsonl`, `.parquet`, `.arrow` …, also with `.gz` or `.zst` behind.
            name: what to call the dataset; that of the file without its endings when left out.
            progress: whether a file has a progress bar, in a terminal or notebook.
            reading: how it is read, as `files.FileReading` has it: `types`, `missing`, `delimiter`, `header` …

        Raises:
            UnsendableData: for what is neither, or a frame that cannot be written.
            UnreadableFile: for a file that is not there, cannot be read, or has no such name.
        """
        return upload(data, name, reading, progress=progress)

    @Operation
    def dataset(self, dataset_id: str) -> Conversation[Json]:
        """Give a dataset: its columns, and what is known of them."""
        return get(path_of("datasets", dataset_id))

    @Operation
    def datasets(self, *, limit: int = 100) -> Conversation[Json]:
        """Give the newest datasets: `data`, and whether there are more, `has_more`."""
        return get("/datasets", limit=limit)

    @Operation
    def delete_dataset(self, dataset_id: str) -> Conversation[Json]:
        """Delete a dataset."""
        return ask(Send("DELETE", path_of("datasets", dataset_id)))

    @JobOperation
    def job(self, job_id: str) -> Conversation[Json]:
        """Give a job."""
        return get(path_of("jobs", job_id))

    @Operation
    def jobs(self, *, limit: int = 100, status: str | None = None) -> Conversation[Json]:
        """Give the newest jobs: `data`, and whether there are more, `has_more`."""
        return get("/jobs", limit=limit, status=status)

    @Operation
    def models(self, *, limit: int = 100) -> Conversation[Json]:
        """Give the models by name: `data`, and whether there are more, `has_more`."""
        return get("/models", limit=limit)

    @Operation
    def model(self, name: str) -> Conversation[Json]:
        """Give a model: its `aliases`, and its `versions`, the newest first."""
        return get(path_of("models", name))

    @Operation
    def delete_model(self, model: str) -> Conversation[Json]:
        """Delete a version (`NAME@2`, `NAME@latest` or `NAME@ALIAS`), or a model with all of its versions (`NAME`)."""
        if "@" not in model:
            return (yield from ask(Send("DELETE", path_of("models", model))))
        version = yield from version_of(model)
        return (yield from ask(Send("DELETE", version_path(version["model"], version["version"]))))

    @Operation
    def parameters(self, model: str) -> Conversation[Json]:
        """Give what a version (`NAME`, `NAME@2`, `NAME@ALIAS`) has learned: `weight` and `bias` in original units."""
        version = yield from version_of(model)
        return (yield from get(f"{version_path(version['model'], version['version'])}/parameters"))

    @Operation
    def evaluate(
        self,
        model: str,
        dataset: Any,
        targets: Any = None,
        *,
        target: str | list[str] | None = None,
        worst: int = 10,
    ) -> Conversation[Json]:
        """Give the metrics of a model on other data, and the samples that it misses most.

        Args:
            model: `NAME`, `NAME@2`, `NAME@ALIAS`, or `Job.model`.
            dataset: as `train` takes it; the features of an array stand in the order of the model's. What is not small
                and all numbers is kept as a dataset for it, as for a training.
            targets: numbers or labels of shape (n_samples,), or numbers of shape (n_samples, n_targets).
            target: in place of `targets`, the column that they are in, or the columns; the model's own ones when both
                are left out.
            worst: how many of the samples that it misses most are told, 1000 at most.

        Raises:
            UnsendableData: when the data is no table.
        """
        names = None
        if not isinstance(dataset, Mapping):
            version = yield from version_of(model)
            model, names = f"{version['model']}@{version['version']}", version["feature_names"]
            if targets is None and target is None:
                target = version["target_names"] if len(version["target_names"]) > 1 else version["target_names"][0]
        file, given = dataset_of(dataset, targets, target, names=names)
        if file is not None:
            given = {"id": (yield from send(file, {}))["id"], **given}
        return (yield from post(path_of("models", model, "evaluate"), {"dataset": given, "worst": worst}))

    @Operation
    def export(self, model: str, ending: str) -> Conversation[bytes]:
        """Give a version (`NAME`, `NAME@latest`, `NAME@3` or `NAME@ALIAS`) as a file: json, safetensors or onnx.

        Raises:
            ServiceRefused: also when the model has no such alias.
            UnreadableFile: when there is no file of such an ending.
        """
        if ending not in EXPORTS:
            raise UnreadableFile(f"a model is not exported as {ending!r}: there are {', '.join(EXPORTS)}")
        version = yield from version_of(model)
        path, media_type = EXPORTS[ending]
        return (yield from fetch(f"{version_path(version['model'], version['version'])}/{path}", media_type))

    @Operation
    def import_model(self, content: bytes) -> Conversation[Json]:
        """Publish a model that was exported as JSON, or is described in the same words; give its version."""
        return ask(Send("POST", "/models", headers={"Content-Type": "application/json"}, content=content), tries=1)

    @Operation
    def set_alias(self, model: str, alias: str, version: int) -> Conversation[Json]:
        """Let an alias name a version of a model."""
        return ask(Send("PUT", path_of("models", model, "aliases", alias), json={"version": version}))

    @Operation
    def delete_alias(self, model: str, alias: str) -> Conversation[Json]:
        """Take an alias away."""
        return ask(Send("DELETE", path_of("models", model, "aliases", alias)))

    @Operation
    def wait_until_ready(self, seconds: float) -> Conversation[None]:
        """Come back when trainings will be served.

        Raises:
            ServiceRefused, ServiceUnreachable: when they are not after so many seconds; says why.
        """
        return ready(seconds)


class Descent(_Service, Blocking):
    """A service at an address; a context manager, for it keeps connections (see `connection.Address`)."""

    def adopt(self, content: Json) -> Job:
        """Take a job into hand that is told of."""
        return Job(self, content)


class AsyncDescent(_Service, Awaiting):
    """A service at an address, whose every operation is awaited (see `Descent`)."""

    def adopt(self, content: Json) -> AsyncJob:
        """Take a job into hand that is told of."""
        return AsyncJob(self, content)
