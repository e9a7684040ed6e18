"""Telling the referral what became of its delivery, until it has heard.

It guards that a delivery report is repeated until it is applied, and that a report which a newer
state has overtaken is not an error: the outcome never overwrites what came after.
"""

from collections.abc import Sequence

import asyncpg

from services.delivery import store
from services.delivery.domain import Task, command_id
from services.kit.ports.referral import Command, Referral
from services.kit.steps import step


class Confirmer:
    """Gives delivery reports to the Referral port."""

    def __init__(self, pool: asyncpg.Pool, referral: Referral, *, cell: str) -> None:
        self._pool = pool
        self._referral = referral
        self._cell = cell

    async def confirm(self, ended: Sequence[tuple[Task, str, str]]) -> list[None]:
        """Report ended content tasks as (task, state, rule) and note that they are reported."""
        if not ended:
            return []
        await self._referral.apply([[self._command(*one)] for one in ended])
        await store.confirm(self._pool, [task.task_id for task, _, _ in ended])
        step("delivery.confirmed")
        return [None for _ in ended]

    def _command(self, task: Task, state: str, rule: str) -> Command:
        name = "confirm_delivery" if state == "done" else "report_delivery_failure"
        return Command(
            command_id=command_id(task.task_id, f"{name}-{task.attempts}"),
            referral_ref=task.referral_ref,
            command=name,
            actor_org=self._cell,
            actor_role="hub",
            attempts=max(task.attempts, 1),
            error_class=rule,
        )
