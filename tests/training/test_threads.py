from contextlib import ExitStack

from service.training.threads import _BLAS as BLAS
from service.training.threads import single_threaded_blas


def n_threads() -> set[int]:
    return {library["num_threads"] for library in BLAS.info()}


def test_of_two_that_ask_for_one_thread_the_last_to_leave_lifts_the_limit() -> None:
    with BLAS.limit(limits=2):
        before = n_threads()
        with ExitStack() as first, ExitStack() as second:
            first.enter_context(single_threaded_blas)
            second.enter_context(single_threaded_blas)
            assert n_threads() == {1}
            first.close()
            assert n_threads() == {1}
            second.close()
            assert n_threads() == before
        assert before == {2}


def test_the_limit_is_lifted_after_a_failure() -> None:
    with BLAS.limit(limits=2):
        try:
            with single_threaded_blas:
                raise ValueError
        except ValueError:
            assert n_threads() == {2}
