"""Which tables a statement scans from end to end, as PostgreSQL itself counts them."""

from typing import Any

from tests.support.servers import Databases

_SCANS = """
select schemaname || '.' || relname as name, pg_stat_get_xact_numscans(relid) as scans
  from pg_stat_user_tables"""


async def sequential_scans(
    conn: Any, pg: Databases, statement: str, *arguments: object
) -> set[str]:
    """Tables scanned sequentially by the statement, also inside functions; it is rolled back.

    `pg_stat_get_xact_numscans` counts sequential scans of a table in the current transaction.
    """
    transaction = conn.transaction()
    await transaction.start()
    try:
        await conn.fetch(statement, *arguments)
        rows = await conn.fetch(_SCANS)
        return {row["name"] for row in rows if row["scans"]}
    finally:
        await transaction.rollback()
