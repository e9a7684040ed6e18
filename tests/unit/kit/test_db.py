"""What is tried again and what stops a case."""

import asyncpg
import pytest

from services.kit.db import Unavailable, is_data_fault, is_infrastructure_fault


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.InternalClientError("got result for unknown protocol state"),
        asyncpg.ConnectionDoesNotExistError(),
        asyncpg.InterfaceError("connection is closed"),
        asyncpg.DeadlockDetectedError(),
        asyncpg.AdminShutdownError(),
        asyncpg.CrashShutdownError(),
        asyncpg.CannotConnectNowError(),
        asyncpg.IdleInTransactionSessionTimeoutError(),
        ConnectionResetError(),
        TimeoutError(),
        Unavailable("Vault"),
    ],
)
def test_a_database_that_dies_under_our_hands_parks_no_case(error: Exception) -> None:
    assert is_infrastructure_fault(error)
    assert not is_data_fault(error)


@pytest.mark.parametrize("error", [asyncpg.NotNullViolationError(), ValueError("rule")])
def test_an_item_that_can_never_be_stored_does(error: Exception) -> None:
    assert is_data_fault(error)
    assert not is_infrastructure_fault(error)
