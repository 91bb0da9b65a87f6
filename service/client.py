"""Talking to a running service over HTTP."""

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import httpx

from service.errors import ServiceRefused, ServiceUnreachable

Json = dict[str, Any]

POLL_SECONDS = 0.1
UPLOAD_SECONDS = 600.0
"""How long the service may take to read a file that has been sent."""


class Client:
    """A service at an address.

    Every call raises ServiceUnreachable when nothing answers there, and ServiceRefused, with the problem that was
    answered, for an error.

    Args:
        url: of the service.
        key: an access key, for a service that asks for one.
        timeout_seconds: to wait for an answer.
    """

    def __init__(self, url: str, *, key: str = "", timeout_seconds: float = 60.0) -> None:
        self.url = url.rstrip("/")
        self.has_key = bool(key)
        # A proxy of the environment is for elsewhere: it would look for the service on its own machine.
        is_here = httpx.URL(self.url).host in ("127.0.0.1", "::1", "localhost")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._http = httpx.Client(base_url=self.url, headers=headers, timeout=timeout_seconds, trust_env=not is_here)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def train(self, request: Json) -> Json:
        """Send `POST /train` and give the job."""
        return self._call("POST", "/train", json=request)

    def check(self, request: Json) -> Json:
        """Send `POST /train/check` and tell what would be trained."""
        return self._call("POST", "/train/check", json=request)

    def retry(self, job_id: str, request: Json) -> Json:
        """Send `POST /jobs/{id}/retry` and give the new job."""
        return self._call("POST", f"/jobs/{job_id}/retry", json=request)

    def upload(
        self, content: Iterable[bytes], n_bytes: int, headers: Mapping[str, str], params: Mapping[str, Any]
    ) -> Json:
        """Send `POST /datasets` and give the dataset.

        Args:
            content: the file in parts, read as they are sent.
            n_bytes: of the file.
            headers: its Content-Type, and its Content-Encoding if it has one.
            params: its name, and how to read it.
        """
        headers = {**headers, "Content-Length": str(n_bytes)}
        return self._call("POST", "/datasets", content=content, headers=headers, params=params, timeout=UPLOAD_SECONDS)

    def dataset(self, dataset_id: str) -> Json:
        """Give a dataset: its columns, and what is known of them."""
        return self._call("GET", f"/datasets/{dataset_id}")

    def datasets(self, *, limit: int) -> Json:
        """Give the newest datasets: `data`, and whether there are more, `has_more`."""
        return self._call("GET", "/datasets", params={"limit": limit})

    def delete_dataset(self, dataset_id: str) -> None:
        """Delete a dataset."""
        self._call("DELETE", f"/datasets/{dataset_id}")

    def job(self, job_id: str) -> Json:
        """Give a job."""
        return self._call("GET", f"/jobs/{job_id}")

    def jobs(self, *, limit: int, status: str | None = None) -> Json:
        """Give the newest jobs: `data`, and whether there are more, `has_more`."""
        params = {"limit": limit} | ({"status": status} if status else {})
        return self._call("GET", "/jobs", params=params)

    def cancel(self, job_id: str) -> Json:
        """Send `POST /jobs/{id}/cancel` and give the job."""
        return self._call("POST", f"/jobs/{job_id}/cancel")

    def pause(self, job_id: str) -> Json:
        """Send `POST /jobs/{id}/pause` and give the job."""
        return self._call("POST", f"/jobs/{job_id}/pause")

    def resume(self, job_id: str) -> Json:
        """Send `POST /jobs/{id}/resume` and give the job."""
        return self._call("POST", f"/jobs/{job_id}/resume")

    def delete_job(self, job_id: str) -> None:
        """Delete an ended job."""
        self._call("DELETE", f"/jobs/{job_id}")

    def follow(self, job_id: str) -> Iterator[Json]:
        """Give a job whenever it has changed, the last time when it has ended, also across restarts of the service."""
        while True:
            job = self.job(job_id)
            yield job
            if job["terminal"]:
                return
            for kind, news in self._events(f"/jobs/{job_id}/events"):
                job = news if kind == "end" else {**job, **{name: news[name] for name in news.keys() & job.keys()}}
                yield job
                if kind == "end":
                    return
            time.sleep(POLL_SECONDS)  # the stream was cut off: the job says where it is, or why not

    def _events(self, path: str) -> Iterator[tuple[str, Json]]:
        """Give the kind and the data of each server-sent event, as long as they come."""
        with suppress(httpx.TransportError), self._http.stream("GET", path) as answer:
            kind = ""
            for line in answer.iter_lines() if answer.is_success else ():
                field, _, value = line.partition(": ")
                if field == "event":
                    kind = value
                elif field == "data":
                    yield kind, json.loads(value)

    def history(self, job_id: str, max_points: int) -> Json:
        """Give a job's history in so many points."""
        return self._call("GET", f"/jobs/{job_id}/history", params={"max_points": max_points})

    def predict(self, model: str, features: Sequence[tuple[str, str]], *, explain: bool = False) -> Json:
        """Send `GET /predict` for one sample, given as pairs of name and value."""
        asked = [("explain", "true")] if explain else []
        return self._call("GET", "/predict", params=[("model", model), *asked, *features])

    def models(self, *, limit: int) -> Json:
        """Give the models by name: `data`, and whether there are more, `has_more`."""
        return self._call("GET", "/models", params={"limit": limit})

    def export(self, reference: str, ending: str) -> bytes:
        """Give a version as a file.

        Args:
            reference: `NAME`, `NAME@latest`, `NAME@3` or `NAME@ALIAS`.
            ending: `json`, `safetensors` or `onnx`.

        Raises:
            ServiceRefused: also when the model has no such alias.
        """
        name, _, meant = reference.partition("@")
        aliases = self._call("GET", f"/models/{name}")["aliases"]
        version = meant if meant.isdecimal() else aliases.get(meant or "latest")
        if version is None:
            known = ", ".join(aliases)
            raise ServiceRefused({"detail": f"model {name!r} has no version or alias {meant!r}: there are {known}"})
        path, accept = {
            "json": ("export", "application/json"),
            "safetensors": ("parameters", "application/vnd.safetensors"),
            "onnx": ("onnx", "application/vnd.onnx"),
        }[ending]
        answer = self._answer("GET", f"/models/{name}/versions/{version}/{path}", headers={"Accept": accept})
        return answer.content

    def import_model(self, model: bytes) -> Json:
        """Send `POST /models` with a model as JSON, and give the version that it has become."""
        return self._call("POST", "/models", content=model, headers={"Content-Type": "application/json"})

    def set_alias(self, model: str, alias: str, version: int) -> Json:
        """Let an alias name a version of a model."""
        return self._call("PUT", f"/models/{model}/aliases/{alias}", json={"version": version})

    def delete_alias(self, model: str, alias: str) -> None:
        """Take an alias away."""
        self._call("DELETE", f"/models/{model}/aliases/{alias}")

    def wait_until_ready(self, seconds: float) -> None:
        """Come back when trainings will be served.

        Raises:
            ServiceRefused, ServiceUnreachable: when they are not after so many seconds; says why.
        """
        deadline = time.monotonic() + seconds
        while True:
            try:
                self._call("GET", "/readyz")
            except (ServiceRefused, ServiceUnreachable):
                if time.monotonic() > deadline:
                    raise
                time.sleep(POLL_SECONDS)
            else:
                return

    def _call(self, method: str, path: str, **arguments: Any) -> Json:
        response = self._answer(method, path, **arguments)
        if response.status_code == httpx.codes.NO_CONTENT:
            return {}
        if _kind(response) == "application/json":
            body: Json = response.json()
            return body
        raise self._stranger(response)

    def _answer(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        try:
            response = self._http.request(method, path, **arguments)
        except (httpx.TransportError, httpx.InvalidURL) as fault:
            hint = "is `descent serve` running there?"
            raise ServiceUnreachable(f"no service answers at {self.url} ({fault}): {hint}") from None
        if response.is_success:
            return response
        if _kind(response) == "application/problem+json":
            raise ServiceRefused(response.json())
        raise self._stranger(response)

    def _stranger(self, response: httpx.Response) -> ServiceUnreachable:
        answered = f"it answered {response.status_code} {response.reason_phrase} as {_kind(response) or 'nothing'}"
        return ServiceUnreachable(f"{self.url} is no Descent service: {answered}")


def _kind(response: httpx.Response) -> str:
    return str(response.headers.get("content-type", "")).partition(";")[0]
