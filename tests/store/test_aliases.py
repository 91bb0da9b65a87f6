import pytest
from sqlalchemy import select

from service.errors import InvalidRequest, NotFound, VersionInUse
from service.store import aliases, jobs, models, registry
from service.store.database import Database
from service.store.tables import VersionRow
from tests.store.queueing import claim, enqueue
from tests.store.test_models import publish

pytestmark = pytest.mark.both_systems


def test_an_alias_means_the_version_that_it_was_given_last(database: Database) -> None:
    with database.writing() as session:
        for _ in range(3):
            publish(session, "a")
        assert aliases.assign(session, "a", "best", 1).version == 1
        assert aliases.resolve(session, "a@best") == ("a", 1)
        moved = aliases.assign(session, "a", "best", 3)
        assert (moved.model, moved.alias, moved.version) == ("a", "best", 3)
        assert aliases.resolve(session, "a@best") == ("a", 3)
        assert aliases.of_models(session, ["a", "b"]) == {"a": {"best": 3}, "b": {}}


def test_each_model_has_aliases_of_its_own(database: Database) -> None:
    with database.writing() as session:
        for name in ("a", "b", "b"):
            publish(session, name)
        aliases.assign(session, "a", "best", 1)
        aliases.assign(session, "b", "best", 2)
        aliases.remove(session, "a", "best")
        assert aliases.resolve(session, "b@best") == ("b", 2)
        with pytest.raises(NotFound, match=r"model 'a' has no version or alias 'best': its aliases are latest$"):
            aliases.resolve(session, "a@best")
        with pytest.raises(NotFound, match=r"'b' has no version or alias 'worst': its aliases are latest, best$"):
            aliases.resolve(session, "b@worst")


def test_an_alias_of_nothing_is_refused(database: Database) -> None:
    with database.writing() as session:
        publish(session, "a")
        with pytest.raises(InvalidRequest, match="model 'a' has no version 2: its newest is 1"):
            aliases.assign(session, "a", "best", 2)
        with pytest.raises(NotFound, match="no model 'b'"):
            aliases.assign(session, "b", "best", 1)
        with pytest.raises(InvalidRequest, match="latest moves by itself"):
            aliases.assign(session, "a", "latest", 1)
        with pytest.raises(InvalidRequest, match="latest moves by itself"):
            aliases.remove(session, "a", "latest")
        with pytest.raises(NotFound, match="model 'a' has no alias 'best'"):
            aliases.remove(session, "a", "best")


def test_whatever_changes_the_meaning_of_a_name_is_counted(database: Database) -> None:
    with database.writing() as session:
        seen = [registry.n_changes(session)]
        for change in (
            lambda: publish(session, "a"),
            lambda: publish(session, "a"),
            lambda: aliases.assign(session, "a", "best", 1),
            lambda: aliases.remove(session, "a", "best"),
            lambda: models.delete_version(session, "a", 2),
            lambda: models.delete_model(session, "a"),
        ):
            change()
            seen.append(registry.n_changes(session))
        registry.n_changes(session)
    assert seen == sorted(set(seen))


def test_the_newest_version_that_is_left_is_the_latest(database: Database) -> None:
    with database.writing() as session:
        for _ in range(3):
            publish(session, "a")
        models.delete_version(session, "a", 3)
        assert aliases.resolve(session, "a") == ("a", 2)
        models.delete_version(session, "a", 1)
        assert aliases.resolve(session, "a@latest") == ("a", 2)
        for number, words in ((1, "no version 1 any more: its newest is 2"), (4, "no version 4: its newest is 2")):
            with pytest.raises(NotFound, match=words):
                models.get_version(session, "a", number)
            with pytest.raises(NotFound):
                aliases.resolve(session, f"a@{number}")


def test_a_model_without_versions_is_gone_and_no_number_comes_twice(database: Database) -> None:
    with database.writing() as session:
        assert [publish(session, "a"), publish(session, "a")] == [1, 2]
        models.describe(session, "a", "What it is for.", {"owner": "us"})
        models.delete_version(session, "a", 2)
        models.delete_version(session, "a", 1)
        assert models.page(session, limit=10) == ([], False)
        for look_up in (models.get, aliases.resolve, models.delete_model):
            with pytest.raises(NotFound, match="there is no model 'a'; it was deleted"):
                look_up(session, "a")
    with database.writing() as session:
        assert publish(session, "a") == 3
        model = models.get(session, "a")
        assert (model.latest_version, model.description, model.user_metadata) == (3, None, {})
        assert model.created_at == model.updated_at
        models.delete_model(session, "a")
        assert session.scalars(select(VersionRow)).all() == []
        assert publish(session, "a") == 4


def test_what_an_alias_names_is_kept(database: Database) -> None:
    with database.writing() as session:
        for _ in range(2):
            publish(session, "a")
        aliases.assign(session, "a", "best", 1)
        with pytest.raises(VersionInUse, match=r"version 1 of model 'a' cannot .* the alias 'best' \(a@1\) names it"):
            models.delete_version(session, "a", 1)
        with pytest.raises(VersionInUse, match=r"model 'a' cannot be deleted, for the alias 'best'"):
            models.delete_model(session, "a")
        models.delete_version(session, "a", 2)
        aliases.remove(session, "a", "best")
        models.delete_version(session, "a", 1)


@pytest.mark.parametrize("status", ["queued", "running"])
def test_what_a_job_starts_from_is_kept_until_it_ends(database: Database, status: str) -> None:
    with database.writing() as session:
        for name in ("a", "a", "a%"):
            publish(session, name)
        job = enqueue(session, model="b", start={"model": "a@1"})
        if status == "running":
            job = claim(session)
        words = f"1 queued or running jobs start from it, as {job.id}"
        with pytest.raises(VersionInUse, match=words):
            models.delete_version(session, "a", 1)
        with pytest.raises(VersionInUse, match=words):
            models.delete_model(session, "a")
        models.delete_version(session, "a", 2)
        models.delete_model(session, "a%")
        if status == "running":
            jobs.end_cancelled(session, job)
            models.delete_model(session, "a")
